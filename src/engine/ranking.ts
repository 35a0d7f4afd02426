// Token ids in order of their logits, found only as far as somebody looks: a heap, so that taking the first k of V
// costs V + k · log V instead of a sort.

/** The order of ids by logit, highest first, and by id, lowest first, where logits are equal. */
export class Ranking {
  /** A heap of the ids not yet ranked, best first; behind it the ranked ones, best last. */
  readonly #ids: Int32Array;
  #logits: Float32Array;
  #unranked = 0;

  constructor(vocabSize: number) {
    this.#ids = new Int32Array(vocabSize);
    this.#logits = new Float32Array(0);
  }

  /** Starts over with other logits, which must not change while `at` is called. */
  reset(logits: Float32Array): void {
    this.#logits = logits;
    this.#unranked = this.#ids.length;
    for (let i = 0; i < this.#ids.length; i++) this.#ids[i] = i;
    for (let i = (this.#ids.length >> 1) - 1; i >= 0; i--) this.#sink(i);
  }

  /** The id at a rank; rank 0 is the likeliest. */
  at(rank: number): number {
    const slot = this.#ids.length - 1 - rank;
    while (this.#unranked > slot) {
      const last = --this.#unranked;
      const best = this.#ids[0] ?? 0;
      this.#ids[0] = this.#ids[last] ?? 0;
      this.#ids[last] = best;
      this.#sink(0);
    }
    return this.#ids[slot] ?? 0;
  }

  #sink(start: number): void {
    const ids = this.#ids;
    const id = ids[start] ?? 0;
    let parent = start;
    for (;;) {
      let child = 2 * parent + 1;
      if (child >= this.#unranked) break;
      if (child + 1 < this.#unranked && this.#before(ids[child + 1] ?? 0, ids[child] ?? 0)) child++;
      if (!this.#before(ids[child] ?? 0, id)) break;
      ids[parent] = ids[child] ?? 0;
      parent = child;
    }
    ids[parent] = id;
  }

  #before(a: number, b: number): boolean {
    const x = this.#logits[a] ?? 0;
    const y = this.#logits[b] ?? 0;
    return x > y || (x === y && a < b);
  }
}
