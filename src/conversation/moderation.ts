// Moderation: a service of the operator's that is asked about what users say, and about replies before anybody reads
// them. It speaks the form of OpenAI's /v1/moderations: a text goes there as `input`, and comes back flagged or not. Off
// unless MODERATION is set. Where the service does not answer, nothing is said: a turn fails rather than go unseen.
import { z } from "zod";
import { GriffinError } from "../errors.ts";
import type { Env } from "./env.ts";

type ModerationEnv = Pick<Env, "MODERATION" | "MODERATION_KEY" | "MODERATOR">;

/** MODERATION, as JSON. */
const options = z.object({
  /** Where the service is; not needed where a worker is bound as MODERATOR. */
  url: z.url({ protocol: /^https?$/ }).default("https://moderator.invalid/v1/moderations"),
  /** Given on to the service. */
  model: z.string().optional(),
  input: z.boolean().default(true),
  output: z.boolean().default(true),
});

const verdict = z.object({ results: z.array(z.object({ flagged: z.boolean() })).min(1) });

/** So long the service may think about one text. */
const patienceMs = 10_000;
/** A reply is read by the service in pieces of this length, and by others after it. */
const pieceCharacters = 600;
/** Of the piece before, so that nothing hides on a border. */
const overlapCharacters = 200;

/** What is looked at, and how. */
export interface Moderation {
  input: boolean;
  output: boolean;
  /** Throws `refused` where the service flags the text, and `moderation_failed` where it does not answer. */
  check(text: string): Promise<void>;
}

/** What is moderated. Throws `invalid_config`. */
export const moderates = (env: ModerationEnv): { input: boolean; output: boolean } =>
  moderationOf(env) ?? { input: false, output: false };

/** The operator's moderation; null where there is none. Throws `invalid_config`. */
export function moderationOf(env: ModerationEnv): Moderation | null {
  if (!env.MODERATION) return null;
  const { url, model, input, output } = parse(env.MODERATION);
  // Called by its name alone: the runtime refuses its own fetch as a method of anything else.
  const service = env.MODERATOR ?? { fetch: (at: string, init: RequestInit) => fetch(at, init) };
  const headers = {
    "content-type": "application/json",
    ...(env.MODERATION_KEY && { authorization: `Bearer ${env.MODERATION_KEY}` }),
  };
  const isFlagged = async (text: string): Promise<boolean> => {
    const body = JSON.stringify({ input: text, ...(model !== undefined && { model }) });
    const signal = AbortSignal.timeout(patienceMs);
    const answer = await service.fetch(url, { method: "POST", headers, body, signal, redirect: "manual" });
    if (!answer.ok) throw new Error(`status ${answer.status}`);
    return verdict.parse(await answer.json()).results.some(({ flagged }) => flagged);
  };
  return {
    input,
    output,
    async check(text) {
      if (text.trim() === "") return;
      const isRefused = await isFlagged(text).catch((cause: unknown) => {
        // Not its message, which may quote what was said.
        const error = cause instanceof Error ? cause : new Error();
        const status = /^status \d+$/.exec(error.message)?.[0];
        console.error(JSON.stringify({ event: "moderation_failed", error_name: error.name, status }));
        const message = "The moderation service of this server does not answer, so nothing was said: try again later.";
        throw new GriffinError("moderation_failed", message, { cause });
      });
      if (isRefused)
        throw new GriffinError("refused", "This was refused: the operator of this server does not allow it.");
    },
  };
}

/** Where the events of a reply go: on, once the service has seen the text in them. */
export interface OutputGate<Event> {
  add(event: Event): Promise<void> | void;
  /** Lets the last ones go on; `rest` is text that comes after them. */
  end(rest: string): Promise<void> | void;
}

/** A gate in front of `pass`; without moderation of replies it is open. */
export function outputGate<Event extends { text: string }>(
  moderation: Moderation | null,
  pass: (event: Event) => void,
): OutputGate<Event> {
  if (!moderation?.output) return { add: pass, end: () => undefined };
  const held: Event[] = [];
  let unseen = "";
  let seen = "";
  const look = async () => {
    await moderation.check(seen + unseen);
    seen = (seen + unseen).slice(-overlapCharacters);
    unseen = "";
    for (const event of held.splice(0)) pass(event);
  };
  return {
    add(event) {
      held.push(event);
      unseen += event.text;
      return unseen.length >= pieceCharacters ? look() : undefined;
    },
    end(rest) {
      unseen += rest;
      return look();
    },
  };
}

function parse(text: string): z.infer<typeof options> {
  try {
    return options.parse(JSON.parse(text));
  } catch (cause) {
    const form = '{"url": "https://…/v1/moderations", "input": true, "output": true}';
    throw new GriffinError("invalid_config", `MODERATION must be JSON such as ${form}.`, { cause });
  }
}
