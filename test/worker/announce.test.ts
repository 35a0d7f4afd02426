// Turns that tell of their ends: from the transaction that ends them to whoever wants to know.
import { abortAllDurableObjects, runDurableObjectAlarm, runInDurableObject } from "cloudflare:test";
import { beforeEach, describe, expect, it } from "vitest";
import type { Conversation } from "../../src/conversation/conversation.ts";
import type { Notify } from "../../src/conversation/protocol.ts";
import type { Store } from "../../src/conversation/store.ts";
import { ageTombstone, inStorage, objectOf } from "./objects.ts";
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
const waiting = () =>
  inStorage(name, ({ sql }) =>
    sql
      .exec<{ turn: number }>("SELECT turn FROM turns WHERE unsettled")
      .toArray()
      .map(({ turn: number }) => number),
  );
/** As it is right behind its commit: nobody has heard of it. */
const putBack = (number: number) =>
  inStorage(name, ({ sql }) => {
    const query = "UPDATE turns SET unsettled = 1, options = json_set(options, '$.notify', json(?)) WHERE turn = ?";
    sql.exec(query, JSON.stringify(notify), number);
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
    const url = `https://receiver.example.com${path}`;
    await turn(stubOf(name), say("Hello!", { options: { notify: { ...notify, url } } }));
    await expect.poll(() => told(path)).toEqual([["evt_resp_x_1", "response.completed", "resp_x_1"]]);
  });

  it("is told to an endpoint that was made, widened or enabled while it ran", async () => {
    const { id, path } = await tenant.endpoint("200", ["batch.completed"]);
    const other = await tenant.endpoint("200");
    await tenant.registry().update(other.id, { isEnabled: false });
    const begun = await stubOf(name).begin(say("Tell me a story about a fox.", { options: { notify } }));
    await tenant.registry().update(id, { eventTypes: ["response.cancelled"] });
    await tenant.registry().update(other.id, { isEnabled: true });
    const made = await tenant.endpoint("200");
    await stubOf(name).cancel(begun.turn);
    for (const each of [path, other.path, made.path]) await expect.poll(() => told(each).length).toBe(1);
  });

  it("is told though everything died before anybody had it, once", async () => {
    const { id, path } = await tenant.endpoint("200");
    await turn(stubOf(name), say("Hello!", { options: { notify } }));
    await turn(stubOf(name), say("Hello!"));
    await tenant.attempted(id, 1);
    await expect.poll(waiting).toEqual([]);
    for (const number of [1, 2]) await putBack(number);
    await abortAllDurableObjects();
    await stubOf(name).branch(0); // wakes it up
    await expect.poll(() => told(path).map(([event]) => event)).toEqual(["evt_resp_x_1", "evt_resp_x_2"]);
    await expect.poll(waiting).toEqual([]);
  });

  it.each(["the response", "the conversation"])("is told though %s was deleted before anybody had it", async (what) => {
    const { path } = await tenant.endpoint("200");
    await turn(stubOf(name), say("Hello!"));
    await turn(stubOf(name), say("Hello!"));
    await putBack(2);
    await runInDurableObject(objectOf(name), (object) =>
      what === "the response" ? (object as Conversation).remove(2) : (object as Conversation).removeBranch(0),
    );
    await abortAllDurableObjects();
    await runDurableObjectAlarm(objectOf(name));
    await expect.poll(() => told(path).map(([event]) => event)).toEqual(["evt_resp_x_2"]);
    const left = () => inStorage(name, ({ kv }) => [...kv.list()].map(([key]) => key));
    await expect.poll(left).toEqual(what === "the response" ? [] : ["is_deleted"]);
    if (what === "the response") return;
    // That it was here is known for a day, whatever was told meanwhile.
    await runDurableObjectAlarm(objectOf(name));
    expect(await left()).toEqual(["is_deleted"]);
    await ageTombstone(name);
    await runDurableObjectAlarm(objectOf(name));
    expect(await left()).toEqual([]);
  });
});

