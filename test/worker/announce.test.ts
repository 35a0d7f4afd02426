// Turns that tell of their ends: from the transaction that ends them to whoever wants to know.
import { abortAllDurableObjects, runDurableObjectAlarm, runInDurableObject } from "cloudflare:test";
import { beforeEach, describe, expect, it } from "vitest";
import type { Conversation } from "../../src/conversation/conversation.ts";
import type { Notify } from "../../src/conversation/protocol.ts";
import type { Store } from "../../src/conversation/store.ts";
import { endEvent } from "../../src/outbox/events.ts";
import type { Notice } from "../../src/outbox/protocol.ts";
import { inStorage, objectOf } from "./objects.ts";
import { newTenant, type Tenant } from "./outbox.ts";
import { receivedAt } from "./receiver.ts";
import { options, outcomeOf, withStore } from "./storage.ts";
import { say, stubOf, turn } from "./turns.ts";

let tenant: Tenant;
let name: string;
let notify: Notify;
beforeEach(async () => {
  tenant = newTenant();
  name = `told of by ${tenant.tenant}`;
  notify = { registry: tenant.name, url: null, idHead: "resp_x_" };
  await stubOf(name).create({});
});

const told = (path: string) =>
  receivedAt(path).map(({ body }) => {
    const { id, type, data } = JSON.parse(body) as { id: string; type: string; data: { id: string } };
    return [id, type, data.id];
  });
const waiting = () => inStorage(name, ({ sql }) => sql.exec("SELECT turn FROM outbox").toArray());
const notice = (number: number): Notice => ({
  registry: tenant.name,
  url: null,
  event: endEvent("response.completed", `resp_x_${number}`, Date.now()),
});
/** As it is right behind a commit: nobody has heard of it. */
const leaveInOutbox = (number: number) =>
  inStorage(name, ({ sql }) => {
    sql.exec("INSERT INTO outbox (turn, notice) VALUES (?, ?)", number, JSON.stringify(notice(number)));
  });

describe("the end of a response", () => {
  it("is told as what it was: completed, incomplete or cancelled", async () => {
    const { path } = await tenant.endpoint("200");
    await turn(stubOf(name), say("Hello!", { options: { notify } }));
    await turn(stubOf(name), say("Hello!", { options: { notify, maxTokens: 2 } }));
    const begun = await stubOf(name).begin(say("Tell me a story about a fox.", { options: { notify } }));
    await stubOf(name).cancel(begun.turn);
    await expect.poll(() => told(path).length).toBe(3);
    expect(told(path).toSorted()).toEqual([
      ["evt_resp_x_1", "response.completed", "resp_x_1"],
      ["evt_resp_x_2", "response.incomplete", "resp_x_2"],
      ["evt_resp_x_3", "response.cancelled", "resp_x_3"],
    ]);
    await expect.poll(waiting).toEqual([]);
  });

  it("is not told of turns that are none", async () => {
    const { id } = await tenant.endpoint("200");
    await turn(stubOf(name), say("Hello!"));
    await turn(stubOf(name), say("Hello!", { options: { notify } }));
    await expect.poll(async () => (await tenant.log(id)).length).toBe(1);
    expect(await tenant.log(id)).toMatchObject([{ event: "evt_resp_x_2" }]);
  });

  it("is told to an address of its own as well, signed with the tenant's secret", async () => {
    await tenant.registry().rotateSigningSecret(0);
    const path = `/own-${tenant.tenant}/200`;
    const url = `https://receiver.example${path}`;
    await turn(stubOf(name), say("Hello!", { options: { notify: { ...notify, url } } }));
    await expect.poll(() => told(path)).toEqual([["evt_resp_x_1", "response.completed", "resp_x_1"]]);
  });

  it("is told though everything died before anybody had it, once", async () => {
    const { id, path } = await tenant.endpoint("200");
    await turn(stubOf(name), say("Hello!", { options: { notify } }));
    await tenant.attempted(id, 1);
    await expect.poll(waiting).toEqual([]);
    for (const number of [1, 7]) await leaveInOutbox(number);
    await abortAllDurableObjects();
    await stubOf(name).branch(0); // wakes it up
    await expect.poll(() => told(path).map(([event]) => event)).toEqual(["evt_resp_x_1", "evt_resp_x_7"]);
    await expect.poll(waiting).toEqual([]);
  });

  it("is told though the conversation was deleted before anybody had it", async () => {
    const { path } = await tenant.endpoint("200");
    await turn(stubOf(name), say("Hello!"));
    await leaveInOutbox(1);
    await runInDurableObject(objectOf(name), (object) => (object as Conversation).removeBranch(0));
    await abortAllDurableObjects();
    await runDurableObjectAlarm(objectOf(name));
    await expect.poll(() => told(path).map(([event]) => event)).toEqual(["evt_resp_x_1"]);
    const left = () => inStorage(name, ({ kv }) => [...kv.list()].map(([key]) => key));
    expect(await left()).toEqual(["is_deleted"]);
    await runDurableObjectAlarm(objectOf(name));
    expect(await left()).toEqual([]);
  });
});

describe("the outbox", () => {
  const anybody: Notify = { registry: "r", url: null, idHead: "resp_y_" };
  /** A new turn in progress. */
  const begin = (store: Store, whom: Notify | null = anybody) => {
    const place = { parent: null, branch: null, repeatKey: null, endsWithClient: false, nowMs: 10 };
    return store.insertTurn({ ...place, messages: [], metadata: {}, options: { ...options, notify: whom } });
  };

  it("gets its row in the transaction that ends a turn, or none of it happens", () =>
    withStore((store) => {
      const number = begin(store);
      expect(store.notices()).toEqual([]);
      // JSON has no such number: the last write of the commit breaks off.
      const usage = { promptTokens: 1, cachedTokens: 0, completionTokens: 1n as never, computedTokens: 2 };
      expect(() => store.commit(number, outcomeOf({ usage }), null)).toThrow("BigInt");
      expect(store.notices()).toEqual([]);
      expect(store.turn(number)?.status).toBe("in_progress");
      store.commit(number, outcomeOf(), null);
      expect(store.notices()).toMatchObject([
        { turn: number, notice: { registry: "r", event: { type: "response.completed", dataId: `resp_y_${number}` } } },
      ]);
      store.handedOver(number);
      expect(store.notices()).toEqual([]);
    }));

  it("gets no row where nobody wants to know, but for an address of the turn's own", () =>
    withStore((store) => {
      const ends = (types: string[], whom: Notify | null) => {
        const number = begin(store, whom);
        store.wants(number, types);
        store.commit(number, outcomeOf(), null);
        return store.notices().some((each) => each.turn === number);
      };
      expect(ends(["response.failed"], anybody)).toBe(false);
      expect(ends(["response.completed"], anybody)).toBe(true);
      expect(ends([], { ...anybody, url: "https://a.example.com/" })).toBe(true);
      expect(ends(["response.completed"], null)).toBe(false);
    }));

  it("tells of failures: of what moderation refused as incomplete, as the response itself is shown", () =>
    withStore((store) => {
      for (const code of ["internal", "refused", "cancelled"] as const) {
        const number = begin(store);
        store.fail(number, { code, message: "" }, 5);
      }
      expect(store.notices().map(({ notice: { event } }) => event.type)).toEqual([
        "response.failed",
        "response.incomplete",
        "response.cancelled",
      ]);
    }));
});
