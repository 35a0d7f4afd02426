// Templates: from the payload of a post to the key of its conversation, and to what the model is told. The language is
// Liquid without loops and without files, and with few filters: whatever a payload has in it, a template ends soon.
import { Liquid, type Template } from "liquidjs";
import { GriffinError } from "../errors.ts";
import type { Payload } from "./payload.ts";

export const mostTemplateCharacters = 8_192;
export const mostKeyCharacters = 256;
export const mostInputCharacters = 100_000;
/** Characters and elements that a template may make, with all that it makes on its way. */
const mostMade = 2_000_000;
/** Where the clock goes on while a template runs; hosted, it stands still, and there are no loops either. */
const mostRenderMs = 500;

const tags = words("if unless case assign capture comment # raw");
const filters = words(`
  append prepend capitalize downcase upcase strip lstrip rstrip strip_newlines
  replace replace_first remove remove_first slice split truncate truncatewords
  default size first last join map uniq compact json url_encode url_decode
`);

const engine = new Liquid({
  // What is missing is empty; what does not exist in the language is an error at once.
  strictVariables: false,
  strictFilters: true,
  ownPropertyOnly: true,
  templates: {},
  parseLimit: mostTemplateCharacters,
  renderLimit: mostRenderMs,
  memoryLimit: mostMade,
});
for (const name of Object.keys(engine.tags)) if (!tags.has(name)) delete engine.tags[name];
for (const name of Object.keys(engine.filters)) if (!filters.has(name)) delete engine.filters[name];

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
export function render(template: string, payload: Payload): string {
  try {
    return String(engine.renderSync(parse(template), { ...payload, payload }));
  } catch {
    // What went wrong may quote the payload.
    throw new GriffinError("invalid_argument", "The template cannot be applied to this payload.");
  }
}

const parse = (template: string): Template[] => engine.parse(template);

function words(list: string): ReadonlySet<string> {
  return new Set(list.trim().split(/\s+/));
}
