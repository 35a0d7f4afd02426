// The names and numbers of origin/PROTOCOL.md, version 1, as far as a client needs them. Keys on the wire are snake_case.
import { z } from "zod";
import { GriffinError } from "../../errors.ts";
import type { StateLayout } from "../../model/state.ts";

/** Is on every answer of an origin, and on none of a proxy before it. */
export const protocolHeader = "x-griffin-protocol";
export const formatVersion = "1";
export const turnFormat = "griffin_turn";
export const resultFormat = "griffin_result";

/** Kinds of frames. Others are skipped. */
export const frameKinds = { waiting: 0, tokens: 1, result: 2, error: 3 } as const;

/** Of the header of a body and of a result. */
export const headerLimitBytes = 2 ** 20;
export const tokensLimitBytes = 2 ** 20;
export const errorLimitBytes = 2 ** 16;

/** The model that edge and origin both have. */
export interface OriginModel {
  /** SHA-256 of weights.safetensors. */
  checkpoint: string;
  /** SHA-256 of graph.onnx. */
  graph: string;
  layout: StateLayout;
  vocabSize: number;
}

const tokenId = z.int().min(0);

/** Payload of a `tokens` frame. */
export const tokensPayload = z.object({
  tokens: z.array(tokenId).min(1),
  log_probabilities: z.array(z.number()).optional(),
  top: z.array(z.array(z.tuple([tokenId, z.number()]))).optional(),
});

/** Payload of an `error` frame, and the body of an error of HTTP. */
export const errorPayload = z.object({ error: z.object({ code: z.string(), message: z.string() }) });

/** The origin is not there for anybody, for now. */
export const originAway = (message: string, cause?: unknown): GriffinError =>
  new GriffinError("origin_away", message, { cause });

/** A failure of the origin itself, or of the way to it. */
export const originFailed = (message: string, cause?: unknown): GriffinError =>
  new GriffinError("origin_failed", message, { cause });
