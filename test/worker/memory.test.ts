// The engines of an isolate, shared by its objects, and what stays in their memory.
import { abortAllDurableObjects, env, runInDurableObject } from "cloudflare:test";
import { describe, expect, it } from "vitest";
import { engineOf, memoryLimitBytes } from "../../src/conversation/engines.ts";
import { say, stubOf, turn } from "./turns.ts";

const bucket = env.MODELS_BUCKET as unknown as { put(key: string, value: ArrayBuffer): Promise<unknown> };
const objectOf = (name: string) => env.CONVERSATIONS.get(env.CONVERSATIONS.idFromName(name)) as never;

describe("the engine of an isolate", () => {
  it("is loaded again by another object when the one that loads it dies", async () => {
    await stubOf("dies").create({});
    const lost = stubOf("dies").begin(say("Hi."));
    lost.catch(() => undefined);
    await abortAllDurableObjects();
    await stubOf("lives").create({});
    expect((await turn(stubOf("lives"), say("What is 7 plus 5?"))).text).toMatch(/12/);
  });

  it("is replaced when a kernel traps, and the turns it broke under come out as ever", async () => {
    const messages = ["My name is Ada.", "Tell me a story about a fox."];
    const tell = async (name: string) => {
      await stubOf(name).create({});
      const views = [];
      for (const message of messages) views.push(await turn(stubOf(name), say(message)));
      return views.map(({ text, usage, status }) => ({ text, status, cachedTokens: usage!.cachedTokens }));
    };
    const expected = await tell("before");
    const broken = await runInDurableObject(objectOf("before"), async () => {
      const engine = await engineOf("pocket", env);
      const { instance } = engine.edge!;
      const forward = instance.forward.bind(instance);
      let passes = 0;
      // A slot beyond the end of memory: the kernel really traps.
      instance.forward = (slotPtr, ...rest) => forward(++passes === 30 ? 0x7fff0000 : slotPtr, ...rest);
      return engine;
    });
    expect(await Promise.all([tell("under"), tell("beside")])).toEqual([expected, expected]);
    expect(broken.isBroken).toBe(true);
    await runInDurableObject(objectOf("before"), async () => {
      expect(await engineOf("pocket", env)).not.toBe(broken);
    });
  });

  it("comes from R2 where it is configured so, and says when no bucket is bound", async () => {
    for (const name of ["graph.onnx", "weights.safetensors", "tokenizer.json", "model.json"]) {
      const { body } = await env.ASSETS.fetch(`https://assets.invalid/pocket/${name}`);
      await bucket.put(`far/${name}`, await new Response(body).arrayBuffer());
    }
    await stubOf("far").create({});
    expect((await turn(stubOf("far"), say("What is 7 plus 5?", { options: { model: "far" } }))).text).toMatch(/12/);
    await runInDurableObject(objectOf("far"), async () => {
      const unbound = { ...env, MODELS_BUCKET: undefined };
      await expect(engineOf("lost", unbound)).rejects.toMatchObject({
        code: "invalid_config",
        message: expect.stringMatching(/MODELS_BUCKET/),
      });
    });
  });

  it("gets its slot back, zeroed, from a turn that fails between two tokens", async () => {
    await stubOf("no room").create({});
    await runInDurableObject(objectOf("no room"), (_, { storage }) => {
      storage.sql.exec("CREATE TRIGGER full BEFORE INSERT ON log BEGIN SELECT RAISE(ABORT, 'no room'); END");
    });
    const options = { maxTokens: 3_000, temperature: 1, logitBias: [1, 5].map((token) => ({ token, bias: -100 })) };
    expect(await turn(stubOf("no room"), say("My name is Ada.", { options }))).toMatchObject({
      status: "failed",
      error: { code: "internal", message: "The turn failed for a reason of ours." },
    });
    await runInDurableObject(objectOf("no room"), async () => {
      const engine = await engineOf("pocket", env);
      const { slots, totalBytes } = engine.edge!.instance.layout;
      expect(engine.isBusy).toBe(false);
      expect(engine.edge!.instance.bytes(Math.min(...slots), totalBytes).every((byte) => byte === 0)).toBe(true);
    });
  });

  it("holds nothing of a conversation when its turn is over, and is small enough for a hosted isolate", async () => {
    await stubOf("zeroed").create({});
    await turn(stubOf("zeroed"), say("My name is Ada."));
    await runInDurableObject(objectOf("zeroed"), async () => {
      const { instance } = (await engineOf("pocket", env)).edge!;
      const { slots, totalBytes } = instance.layout;
      expect(slots.length).toBe(32);
      expect(totalBytes).toBeLessThan(memoryLimitBytes(env));
      expect(instance.bytes(Math.min(...slots), totalBytes).every((byte) => byte === 0)).toBe(true);
    });
  });
});
