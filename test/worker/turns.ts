// Turns as the HTTP layer asks for them, and what comes back over RPC.
import { env } from "cloudflare:test";
import { RunningCharge } from "../../src/conversation/charges.ts";
import type { ConversationStub, Env } from "../../src/conversation/env.ts";
import type { TurnHost } from "../../src/conversation/run-turn.ts";
import type { Store } from "../../src/conversation/store.ts";
import { plainOptions } from "../turn-options.ts";
import type { TurnEvent, TurnOptions, TurnPlace, TurnRequest, TurnView } from "../../src/conversation/protocol.ts";

export const greedy: TurnOptions = { ...plainOptions, maxTokens: 200, temperature: 0 };

export const stubOf = (name: string): ConversationStub => env.CONVERSATIONS.get(env.CONVERSATIONS.idFromName(name));

/** A request for one message, on branch 0 unless told. */
export function say(
  content: string,
  change: Omit<Partial<TurnRequest>, "options"> & { options?: Partial<TurnOptions> } = {},
): TurnRequest {
  const place: TurnPlace = { kind: "branch", branch: 0 };
  const rest = { endsWithClient: false, repeatKey: null, repeatWithinMs: 0, isNamed: true, metadata: {} };
  return {
    place,
    messages: [{ role: "user", content }],
    ...rest,
    ...change,
    options: { ...greedy, ...change.options },
  };
}

/** What a turn runs in, charged to nobody. */
export function hostOf(store: Store, variables: object = {}): TurnHost {
  const inside: Env = { ...env, ...variables };
  const charge = new RunningCharge(null, inside);
  return { store, env: inside, charge, now: Date.now, keepsPrefixes: false, ended: () => undefined };
}

/** All events of a stream. */
export async function eventsOf(stream: ReadableStream<Uint8Array>): Promise<TurnEvent[]> {
  const text = await new Response(stream).text();
  return text
    .trimEnd()
    .split("\n")
    .map((line) => JSON.parse(line) as TurnEvent);
}

/** Runs a turn to its end. */
export async function turn(stub: ConversationStub, request: TurnRequest): Promise<TurnView> {
  return finalView(await eventsOf(await stub.stream(request)));
}

export function finalView(events: readonly TurnEvent[]): TurnView {
  const last = events.at(-1);
  if (last?.type !== "ended") throw new Error("the stream has no end");
  return last.view;
}

export function textOf(events: readonly TurnEvent[]): string {
  return events
    .map((event) => (event.type === "token" ? event.text : event.type === "ended" ? event.rest : ""))
    .join("");
}

/** Reads a stream until so many tokens have come, then goes away. */
export async function readTokens(stream: ReadableStream<Uint8Array>, count: number): Promise<TurnEvent[]> {
  const reader = stream.getReader();
  const utf8 = new TextDecoder();
  let text = "";
  const events = () =>
    text
      .slice(0, text.lastIndexOf("\n"))
      .split("\n")
      .map((line) => JSON.parse(line) as TurnEvent);
  for (let next = await reader.read(); !next.done; next = await reader.read()) {
    text += utf8.decode(next.value, { stream: true });
    if (text.includes("\n") && events().filter(({ type }) => type === "token").length >= count) break;
  }
  await reader.cancel();
  return events();
}
