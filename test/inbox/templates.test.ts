// Templates: what they make of payloads, and that nothing in a payload or a template makes them run long, by what is
// counted and never by the clock.
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { cutMark, replyOf, slackAddress, type Answer } from "../../src/inbox/reply.ts";
import { filters, operators } from "../../src/inbox/template-language.ts";
import { mostDepth, mostMade, mostWork } from "../../src/inbox/template-work.ts";
import { mostSteps, mostTemplateCharacters, render, renderCounted, templateFault } from "../../src/inbox/templates.ts";
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
    ['{{ text | split: "> " | last | remove_first: "please " }}', { text: "<@U1> please help" }, "help"],
    ['{{ a | replace: "-", "+" | remove: "b" | append: "!" | prepend: "?" }}', { a: "-ab-" }, "?+a+!"],
    ['{{ a | replace: "", "." }} {{ a | split: "" | join }}', { a: "abc" }, "a.b.c a b c"],
    ["{{ a | upcase }} {{ a | capitalize }} {{ a | downcase }}", { a: "oNe" }, "ONE One one"],
    ["{{ a | slice: -2, 9 }} {{ a | slice: 1 }} {{ a | truncate: 4, '…' }}", { a: "ab😀cd" }, "cd b ab😀…"],
    ['{{ a | slice: 1, 2 | join: "" }} {{ a | first }}{{ a | last }} {{ a | size }}', { a: [1, 2, 3, 4] }, "23 14 4"],
    ['{{ list | map: "user.name" | join: "," }}', { list: [{ user: { name: "a" } }, {}, null] }, "a,,"],
    ["{{ a.size }} {{ b.size }} {{ b | size }} {{ c.size }}", { a: [1], b: "xy", c: { d: 1 } }, "1 2 2 "],
    ["{{ a }}{{ b }}{{ c }}", { a: [1, [null, "x"]], b: { c: 1 }, c: true }, "1x[object Object]true"],
    ["{% if a contains 'b' and b contains 'c' %}yes{% endif %}", { a: "abc", b: ["b", "c"] }, "yes"],
    ["{% if a contains none or none contains a or b contains 'b' %}yes{% endif %}", { a: "undefined", b: {} }, ""],
    ["{% if a == empty and b == blank and c == nil and d != a %}yes{% endif %}", { a: [], b: " ", d: [] }, "yes"],
    [
      "{% if a < 2 and a >= 1 and a != 2 %}{% unless b > a or a < b %}yes{% endunless %}{% endif %}",
      { a: 1, b: {} },
      "yes",
    ],
    [
      "{% capture x %}{{ a }}{% endcapture %}{% assign y = x | upcase %}{{ y }}{% raw %}{{ a }}{% endraw %}",
      { a: "a" },
      "A{{ a }}",
    ],
    ["{{ payload.payload }}{% assign payload = 1 %}{{ payload }}", { payload: "in" }, "in1"],
    ["{{ a[b] }}{{ a[c] }}{{ a['x'] }}{{ ['with space'] }}", { a: { x: 1 }, b: "x", c: ["x"], "with space": 2 }, "112"],
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
    "{% case a %}{% when a %}{% endcase %}",
    "{% # a %}",
    "{{ a | json: 2 }}",
    "{{ a | strip: b }}",
    "{{ a | default: 1, allow_false: true }}",
    // Without an end: 2 ** 53 + 1 is 2 ** 53.
    "{{ (9007199254740992..9007199254740994) }}",
    "{% if a %}{% capture b %}{{ c[(1..2)] | append: (1..2).size }}{% endcapture %}{% endif %}",
    "{{ a | append: (1..2) }}",
    "{% unless a %}{% elsif b == (1..2) %}{% endunless %}",
    "{{ [a] }}",
    "{{ a }}".repeat(mostSteps),
    `{{ a${" | first".repeat(mostSteps)} }}`,
    `{{ a${".b".repeat(mostSteps)} }}`,
    `{% if a${" or a".repeat(mostSteps)} %}{% endif %}`,
    "{% if a %}".repeat(480) + "{% endif %}".repeat(320),
    "x".repeat(mostTemplateCharacters + 1),
  ])("%s is refused when it is made", (template) => {
    expect(templateFault(template)).toEqual(expect.any(String));
  });

  const refusal = (said: string) =>
    expect.objectContaining({ code: "invalid_argument", message: expect.stringContaining(said) });

  it.each([
    ["makes more", `{% assign a = text %}${"{% assign a = a | append: a %}".repeat(60)}{{ a }}`],
    ["makes more", `{{ text | slice: 0, 1000 | split: "" | join: text }}`],
    ["makes more", `{{ text | replace: "e", text | replace: "s", text }}`],
    [
      "makes more",
      `{% capture a %}${"{{ text }}".repeat(40)}{% endcapture %}${"{% assign b = a | upcase %}".repeat(20)}`,
    ],
    ["more work", `{% if ${"text contains needle or ".repeat(100)} a %}{% endif %}`],
    ["more work", `{{ text | append: text | replace: needle, "" }}`],
    ["more work", `{{ text | remove_first: needle }}`],
    ["more work", `{{ text | split: needle }}`],
    ["more work", "{% assign a = list | map: 'x' %}".repeat(60)],
    ["more work", "{{ list | json }}".repeat(60)],
    ["more work", `{% if ${"list contains 1 or ".repeat(100)} a %}{% endif %}`],
    ["more work", `{% if ${"text == blank or ".repeat(100)} a %}{% endif %}`],
    ["deeper", "{{ deep }}"],
    ["deeper", "{{ deep | json }}"],
    ["deeper", "{{ deep | join }}"],
  ])("that %s than it may is stopped, and says nothing of the payload: %s", (said, template) => {
    const text = "secret".repeat(10_000);
    const deep: unknown = JSON.parse("[".repeat(mostDepth + 2) + "]".repeat(mostDepth + 2));
    const payload = { text, needle: text.slice(1, 20_000), list: Array<number>(5_000).fill(0), deep };
    expect(templateFault(template)).toBeNull();
    expect(() => render(template, payload)).toThrow(refusal(said));
    expect(() => render(template, payload)).not.toThrow(refusal("secret"));
  });

  it("spells what is as deep as it may be", () => {
    const a: unknown = JSON.parse("[".repeat(mostDepth) + "]".repeat(mostDepth));
    expect(render("{{ a }}", { a })).toBe("");
    expect(render("{{ a | json }}", { a })).toBe(JSON.stringify(a));
  });

  it("may look at large texts, and at small ones often", () => {
    const text = `${"All work and no play. ".repeat(2_700)}@griffin`;
    expect(
      render("{% if text contains '@griffin' %}{{ text | downcase | truncate: 3, '' }}{% endif %}", { text }),
    ).toBe("all");
    expect(render("{% if a contains '@griffin' or a == 'b' %}{% endif %}".repeat(60), { a: "hi" })).toBe("");
  });
});

