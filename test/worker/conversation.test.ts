// The Conversation object in real workerd, with real SQLite and the pocket model.
import {
  abortAllDurableObjects,
  env,
  evictDurableObject,
  runDurableObjectAlarm,
  runInDurableObject,
} from "cloudflare:test";
import type { DurableObjectStorage } from "@cloudflare/workers-types";
import { describe, expect, it } from "vitest";
import type { Conversation } from "../../src/conversation/conversation.ts";
import { engineOf } from "../../src/conversation/engines.ts";
import type { TurnView } from "../../src/conversation/protocol.ts";
import { packTokens } from "../../src/conversation/parts.ts";
import { identityOf } from "../../src/conversation/recall.ts";
import { LiveTurn } from "../../src/conversation/live-turn.ts";
import { runTurn } from "../../src/conversation/run-turn.ts";
import { openStore } from "../../src/conversation/store.ts";
import type { GriffinError } from "../../src/errors.ts";
import { eventsOf, finalView, hostOf, readTokens, say, stubOf, textOf, turn } from "./turns.ts";

const chat = ["My name is Ada.", "Tell me a story about a fox.", "What is 7 plus 5?", "What is my name?"];
/** A reply that only its length ends. */
const endless = { temperature: 1, logitBias: [1, 5].map((token) => ({ token, bias: -100 })) };
const sampled = { temperature: 1, seed: "7" };

/** What the model did: everything of a turn that must not depend on when and where it ran. */
const result = ({ text, usage, status, finishReason, state }: TurnView) => ({
  text,
  usage,
  status,
  finishReason,
  state,
});

async function sayAll(name: string, messages: readonly string[], options = {}): Promise<TurnView[]> {
  const stub = stubOf(name);
  await stub.create({});
  const views = [];
  for (const message of messages) views.push(await turn(stub, say(message, { options })));
  return views;
}

const objectOf = (name: string) => env.CONVERSATIONS.get(env.CONVERSATIONS.idFromName(name)) as never;

/** The bytes of the state kept with a turn. */
function stateOf(name: string, turnNumber: number): Promise<Uint8Array> {
  return runInDurableObject(objectOf(name), async (_, { storage }) => {
    const found = openStore(storage).loadSnapshot(turnNumber, identityOf(await engineOf("pocket", env)));
    if (found.state === undefined) throw new Error(`${name} has no state of turn ${turnNumber}: ${found.missing}`);
    return found.state.data;
  });
}

const countsOf = (name: string) => runInDurableObject(objectOf(name), (_, { storage }) => openStore(storage).counts());

/** The code with which an object refuses. Asked in the object: a failure that crosses RPC is reported as unhandled too. */
function refusal(name: string, ask: (object: Conversation) => unknown): Promise<string | undefined> {
  return runInDurableObject(objectOf(name), async (object) => {
    try {
      await ask(object as Conversation);
      return undefined;
    } catch (error) {
      return (error as GriffinError).code;
    }
  });
}

/** The replies of a branch, oldest first. */
async function textsOf(name: string, branch: number): Promise<string[]> {
  const { turns, isLast } = await stubOf(name).turns(branch, { order: "asc", from: undefined, limit: 100 });
  expect(isLast).toBe(true);
  return turns.map(({ text }) => text);
}

/** The turn as it is once it has ended. */
async function expectFinal(name: string, running: number): Promise<TurnView> {
  await expect.poll(async () => (await stubOf(name).view(running)).status, { timeout: 20_000 }).not.toBe("in_progress");
  return stubOf(name).view(running);
}

