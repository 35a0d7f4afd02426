// model.json: what a checkpoint folder holds. Written last, so a folder without it is not a checkpoint.
// Its keys are snake_case because Python reads them too.
import { z } from "zod";
import { GriffinError } from "../errors.ts";
import { type Config, parseConfig } from "../model/config.ts";
import type { ChatTokens } from "../model/chat-template.ts";
import { weightsFile } from "../model/graph.ts";
import { checkShape, parseJson } from "../model/parse-json.ts";
import { stateLayout } from "../model/state.ts";
import { formats, parameterCount } from "../model/weights.ts";

/** The version this code writes, and the only one it reads. */
export const manifestVersion = 1;
export const manifestFile = "model.json";
export const graphFile = "graph.onnx";
export const tokenizerFile = "tokenizer.json";

const count = z.int("expected a count").min(0, "expected a count");
const fileEntry = z.object({
  bytes: count,
  sha256: z.string().regex(/^[0-9a-f]{64}$/, "expected 64 lower-case hexadecimal digits"),
});

const manifestJson = z.object({
  griffin: z.literal(manifestVersion),
  config: z.record(z.string(), z.unknown()),
  format: z.enum(formats),
  kv: z.enum(["f32", "bf16"]),
  parameters: count,
  state_bytes: count,
  chat: z.object({ bos_token_id: count, start_of_turn_token_id: count, end_of_turn_token_id: count }).nullable(),
  stop_token_ids: z.array(count),
  files: z.object({
    [graphFile]: fileEntry,
    [weightsFile]: fileEntry,
    [tokenizerFile]: fileEntry.optional(),
  }),
});

/** The contents of model.json. */
export type Manifest = z.infer<typeof manifestJson>;

/** The manifest and its Config from model.json's text. Fails with `invalid_config` or `unsupported`, naming the key. */
export function parseManifest(text: string): { manifest: Manifest; config: Config; chat: ChatTokens | null } {
  const value = parseJson(text, manifestFile, "invalid_config");
  const version: unknown = typeof value === "object" && value !== null ? Reflect.get(value, "griffin") : undefined;
  if (typeof version === "number" && version !== manifestVersion) {
    throw new GriffinError(
      "unsupported",
      `${manifestFile}: "griffin" is version ${version}; this code reads ${manifestVersion}. Convert the checkpoint again.`,
    );
  }
  const manifest = checkShape(manifestJson, value, manifestFile, "invalid_config");
  const config = parseConfig(manifest.config);
  checkCounts(manifest, config);
  const ids = [...manifest.stop_token_ids, ...Object.values(manifest.chat ?? {})];
  const outside = ids.find((id) => id >= config.vocabSize);
  if (outside !== undefined) {
    throw new GriffinError(
      "invalid_config",
      `${manifestFile}: token id ${outside} is not below vocab_size ${config.vocabSize}.`,
    );
  }
  const chat = manifest.chat && {
    bosTokenId: manifest.chat.bos_token_id,
    startOfTurnTokenId: manifest.chat.start_of_turn_token_id,
    endOfTurnTokenId: manifest.chat.end_of_turn_token_id,
  };
  return { manifest, config, chat };
}

/** Refuses numbers that the config contradicts: others show them, and plan their memory by them. */
function checkCounts(manifest: Manifest, config: Config): void {
  const expected = { parameters: parameterCount(config), state_bytes: stateLayout(config, manifest.kv).totalBytes };
  for (const key of ["parameters", "state_bytes"] as const) {
    if (manifest[key] === expected[key]) continue;
    throw new GriffinError(
      "invalid_config",
      `${manifestFile}: "${key}": expected ${expected[key]} for this config, got ${manifest[key]}. Convert the checkpoint again.`,
    );
  }
}
