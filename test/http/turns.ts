// Turns as an object would tell of them.
import type { TurnEvent, TurnView } from "../../src/conversation/protocol.ts";
import { plainOptions as options } from "../turn-options.ts";

export { options };

export const objectName = "a".repeat(31) + "2";

/** A turn that completed with the reply "Hi, Ada!". */
export const finished: TurnView = {
  turn: 3,
  parent: 2,
  branch: 0,
  kind: "reply",
  status: "completed",
  createdMs: 1_700_000_000_900,
  finishedMs: 1_700_000_002_100,
  messages: [{ role: "user", content: "I am Ada." }],
  removedItems: [],
  options,
  metadata: { topic: "names" },
  text: "Hi, Ada!",
  mayCall: false,
  finishReason: "stop",
  state: "restored",
  placement: "edge",
  usage: { promptTokens: 30, cachedTokens: 20, completionTokens: 4, computedTokens: 14 },
  storage: { stateBytes: 45_056, rowsWritten: 5, bytesWritten: 9_000 },
  error: null,
};

/** What an answer says of it besides what others' answers have. */
export const report = {
  state: "restored",
  griffin: {
    state_bytes: 45_056,
    restored_tokens: 20,
    computed_tokens: 14,
    rows_written: 5,
    bytes_written: 9_000,
    placement: "edge",
  },
};

export const started: TurnView = {
  ...finished,
  status: "in_progress",
  finishedMs: null,
  text: "",
  finishReason: null,
  state: null,
  usage: null,
  storage: null,
};

type Extra = Partial<TurnEvent & { type: "token" }>;

/** The events of a turn whose tokens spell these texts. */
export function eventsOf(view: TurnView, texts: string[], rest = "", extra: Extra = {}): TurnEvent[] {
  return [
    { type: "started", view: { ...started, turn: view.turn, options: view.options, messages: view.messages } },
    ...texts.map((text, index) => ({ type: "token" as const, index, token: 100 + index, text, ...extra })),
    { type: "ended", rest, view },
  ];
}

export async function collect<T>(items: AsyncIterable<T>): Promise<T[]> {
  const all: T[] = [];
  for await (const item of items) all.push(item);
  return all;
}

/** The code of what a check throws, and the field it blames; null where it throws nothing. */
export const fault = (ask: () => unknown) => {
  try {
    ask();
  } catch (error) {
    const { code, cause } = error as { code: string; cause: { param: string } };
    return [code, cause.param];
  }
  return null;
};