describe("a conversation", () => {
  it("remembers, and computes nothing twice", async () => {
    const views = await sayAll("remembers", chat);
    expect(views.at(-1)!.text).toBe("Your name is Ada.");
    expect(views.map(({ state }) => state)).toEqual(["cold", "restored", "restored", "restored"]);
    let position = 0;
    for (const { usage } of views) {
      expect(usage!.cachedTokens).toBe(position);
      position = usage!.promptTokens + usage!.completionTokens;
      expect(usage!.computedTokens).toBe(position - usage!.cachedTokens);
    }
  });

  it("says the same, token for token, after every kind of interruption between turns", async () => {
    const expected = (await sayAll("uninterrupted", chat, sampled)).map(result);
    for (const interrupt of ["evict", "abort"]) {
      const stub = stubOf(interrupt);
      await stub.create({});
      const views = [];
      for (const message of chat) {
        views.push(result(await turn(stubOf(interrupt), say(message, { options: sampled }))));
        if (interrupt === "evict") await evictDurableObject(objectOf(interrupt));
        else await abortAllDurableObjects();
      }
      expect(views, interrupt).toEqual(expected);
      expect(await stateOf(interrupt, chat.length)).toEqual(await stateOf("uninterrupted", chat.length));
    }
  });

  it("refuses a second turn on a branch while one runs, and goes on after it", async () => {
    const stub = stubOf("busy");
    await stub.create({});
    const running = await stub.stream(say("Tell me a story about a fox."));
    expect(await refusal("busy", (object) => object.begin(say("Hi.")))).toBe("conversation_busy");
    const view = finalView(await eventsOf(running));
    expect(view.status).toBe("completed");
    expect((await turn(stub, say("What is 7 plus 5?"))).text).toMatch(/12/);
  });

  it("finds the turn of a repeated request instead of beginning another", async () => {
    const stub = stubOf("repeats");
    await stub.create({});
    const request = say("My name is Ada.", { repeatKey: "k", repeatWithinMs: 60_000 });
    const [first, second] = [await stub.begin(request), await stub.begin(request)];
    expect(second.turn).toBe(first.turn);
    await eventsOf(await stub.events(first.turn));
    expect((await stub.begin(request)).turn).toBe(first.turn);
    expect((await stub.begin({ ...request, repeatWithinMs: 0 })).turn).not.toBe(first.turn);
  });

  it("takes an unnamed request that is said again later for another one", async () => {
    const stub = stubOf("says yes twice");
    await stub.create({});
    const yes = say("yes", { repeatKey: "yes", repeatWithinMs: 60_000, isNamed: false });
    const first = await turn(stub, yes);
    expect((await stub.begin(yes)).turn).toBe(first.turn);
    const { turn: running } = await stub.begin(say("Tell me a story.", { options: { ...endless, maxTokens: 2_000 } }));
    expect(await refusal("says yes twice", (object) => object.begin(yes))).toBe("conversation_busy");
    await stub.cancel(running);
    const second = await turn(stub, yes);
    expect(second).toMatchObject({ parent: running, status: "completed" });
    expect((await stub.begin({ ...yes, isNamed: true })).turn).toBe(second.turn);
  });

  it("lists its turns in stretches, from either end, the one that runs among them", async () => {
    const numbers = (await sayAll("lists", chat)).map((view) => view.turn);
    const stub = stubOf("lists");
    const running = await stub.begin(say("Tell me a story.", { options: { ...endless, maxTokens: 2_000 } }));
    const all = [...numbers, running.turn];
    for (const order of ["asc", "desc"] as const) {
      const expected = order === "asc" ? all : all.toReversed();
      for (const limit of [1, 2, 4, 5, 6]) {
        for (const [start, from] of [[0, undefined] as const, ...expected.entries()]) {
          const { turns, isLast } = await stub.turns(0, { order, from, limit });
          expect(turns.map((view) => view.turn)).toEqual(expected.slice(start, start + limit));
          expect(isLast).toBe(start + limit >= all.length);
        }
      }
    }
    expect(await stub.turns(0, { order: "asc", from: 99, limit: 5 })).toEqual({ turns: [], isLast: true });
    await stub.cancel(running.turn);
  });

  it("ends a stretch of its turns before it is too large for a message between objects", async () => {
    await stubOf("lists long ones").create({});
    const long = "a ".repeat(2 ** 19);
    const numbers = await runInDurableObject(objectOf("lists long ones"), (_, { storage }) => {
      const store = openStore(storage);
      return Array.from(Array(40).keys(), (i) => {
        const { messages, options, metadata, endsWithClient } = say(long);
        const request = { messages, options, metadata, endsWithClient, repeatKey: null, nowMs: 0 };
        const number = store.insertTurn({ ...request, parent: i || null, branch: 0 });
        store.commit(
          number,
          {
            status: "completed",
            text: "",
            finishReason: "stop",
            state: "cold",
            placement: "edge",
            usage: { promptTokens: 0, cachedTokens: 0, completionTokens: 0, computedTokens: 0 },
            promptTokens: [],
            replyTokens: [],
            logProbabilities: null,
            nowMs: 0,
          },
          null,
        );
        return number;
      });
    });
    const seen: number[] = [];
    for (let isLast = false, stretches = 0; !isLast; stretches++) {
      expect(stretches).toBeLessThan(numbers.length);
      const page = await stubOf("lists long ones").turns(0, { order: "asc", from: seen.pop(), limit: 100 });
      expect(page.turns.length).toBeLessThan(10);
      seen.push(...page.turns.map((view) => view.turn));
      ({ isLast } = page);
    }
    expect(seen).toEqual(numbers);
  });

  it("knows nothing before it was created, and keeps nothing of who asks", async () => {
    const asks: ((object: Conversation) => unknown)[] = [
      (object) => object.branch(0),
      (object) => object.view(1),
      (object) => object.events(1),
      (object) => object.begin(say("Hi.")),
    ];
    for (const ask of asks) expect(await refusal("never created", ask)).toBe("not_found");
    await runInDurableObject(objectOf("never created"), (_, state) => {
      expect(state.storage.sql.exec("SELECT count(*) AS n FROM sqlite_master").one()["n"]).toBe(0);
    });
  });
});

