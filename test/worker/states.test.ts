// States that leave a conversation as files, and others that go on from them.
import { env, evictDurableObject } from "cloudflare:test";
import { describe, expect, it } from "vitest";
import { engineOf } from "../../src/conversation/engines.ts";
import { identityOf } from "../../src/conversation/recall.ts";
import { openStore } from "../../src/conversation/store.ts";
import { inStorage, objectOf, refusal } from "./objects.ts";
import { dump } from "./storage.ts";
import { greedy, say, stubOf, turn } from "./turns.ts";

const chat = ["My name is Ada.", "Tell me a story about a fox.", "What is 7 plus 5?"];
async function begun(name: string, messages: readonly string[] = []) {
  const stub = stubOf(name);
  await stub.create({});
  for (const message of messages) await turn(stub, say(message));
  return stub;
}

describe("a state that was exported", () => {
  it("lets another conversation say, token for token, what the first one says, and never leaves it", async () => {
    const first = await begun("exports", chat);
    const file = await first.exportState(0);
    const second = await begun("imports", ["My name is Tom."]);
    const view = await second.importState(0, file, greedy);
    expect(await second.exportState(0)).toEqual(file);
    await evictDurableObject(objectOf("imports"));

    const options = { temperature: 1, seed: "3", repetitionPenalty: 1.3 };
    const expected = await turn(first, say("What is my name?", { options }));
    const got = await turn(stubOf("imports"), say("What is my name?", { options }));
    expect(got.text).toBe(expected.text);
    expect(got).toMatchObject({ usage: expected.usage, state: "restored", parent: view.head });
    expect(await stubOf("imports").exportState(0)).toEqual(await first.exportState(0));
    // The state's texts are not in it, and those of before are not part of the chat any more.
    const { turns } = await stubOf("imports").turns(0, { order: "asc", from: undefined, limit: 10 });
    expect(turns.map((each) => each.turn)).toEqual([got.turn]);
  });

  it("is computed again first where its snapshot is gone", async () => {
    const stub = await begun("lost", chat);
    const file = await stub.exportState(0);
    await inStorage("lost", ({ sql }) => sql.exec("DELETE FROM snapshots WHERE turn > 1"));
    expect(await stub.exportState(0)).toEqual(file);
    await inStorage("lost", ({ sql }) => sql.exec("DELETE FROM snapshots"));
    expect(await stub.exportState(0)).toEqual(file);
  });

  it("is not there before anything was said", async () => {
    await begun("silent");
    expect(await refusal("silent", (object) => object.exportState(0))).toBe("invalid_state");
  });
});

describe("a state that is imported", () => {
  it("changes nothing where it is damaged, or something runs", async () => {
    const stub = await begun("careful", chat.slice(0, 1));
    const file = await stub.exportState(0);
    const before = await inStorage("careful", dump);
    for (const at of [3, 100, file.byteLength - 1]) {
      const damaged = file.slice();
      damaged[at] = (damaged[at] ?? 0) ^ 1;
      expect(await refusal("careful", (object) => object.importState(0, damaged, greedy))).toBe("invalid_state");
    }
    expect(await inStorage("careful", dump)).toBe(before);
    const { turn: running } = await stub.begin(
      say("Tell me a story.", { options: { maxTokens: 2_000, temperature: 1 } }),
    );
    expect(await refusal("careful", (object) => object.importState(0, file, greedy))).toBe("conversation_busy");
    await stub.cancel(running);
  });

  it("is never dropped, and what went on from it is computed again from it", async () => {
    const file = await (await begun("source", chat)).exportState(0);
    const stub = await begun("keeps");
    await stub.importState(0, file, greedy);
    const replies = [];
    for (let i = 0; i < 40; i++) replies.push(await turn(stub, say("Hi.", { options: { maxTokens: 3 } })));
    const kept = await stub.exportState(0);
    await inStorage("keeps", (storage) => {
      const imported = storage.sql.exec("SELECT turn FROM turns WHERE kind = 'state'").one();
      expect(storage.sql.exec("SELECT turn FROM snapshots ORDER BY turn").toArray()[0]).toEqual(imported);
      storage.sql.exec("DELETE FROM snapshots WHERE turn <> ?", imported["turn"]);
    });
    expect(await stub.exportState(0)).toEqual(kept);
    const [from] = await Promise.all([turn(stub, say("Bye.")), Promise.resolve(replies)]);
    expect(from.state).toBe("recomputed");
  });

  it("says so where it is lost: nothing can compute it again", async () => {
    const file = await (await begun("original", chat)).exportState(0);
    const stub = await begun("loses");
    await stub.importState(0, file, greedy);
    await turn(stub, say("Hi."));
    await inStorage("loses", ({ sql }) => sql.exec("DELETE FROM snapshots"));
    const failed = await turn(stub, say("Hi."));
    expect(failed).toMatchObject({ status: "failed", error: { code: "invalid_state" } });
    expect(failed.error?.message).toContain("import the state once more");
    await stub.importState(0, file, greedy);
    expect((await turn(stub, say("Hi."))).status).toBe("completed");
  });

  it("is kept bit for bit at every position, beside others of the object", async () => {
    const stub = await begun("bits", chat);
    for (let imports = 0; imports < 32; imports++) {
      const file = await stub.exportState(0);
      const { head } = await stub.importState(0, file, greedy);
      await inStorage("bits", async (storage) => {
        const found = openStore(storage).loadSnapshot(head ?? 0, identityOf(await engineOf("pocket", env)));
        expect(found.state?.data).toEqual(file.slice(file.byteLength - 45_056 - 128, file.byteLength - 128));
      });
    }
    const file = await stub.exportState(0);
    expect(await refusal("bits", (object) => object.importState(0, file, greedy))).toBe("invalid_argument");
  });
});
