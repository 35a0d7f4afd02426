// Replies that a format allows, drawn without a model: at each place one of the tokens that fit, by a literal seed.
import { Automaton, dead } from "../../../src/engine/constraints/automaton.ts";
import { compileFormat, Constraint, type Format } from "../../../src/engine/constraints/constraint.ts";
import { Tokenizer } from "../../../src/model/tokenizer.ts";
import { gemmaTokenizer } from "../../model/gemma-tokenizer.ts";

export const tokenizer = new Tokenizer(gemmaTokenizer());
const stopToken = tokenizer.idOf("<end_of_turn>")!;
const mostTokens = 3_000;

/** A reply in this format; null where it did not come to its end. It ends as soon as it may, more often than not. */
export const drawReply = (format: Format, seed: number): string | null => drawTokens(format, seed)?.join("") ?? null;

/** The same as the texts of its tokens; characters of several tokens are one. */
export function drawTokens(format: Format, seed: number): string[] | null {
  const constraint = new Constraint(compileFormat(format), tokenizer, [stopToken], tokenizer.size);
  const draw = random(seed);
  const tokens: number[] = [];
  while (tokens.length < mostTokens) {
    const logits = new Float32Array(tokenizer.size);
    constraint.apply(logits);
    const allowed = [...logits.keys()].filter((token) => logits[token] === 0);
    if (allowed.length === 0) throw new Error(`No token fits behind ${tokenizer.decode(tokens)}`);
    // What closes is drawn more often than what opens, or few replies would come to their end.
    const closing = allowed.filter((token) => token === stopToken || /^["\]}]/.test(tokenizer.decode([token])));
    const from = closing.length > 0 && draw() < 0.4 ? closing : allowed;
    const token = from[Math.floor(draw() * from.length)]!;
    constraint.accept(token);
    if (token === stopToken) {
      const decoder = tokenizer.createDecoder();
      return [...tokens.map((each) => decoder.push(each)), decoder.end()].filter((text) => text !== "");
    }
    tokens.push(token);
  }
  return null;
}

/** Whether a format allows exactly this text. */
export function allows(format: Format, text: string): boolean {
  const automaton = new Automaton(compileFormat(format));
  let at = automaton.start;
  for (const byte of new TextEncoder().encode(text)) at = at === dead ? dead : automaton.next(at, byte);
  return at !== dead && automaton.mayEnd(at);
}

/** Numbers from 0 to below 1 (mulberry32). */
function random(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}
