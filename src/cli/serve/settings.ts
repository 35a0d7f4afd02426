// What the environment of `npm start` and `npm run serve` says to the worker, which knows no environment: the variables
// and secrets that a deployment has. Both listen on 127.0.0.1 alone, so without an administrators' key they are open.
import { originSettings } from "../../engine/origin/settings.ts";

/** Variables and secrets of the worker; src/conversation/env.ts says what each is for. */
export const settings = [
  "ACCESS",
  "ADMIN_KEY",
  "KEY_SECRET",
  "MODEL_MEMORY_MB",
  "MODERATION",
  "MODERATION_KEY",
  "OPERATOR",
  "ORIGIN_BATCHES",
  "ORIGIN_KEY",
  "ORIGIN_PREFILL_TOKENS",
  "ORIGIN_URL",
  "RETENTION_DAYS",
  "WEBHOOKS_DEVELOPMENT",
] as const;

/** Those that are set, and whether keys are needed. Fails on a secret that no header can carry, and on an origin that is none. */
export function settingsOf(environment: NodeJS.ProcessEnv): Record<string, string> {
  for (const name of ["ADMIN_KEY", "KEY_SECRET"]) {
    if (/[^\x21-\x7e]/.test(environment[name] ?? "")) {
      throw new Error(`${name} may have neither white space nor letters outside ASCII in it.`);
    }
  }
  originSettings(environment, "model");
  const given = settings.flatMap((name) => (environment[name] ? [[name, environment[name]] as const] : []));
  return { ACCESS: environment["ADMIN_KEY"] ? "keys" : "open", ...Object.fromEntries(given) };
}

/** The same as a file that wrangler reads. Fails on a value that no such file can hold. */
export const settingsFile = (set: Record<string, string>): string =>
  Object.entries(set)
    .map(([name, value]) => `${name}=${quoted(name, value)}\n`)
    .join("");

function quoted(name: string, value: string): string {
  const quote = ["'", "`", '"'].find((each) => !value.includes(each));
  if (quote === undefined || value.includes("\n")) {
    throw new Error(`${name} may have neither several lines nor all kinds of quotes.`);
  }
  return quote + value.replaceAll("$", "\\$") + quote;
}

/** Says who may ask, where that is everybody, and where webhooks may go, where that is everywhere. */
export function accessNote(set: Record<string, string>): string {
  const notes = [
    set["ACCESS"] === "open" &&
      "Open to every program on this machine: no key is asked for. ADMIN_KEY=… asks for keys.",
    set["WEBHOOKS_DEVELOPMENT"] === "1" &&
      "WEBHOOKS_DEVELOPMENT is on: webhooks may go to http addresses, and to this machine.",
  ];
  return notes.filter((note) => note !== false).join("\n");
}
