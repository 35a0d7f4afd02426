// Ids on the wire: a word for the kind, the object's name, a number in it. Knowing an id is the right to use it, so
// names are hard to guess; an id that cannot be one answers exactly as one that nobody made.
import { idPrefixes, type Id, type IdKind } from "../conversation/names.ts";
import { GriffinError } from "../errors.ts";

export { formatId, idHead, type Id, type IdKind } from "../conversation/names.ts";

const itemShape = /^(?:msg|fc|fco)_([a-z2-7]{32})_(0|[1-9][0-9]{0,8})_(0|[1-9][0-9]{0,8})$/;
const callShape = /^call_([a-z2-7]{32})_([1-9][0-9]{0,8})_0$/;
const shape = /^([a-z]+)_([a-z2-7]{32})_(0|[1-9][0-9]{0,8})$/;

/** Reads an id of that kind; fails with `not_found`, or as `unknown` says. */
export function parseId(kind: IdKind, text: string, unknown: () => Error = () => noSuch(kind)): Id {
  const [, prefix, object, number] = shape.exec(text) ?? [];
  if (prefix !== idPrefixes[kind] || object === undefined) throw unknown();
  return { object, number: Number(number) };
}

/** Kind of item → the word its id begins with. */
const itemPrefixes = { message: "msg", function_call: "fc", function_call_output: "fco" } as const;

/** An item of a turn. */
export interface ItemId extends Id {
  /** 0 is the turn's reply, 1 and up are what it replies to. */
  item: number;
}

export const formatItemId = (kind: keyof typeof itemPrefixes, { object, number }: Id, item: number): string =>
  `${itemPrefixes[kind]}_${object}_${number}_${item}`;

/** Id of a message of a turn. */
export const formatMessageId = (id: Id, item: number): string => formatItemId("message", id, item);

/** The turn that an item belongs to, and which one it is; null where the text is no id of one. */
export function parseItemId(text: string): ItemId | null {
  const [, object, number, item] = itemShape.exec(text) ?? [];
  return object === undefined ? null : { object, number: Number(number), item: Number(item) };
}

/** Id of the call that a turn's reply is: what an answer to it names. */
export const formatCallId = ({ object, number }: Id): string => `call_${object}_${number}_0`;

/** The turn whose reply is this call; null where the text is no id of one. */
export function turnOfCall(text: string): Id | null {
  const [, object, number] = callShape.exec(text) ?? [];
  return object === undefined ? null : { object, number: Number(number) };
}

/** Files, batches and hooks → the word their ids begin with, as OpenAI's do. */
const jobPrefixes = { file: "file-", batch: "batch_", hook: "hook_" } as const;
const jobShape = /^(file-|batch_|hook_)([a-z2-7]{32})$/;

export const formatJobId = (kind: keyof typeof jobPrefixes, object: string): string => jobPrefixes[kind] + object;

/** The object's name in the id of a file, a batch or a hook; fails with `not_found`. */
export function parseJobId(kind: keyof typeof jobPrefixes, text: string): string {
  const [, prefix, object] = jobShape.exec(text) ?? [];
  if (prefix !== jobPrefixes[kind] || object === undefined) throw noSuch(kind);
  return object;
}

/** The one answer to ids that are malformed, unknown or deleted. */
export const noSuch = (kind: IdKind | "item" | keyof typeof jobPrefixes): GriffinError =>
  new GriffinError("not_found", `There is no ${kind} with this id.`);
