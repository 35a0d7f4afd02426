// What a format costs: compiling it, and what each token costs beside the model, in Node; then pocket's rate with and
// without one, under workerd. The vocabulary is pocket's, and one of 256 000 made-up words, as large as Gemma's.
import { readFile } from "node:fs/promises";
import path from "node:path";
import { compileFormat, Constraint, type Format } from "../src/engine/constraints/constraint.ts";
import { Tokenizer } from "../src/model/tokenizer.ts";
import { startServer, type TestServer } from "../test/server.ts";
import { median, type Figure } from "./figure.ts";
import type { Section } from "./report.ts";
import { interleave } from "./rounds.ts";

const person = {
  type: "object",
  properties: {
    name: { type: "string" },
    age: { type: "integer", minimum: 0, maximum: 150 },
    tags: { type: "array", items: { type: "string", maxLength: 40 } },
  },
  required: ["name", "age", "tags"],
};
const formats: Record<string, Format> = {
  "JSON of a schema": { type: "json_schema", schema: JSON.stringify({ type: "array", items: person }) },
  "text beside tools": {
    type: "tool_call",
    tools: [{ name: "f", parameters: JSON.stringify(person) }],
    otherwise: { type: "text" },
  },
  "a pattern": { type: "regex", pattern: "([A-Z][a-z]{1,12}( [a-z]{1,12}){3,12}[.!?] ?)*" },
};
const tokensARound = 200;
const stopTokens = [1];
const ratesNote =
  "512 tokens of a chat completion, the request and its prompt included. Beside tools the prompt has some 350 tokens more: what the model is told of them.";

export async function measureConstraints(): Promise<Section[]> {
  const file = path.join(import.meta.dirname, "../models/pocket/tokenizer.json");
  const pocket = new Tokenizer(JSON.parse(await readFile(file, "utf8")));
  const large = new Tokenizer(madeUp(256_000));
  const figures: Figure[] = [];
  for (const [name, format] of Object.entries(formats)) {
    figures.push(
      ...(await interleave([
        { name: `compiling ${name}`, unit: "ms", measure: () => compileMs(format) },
        { name: `${name}, 2 048 tokens`, unit: "µs", measure: () => microsecondsAToken(format, pocket) },
        { name: `${name}, 256 000 tokens`, unit: "µs", measure: () => microsecondsAToken(format, large) },
      ])),
    );
  }
  const server = await startServer();
  try {
    const rates = await measureRates(server);
    return [
      { title: "What a format costs a token, beside the model, in Node", figures },
      { title: "Pocket with and without a format, under workerd serve", figures: rates, notes: [ratesNote] },
    ];
  } finally {
    await server.stop();
  }
}

function compileMs(format: Format): number {
  const startMs = performance.now();
  compileFormat(format);
  return performance.now() - startMs;
}

/** Of a reply that is drawn from all tokens that fit: sets of places are met for the first time, masks made. */
function microsecondsAToken(format: Format, tokenizer: Tokenizer): number {
  const constraint = new Constraint(compileFormat(format), tokenizer, stopTokens, tokenizer.size);
  const logits = new Float32Array(tokenizer.size);
  let ms = 0;
  let draw = 1;
  let tokens = 0;
  for (; tokens < tokensARound; tokens++) {
    logits.fill(0);
    const startMs = performance.now();
    constraint.apply(logits);
    ms += performance.now() - startMs;
    const allowed = [...logits.keys()].filter((token) => logits[token] === 0 && !stopTokens.includes(token));
    if (allowed.length === 0) break;
    draw = (Math.imul(draw, 1_103_515_245) + 12_345) & 0x7fffffff;
    const token = allowed[draw % allowed.length] ?? 0;
    const acceptedMs = performance.now();
    constraint.accept(token);
    ms += performance.now() - acceptedMs;
  }
  return (ms / tokens) * 1000;
}

async function measureRates(server: TestServer): Promise<Figure[]> {
  const rate = (asked: object) => async () => {
    const body = {
      // Without its stop tokens pocket talks on until it has said as much as it may.
      logit_bias: { 1: -100, 5: -100 },
      max_tokens: 512,
      messages: [{ role: "user", content: "Hello!" }],
      ...asked,
    };
    const startMs = performance.now();
    const answer = await fetch(`${server.url}/v1/chat/completions`, {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify(body),
    });
    const { usage } = (await answer.json()) as { usage: { completion_tokens: number } };
    return usage.completion_tokens / ((performance.now() - startMs) / 1000);
  };
  const figures = await interleave([
    { name: "free", unit: "tokens/s", measure: rate({}) },
    {
      name: "JSON of a schema",
      unit: "tokens/s",
      measure: rate({ structured_outputs: { json: { type: "array", items: person, minItems: 60 } } }),
    },
    { name: "text beside tools", unit: "tokens/s", measure: rate({ tools: [tool] }) },
    { name: "a pattern", unit: "tokens/s", measure: rate({ structured_outputs: { regex: "[ -~]*" } }) },
  ]);
  const [free] = figures;
  return figures.map((figure) => ({
    ...figure,
    shares: [{ of: "of free", values: figure.values.map((value, i) => value / (free?.values[i] ?? median([]))) }],
  }));
}

const tool = { type: "function", function: { name: "f", parameters: person } };

/** A tokenizer of so many different tokens, from a literal seed: bytes, and words of 1 to 12 letters with spaces. */
function madeUp(size: number) {
  const bytes = Array.from({ length: 256 }, (_, b) => `<0x${b.toString(16).toUpperCase().padStart(2, "0")}>`);
  const contents = new Set(["<pad>", "<eos>", "<bos>", ...bytes]);
  let state = 1;
  const next = (below: number) => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return Math.floor((state / 2 ** 32) * below);
  };
  const letters = 'etaoinshrdlucmfwypvbgkjqxzETAOIN0123456789.,:"{}[]()-';
  while (contents.size < size) {
    const length = 1 + next(12);
    const word = Array.from({ length }, () => letters.charAt(Math.min(next(60), next(60), letters.length - 1)));
    contents.add((next(2) === 0 ? "▁" : "") + word.join(""));
  }
  return {
    added_tokens: [1, 2].map((id) => ({ id, content: [...contents][id], special: true })),
    normalizer: { type: "Replace", pattern: { String: " " }, content: "▁" },
    decoder: {
      type: "Sequence",
      decoders: [{ type: "Replace", pattern: { String: "▁" }, content: " " }, { type: "ByteFallback" }],
    },
    model: {
      type: "BPE",
      byte_fallback: true,
      merges: [],
      vocab: Object.fromEntries([...contents].map((content, id) => [content, id])),
    },
  };
}