describe("a turn", () => {
  it("streams the same lines while it runs and whenever it is read again", async () => {
    const stub = stubOf("streams");
    await stub.create({});
    const options = { stop: ["fox and"], topLogProbabilities: 2 };
    const live = await eventsOf(await stub.stream(say("Tell me a story about a fox.", { options })));
    const view = finalView(live);
    expect(textOf(live)).toBe(view.text);
    expect(await eventsOf(await stub.events(view.turn))).toEqual(live);
    await evictDurableObject(objectOf("streams"));
    expect(await eventsOf(await stubOf("streams").events(view.turn))).toEqual(live);
  });

  it("goes on after its object died in the middle, to the reply that would have come", async () => {
    const babble = { ...endless, seed: "11", maxTokens: 700 };
    const [whole] = await sayAll("babbles", ["Tell me a story."], babble);
    expect(whole!.usage!.completionTokens).toBeGreaterThan(500);
    for (const diesAt of [1, 40, 400]) {
      const name = `dies at ${diesAt}`;
      await stubOf(name).create({});
      const { turn: running } = await stubOf(name).begin(say("Tell me a story.", { options: babble }));
      await readTokens(await stubOf(name).events(running), diesAt);
      await abortAllDurableObjects();
      const events = await eventsOf(await stubOf(name).events(running));
      expect(result(finalView(events)), name).toEqual(result(whole!));
      expect(textOf(events)).toBe(whole!.text);
      expect(await stateOf(name, running)).toEqual(await stateOf("babbles", whole!.turn));
    }
  });

  it("that reports log-probabilities goes on from its log, and tells the same of every token", async () => {
    const options = { ...endless, seed: "12", maxTokens: 700, topLogProbabilities: 2 };
    await sayAll("reports whole", ["Tell me a story."], options);
    const whole = await eventsOf(await stubOf("reports whole").events(1));
    const stub = stubOf("reports");
    await stub.create({});
    const { turn: running } = await stub.begin(say("Tell me a story.", { options }));
    await readTokens(await stub.events(running), 400);
    await runInDurableObject(objectOf("reports"), (_, { storage }) => {
      expect(storage.sql.exec("SELECT count(*) AS n FROM log").one()["n"]).toBeGreaterThan(0);
    });
    await abortAllDurableObjects();
    const events = await eventsOf(await stubOf("reports").events(running));
    expect(events.filter(({ type }) => type === "token")).toEqual(whole.filter(({ type }) => type === "token"));
  });

  it("waits for a model whose files cannot be read for a while", async () => {
    const name = "waits for files";
    await stubOf(name).create({});
    let failures = 0;
    const view = await runInDurableObject(objectOf(name), async (_, { storage }) => {
      const store = openStore(storage);
      const { messages, options, metadata } = say("What is 7 plus 5?", { options: { model: "flaky" } });
      const request = { messages, options, metadata, repeatKey: null, endsWithClient: false };
      const running = store.insertTurn({ ...request, parent: null, branch: 0, nowMs: Date.now() });
      const fetch = async (url: string | Request) =>
        failures++ < 2 ? new Response("busy", { status: 503 }) : env.ASSETS.fetch(url);
      const MODELS = JSON.stringify({ flaky: { source: "assets", path: "pocket" } });
      await runTurn(hostOf(store, { ASSETS: { fetch }, MODELS }), new LiveTurn(running, false));
      return store.turn(running);
    });
    expect(view).toMatchObject({ status: "completed", text: expect.stringMatching(/12/) });
    expect(failures).toBeGreaterThan(2);
  });

  it("goes on after its log lost a part, and logs what comes", async () => {
    const options = { ...endless, seed: "3", maxTokens: 1_600 };
    const [whole] = await sayAll("log whole", ["Tell me a story."], options);
    const stub = stubOf("log part");
    await stub.create({});
    const { turn: running } = await stub.begin(say("Tell me a story.", { options }));
    await readTokens(await stub.events(running), 700);
    await runInDurableObject(objectOf("log part"), (_, { storage }) => {
      expect(storage.sql.exec("SELECT count(*) AS n FROM log").one()["n"]).toBeGreaterThan(2);
      storage.sql.exec("DELETE FROM log WHERE part = 1");
    });
    await abortAllDurableObjects();
    await readTokens(await stubOf("log part").events(running), 1_200);
    await runInDurableObject(objectOf("log part"), (_, { storage }) => {
      const [log] = storage.sql.exec("SELECT count(*) AS n, max(part) AS last FROM log").toArray();
      expect(Number(log!["last"])).toBe(Number(log!["n"]) - 1);
    });
    expect(result(await expectFinal("log part", running))).toEqual(result(whole!));
  });

  it("is found by the alarm when nobody asks for it", async () => {
    const stub = stubOf("alarm");
    await stub.create({});
    const { turn: running } = await stub.begin(say("Tell me a story about a fox.", { options: sampled }));
    await readTokens(await stub.events(running), 3);
    await abortAllDurableObjects();
    expect(await runDurableObjectAlarm(objectOf("alarm"))).toBe(true);
    await expect.poll(async () => (await stubOf("alarm").view(running)).status).toBe("completed");
  });

  it("stops after the token that runs when it is cancelled, keeps what it said, and the chat goes on", async () => {
    const stub = stubOf("cancelled");
    await stub.create({});
    await turn(stub, say("My name is Ada."));
    const { turn: running } = await stub.begin(say("Tell me a story.", { options: { ...endless, maxTokens: 5000 } }));
    await readTokens(await stub.events(running), 5);
    const view = await stub.cancel(running);
    expect(view).toMatchObject({ status: "cancelled", finishReason: "cancelled", state: "restored" });
    expect(view.usage!.completionTokens).toBeGreaterThanOrEqual(5);
    expect(view.usage!.completionTokens).toBeLessThan(5000);
    const next = await turn(stub, say("What is my name?"));
    expect(next).toMatchObject({ state: "restored", parent: running });
  });

  it("is cancelled without a trace in the chat when it is stopped before its first token", async () => {
    const stub = stubOf("stopped early");
    await stub.create({});
    const before = await turn(stub, say("My name is Ada."));
    const early = await runInDurableObject(objectOf("stopped early"), async (object) => {
      const { turn: running } = await (object as Conversation).begin(say("Tell me a story."));
      return (object as Conversation).cancel(running);
    });
    expect(early).toMatchObject({ status: "cancelled", finishReason: "cancelled", text: "", error: null });
    expect((await stub.branch(0)).head).toBe(before.turn);
    expect(textOf(await eventsOf(await stub.events(early.turn)))).toBe("");
    expect((await turn(stub, say("What is my name?"))).text).toMatch(/Ada/);
  });

  it("ends with its reader where it was asked to, and only then", async () => {
    const stub = stubOf("readers");
    await stub.create({});
    const options = { ...endless, maxTokens: 3000 };
    const tied = await stub.stream(say("Tell me a story.", { options, endsWithClient: true }));
    const [started] = await readTokens(tied, 5);
    const view = await expectFinal("readers", (started as { view: TurnView }).view.turn);
    expect(view.status).toBe("cancelled");
    const free = await stub.begin(say("Tell me a story.", { options: { ...endless, maxTokens: 300 } }));
    await readTokens(await stub.events(free.turn), 5);
    expect((await expectFinal("readers", free.turn)).status).not.toBe("cancelled");
  });

  it.each([
    ["a model that is not configured", { options: { model: "nope" } }, "model_not_found"],
    ["a model whose files are missing", { options: { model: "missing" } }, "invalid_config"],
    ["a model that is not in the bucket", { options: { model: "lost" } }, "invalid_config"],
    ["no message", { messages: [] }, "invalid_argument"],
    [
      "a bias for a token that does not exist",
      { options: { logitBias: [{ token: 2048, bias: 1 }] } },
      "invalid_argument",
    ],
    ["more tokens than fit into memory", { options: { maxTokens: 65_537 } }, "invalid_argument"],
    ["too many with log-probabilities", { options: { maxTokens: 5_000, topLogProbabilities: 0 } }, "invalid_argument"],
    ["a turn that does not exist", { place: { kind: "after", turn: 99 } }, "not_found"],
    ["a branch that does not exist", { place: { kind: "branch", branch: 9 } }, "not_found"],
  ] as const)("with %s is refused, and nothing is kept of it", async (_, change, code) => {
    const stub = stubOf("refuses");
    await stub.create({});
    expect(await refusal("refuses", (object) => object.begin(say("Hi.", change as never)))).toBe(code);
    expect(await textsOf("refuses", 0)).toEqual([]);
  });
});