describe("what goes before it was told", () => {
  /** Each deletes a second turn's row, or the branch that it ends. */
  it.each([
    ["a fork", async () => runInDurableObject(objectOf(name), (object) => (object as Conversation).removeBranch(1))],
    [
      "all its items",
      async () => {
        for (const item of [0, 1])
          await runInDurableObject(objectOf(name), (object) => (object as Conversation).removeItem(1, 2, item));
      },
    ],
    [
      "what has expired",
      async () => {
        await inStorage(name, ({ sql }) =>
          sql.exec("UPDATE branches SET active_ms = 1, expires_after_s = 1").toArray(),
        );
        await runDurableObjectAlarm(objectOf(name));
      },
    ],
  ])("is told all the same: %s", async (_, remove) => {
    const { path } = await tenant.endpoint("200");
    await turn(stubOf(name), say("Hello!"));
    await runInDurableObject(objectOf(name), (object) => (object as Conversation).fork(0));
    await turn(stubOf(name), say("Hello!", { place: { kind: "branch", branch: 1 } }));
    await putBack(2);
    await remove();
    const alarm = await inStorage(name, (storage) => storage.getAlarm());
    expect(alarm ?? Infinity).toBeLessThanOrEqual(Date.now() + 10_000);
    await runDurableObjectAlarm(objectOf(name));
    await expect.poll(() => told(path).map(([event]) => event)).toEqual(["evt_resp_x_2"]);
  });
});

describe("the outbox", () => {
  const anybody: Notify = { registry: "r", url: null, idHead: "resp_y_" };
  /** A new turn in progress. */
  const begin = (store: Store, whom: Notify | null = anybody) => {
    const place = { parent: null, branch: null, repeatKey: null, endsWithClient: false, nowMs: 10 };
    return store.insertTurn({ ...place, messages: [], metadata: {}, options: { ...options, notify: whom } });
  };

  it("has a turn from the transaction that ends it, or none of it happens", () =>
    withStore((store) => {
      const number = begin(store);
      expect(store.ends()).toEqual([]);
      // JSON has no such number: the last write of the commit breaks off.
      const usage = { promptTokens: 1, cachedTokens: 0, completionTokens: 1n as never, computedTokens: 2 };
      expect(() => store.commit(number, outcomeOf({ usage }), null)).toThrow("BigInt");
      expect(store.ends()).toEqual([]);
      expect(store.turn(number)?.status).toBe("in_progress");
      store.settled(number);
      store.commit(number, outcomeOf(), null);
      expect(store.ends()).toMatchObject([
        { turn: number, notice: { registry: "r", event: { type: "response.completed", dataId: `resp_y_${number}` } } },
      ]);
      expect(store.end(number)).toEqual(store.ends()[0]);
      store.settled(number);
      expect(store.ends()).toEqual([]);
    }));

  it("has no turn of which nobody is to be told", () =>
    withStore((store) => {
      const number = begin(store, null);
      store.commit(number, outcomeOf(), null);
      expect(store.ends()).toEqual([]);
    }));

  it("tells of failures: of what moderation refused as incomplete, as the response itself is shown", () =>
    withStore((store) => {
      for (const code of ["internal", "refused", "cancelled"] as const) {
        const number = begin(store);
        store.fail(number, { code, message: "" }, 5);
      }
      expect(store.ends().map(({ notice }) => notice?.event.type)).toEqual([
        "response.failed",
        "response.incomplete",
        "response.cancelled",
      ]);
    }));

  it("has no event of a turn that found something taken, where another one is begun for it", () =>
    withStore((store) => {
      for (const code of ["rate_limited", "overloaded", "internal"] as const) {
        for (const isBegunAgain of [true, false]) {
          const number = begin(store, { ...anybody, isBegunAgain });
          store.fail(number, { code, message: "" }, 5);
        }
      }
      const isTold = store.ends().map(({ notice }) => notice !== null);
      expect(isTold).toEqual([false, true, false, true, true, true]);
    }));
});
