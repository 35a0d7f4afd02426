// Placement: what decides where a turn runs. A checkpoint that does not fit here runs at the origin; so do lines of
// batches, for which nobody waits; a long prompt is read there and replied to here; everything else runs here. An origin
// that is away is as good as none, but for a checkpoint that is nowhere else.
import { GriffinError } from "../errors.ts";

/** Where a turn is to run: here, at the origin, or read there and replied to here. */
export type Placement = "edge" | "origin" | "origin_prefill";

/**
 * Where it has run: the origin may have been lost in the middle of a reply, which then went on here. "both": work of
 * several parts that went to and fro.
 */
export type RanAt = Placement | "origin_then_edge" | "both";

/**
 * So many tokens are read at the edge, and more at an origin, unless told. Reckoned, not measured on an accelerator: of a
 * 30 M model, about the largest that hosted isolates hold with room for chats, they take the edge 1.4 s (see instance.ts),
 * against which the way to an origin, its queue and two states of some 100 KB to some MB are little; of pocket, 0.2 s.
 */
export const defaultPrefillTokens = 1024;

export interface PlacementFacts {
  /** Whether the edge has the checkpoint: it has its weights, and they fit into its memory. */
  isHere: boolean;
  /** An origin that failed a moment ago is away. */
  origin: "none" | "away" | "there";
  /** Tokens to read that no state has. */
  newTokens: number;
  /** Prompts of more tokens are read at the origin. */
  prefillTokens: number;
  /** The turn is a line of a batch, and batches go to the origin. */
  isForOrigin: boolean;
  /** Only the edge can hold a reply to a format. */
  hasFormat: boolean;
}

/** Where a turn runs. Throws `model_too_large` or `unsupported` where that is nowhere. */
export function placement(facts: PlacementFacts): Placement {
  const { isHere, origin, newTokens, prefillTokens, isForOrigin, hasFormat } = facts;
  if (!isHere) {
    if (origin === "none") throw new GriffinError("model_too_large", "The model does not fit here, and has no origin.");
    if (hasFormat) throw formatIsElsewhere();
    // Where it is away, asking says when it is asked again.
    return "origin";
  }
  if (origin !== "there") return "edge";
  if (isForOrigin && !hasFormat) return "origin";
  return newTokens > prefillTokens ? "origin_prefill" : "edge";
}

export const formatIsElsewhere = () =>
  new GriffinError(
    "unsupported",
    "Replies of this model cannot be held to a format, such as JSON or calls of tools: it runs at an origin alone.",
  );

/** Where work ran that had several parts, in the order in which they ended. */
export function together(parts: readonly RanAt[]): RanAt | null {
  const [first, ...others] = parts;
  if (first === undefined || others.every((part) => part === first)) return first ?? null;
  if (parts.every((part) => part === "edge" || part === "origin_prefill")) return "origin_prefill";
  // Once the edge had a part, nothing may have come from the origin.
  const left = parts.findIndex((part) => part !== "origin");
  return parts[left] !== "both" && parts.slice(left + 1).every((part) => part === "edge") ? "origin_then_edge" : "both";
}