describe("forks", () => {
  it("go on from any turn as if the chat had taken that way from the start", async () => {
    const messages = Array.from({ length: 20 }, (_, i) => chat[i % chat.length]!);
    const views = await sayAll("trunk", messages, sampled);
    const trunk = stubOf("trunk");
    const pagesBefore = await countsOf("trunk");
    const fork = await trunk.fork(0, { turn: views[2]!.turn, item: null });
    const place = { kind: "branch", branch: fork.branch } as const;
    const other = ["What is 6 times 7?", "What is my name?"];
    const forked = [];
    for (const message of other) forked.push(await turn(trunk, say(message, { place, options: sampled })));
    const straight = await sayAll("straight", [...messages.slice(0, 3), ...other], sampled);
    expect(forked.map(result)).toEqual(straight.slice(3).map(result));
    expect(await stateOf("trunk", forked.at(-1)!.turn)).toEqual(await stateOf("straight", straight.at(-1)!.turn));
    // The fork wrote what its own turns added; the pages it goes on from are the trunk's.
    const pagesAfter = await countsOf("trunk");
    const added = forked.reduce((sum, { usage }) => sum + usage!.computedTokens, 0);
    expect(pagesAfter.pages - pagesBefore.pages).toBeLessThanOrEqual(Math.ceil(added / 64));
    expect(pagesAfter.pageReferences).toBeGreaterThan(pagesAfter.pages);
    for (const { storage, usage } of forked) {
      expect(storage!.rowsWritten).toBeLessThanOrEqual(4 + Math.ceil(usage!.computedTokens / 64));
    }
    expect(await textsOf("trunk", 0)).toEqual(views.map(({ text }) => text));
    expect(await textsOf("trunk", fork.branch)).toEqual(straight.map(({ text }) => text));
  });

  it("regenerate a reply: another child of the same turn", async () => {
    const [first, second] = await sayAll("regenerates", ["My name is Ada.", "Tell me a story."], sampled);
    const stub = stubOf("regenerates");
    const place = { kind: "after", turn: first!.turn } as const;
    const same = await turn(stub, say("Tell me a story.", { place, options: sampled }));
    const other = await turn(stub, say("Tell me a story.", { place, options: { ...sampled, seed: "8" } }));
    expect(result(same)).toEqual(result(second!));
    expect(other.text).not.toBe(same.text);
    expect((await stub.branch(0)).head).toBe(second!.turn);
  });

  it("outlive the branch they came from, and everything goes with the last one", async () => {
    await sayAll("deletes", chat.slice(0, 2));
    const stub = stubOf("deletes");
    const { branch } = await stub.fork(0);
    await stub.removeBranch(0);
    expect(await refusal("deletes", (object) => object.branch(0))).toBe("not_found");
    const view = await turn(stub, say("What is my name?", { place: { kind: "branch", branch } }));
    expect(view.text).toMatch(/Ada/);
    await stub.removeBranch(branch);
    expect(await refusal("deletes", (object) => object.branch(branch))).toBe("not_found");
    await runInDurableObject(objectOf("deletes"), (_, state) => {
      const tables = state.storage.sql.exec("SELECT name FROM sqlite_master WHERE name IN ('turns', 'parts', 'pages')");
      expect(tables.toArray()).toEqual([]);
    });
  });
});

