"""Sampling: draws the next token from the logits, the same one as src/engine/sampler.ts draws, bit for bit.

Every number is an f32 and every operation rounds to nearest even. In order:

1. bias         l += bias[token]
2. penalties    n times in this reply: l = (l - frequency * n) - presence
                among the last W tokens, prompt and reply: l = l / repetition if l > 0 else l * repetition
3. temperature  0: the highest logit, of equal ones the lowest id, and nothing below applies.
                Else w = exp32((l - max l) / temperature), so the likeliest token weighs 1
4. candidates   ranked by l, highest first, then by id, lowest first. Each filter keeps a prefix of this ranking:
   top-k        the first k
   top-p        the shortest prefix whose running sum of w is at least p * sum32(w of the candidates so far)
   min-p        up to the first whose w is below p (the likeliest weighs 1, so it always stays)
5. draw         u = (x0 >> 8) * 2**-24 with x0 = threefry2x32(seed, (position, 0)); the first candidate whose running
                sum of w exceeds u * sum32(w of the candidates); if rounding leaves none, the last that weighs > 0

Running sums add in order of rank; sum32 adds in order of id, all others counting 0.
test/vectors/sampling.json holds both languages to this.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

f32 = np.float32
LANES = 256


@dataclass(frozen=True)
class SamplingOptions:
    """Temperature 0 is greedy; top_k 0, top_p 1, min_p 0 and repetition_penalty 1 are off. seed is below 2**64."""

    seed: int
    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0
    min_p: float = 0.0
    frequency_penalty: float = 0.0
    presence_penalty: float = 0.0
    repetition_penalty: float = 1.0
    logit_bias: Mapping[int, float] = field(default_factory=dict)


def exp32(x: np.ndarray) -> np.ndarray:
    """e**x of f32 x <= 0 from f32 steps alone (Cephes expf); exactly 0 below -87, so that no result is subnormal."""
    x = np.asarray(x, f32)
    safe = np.maximum(x, f32(-87))
    magic = f32(12582912)  # 1.5 * 2**23: adding and taking it away rounds to an integer, half to even
    n = (safe * f32(1.4426950408889634) + magic) - magic
    r = (safe - n * f32(0.693359375)) - n * f32(-2.1219444e-4)
    y = np.full_like(r, 1.9875691e-4)
    for coefficient in (1.3981999e-3, 8.333452e-3, 4.1665796e-2, 1.6666666e-1, 5.0000001e-1):
        y = y * r + f32(coefficient)
    y = (y * (r * r) + r) + f32(1)
    power = ((n.astype(np.int32) + 127) << 23).view(f32)  # 2**n
    return np.where(x < f32(-87), f32(0), y * power)


def log32(x: np.ndarray) -> np.ndarray:
    """The natural logarithm of positive, finite and normal f32 x from f32 steps alone (Cephes logf)."""
    pattern = np.asarray(x, f32).view(np.int32)
    m = ((pattern & 0x007FFFFF) | 0x3F000000).view(f32)
    e = ((pattern >> 23) - 126).astype(f32)  # x = m * 2**e with m in [1/2, 1)
    low = m < f32(0.7071067811865476)
    e = np.where(low, e - f32(1), e)
    m = np.where(low, (m + m) - f32(1), m - f32(1))
    square = m * m
    y = np.full_like(m, 7.0376836e-2)
    for coefficient in (
        -1.151461e-1, 1.1676999e-1, -1.2420141e-1, 1.4249323e-1, -1.6668058e-1, 2.0000715e-1, -2.4999994e-1, 3.3333331e-1,
    ):  # fmt: skip
        y = y * m + f32(coefficient)
    tail = (y * m) * square + e * f32(-2.1219444e-4)
    return (m + (tail - f32(0.5) * square)) + e * f32(0.693359375)


def sum32(terms: np.ndarray) -> np.float32:
    """The f32 sum in its one order: lane j adds the terms i = j mod 256 in order of i, then halves of lanes are added."""
    padded = np.zeros(-(-len(terms) // LANES) * LANES, f32)
    padded[: len(terms)] = terms
    lanes = np.zeros(LANES, f32)
    for row in padded.reshape(-1, LANES):
        lanes = lanes + row
    while len(lanes) > 1:
        lower, upper = np.split(lanes, 2)
        lanes = lower + upper
    return lanes[0]


def threefry2x32(key: tuple[int, int], counter: tuple[int, int]) -> tuple[int, int]:
    """The two random words of a counter under a key: 20 rounds, as in Random123 (Salmon et al., SC 2011)."""
    mask = 0xFFFFFFFF
    keys = (key[0], key[1], key[0] ^ key[1] ^ 0x1BD11BDA)
    x0, x1 = (counter[0] + keys[0]) & mask, (counter[1] + keys[1]) & mask
    for i in range(5):
        for rotation in ((13, 15, 26, 6), (17, 29, 16, 24))[i % 2]:
            x0 = (x0 + x1) & mask
            x1 = ((x1 << rotation | x1 >> (32 - rotation)) & mask) ^ x0
        x0 = (x0 + keys[(i + 1) % 3]) & mask
        x1 = (x1 + keys[(i + 2) % 3] + i + 1) & mask
    return x0, x1


def uniform_at(seed: int, position: int) -> np.float32:
    """The number in [0, 1) that draws the token at a position; the key is the seed's high word, then its low word."""
    return f32((threefry2x32((seed >> 32, seed & 0xFFFFFFFF), (position, 0))[0] >> 8) * 2.0**-24)


