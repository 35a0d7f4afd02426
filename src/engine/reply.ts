// A reply in the making: chooses its tokens, spells them out, and knows when it is over. It sees logits and tokens only;
// where they come from is the engine's business.
import { GriffinError } from "../errors.ts";
import type { Config } from "../model/config.ts";
import type { Tokenizer } from "../model/tokenizer.ts";
import type { GeneratedToken, Turn, TurnResult } from "./engine.ts";
import { logProbability, topLogProbabilities } from "./log-probabilities.ts";
import { Sampler } from "./sampler.ts";
import { parseSampling } from "./sampling.ts";
import { createStopMatcher } from "./stop.ts";

export interface Reply {
  /** True when the token chosen last is the last one. */
  readonly ended: boolean;
  /** Chooses the token at `position` from its logits [V]. */
  next(logits: Float32Array, position: number): GeneratedToken;
  /** How the reply ended. One that nothing ended was cut: by its length, or by its caller. */
  end(): Pick<TurnResult, "text" | "finishReason" | "stoppedBy" | "completionTokens">;
}

/** The most likely tokens a caller may ask for at every place. */
const mostTopLogProbabilities = 100;

/** A reply to `turn`, before its first token. Throws `invalid_argument` where the turn asks for what cannot be. */
export function createReply(
  turn: Turn & { maxTokens: number },
  config: Config,
  modelStopTokens: readonly number[],
  tokenizer: Tokenizer | null,
): Reply {
  const { maxTokens, stop = [], stopTokens = modelStopTokens, topLogProbabilities: top } = turn;
  if (stop.includes("")) throw invalid("A stop string must not be empty.");
  if (stop.length > 0 && tokenizer === null) throw invalid("Stop strings need a tokenizer; this checkpoint has none.");
  if (top !== undefined && !(Number.isInteger(top) && top >= 0 && top <= mostTopLogProbabilities)) {
    throw invalid(`topLogProbabilities must be an integer from 0 to ${mostTopLogProbabilities}, got ${top}.`);
  }
  const sampler = new Sampler(parseSampling(turn.sampling ?? {}, config.vocabSize), config.vocabSize, config.window);
  sampler.context(turn.history ?? []);
  sampler.context(turn.tokens);
  const decoder = tokenizer?.createDecoder();
  const matcher = createStopMatcher(stop);
  let completionTokens = 0;
  let stoppedBy: number | string | undefined;

  return {
    get ended() {
      return stoppedBy !== undefined || completionTokens >= maxTokens;
    },
    next(logits, position) {
      const token = sampler.sample(logits, position);
      sampler.accept(token);
      completionTokens += 1;
      const generated: GeneratedToken = { token, text: "" };
      if (top !== undefined) {
        generated.logProbability = logProbability(logits, token);
        generated.top = topLogProbabilities(logits, top);
      }
      if (stopTokens.includes(token)) {
        stoppedBy = token;
      } else {
        const released = matcher.push(decoder?.push(token) ?? "");
        generated.text = released.text;
        stoppedBy = released.stoppedBy;
      }
      return generated;
    },
    end() {
      // After a stop string the rest is not part of the reply; else it is, be it an unfinished stop string or character.
      const rest = typeof stoppedBy === "string" ? "" : matcher.push(decoder?.end() ?? "").text + matcher.end();
      const finishReason = stoppedBy !== undefined ? "stop" : completionTokens >= maxTokens ? "length" : "cancelled";
      return { text: rest, finishReason, completionTokens, ...(stoppedBy !== undefined && { stoppedBy }) };
    },
  };
}

const invalid = (message: string) => new GriffinError("invalid_argument", message);