describe("deleting while a reply runs", () => {
  const long = { ...endless, maxTokens: 2_000 };

  it("leaves the replies of other branches alone", async () => {
    const stub = stubOf("deletes beside");
    await stub.create({});
    await turn(stub, say("My name is Ada."));
    const { branch } = await stub.fork(0);
    const other = await stub.begin(say("Tell me a story.", { place: { kind: "branch", branch }, options: long }));
    const own = await stub.begin(say("Tell me a story.", { options: long }));
    // Asked for twice: when the second one goes on, the fork is the only branch, but it is not the one to delete.
    await runInDurableObject(objectOf("deletes beside"), async (object) => {
      const conversation = object as Conversation;
      await Promise.all([conversation.removeBranch(0), conversation.removeBranch(0)]);
    });
    expect(await refusal("deletes beside", (object) => object.view(own.turn))).toBe("not_found");
    expect((await expectFinal("deletes beside", other.turn)).status).toBe("incomplete");
  });

  it("leaves a reply alone that runs on a fork whose head was deleted", async () => {
    const name = "runs behind a deleted head";
    const stub = stubOf(name);
    await stub.create({});
    await turn(stub, say("Hello!"));
    const head = await turn(stub, say("My name is Ada."));
    const place = { kind: "branch", branch: (await stub.fork(0)).branch } as const;
    const running = await stub.begin(say("Tell me a story.", { place, options: long }));
    await stub.remove(head.turn);
    await stub.removeBranch(0);
    expect((await expectFinal(name, running.turn)).status).toBe("incomplete");
    expect((await stub.branch(place.branch)).head).toBe(running.turn);
  });

  it("ends every reply that goes with it, also those that begin meanwhile, and nobody waits for ever", async () => {
    for (let i = 0; i < 5; i++) {
      const name = `deletes during ${i}`;
      const stub = stubOf(name);
      await stub.create({});
      const { turn: first } = await turn(stub, say("My name is Ada."));
      const after = { kind: "after", turn: first } as const;
      const streams = await Promise.all(
        Array.from({ length: 4 }, () => stub.stream(say("Tell me a story.", { place: after, options: long }))),
      );
      const late = runInDurableObject(objectOf(name), async (object) => {
        const conversation = object as Conversation;
        const removed = conversation.removeBranch(0);
        const begun = conversation.begin(say("Count.", { place: after, options: long })).then(
          () => "begun",
          (error: GriffinError) => error.code,
        );
        await removed;
        return begun;
      });
      expect(["begun", "not_found"]).toContain(await late);
      const statuses = await Promise.all(streams.map(async (stream) => finalView(await eventsOf(stream)).status));
      expect(statuses.every((status) => status === "cancelled")).toBe(true);
      expect(await refusal(name, (object) => object.branch(0))).toBe("not_found");
    }
  });

  it("may be asked for twice", async () => {
    const name = "deleted twice";
    await stubOf(name).create({});
    await runInDurableObject(objectOf(name), async (object) => {
      const conversation = object as Conversation;
      await conversation.begin(say("Tell me a story.", { options: { ...endless, maxTokens: 3_000 } }));
      const codes = await Promise.all(
        [conversation.removeBranch(0), conversation.removeBranch(0)].map((removal) =>
          removal.then(
            () => "removed",
            (error: GriffinError) => error.code,
          ),
        ),
      );
      expect(codes.toSorted()).toEqual(["not_found", "removed"]);
    });
  });

  it("works on a branch whose metadata is damaged, and such a branch goes on", async () => {
    const name = "damaged branch";
    const stub = stubOf(name);
    await stub.create({ topic: "foxes" });
    await turn(stub, say("My name is Ada."));
    const damage = () =>
      runInDurableObject(objectOf(name), (_, { storage }) => {
        storage.sql.exec("UPDATE branches SET metadata = '{\"topic'");
      });
    await damage();
    expect(await refusal(name, (object) => object.branch(0))).toBe("data_damaged");
    expect((await turn(stub, say("What is my name?"))).text).toMatch(/Ada/);
    expect((await stub.updateBranch(0, { metadata: { topic: "names" } })).metadata).toEqual({ topic: "names" });
    await damage();
    await stub.removeBranch(0);
    expect(await refusal(name, (object) => object.branch(0))).toBe("not_found");
  });

  it("leaves ids that nobody can have again, for a day", async () => {
    const name = "deleted for good";
    await stubOf(name).create({});
    await turn(stubOf(name), say("My name is Ada."));
    await stubOf(name).removeBranch(0);
    expect(await refusal(name, (object) => object.create({}))).toBe("not_found");
    expect(await refusal(name, (object) => object.begin(say("Hi.")))).toBe("not_found");
    await runInDurableObject(objectOf(name), (_, { storage }) => storage.kv.put("is_deleted", Date.now() - 86_400_000));
    expect(await runDurableObjectAlarm(objectOf(name))).toBe(true);
    expect(await refusal(name, (object) => object.create({}))).toBe(undefined);
  });

  it("leaves nothing of an object of responses when its last one goes", async () => {
    const name = "only responses";
    const place = { kind: "after", turn: null } as const;
    const only = await turn(stubOf(name), say("My name is Ada.", { place }));
    await stubOf(name).remove(only.turn);
    expect(await refusal(name, (object) => object.view(only.turn))).toBe("not_found");
    await runInDurableObject(objectOf(name), (_, { storage }) => {
      expect(storage.sql.exec("SELECT count(*) AS n FROM sqlite_master WHERE name = 'turns'").one()["n"]).toBe(0);
    });
  });

  it("of the last response makes the chat forget it", async () => {
    const name = "removed head";
    await stubOf(name).create({});
    const first = await turn(stubOf(name), say("Hello!"));
    const second = await turn(stubOf(name), say("My name is Ada."));
    await stubOf(name).remove(second.turn);
    expect((await stubOf(name).branch(0)).head).toBe(first.turn);
    const next = await turn(stubOf(name), say("What is my name?"));
    expect(next).toMatchObject({ state: "restored", parent: first.turn });
    expect(next.text).not.toMatch(/Ada/);
    expect((await countsOf(name)).snapshots).toBe(2);
  });

  it("keeps what was forked meanwhile", async () => {
    const stub = stubOf("forked meanwhile");
    await stub.create({});
    await turn(stub, say("My name is Ada."));
    await stub.begin(say("Tell me a story.", { options: long }));
    const branch = await runInDurableObject(objectOf("forked meanwhile"), async (object) => {
      const conversation = object as Conversation;
      const removed = conversation.removeBranch(0);
      const fork = conversation.fork(0);
      await removed;
      return fork.branch;
    });
    const place = { kind: "branch", branch } as const;
    expect((await turn(stub, say("What is my name?", { place }))).text).toMatch(/Ada/);
  });
});