def sample(
    logits: np.ndarray,
    options: SamplingOptions,
    position: int,
    reply: Sequence[int] = (),
    recent: Sequence[int] = (),
) -> int:
    """The token for `position`. `reply` is what this reply holds so far, `recent` the last W tokens of all."""
    adjusted = _adjust(np.array(logits, f32), options, reply, recent)
    if np.isnan(adjusted).any() or not np.isfinite(adjusted.max()):
        raise ValueError("No token can be chosen: the highest logit is not a finite number.")
    if f32(options.temperature) == 0:
        return int(adjusted.argmax())  # the lowest id of equal ones

    with np.errstate(over="ignore"):
        weights = exp32((adjusted - adjusted.max()) / f32(options.temperature))
    ranked = np.lexsort((np.arange(len(adjusted)), -adjusted))
    if options.top_k > 0:
        ranked = ranked[: options.top_k]
    if options.top_p < 1:
        enough = f32(options.top_p) * _total(weights, ranked)
        reached = _running(weights, ranked) >= enough
        ranked = ranked[: int(reached.argmax()) + 1] if reached.any() else ranked
    below = weights[ranked] < f32(options.min_p)
    if below.any():
        ranked = ranked[: int(below.argmax())]

    exceeds = _running(weights, ranked) > uniform_at(options.seed, position) * _total(weights, ranked)
    rank = exceeds.argmax() if exceeds.any() else np.flatnonzero(weights[ranked])[-1]
    return int(ranked[rank])


def log_probabilities(logits: np.ndarray) -> np.ndarray:
    """log p of every token under the model itself: (l - max l) - log32(sum32(exp32(l - max l)))."""
    shifted = np.asarray(logits, f32) - np.max(logits)
    return shifted - log32(sum32(exp32(shifted)))


def _adjust(l: np.ndarray, options: SamplingOptions, reply: Sequence[int], recent: Sequence[int]) -> np.ndarray:
    for token, bias in options.logit_bias.items():
        l[token] = l[token] + f32(bias)
    if options.frequency_penalty != 0 or options.presence_penalty != 0:
        tokens, times = np.unique(np.asarray(reply, np.int64), return_counts=True)
        l[tokens] = (l[tokens] - f32(options.frequency_penalty) * times.astype(f32)) - f32(options.presence_penalty)
    if options.repetition_penalty != 1:
        tokens, penalty = np.unique(np.asarray(recent, np.int64)), f32(options.repetition_penalty)
        l[tokens] = np.where(l[tokens] > 0, l[tokens] / penalty, l[tokens] * penalty)
    return l


def _running(weights: np.ndarray, ranked: np.ndarray) -> np.ndarray:
    return np.add.accumulate(weights[ranked], dtype=f32)


def _total(weights: np.ndarray, ranked: np.ndarray) -> np.float32:
    candidates = np.zeros_like(weights)
    candidates[ranked] = weights[ranked]
    return sum32(candidates)
