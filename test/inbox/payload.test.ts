// Payloads: what bytes say, and that no header which nobody signed says anything.
import { describe, expect, it } from "vitest";
import { namesOf, payloadOf } from "../../src/inbox/payload.ts";

describe("a payload", () => {
  const read = (body: string) => payloadOf({ body: new TextEncoder().encode(body) });

  it("is an object, the fields of a form, or the object in a form's `payload`", () => {
    expect(read('{"a": 1}')).toEqual({ a: 1 });
    expect(read(' \n{"a=": 1}')).toEqual({ "a=": 1 });
    expect(read("a=1&b=x+y%21")).toEqual({ a: "1", b: "x y!" });
    expect(read("a=")).toEqual({ a: "" });
    expect(read(`payload=${encodeURIComponent('{"a": 1}')}`)).toEqual({ a: 1 });
    expect(read("payload=x")).toEqual({ payload: "x" });
    const neither = [
      "",
      "[]",
      "1",
      "null",
      '"a"',
      '"a=b"',
      '["a=b"]',
      "{",
      '{"a": 1}x',
      '{a="b"}',
      '<a b="c"/>',
      "a",
      "=a",
    ];
    for (const body of neither) expect(read(body), body).toBeNull();
    expect(payloadOf({ body: new Uint8Array([0x7b, 0xff, 0x7d]) })).toBeNull();
  });

  it.each([
    ["an event", '{"type": "event_callback", "event_id": "Ev1", "event": {"text": "a=b&c"}}'],
    ["a command", "token=x&command=%2Fask&text=hi"],
    ["a button", `payload=${encodeURIComponent('{"type": "block_actions"}')}`],
  ])("and the name of %s from Slack are the same whatever its unsigned headers say", async (_, text) => {
    const body = new TextEncoder().encode(text);
    const types = ["application/json", "application/x-www-form-urlencoded", "text/plain", "multipart/form-data", ""];
    const all = types.map(async (type) => {
      const post = { body, headers: { "content-type": type, "x-slack-request-timestamp": "1" } };
      const payload = payloadOf(post);
      expect(payload).not.toBeNull();
      return { payload, names: await namesOf("slack", post, payload ?? {}) };
    });
    const [first, ...others] = await Promise.all(all);
    for (const other of others) expect(other).toEqual(first);
  });
});