describe("an unfinished turn", () => {
  /** A chat whose second turn dies in the middle, after `damage` was done to what is stored. */
  async function interrupted(name: string, damage: (storage: DurableObjectStorage) => void): Promise<number> {
    const stub = stubOf(name);
    await stub.create({});
    await turn(stub, say("My name is Ada."));
    const { turn: running } = await stub.begin(say("Tell me a story.", { options: { ...endless, maxTokens: 1_500 } }));
    await readTokens(await stub.events(running), 600);
    await runInDurableObject(objectOf(name), (_, { storage }) => damage(storage));
    await abortAllDurableObjects();
    return running;
  }

  it("does not go on from a log of another model's tokens", async () => {
    const running = await interrupted("other log", ({ sql }) => {
      expect(sql.exec("SELECT count(*) AS n FROM log").one()["n"]).toBeGreaterThan(0);
      sql.exec("DELETE FROM log WHERE part > 0");
      sql.exec("UPDATE log SET tokens = ?", packTokens([123, 9, 9, 9]));
    });
    const view = await expectFinal("other log", running);
    const whole = await turn(
      stubOf("other log"),
      say("Tell me a story.", {
        place: { kind: "after", turn: view.parent },
        options: { ...endless, maxTokens: 1_500 },
      }),
    );
    expect(result(view)).toEqual(result(whole));
  });

  it("fails when it was interrupted four times, and the chat goes on without it", async () => {
    const running = await interrupted("interrupts", ({ sql }) => {
      sql.exec("UPDATE turns SET attempts = 4 WHERE status = 'in_progress'");
    });
    const events = await eventsOf(await stubOf("interrupts").events(running));
    expect(finalView(events)).toMatchObject({
      status: "failed",
      error: { code: "internal", message: "The turn was interrupted 4 times." },
    });
    expect((await turn(stubOf("interrupts"), say("What is my name?"))).text).toMatch(/Ada/);
  });

  it("that is cancelled while it is read again keeps what was said, and a state that has seen it", async () => {
    const name = "cancelled while recovering";
    const stub = stubOf(name);
    await stub.create({});
    const long = "Tell me a story. ".repeat(1_000);
    const { turn: running } = await stub.begin(say(long, { options: { ...endless, maxTokens: 1_500 } }));
    await readTokens(await stub.events(running), 600);
    await abortAllDurableObjects();
    const cancelled = await runInDurableObject(objectOf(name), async (object) => {
      await new Promise((resolve) => void setTimeout(resolve, 5));
      return (object as Conversation).cancel(running);
    });
    expect(cancelled.status).toBe("cancelled");
    expect(cancelled.usage!.completionTokens).toBeGreaterThan(200);
    const { promptTokens, completionTokens } = cancelled.usage!;
    const position = await runInDurableObject(objectOf(name), async (_, { storage }) => {
      const found = openStore(storage).loadSnapshot(running, identityOf(await engineOf("pocket", env)));
      return found.state!.position;
    });
    expect(position).toBe(promptTokens + completionTokens);
  });

  it("may be interrupted three times", async () => {
    const running = await interrupted("interrupts less", ({ sql }) => {
      sql.exec("UPDATE turns SET attempts = 3 WHERE status = 'in_progress'");
    });
    const view = finalView(await eventsOf(await stubOf("interrupts less").events(running)));
    expect(view.status).toBe("incomplete");
  });

  it("whose texts are damaged stays in the list without them, lends its state, and can be removed", async () => {
    const name = "damaged texts";
    const stub = stubOf(name);
    await stub.create({});
    const first = await turn(stub, say("My name is Ada."));
    await runInDurableObject(objectOf(name), (_, { storage }) => {
      storage.sql.exec("UPDATE turns SET messages = x'00ff' WHERE turn = ?", first.turn);
    });
    const next = await turn(stub, say("What is my name?"));
    expect(next).toMatchObject({ status: "completed", state: "restored", text: "Your name is Ada." });
    const { turns } = await stub.turns(0, { order: "asc", from: undefined, limit: 10 });
    expect(turns).toMatchObject([
      { turn: first.turn, text: "", error: { code: "data_damaged", message: expect.stringMatching(/damaged/) } },
      { turn: next.turn, text: next.text },
    ]);
    await stub.remove(first.turn);
    expect(await textsOf(name, 0)).toEqual([next.text]);
  });

  it("whose request is damaged fails alone: the chat goes on", async () => {
    const running = await interrupted("damaged request", ({ sql }) => {
      sql.exec("UPDATE turns SET messages = x'00ff' WHERE status = 'in_progress'");
    });
    expect(await refusal("damaged request", (object) => object.view(running))).toBe("data_damaged");
    expect((await turn(stubOf("damaged request"), say("What is my name?"))).text).toMatch(/Ada/);
    await stubOf("damaged request").removeBranch(0);
  });
});

