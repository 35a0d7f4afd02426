// Templates: what they make of payloads, and that nothing in a payload or a template makes them run long.
import { describe, expect, it } from "vitest";
import { payloadOf } from "../../src/inbox/payload.ts";
import { cutMark, replyOf, slackAddress, type Answer } from "../../src/inbox/reply.ts";
import { mostTemplateCharacters, render, templateFault } from "../../src/inbox/templates.ts";
import { payloadOf as bodyOf } from "../../src/outbox/events.ts";

describe("a template", () => {
  it.each([
    ["{{ a.b }} and {{ a.c[1] }}", { a: { b: "x", c: [1, 2] } }, "x and 2"],
    ["[{{ missing.deep.down }}]", {}, "[]"],
    [
      '{% if action == "created" %}{{ body | strip }}{% else %}no{% endif %}',
      { action: "created", body: " hi " },
      "hi",
    ],
    ['{{ labels | map: "name" | join: ", " }}', { labels: [{ name: "a" }, { name: "b" }] }, "a, b"],
    ["{{ text | default: 'nothing' }}", { text: "" }, "nothing"],
    ["{{ payload | json }}", { a: 1 }, '{"a":1}'],
    ["{{ text }}", { text: "{{ secret }}", secret: "s" }, "{{ secret }}"],
    ["{{ constructor }}{{ toString }}{{ a.constructor.name }}{{ __proto__ }}", { a: "x" }, ""],
  ])("%s of %j is %s", (template, payload, made) => {
    expect(templateFault(template)).toBeNull();
    expect(render(template, payload)).toBe(made);
  });

  it.each([
    "{{ a",
    "{% if a %}",
    "{{ a | nothing }}",
    "{% for a in b %}{% endfor %}",
    "{% include 'a' %}",
    "{% render 'a' %}",
    "{% layout 'a' %}",
    "{% tablerow a in b %}{% endtablerow %}",
    '{{ a | where_exp: "b", "c" }}',
    "{{ 'now' | date: '%s' }}",
    "x".repeat(mostTemplateCharacters + 1),
  ])("%s is refused when it is made", (template) => {
    expect(templateFault(template)).toEqual(expect.any(String));
  });

  it("that makes more and more is stopped, and says nothing of the payload", () => {
    const doubling = `{% assign a = text %}${"{% assign a = a | append: a %}".repeat(60)}{{ a }}`;
    const many = "{{ (1..100000000) | join: 'x' }}";
    const large = `{{ text | split: "" | join: text }}`;
    for (const template of [doubling, many, large]) {
      expect(templateFault(template)).toBeNull();
      const startMs = performance.now();
      expect(() => render(template, { text: "secret".repeat(1_000) })).toThrow(
        expect.objectContaining({ code: "invalid_argument", message: expect.not.stringContaining("secret") }),
      );
      expect(performance.now() - startMs).toBeLessThan(2_000);
    }
  });
});

describe("a payload", () => {
  const read = (body: string, type = "application/json") =>
    payloadOf({ body: new TextEncoder().encode(body), headers: { "content-type": type } });

  it("is an object, the fields of a form, or the object in a form's `payload`", () => {
    const form = "application/x-www-form-urlencoded; charset=utf-8";
    expect(read('{"a": 1}')).toEqual({ a: 1 });
    expect(read("a=1&b=x+y%21", form)).toEqual({ a: "1", b: "x y!" });
    expect(read(`payload=${encodeURIComponent('{"a": 1}')}`, form)).toEqual({ a: 1 });
    expect(read("payload=x", form)).toEqual({ payload: "x" });
    for (const body of ["", "[]", "1", "null", '"a"', "{", '{"a": 1}x']) expect(read(body), body).toBeNull();
    expect(payloadOf({ body: new Uint8Array([0x7b, 0xff, 0x7d]), headers: {} })).toBeNull();
  });
});

describe("a reply", () => {
  const answer: Answer = {
    eventId: "evt_1",
    type: "hook.replied",
    createdMs: 0,
    hook: "hook_1",
    delivery: "d",
    conversation: "conv_1",
    response: "resp_1",
    text: "Hi!",
  };
  const bytes = (text: string) => new TextEncoder().encode(text).byteLength;

  it("is an event to a callback and a text to Slack, each below 20 kB with a mark where it was cut", () => {
    const callback = { type: "callback", url: "https://a.example/" } as const;
    expect(JSON.parse(bodyOf(replyOf(answer, callback, null)!.event))).toMatchObject({
      id: "evt_1",
      object: "event",
      type: "hook.replied",
      data: { hook: "hook_1", delivery_id: "d", conversation: "conv_1", response: "resp_1", text: "Hi!" },
    });
    const slack = replyOf({ ...answer, text: "<!channel> & all" }, { type: "slack" }, "https://hooks.slack.com/a");
    expect(JSON.parse(bodyOf(slack!.event))).toEqual({ text: "&lt;!channel&gt; &amp; all" });
    for (const text of ["x", '"', "😀", "&", "ä"].map((character) => character.repeat(30_000))) {
      for (const to of [callback, { type: "slack" } as const]) {
        const body = bodyOf(replyOf({ ...answer, text }, to, "https://hooks.slack.com/a")!.event);
        expect(bytes(body)).toBeLessThan(20_000);
        expect(bytes(body)).toBeGreaterThan(19_900);
        const value = JSON.parse(body) as { text?: string; data?: { text: string } };
        const said = value.text ?? value.data?.text ?? "";
        expect(said.endsWith(cutMark)).toBe(true);
        expect(said.isWellFormed()).toBe(true);
      }
    }
    expect(replyOf(answer, { type: "none" }, null)).toBeNull();
    expect(replyOf(answer, { type: "slack" }, null)).toBeNull();
  });

  it("goes to Slack's own host alone", () => {
    const to = (address: unknown) => slackAddress({ response_url: address }, false);
    expect(to("https://hooks.slack.com/commands/1")).toBe("https://hooks.slack.com/commands/1");
    const others = [
      "http://hooks.slack.com/",
      "https://hooks.slack.com.evil.example/",
      "https://hooks.slack.com:8443/",
    ];
    const tricks = [
      "https://evil.example/https://hooks.slack.com/",
      "https://hooks.slack.com@evil.example/",
      "x",
      1,
      null,
    ];
    for (const address of [...others, ...tricks]) expect(to(address), String(address)).toBeNull();
    expect(slackAddress({ response_url: "http://127.0.0.1:1/" }, true)).toBe("http://127.0.0.1:1/");
  });
});
