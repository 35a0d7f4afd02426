// The object of an Idempotency-Key.
import { env, evictDurableObject, runDurableObjectAlarm, runInDurableObject } from "cloudflare:test";
import { describe, expect, it } from "vitest";
import type { NamedRequest } from "../../src/conversation/named-request.ts";

describe("a named request", () => {
  it("finds the name that the first one gave, for a day, and refuses another body", async () => {
    const { NAMED_REQUESTS } = env;
    const stub = NAMED_REQUESTS.get(NAMED_REQUESTS.idFromName("key"));
    expect(await stub.rememberName("random", "body")).toBe("random");
    await evictDurableObject(stub as never);
    expect(await stub.rememberName("another", "body")).toBe("random");
    await runInDurableObject(stub as never, (object) => {
      const again = () => (object as NamedRequest).rememberName("fourth", "other body");
      expect(again).toThrow(expect.objectContaining({ code: "key_reused" }));
    });
    expect(await runDurableObjectAlarm(stub as never)).toBe(true);
    expect(await stub.rememberName("third", "other body")).toBe("third");
  });

  it("finds the name of its latest first attempt, for as long as it was told", async () => {
    const { NAMED_REQUESTS } = env;
    const stub = NAMED_REQUESTS.get(NAMED_REQUESTS.idFromName("attempts"));
    expect(await stub.nameAttempt("a", false, 60_000)).toBe("a");
    expect(await stub.nameAttempt("b", true, 60_000)).toBe("b");
    await evictDurableObject(stub as never);
    expect(await stub.nameAttempt("c", false, 60_000)).toBe("b");
    expect(await stub.nameAttempt("d", true, 60_000)).toBe("d");
    expect(await runDurableObjectAlarm(stub as never)).toBe(true);
    expect(await stub.nameAttempt("e", false, 60_000)).toBe("e");
  });
});
