// Tokens as log-probabilities show them: each with a name, and with its place in the text of its choice.
import type { TokenReport } from "../engine/log-probabilities.ts";
import type { Tokenizer } from "../model/tokenizer.ts";
import type { PlacedToken } from "./completion-protocol.ts";

const utf8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

/**
 * What a token is called by itself: its text; `bytes:\xe2\x96` where that is part of a character; `token_id:5` where it
 * has none, as control tokens.
 */
export function tokenName(token: number, tokenizer: Tokenizer): string {
  const bytes = tokenizer.bytesOf(token);
  if (bytes === undefined) return `token_id:${token}`;
  try {
    return utf8.decode(bytes);
  } catch {
    return `bytes:${Array.from(bytes, (byte) => `\\x${byte.toString(16).padStart(2, "0")}`).join("")}`;
  }
}

/** Counts the characters of a choice, token by token. Stop strings count: they end a text, but not what its tokens spell. */
export class Placing {
  readonly #tokenizer: Tokenizer;
  readonly #names: Map<number, string>;
  readonly #decoder: ReturnType<Tokenizer["createDecoder"]>;
  #offset: number;

  /** From `offset` characters on. `names` remembers the names of tokens. */
  constructor(tokenizer: Tokenizer, names: Map<number, string>, offset = 0) {
    this.#tokenizer = tokenizer;
    this.#names = names;
    this.#offset = offset;
    this.#decoder = tokenizer.createDecoder();
  }

  /** Characters so far. */
  get offset(): number {
    return this.#offset;
  }

  /** The next token and the text that it releases. `report` is null where nothing came before it. */
  place(token: number, report: TokenReport | null): { placed: PlacedToken; text: string } {
    const top = (report?.top ?? []).map((each) => ({ ...each, name: this.#name(each.token) }));
    const { logProbability = null } = report ?? {};
    const placed = { token, name: this.#name(token), offset: this.#offset, logProbability, top };
    return { placed, text: this.#count(this.#decoder.push(token)) };
  }

  /** The text of a character that did not come to its end. */
  end(): string {
    return this.#count(this.#decoder.end());
  }

  #count(text: string): string {
    for (const _ of text) this.#offset++;
    return text;
  }

  #name(token: number): string {
    let name = this.#names.get(token);
    if (name === undefined) this.#names.set(token, (name = tokenName(token, this.#tokenizer)));
    return name;
  }
}
