// The turns of a chat as the page knows them: a tree, of which every conversation (a branch on the server) is one path.
import type { Item, Report, ResponseStatus } from "./api.ts";
import type { Measured } from "./figures.ts";

/** A message and the reply to it. */
export interface Turn {
  /** The response's id; null until the server has named it. */
  response: string | null;
  parent: Turn | null;
  message: string;
  reply: string;
  /** `waiting` until the server has it; `failed` is on no branch; `broken` is one this page could not follow. */
  status: ResponseStatus | "waiting" | "broken";
  report: Report;
  measured: Measured;
  /** Why it failed, in words. */
  fault: string | null;
}

/** Whether a turn's reply is still to come to its end. */
export const isRunning = ({ status }: Turn): boolean => status === "waiting" || status === "in_progress";

/** Whether a turn came to nothing, as far as is known. */
export const hasFailed = ({ status }: Turn): boolean => status === "failed" || status === "broken";

/** A turn that is about to be asked for. */
export const newTurn = (parent: Turn | null, message: string): Turn => ({
  response: null,
  parent,
  message,
  reply: "",
  status: "waiting",
  report: {},
  measured: {},
  fault: null,
});

export class Tree {
  /** Oldest branch first. */
  readonly #paths = new Map<string, Turn[]>();

  path(conversation: string): readonly Turn[] {
    return this.#paths.get(conversation) ?? [];
  }

  /**
   * Takes in what the server has of a conversation: of each response the messages it answers, then the reply.
   * Turns known from another conversation are the same turns.
   */
  put(conversation: string, items: readonly Item[]): void {
    const path: Turn[] = [];
    for (const [response, group] of Map.groupBy(items, (item) => item.response_id)) {
      const messages = group.map(textOf);
      const reply = messages.pop() ?? "";
      const last = group.at(-1);
      const known = this.#all().find((turn) => turn.response === response);
      const turn = { ...newTurn(path.at(-1) ?? null, messages.join("\n\n")), response, reply };
      path.push(known ?? { ...turn, status: last?.response_status ?? "completed", report: last ?? {} });
    }
    this.#paths.set(conversation, path);
  }

  append(conversation: string, turn: Turn): void {
    this.#paths.set(conversation, [...this.path(conversation), turn]);
  }

  drop(conversation: string, turn: Turn): void {
    const rest = this.path(conversation).filter((other) => other !== turn);
    this.#paths.set(conversation, rest);
  }

  /** A new conversation that shares the turns up to `head`. */
  fork(conversation: string, head: Turn | null, name: string): void {
    const path = this.path(conversation);
    this.#paths.set(name, path.slice(0, head === null ? 0 : path.indexOf(head) + 1));
  }

  /** A conversation that was shown before the server had named it. */
  rename(conversation: string, name: string): void {
    const path = this.#paths.get(conversation);
    if (path) this.#paths.set(name, path);
    this.forget(conversation);
  }

  forget(conversation: string): void {
    this.#paths.delete(conversation);
  }

  /** All turns that go on from the same place, oldest first: responses are numbered. */
  versions({ parent }: Turn): Turn[] {
    const number = ({ response }: Turn) => Number(/\d+$/.exec(response ?? "")?.[0] ?? Infinity);
    const all = [...new Set(this.#all().filter((turn) => turn.parent === parent))];
    return all.sort((a, b) => (number(a) === number(b) ? 0 : number(a) - number(b)));
  }

  /** The youngest conversation that a turn is part of. */
  conversationOf(turn: Turn): string | undefined {
    return [...this.#paths].findLast(([, path]) => path.includes(turn))?.[0];
  }

  #all(): Turn[] {
    return [...this.#paths.values()].flat();
  }
}

/** The text of a message. */
export const textOf = ({ content }: Item): string => (content ?? []).map(({ text }) => text ?? "").join("");
