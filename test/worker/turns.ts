// Turns as the HTTP layer asks for them, and what comes back over RPC.
import { env } from "cloudflare:test";
import type { ConversationStub } from "../../src/conversation/env.ts";
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
