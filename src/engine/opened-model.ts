// What engines need of a checkpoint beside its numbers, wherever those are.
import { openCheckpoint, type Checkpoint, type OpenFile } from "../checkpoint/load.ts";
import type { CreateHash } from "../checkpoint/hash.ts";
import type { Manifest } from "../checkpoint/manifest.ts";
import type { ChatTokens } from "../model/chat-template.ts";
import type { Config } from "../model/config.ts";
import { Tokenizer } from "../model/tokenizer.ts";

export interface OpenedModel {
  readonly config: Config;
  readonly manifest: Manifest;
  /** null where the checkpoint has no chat tokens. */
  readonly chat: ChatTokens | null;
  /** null where the checkpoint has no tokenizer: then turns have tokens but no text. */
  readonly tokenizer: Tokenizer | null;
}

/** Opens a checkpoint folder, but not its weights. `heard` is called whenever something of it came. */
export async function openModel(
  open: OpenFile,
  createHash?: CreateHash,
  heard?: () => void,
): Promise<{ checkpoint: Checkpoint; model: OpenedModel }> {
  const checkpoint = await openCheckpoint(open, createHash, heard);
  const { config, manifest, chat } = checkpoint;
  const tokenizer = checkpoint.tokenizer === null ? null : new Tokenizer(checkpoint.tokenizer);
  return { checkpoint, model: { config, manifest, chat, tokenizer } };
}
