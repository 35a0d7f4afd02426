// Fields that several routes share, and what they become in a turn's options. Ranges are OpenAI's where it has the
// field, the engine's where it has not.
import { z } from "zod";
import { mostReplyTokens, type ReplyFormat, type ToolUse, type TurnOptions } from "../conversation/protocol.ts";
import { requestError } from "./errors.ts";
import { jsonForm, written } from "./openapi/written.ts";
import { unsupported } from "./read-body.ts";

export const defaultMaxTokens = 1024;
const mostStopStrings = 16;
/** In UTF-16 units: less than the 4096 bytes that an origin takes. */
const longestStop = 1_024;
/** They are stored with the turn, in one row. */
const mostBiases = 1_024;
const count = z
  .int()
  .min(1)
  .max(2 ** 31 - 1);
const penalty = z.number().min(-2).max(2);
const bias = z.number().min(-100).max(100);
const stopStrings = z.array(z.string().min(1).max(longestStop)).max(mostStopStrings);

/** Sampling, by OpenAI's names and by ours for what it does not have. */
export const samplingFields = {
  model: z.string().min(1).nullish(),
  temperature: z.number().min(0).max(2).nullish(),
  top_p: z.number().min(0).max(1).nullish(),
  top_k: z
    .int()
    .min(0)
    .max(2 ** 31 - 1)
    .nullish(),
  min_p: z.number().min(0).max(1).nullish(),
  frequency_penalty: penalty.nullish(),
  presence_penalty: penalty.nullish(),
  repetition_penalty: z.number().min(0.01).max(100).nullish(),
  logit_bias: z
    .record(z.string().regex(/^(0|[1-9]\d{0,8})$/, "expected token ids as keys"), bias)
    .refine((biases) => Object.keys(biases).length <= mostBiases, `expected at most ${mostBiases} tokens`)
    .nullish(),
  seed: z.int().nullish(),
  stop: written(
    z.preprocess((stop) => (typeof stop === "string" ? [stop] : stop), stopStrings.nullish()),
    { anyOf: [{ type: ["string", "null"], minLength: 1, maxLength: longestStop }, jsonForm(stopStrings)] },
  ),
  top_logprobs: z.int().min(0).max(20).nullish(),
};

export const maxTokens = count.nullish();

/** The caller's own pairs, within OpenAI's limits. */
export const metadata = z
  .record(z.string().max(64), z.string().max(512))
  .refine((pairs) => Object.keys(pairs).length <= 16, "expected at most 16 pairs")
  .nullish();

type SamplingRequest = z.infer<z.ZodObject<typeof samplingFields>>;

interface Rest {
  modelIds: readonly string[];
  maxTokens: number | null | undefined;
  /** What the route calls them. */
  maxTokensField: string;
  topLogProbabilities: number | null;
  background?: boolean;
  format: ReplyFormat | null;
  store?: boolean;
  truncation?: TurnOptions["truncation"];
  tools?: ToolUse | null;
  sharedBy?: string | null;
  chargedTo?: TurnOptions["chargedTo"];
  isBatch?: boolean;
}

/** A turn's options, all filled in. Fails with `model_not_found`. */
export function turnOptions(request: SamplingRequest, rest: Rest): TurnOptions {
  const { modelIds, maxTokens: limit, maxTokensField, topLogProbabilities, format, tools = null } = rest;
  const {
    background = false,
    store = true,
    truncation = "disabled",
    sharedBy = null,
    chargedTo = null,
    isBatch = false,
  } = rest;
  const most = mostReplyTokens(topLogProbabilities);
  if ((limit ?? 0) > most) {
    const why = topLogProbabilities === null ? "" : " with log-probabilities";
    throw requestError(
      "invalid_argument",
      `${maxTokensField}: a reply has at most ${most} tokens${why}.`,
      maxTokensField,
    );
  }
  return {
    model: knownModel(request.model ?? modelIds[0] ?? "", modelIds),
    maxTokens: limit ?? defaultMaxTokens,
    // No reply has half a surrogate pair in it, and on the wire to an origin it is not even text.
    stop: (request.stop ?? []).map((each) => each.toWellFormed()),
    temperature: request.temperature ?? 1,
    topK: request.top_k ?? 0,
    topP: request.top_p ?? 1,
    minP: request.min_p ?? 0,
    frequencyPenalty: request.frequency_penalty ?? 0,
    presencePenalty: request.presence_penalty ?? 0,
    repetitionPenalty: request.repetition_penalty ?? 1,
    logitBias: Object.entries(request.logit_bias ?? {}).map(([token, value]) => ({
      token: Number(token),
      bias: value,
    })),
    seed: seedText(request.seed),
    topLogProbabilities,
    background,
    format,
    store,
    truncation,
    tools,
    sharedBy,
    chargedTo,
    notify: null,
    isBatch,
  };
}

