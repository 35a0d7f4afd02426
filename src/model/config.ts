// Config: the sizes and options of one model, generic over every Griffin checkpoint we can run.

export type BlockType = "recurrent" | "attention";
export type Activation = "gelu_tanh" | "silu";

/** Sizes and options of one model. Axis letters (D, R, E, …) as in functions.ts. */
export interface Config {
  /** V */ vocabSize: number;
  /** D */ width: number;
  /** R */ lruWidth: number;
  /** E, the width of the gate and of the up projection: half of Hugging Face's `intermediate_size`. */
  mlpWidth: number;
  /** One entry a block; its length is the number of blocks. */
  blockTypes: readonly BlockType[];
  /** N: query heads, and also the number of diagonal blocks of the RG-LRU gates. */
  numHeads: number;
  numKvHeads: number;
  /** H */ headDim: number;
  /** W: past keys a query sees besides its own. */
  window: number;
  /** Leading dims of every head that RoPE turns; even. */
  rotaryDim: number;
  ropeTheta: number;
  rmsNormEpsilon: number;
  /** null: logits are not capped. */
  logitsSoftCap: number | null;
  activation: Activation;
  /** √D rounded to bfloat16, or 1 where embeddings are not scaled. */
  embedScale: number;
  /** true: the head is the embedding table. */
  tied: boolean;
  /** true: q, k and v projections have biases too. */
  attentionBias: boolean;
  bosTokenId: number;
  eosTokenIds: readonly number[];
  padTokenId: number | null;
}
