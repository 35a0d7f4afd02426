// Ids on the wire: a word for the kind, the object's name, a number in it. Knowing an id is the right to use it, so
// names are hard to guess; an id that cannot be one answers exactly as one that nobody made.
import { GriffinError } from "../errors.ts";

/** Kind of thing → the word its id begins with. */
const prefixes = { conversation: "conv", response: "resp", "chat completion": "chatcmpl" } as const;
export type IdKind = keyof typeof prefixes;

/** A branch or a turn of an object. */
export interface Id {
  /** 32 characters of a–z and 2–7. */
  object: string;
  number: number;
}

const messageShape = /^msg_([a-z2-7]{32})_(0|[1-9][0-9]{0,8})_(0|[1-9][0-9]{0,8})$/;
const shape = /^([a-z]+)_([a-z2-7]{32})_(0|[1-9][0-9]{0,8})$/;

export const formatId = (kind: IdKind, { object, number }: Id): string => `${prefixes[kind]}_${object}_${number}`;

/** Reads an id of that kind; fails with `not_found`, or as `unknown` says. */
export function parseId(kind: IdKind, text: string, unknown: () => Error = () => noSuch(kind)): Id {
  const [, prefix, object, number] = shape.exec(text) ?? [];
  if (prefix !== prefixes[kind] || object === undefined) throw unknown();
  return { object, number: Number(number) };
}

/** Id of a message of a turn: 0 is the reply, 1 and up are what it replies to. */
export const formatMessageId = ({ object, number }: Id, index: number): string => `msg_${object}_${number}_${index}`;

/** A message of a turn. */
export interface MessageId extends Id {
  /** 0 is the turn's reply, 1 and up are what it replies to. */
  item: number;
}

/** The turn that a message belongs to, and which one it is; null where the text is no id of one. */
export function parseMessageId(text: string): MessageId | null {
  const [, object, number, item] = messageShape.exec(text) ?? [];
  return object === undefined ? null : { object, number: Number(number), item: Number(item) };
}

/** The one answer to ids that are malformed, unknown or deleted. */
export const noSuch = (kind: IdKind | "item"): GriffinError =>
  new GriffinError("not_found", `There is no ${kind} with this id.`);
