// What a template does, counted before it is done: the clock stands still on the hosted runtime, and liquidjs looks at its
// limits between nodes only. There are no loops, so nodes are as few as a template's characters; what counts is what a node
// does with a large value.
import { Context, Drop, toValue, type Scope } from "liquidjs";
import { GriffinError } from "../errors.ts";

/** In looks at a character, of which one takes a few nanoseconds: what is slower counts as more of them. */
export const mostWork = 10_000_000;
/** Characters that a template may make, with all that it makes on its way, so at most twice the bytes. */
export const mostMade = 2_000_000;
/** Arrays and objects within each other, of values that are spelled. */
export const mostDepth = 64;

/** For a property, an operator, a filter. */
const stepWork = 200;
/** For a character where a needle might begin, which V8 looks for with a call of its own where that is short. */
const searchWork = 10;
/** For an element of what is walked through. */
export const elementWork = 200;
/** A reference to a value, in characters. */
export const elementSize = 4;
/** Such as -1.2345678901234567e-100. */
const mostNumberCharacters = 25;
/** A control character in JSON: \u0001. */
const mostEscapedCharacters = 6;

/** Where a template runs: its variables, and what it has done so far. */
export class Work extends Context {
  #done = 0;
  #made = 0;

  get done(): number {
    return this.#done;
  }

  get made(): number {
    return this.#made;
  }

  /** Throws `invalid_argument` where that is too much. */
  use(units: number): void {
    this.#done += stepWork + units;
    if (this.#done > mostWork) throw tooMuch("takes more work than a template may");
  }

  /** Before `characters` are made. Throws `invalid_argument` where that is too much. */
  make(characters: number): void {
    this.#made += characters;
    if (this.#made > mostMade) throw tooMuch(`makes more than ${mostMade} characters, with all on its way,`);
    this.use(characters);
  }

  /** Before a text is searched: at worst each of its characters is compared with each of the needle. */
  search(text: string, needle: string): void {
    this.use(text.length * (searchWork + needle.length));
  }

  /** Own properties, by texts and numbers: any other key would be spelled first, however large it is. */
  override readProperty(from: Scope, key: unknown): unknown {
    const name = toValue(key);
    if (typeof name !== "string" && typeof name !== "number") return undefined;
    this.use(typeof name === "string" ? name.length : 0);
    // An object has no size of its own: its properties would be listed for that.
    if (name === "size" && isObject(from) && !Object.hasOwn(from, name)) return undefined;
    return super.readProperty(from, name);
  }

  /** A value as a template shows it. */
  text(given: unknown, depth = 0): string {
    const value: unknown = toValue(given);
    if (typeof value === "string") return value;
    if (value === null || value === undefined) return "";
    if (!Array.isArray(value)) {
      this.make(mostNumberCharacters);
      return isObject(value) ? "[object Object]" : String(value);
    }
    checkDepth(depth);
    this.use(value.length * elementWork);
    return this.joined(
      value.map((element) => this.text(element, depth + 1)),
      "",
    );
  }

  joined(texts: readonly string[], separator: string): string {
    const characters = texts.reduce((sum, { length }) => sum + length, 0);
    this.make(characters + separator.length * Math.max(0, texts.length - 1));
    return texts.join(separator);
  }

  json(given: unknown): string | undefined {
    const value: unknown = toValue(given);
    this.#spell(value, 0);
    return JSON.stringify(value);
  }

  /** What JSON needs for a value at most. */
  #spell(value: unknown, depth: number): void {
    this.use(elementWork);
    if (typeof value === "string") this.make(2 + value.length * mostEscapedCharacters);
    else if (typeof value !== "object" || value === null) this.make(mostNumberCharacters);
    else {
      checkDepth(depth);
      this.make(2);
      if (Array.isArray(value)) for (const element of value) this.#spell(element, depth + 1);
      else for (const [key, property] of Object.entries(value)) this.#spellProperty(key, property, depth + 1);
    }
  }

  #spellProperty(key: string, property: unknown, depth: number): void {
    this.make(4 + key.length * mostEscapedCharacters);
    this.#spell(property, depth);
  }
}

/** Neither an array, nor what liquidjs calls a drop: `empty`, `blank`, `nil`. */
export const isObject = (value: unknown): value is object =>
  typeof value === "object" && value !== null && !Array.isArray(value) && !(value instanceof Drop);

function checkDepth(depth: number): void {
  if (depth >= mostDepth) throw tooMuch(`spells what is nested deeper than ${mostDepth}`);
}

const tooMuch = (what: string) => new GriffinError("invalid_argument", `The template ${what} with this payload.`);
