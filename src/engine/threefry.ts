// threefry2x32 with 20 rounds: a random number is a pure function of a key and a counter, so any token can be drawn
// again, anywhere, without a generator's state. Source: Salmon et al., "Parallel random numbers: as easy as 1, 2, 3"
// (SC 2011); the Random123 library's known answers are in the tests.

const parity = 0x1bd11bda;
const rotations = [
  [13, 15, 26, 6],
  [17, 29, 16, 24],
] as const;

/** A pair of unsigned 32-bit words. */
export type Words = readonly [number, number];

/** The two random words of a counter under a key. */
export function threefry2x32(key: Words, counter: Words): Words {
  const keys = [key[0], key[1], key[0] ^ key[1] ^ parity] as const;
  let x0 = (counter[0] + keys[0]) | 0;
  let x1 = (counter[1] + keys[1]) | 0;
  for (let round = 0; round < 5; round++) {
    for (const rotation of rotations[round % 2 === 0 ? 0 : 1]) {
      x0 = (x0 + x1) | 0;
      x1 = ((x1 << rotation) | (x1 >>> (32 - rotation))) ^ x0;
    }
    x0 = (x0 + (keys[(round + 1) % 3] ?? 0)) | 0;
    x1 = (x1 + (keys[(round + 2) % 3] ?? 0) + round + 1) | 0;
  }
  return [x0 >>> 0, x1 >>> 0];
}

/** The key of a seed below 2^64: its high word, then its low word, as in JAX. */
export function keyOf(seed: bigint): Words {
  return [Number((seed >> 32n) & 0xffffffffn), Number(seed & 0xffffffffn)];
}

/** The number in [0, 1) that draws the token at a position: 24 bits, exact in f32. */
export function uniformAt(key: Words, position: number): number {
  return (threefry2x32(key, [position, 0])[0] >>> 8) / 2 ** 24;
}