describe("stored prefixes", () => {
  const place = { kind: "prefix" } as const;
  const complete = (name: string, messages: { role: "user" | "assistant" | "system"; content: string }[]) =>
    turn(stubOf(name), say("", { place, messages }));

  it("compute only the new message when the whole history is sent again", async () => {
    const history: { role: "user" | "assistant" | "system"; content: string }[] = [
      { role: "system", content: "Be brief." },
    ];
    let position = 0;
    for (const content of chat) {
      history.push({ role: "user", content });
      const { usage, text } = await complete("prefix", history);
      expect(usage!.cachedTokens).toBe(position);
      position = usage!.promptTokens + usage!.completionTokens;
      history.push({ role: "assistant", content: text });
    }
    expect(history.at(-1)!.content).toMatch(/Ada/);
  });

  it("are shorter where a text differs, never wrong", async () => {
    const first = await complete("edits", [{ role: "user", content: "My name is Ada." }]);
    const changed = await complete("edits", [
      { role: "user", content: "My name is Ada." },
      { role: "assistant", content: `${first.text} ` },
      { role: "user", content: "What is my name?" },
    ]);
    expect(changed).toMatchObject({ state: "cold", parent: null });
    const known = await complete("edits", [
      { role: "user", content: "My name is Ada." },
      { role: "assistant", content: first.text },
      { role: "user", content: "What is my name?" },
    ]);
    expect(known).toMatchObject({ state: "restored", parent: first.turn });
  });

  it("are found however the messages before them were sent, by either name of a role", async () => {
    const opening = [
      { role: "system" as const, content: "Be brief." },
      { role: "user" as const, content: "My name is Ada." },
      { role: "assistant" as const, content: "Nice to meet you." },
      { role: "user" as const, content: "What is 7 plus 5?" },
    ];
    const first = await complete("segments", opening);
    const history = [...opening, { role: "assistant" as const, content: first.text }];
    const renamed = history.map(({ role, content }) => ({
      role: role === "system" ? ("developer" as const) : role === "assistant" ? ("model" as const) : role,
      content,
    }));
    const request = say("", { place, messages: [...renamed, { role: "user", content: "What is my name?" }] });
    expect(await turn(stubOf("segments"), request)).toMatchObject({ state: "restored", parent: first.turn });
  });

  it("are each forgotten when a day old, though others are in use, but for what younger ones go on from", async () => {
    const name = "rolling";
    const ask = (content: string) => ({ role: "user" as const, content });
    const old = await complete(name, [ask("My name is Ada.")]);
    const reply = { role: "assistant" as const, content: old.text };
    const [unused, used] = [
      await complete(name, [ask("My name is Ada."), reply, ask("What is 7 plus 5?")]),
      await complete(name, [ask("My name is Ada."), reply, ask("Tell me a story about a fox.")]),
    ];
    await runInDurableObject(objectOf(name), (_, { storage }) => {
      storage.sql.exec("UPDATE turns SET created_ms = created_ms - 25 * 3600000 WHERE turn <> ?", used.turn);
    });
    const options = { ...endless, maxTokens: 2_000 };
    const live = await stubOf(name).begin(say("", { place, messages: [ask("Tell me a story.")], options }));
    await runDurableObjectAlarm(objectOf(name));
    expect(await refusal(name, (object) => object.view(unused.turn))).toBe("not_found");
    const kept = [old.turn, used.turn, live.turn].map((number) => stubOf(name).view(number));
    expect(await Promise.all(kept)).toHaveLength(3);
    await stubOf(name).cancel(live.turn);
  });

  it("are forgotten however often others are asked for: the alarm comes no later", async () => {
    const ask = (content: string) => [{ role: "user" as const, content }];
    const alarmOf = () => runInDurableObject(objectOf("asked often"), (_, { storage }) => storage.getAlarm());
    await complete("asked often", ask("My name is Ada."));
    const alarmMs = await alarmOf();
    expect(alarmMs! - Date.now()).toBeGreaterThan(5_000);
    expect(alarmMs! - Date.now()).toBeLessThanOrEqual(10_000);
    await new Promise((resolve) => void setTimeout(resolve, 50));
    await complete("asked often", ask("What is 7 plus 5?"));
    expect(await alarmOf()).toBe(alarmMs);
    await evictDurableObject(objectOf("asked often"));
    await complete("asked often", ask("What is 6 times 7?"));
    expect(await alarmOf()).toBe(alarmMs);
    // When it has rung, the next one is for the oldest turn, a day after it came.
    await runDurableObjectAlarm(objectOf("asked often"));
    expect((await alarmOf())! - Date.now()).toBeGreaterThan(23 * 3_600_000);
    await complete("asked often", ask("Tell me a story about a fox."));
    expect((await alarmOf())! - Date.now()).toBeLessThanOrEqual(10_000);
  });

  it("stay found where turns side by side have the same texts, though some of them go", async () => {
    const ask = (content: string) => ({ role: "user" as const, content });
    const [first, second] = [
      await complete("same texts", [ask("My name is Ada.")]),
      await complete("same texts", [ask("My name is Ada.")]),
    ];
    expect(second.text).toBe(first.text);
    const told = [ask("My name is Ada."), { role: "assistant" as const, content: first.text }];
    // What goes on from the first one, accepted before the second one was there.
    await runInDurableObject(objectOf("same texts"), (_, { storage }) => {
      const store = openStore(storage);
      const { options, metadata } = say("");
      const request = { messages: [ask("What is 7 plus 5?")], options, metadata, repeatKey: null };
      store.insertTurn({ ...request, parent: first.turn, branch: null, endsWithClient: false, nowMs: Date.now() });
    });
    await abortAllDurableObjects();
    const sum = await expectFinal("same texts", 3);
    const next = [...told, ask("What is 7 plus 5?"), { role: "assistant" as const, content: sum.text }];
    expect(await complete("same texts", [...next, ask("What is my name?")])).toMatchObject({
      parent: sum.turn,
      state: "restored",
    });
    expect(await complete("same texts", [...told, ask("Hello!")])).toMatchObject({ parent: second.turn });
    await runInDurableObject(objectOf("same texts"), (_, { storage }) => {
      storage.sql.exec("UPDATE turns SET created_ms = 0 WHERE turn = ?", second.turn);
      storage.sql.exec("UPDATE turns SET parent = NULL WHERE parent = ?", second.turn);
    });
    await runDurableObjectAlarm(objectOf("same texts"));
    expect(await complete("same texts", [...told, ask("Hello again!")])).toMatchObject({ parent: first.turn });
  });

  it("do not give a repeated request a turn that is being stopped", async () => {
    const messages = [{ role: "user" as const, content: "Tell me a story." }];
    const options = { ...endless, maxTokens: 300 };
    const request = say("", { place, messages, options, repeatKey: "k", repeatWithinMs: 60_000, endsWithClient: true });
    await runInDurableObject(objectOf("dying"), async (object) => {
      const conversation = object as Conversation;
      const reader = (await conversation.stream(request)).getReader();
      await reader.read();
      await reader.read();
      void reader.cancel();
      const second = finalView(await eventsOf(await conversation.stream(request)));
      expect(second).toMatchObject({ turn: 2, status: "incomplete" });
    });
  });

  it("run side by side, and are forgotten after a day", async () => {
    const messages = [{ role: "user" as const, content: "Tell me a story." }];
    const views = await Promise.all(Array.from({ length: 5 }, () => complete("crowd", messages)));
    expect(new Set(views.map(({ text }) => text)).size).toBe(1);
    await runInDurableObject(objectOf("crowd"), (_, state) => {
      state.storage.sql.exec("UPDATE turns SET created_ms = created_ms - 25 * 3600000");
    });
    await runDurableObjectAlarm(objectOf("crowd"));
    await runInDurableObject(objectOf("crowd"), (_, state) => {
      expect(state.storage.sql.exec("SELECT count(*) AS n FROM sqlite_master").one()["n"]).toBe(0);
    });
  });
});

