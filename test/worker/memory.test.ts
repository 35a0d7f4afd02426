// The engines of an isolate, shared by its objects, and what stays in their memory.
import { abortAllDurableObjects, env, runInDurableObject } from "cloudflare:test";
import { describe, expect, it } from "vitest";
import { engineOf, memoryLimitBytes } from "../../src/conversation/engines.ts";
import { say, stubOf, turn } from "./turns.ts";

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

  it("holds nothing of a conversation when its turn is over, and is small enough for a hosted isolate", async () => {
    await stubOf("zeroed").create({});
    await turn(stubOf("zeroed"), say("My name is Ada."));
    await runInDurableObject(objectOf("zeroed"), async () => {
      const { instance } = await engineOf("pocket", env);
      const { slots, totalBytes } = instance.layout;
      expect(slots.length).toBe(32);
      expect(totalBytes).toBeLessThan(memoryLimitBytes);
      expect(instance.bytes(Math.min(...slots), totalBytes).every((byte) => byte === 0)).toBe(true);
    });
  });
});
