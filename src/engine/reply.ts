// A reply in the making: chooses its tokens, spells them out, and knows when it is over. It sees logits and tokens only;
// where they come from is the engine's business.
import { GriffinError } from "../errors.ts";
import type { Config } from "../model/config.ts";
import type { Tokenizer } from "../model/tokenizer.ts";
import { checkReply } from "./check-turn.ts";
import type { GeneratedToken, Turn, TurnResult } from "./engine.ts";
import { compileFormat, Constraint } from "./constraints/constraint.ts";
import { reportToken } from "./log-probabilities.ts";
import { Sampler } from "./sampler.ts";
import { parseSampling } from "./sampling.ts";
import { createSpelling } from "./spelling.ts";

export interface Reply {
  /** True when the token accepted last is the last one. */
  readonly ended: boolean;
  /** Chooses the token at `position` from its logits [V], and accepts it. */
  next(logits: Float32Array, position: number): GeneratedToken;
  /** Takes a token that was chosen before. */
  accept(token: number): GeneratedToken;
  /** How the reply ended. One that nothing ended was cut: by its length, or by its caller. */
  end(): Pick<TurnResult, "text" | "finishReason" | "stoppedBy" | "completionTokens">;
}

/** A reply to `turn`, before its first token. Throws `invalid_argument` where the turn asks for what cannot be. */
export function createReply(
  turn: Turn & { maxTokens: number },
  config: Config,
  modelStopTokens: readonly number[],
  tokenizer: Tokenizer | null,
): Reply {
  const { maxTokens, stop = [], stopTokens = modelStopTokens, topLogProbabilities: top } = turn;
  checkReply(turn, tokenizer);
  const constraint = constraintOf(turn, config, stopTokens, tokenizer);
  const restrict = constraint && ((logits: Float32Array) => constraint.apply(logits));
  const sampler = new Sampler(parseSampling(turn.sampling ?? {}, config.vocabSize), config.vocabSize, config.window);
  sampler.context(turn.history ?? []);
  sampler.context(turn.tokens);
  const spelling = createSpelling(tokenizer, stop, stopTokens);
  let completionTokens = 0;
  let stoppedBy: number | string | undefined;

  /** With a format, where no token says that it is over. */
  const isWhole = () => stopTokens.length === 0 && constraint?.isOver === true;
  const accept = (token: number): GeneratedToken => {
    sampler.accept(token);
    constraint?.accept(token);
    completionTokens += 1;
    const spelt = spelling.push(token);
    stoppedBy = spelt.stoppedBy;
    return { token, text: spelt.text };
  };
  return {
    get ended() {
      return stoppedBy !== undefined || completionTokens >= maxTokens || isWhole();
    },
    accept,
    next(logits, position) {
      const generated = accept(sampler.sample(logits, position, restrict));
      if (top === undefined) return generated;
      return { ...generated, ...reportToken(logits, generated.token, top) };
    },
    end() {
      const finishReason =
        stoppedBy !== undefined || isWhole() ? "stop" : completionTokens >= maxTokens ? "length" : "cancelled";
      const text = spelling.end();
      return { text, finishReason, completionTokens, ...(stoppedBy !== undefined && { stoppedBy }) };
    },
  };
}

function constraintOf(
  { format }: Turn,
  { vocabSize }: Config,
  stopTokens: readonly number[],
  tokenizer: Tokenizer | null,
): Constraint | undefined {
  if (format === undefined) return undefined;
  if (tokenizer === null) {
    throw new GriffinError("invalid_argument", "A format needs a tokenizer; this checkpoint has none.");
  }
  return new Constraint(compileFormat(format), tokenizer, stopTokens, vocabSize);
}