/** The id, if a model of that id is configured; else fails with `model_not_found`. */
export function knownModel(id: string, modelIds: readonly string[]): string {
  if (modelIds.includes(id)) return id;
  throw requestError("model_not_found", `There is no such model; there are: ${modelIds.join(", ")}.`, "model");
}

/** Negative seeds are the upper half of 64 bits; without one the dice are rolled here, so that a recovery has the same. */
function seedText(seed: number | null | undefined): string {
  if (seed === null || seed === undefined) return String(crypto.getRandomValues(new BigUint64Array(1))[0] ?? 0n);
  return String(BigInt.asUintN(64, BigInt(seed)));
}

/** A text, or a list of text parts of these types, which become one text of lines. */
export function contentOf(...partTypes: string[]): z.ZodType<string> {
  const part = z.object({ text: z.string() });
  const parts = {
    type: "array",
    items: {
      type: "object",
      required: ["type", "text"],
      properties: { type: { enum: partTypes }, text: { type: "string" } },
    },
  };
  const form = { anyOf: [{ type: "string" }, parts] };
  const schema = z.unknown().transform((value, context) => {
    const refuse = (message: string, path: (string | number)[], isUnsupported = false) => {
      context.issues.push({ code: "custom", message, path, input: value, ...(isUnsupported && unsupported) });
      return z.NEVER;
    };
    if (typeof value === "string") return value;
    if (!Array.isArray(value)) return refuse("expected a text or a list of text parts", []);
    const texts: string[] = [];
    for (const [index, item] of value.entries()) {
      const type: unknown = typeof item === "object" && item !== null && "type" in item ? item.type : undefined;
      if (typeof type !== "string") return refuse("expected the type of a part", [index, "type"]);
      if (!partTypes.includes(type)) {
        return refuse(`only parts of type ${partTypes.join(" or ")} are supported`, [index, "type"], true);
      }
      const { data } = part.safeParse(item);
      if (data === undefined) return refuse("expected a text", [index, "text"]);
      texts.push(data.text);
    }
    return texts.join("\n");
  });
  return written(schema, form);
}

/** Path of a field → whether a value asks for nothing that this server does not do. Absent and null never do. */
export type Refusals = Record<string, (value: unknown) => boolean>;

/** A schema in front of which these fields are refused as `unsupported`, rather than ignored. */
export function refusing<T>(refusals: Refusals, schema: z.ZodType<T>): z.ZodType<T> {
  return z
    .unknown()
    .superRefine((body, context) => {
      for (const [name, isHarmless] of Object.entries(refusals)) {
        const path = name.split(".");
        const value = path.reduce<unknown>(
          (inner, key) => (typeof inner === "object" && inner !== null ? Reflect.get(inner, key) : undefined),
          body,
        );
        if (value === undefined || value === null || isHarmless(value)) continue;
        context.addIssue({ code: "custom", message: "this is not supported", path, ...unsupported });
        return;
      }
    })
    .pipe(schema);
}

/** For `Refusals`: nothing but these values is harmless; an empty list always is. */
export const only =
  (...values: unknown[]): Refusals[string] =>
  (value) =>
    values.includes(value) || (Array.isArray(value) && value.length === 0);