describe("the work of a template", () => {
  /** What is counted for a template, of texts or lists of so many characters or elements. */
  const countedOf = (template: string, size: number) =>
    renderCounted(template, { t: "b".repeat(size), u: "b".repeat(size), l: Array<string>(size).fill("b") });
  const growth = (template: string) => countedOf(template, 400).done - countedOf(template, 200).done;
  const made = (template: string) => countedOf(template, 400).made - countedOf(template, 200).made;

  // All that there is, with what it costs at least for each character of a text.
  const filterCosts: [string, string, { work: number; made: number }][] = [
    ["append", "t | append: t", { work: 2, made: 2 }],
    ["prepend", "t | prepend: t", { work: 2, made: 2 }],
    ["capitalize", "t | capitalize", { work: 20, made: 3 }],
    ["downcase", "t | downcase", { work: 20, made: 3 }],
    ["upcase", "t | upcase", { work: 20, made: 3 }],
    ["strip", "t | strip", { work: 1, made: 1 }],
    ["replace", "t | replace: 'b', 'cd'", { work: 50, made: 2 }],
    ["remove", "t | remove: 'b'", { work: 50, made: 2 }],
    ["remove_first", "t | remove_first: 'c'", { work: 10, made: 1 }],
    ["split", "t | split: 'b'", { work: 50, made: 16 }],
    ["slice", "t | slice: 0, 1000", { work: 20, made: 1 }],
    ["truncate", "t | truncate: 1000", { work: 20, made: 1 }],
    ["join", "l | join: 'cc'", { work: 50, made: 3 }],
    ["map", "l | map: 'size'", { work: 200, made: 4 }],
    ["first", "l | first", { work: 0, made: 0 }],
    ["last", "l | last", { work: 0, made: 0 }],
    ["size", "l | size", { work: 0, made: 0 }],
    ["default", "t | default: 'c'", { work: 0, made: 0 }],
    ["json", "l | json", { work: 200, made: 6 }],
  ];
  it.each(filterCosts)("grows with what %s does", (_, filter, least) => {
    // What is assigned is not shown: this is the filter alone.
    expect(growth(`{% assign x = ${filter} %}`)).toBeGreaterThanOrEqual(200 * least.work);
    expect(made(`{% assign x = ${filter} %}`)).toBeGreaterThanOrEqual(200 * least.made);
  });

  const operatorCosts: [string, string, number][] = [
    ["==", "t == u", 2],
    ["!=", "t != blank", 5],
    ["<", "t < u", 2],
    [">", "t > u", 2],
    ["<=", "t <= u", 2],
    [">=", "t >= u", 2],
    ["contains", "t contains u", 400],
    ["contains", "l contains u", 400],
    ["and", "t and u", 0],
    ["or", "t or u", 0],
    ["not", "not t", 0],
  ];
  it.each(operatorCosts)("grows with what %s does: %s", (_, condition, least) => {
    expect(growth(`{% if ${condition} %}{% endif %}`)).toBeGreaterThanOrEqual(200 * least);
  });

  it("is known of all that there is", () => {
    expect(filterCosts.map(([name]) => name)).toEqual([...filters.keys()]);
    expect(new Set(operatorCosts.map(([name]) => name))).toEqual(new Set(Object.keys(operators)));
  });

  it("and what it makes are within their limits for all templates and payloads", () => {
    const name = fc.constantFrom(
      "t",
      "u",
      "s",
      "l",
      "n",
      "o",
      "d",
      "payload",
      "missing",
      "t.size",
      "l.first",
      "o.a",
      "o[s]",
    );
    const value = fc.oneof(name, fc.constantFrom("''", "'b'", "1", "-3", "99999", "empty", "blank", "nil"));
    const filter = fc
      .tuple(fc.constantFrom(...filters), fc.array(value, { minLength: 2, maxLength: 2 }))
      .map(([[called, { args }], given]) => ` | ${called}${args[1] ? `: ${given.slice(0, args[1]).join(", ")}` : ""}`);
    const piped = fc.tuple(value, fc.array(filter, { maxLength: 4 })).map(([first, rest]) => first + rest.join(""));
    const condition = fc
      .array(fc.tuple(value, fc.constantFrom(...Object.keys(operators).filter((each) => each !== "not")), value), {
        minLength: 1,
        maxLength: 4,
      })
      .map((all) => all.map((each) => each.join(" ")).join(" or "));
    const step = fc.oneof(
      piped.map((each) => `{{ ${each} }}`),
      fc.tuple(name, piped).map(([to, each]) => `{% assign ${to.replace(/\W.*/, "")} = ${each} %}`),
      fc.tuple(condition, piped).map(([of, each]) => `{% if ${of} %}{{ ${each} }}{% else %}-{% endif %}`),
      piped.map((each) => `{% capture t %}{{ ${each} }}{{ t }}{% endcapture %}`),
    );
    const template = fc
      .tuple(fc.array(step, { minLength: 1, maxLength: 8 }), fc.nat(6))
      .map(([steps, times]) => steps.join("").repeat(1 + times));
    const size = fc.constantFrom(0, 1, 1_000, 30_000);
    const payload = fc
      .tuple(fc.constantFrom("b", "ΐ", " ", "\u0001", "😀", "ab"), size, fc.constantFrom(0, 1, 3_000))
      .map(([letter, texts, elements]) => ({
        t: letter.repeat(texts),
        u: letter.repeat(texts / 10),
        s: letter,
        l: Array<string>(elements).fill(letter),
        n: Array<number>(elements).fill(1e20),
        o: Object.fromEntries(Array.from({ length: elements / 10 }, (_, i) => [`k${i}`, { a: i }])),
        d: [[[["x", {}]]], [letter]],
      }));
    let ended = 0;
    fc.assert(
      fc.property(template, payload, (text, over) => {
        fc.pre(templateFault(text) === null);
        let counted: ReturnType<typeof renderCounted>;
        try {
          counted = renderCounted(text, over);
        } catch (error) {
          expect(error).toMatchObject({ code: "invalid_argument", message: expect.stringMatching(/more|deeper/) });
          return;
        }
        ended += 1;
        expect(counted.done).toBeLessThanOrEqual(mostWork);
        expect(counted.made).toBeLessThanOrEqual(mostMade);
        // What is shown was counted, but for the template's own text.
        expect(counted.text.length).toBeLessThanOrEqual(counted.made + text.length);
      }),
      { seed: 20261126, numRuns: 300 },
    );
    expect(ended).toBeGreaterThan(100);
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