describe("many chats in one isolate", () => {
  it("each say what they say alone, token by token interleaved", async () => {
    const names = Array.from({ length: 12 }, (_, i) => ["Ada", "Ben", "Cleo", "Dan", "Eva"][i % 5] + String(i));
    const optionsOf = (i: number) => ({ temperature: 1, seed: String(i) });
    const talk = (who: string, i: number, where: string) =>
      sayAll(`${where} ${who}`, [`My name is ${who.replace(/\d+/, "")}.`, ...chat.slice(1)], optionsOf(i));
    const together = await Promise.all(names.map((who, i) => talk(who, i, "together")));
    for (const [i, who] of names.entries()) {
      const alone = await talk(who, i, "alone");
      expect(together[i]!.map(result), who).toEqual(alone.map(result));
      expect(await stateOf(`together ${who}`, chat.length)).toEqual(await stateOf(`alone ${who}`, chat.length));
    }
  });
});

describe("a conversation whose model was replaced", () => {
  it("is read again from its texts, and the answer says so", async () => {
    const expected = await sayAll("same model", chat);
    for (const [name, change] of [
      ["other checkpoint", "UPDATE turns SET checkpoint = 'another'"],
      ["damaged tokens", "UPDATE turns SET reply_tokens = zeroblob(length(reply_tokens) + 4)"],
    ] as const) {
      await sayAll(name, chat.slice(0, 3));
      await runInDurableObject(objectOf(name), (_, { storage }) => {
        storage.sql.exec(change);
        storage.sql.exec("DELETE FROM snapshots");
      });
      const view = await turn(stubOf(name), say(chat[3]!));
      expect(view, name).toMatchObject({ state: "recomputed", text: expected[3]!.text, usage: { cachedTokens: 0 } });
      const next = await turn(stubOf(name), say("What is 7 plus 5?"));
      expect(next, name).toMatchObject({ state: "restored" });
    }
  });
});

describe("lost and damaged snapshots", () => {
  it("change nothing where repeated tokens are penalised over the past", async () => {
    const penalised = { ...sampled, repetitionPenalty: 3 };
    for (const seed of ["1", "2", "3", "4", "5"]) {
      const options = { ...penalised, seed };
      const expected = await sayAll(`penalised ${seed}`, chat.slice(0, 3), options);
      const name = `penalised and dropped ${seed}`;
      await sayAll(name, chat.slice(0, 2), options);
      await runInDurableObject(objectOf(name), (_, { storage }) => void storage.sql.exec("DELETE FROM snapshots"));
      const view = await turn(stubOf(name), say(chat[2]!, { options }));
      expect(view).toMatchObject({ state: "recomputed", text: expected[2]!.text });
    }
  });

  it("of another model leave none of its tokens to penalise", async () => {
    const name = "penalised by another";
    await sayAll(name, chat.slice(0, 2));
    await runInDurableObject(objectOf(name), (_, { storage }) => {
      const foreign = packTokens([999_999, 5]);
      storage.sql.exec("UPDATE turns SET checkpoint = 'another', prompt_tokens = ?1, reply_tokens = ?1", foreign);
      storage.sql.exec("DELETE FROM snapshots");
    });
    const view = await turn(stubOf(name), say(chat[3]!, { options: { repetitionPenalty: 3 } }));
    expect(view).toMatchObject({ state: "recomputed", error: null });
  });

  it("are computed again from the tokens, with the same result, and the answer says so", async () => {
    const expected = await sayAll("kept", chat, sampled);
    for (const [name, damage] of [
      ["dropped", "DELETE FROM snapshots"],
      ["damaged", "UPDATE parts SET bytes = zeroblob(length(bytes)) WHERE kind = 'snapshot'"],
    ] as const) {
      await sayAll(name, chat.slice(0, 3), sampled);
      await runInDurableObject(objectOf(name), (_, state) => void state.storage.sql.exec(damage));
      const view = await turn(stubOf(name), say(chat[3]!, { options: sampled }));
      expect(view).toMatchObject({ state: "recomputed", text: expected[3]!.text, usage: { cachedTokens: 0 } });
      expect(view.usage!.promptTokens).toBe(expected[3]!.usage!.promptTokens);
      expect(await stateOf(name, view.turn)).toEqual(await stateOf("kept", expected[3]!.turn));
    }
  });
});
