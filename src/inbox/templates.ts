// Templates: from the payload of a post to the key of its conversation, and to what the model is told. The language is
// Liquid without loops, ranges and files, and with few filters: whatever a payload has in it, a template ends soon.
import { Liquid, toValueSync, TypeGuards, Value, type Context, type Filter, type Template, type Token } from "liquidjs";
import { GriffinError } from "../errors.ts";
import type { Payload } from "./payload.ts";
import { filters, operators, workOf } from "./template-language.ts";
import { Work } from "./template-work.ts";

export const mostTemplateCharacters = 8_192;
export const mostKeyCharacters = 256;
export const mostInputCharacters = 100_000;
/** Texts, tags, values, operators and filters of a template. */
export const mostSteps = 500;

/** `case` compares by a way of its own, and `#` has a pattern that takes the square of its length. */
const tags: ReadonlySet<string> = new Set(["if", "unless", "assign", "capture", "comment", "raw"]);

const engine = new Liquid({
  // What is missing is empty; what does not exist in the language is an error at once.
  strictVariables: false,
  strictFilters: true,
  ownPropertyOnly: true,
  templates: {},
  parseLimit: mostTemplateCharacters,
  operators,
  // The last filter of each output: what is shown is counted before it is added to the rest.
  outputEscape(this: { context: Context }, value: unknown) {
    const work = workOf(this.context);
    const text = work.text(value);
    work.make(text.length);
    return text;
  },
});
for (const name of Object.keys(engine.tags)) if (!tags.has(name)) delete engine.tags[name];
for (const name of Object.keys(engine.filters)) delete engine.filters[name];
for (const [name, { run }] of filters) {
  engine.registerFilter(name, function (value: unknown, ...args: unknown[]) {
    return run(workOf(this.context), value, ...args);
  });
}

/** What is wrong with a template; null where nothing is. */
export function templateFault(template: string): string | null {
  if (template.length > mostTemplateCharacters) return `a template has at most ${mostTemplateCharacters} characters`;
  try {
    parse(template);
    return null;
  } catch (error) {
    // The first line: those after it quote the template.
    return (error instanceof Error ? error.message : "").split("\n")[0] || "this is no template";
  }
}

/** What a template makes of a payload. Throws `invalid_argument` where it makes more than it may. */
export const render = (template: string, payload: Payload): string => renderCounted(template, payload).text;

/** The same, with the work that it was and the characters that were made on the way. */
export function renderCounted(template: string, payload: Payload): { text: string; done: number; made: number } {
  try {
    const work = new Work(payload, engine.options, { sync: true }, { liquid: engine });
    // Where `assign` puts its variables: a copy of all of the payload would be work as well.
    work.bottom()["payload"] = payload;
    const text = String(engine.renderSync(parse(template), work));
    return { text, done: work.done, made: work.made };
  } catch (error) {
    const { originalError: reason } = error as { originalError?: unknown };
    if (reason instanceof GriffinError) throw reason;
    // What went wrong may quote the payload.
    throw new GriffinError("invalid_argument", "The template cannot be applied to this payload.");
  }
}

function parse(template: string): Template[] {
  const templates = engine.parse(template);
  const steps = stepsOf(templates);
  if (steps > mostSteps) throw new Error(`a template has at most ${mostSteps} steps, this has ${steps}`);
  return templates;
}

/** How many there are. Throws where a template has what liquidjs reads and this language has not. */
const stepsOf = (templates: readonly Template[]): number =>
  sum(templates, (template) => {
    const values = sum([...(template.arguments?.() ?? [])], (each) =>
      each instanceof Value ? stepsOfValue(each) : stepsOfToken(each),
    );
    return 1 + values + (template.children ? stepsOf(toValueSync(template.children(false, true))) : 0);
  });

const stepsOfValue = ({ initial, filters: piped }: Value): number =>
  sum(initial.postfix, stepsOfToken) +
  sum(piped, ({ name, args }) => {
    const [least, most] = filters.get(name)?.args ?? [0, 0];
    if (args.length < least || args.length > most) {
      throw new Error(`${name} takes ${least === most ? least : `${least} to ${most}`} arguments`);
    }
    return 1 + sum(args, (each) => stepsOfArgument(name, each));
  });

function stepsOfArgument(filter: string, argument: Filter["args"][number]): number {
  if (Array.isArray(argument)) throw new Error(`${filter} takes no named arguments`);
  return stepsOfToken(argument);
}

function stepsOfToken(token: Token): number {
  // Between large numbers there is no end of one: 2 ** 53 + 1 is 2 ** 53.
  if (TypeGuards.isRangeToken(token)) throw new Error("there are no ranges");
  if (!TypeGuards.isPropertyAccessToken(token)) return 1;
  const [first] = token.props;
  if (!token.variable && !TypeGuards.isWordToken(first) && !TypeGuards.isQuotedToken(first)) {
    throw new Error("a variable begins with its name");
  }
  return sum(token.props, stepsOfToken) + (token.variable ? stepsOfToken(token.variable) : 0);
}

const sum = <T>(all: readonly T[], of: (each: T) => number): number => all.reduce((total, each) => total + of(each), 0);
