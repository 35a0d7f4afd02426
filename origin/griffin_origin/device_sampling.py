"""Sampling on the device: draws the next token of each row from its logits, the one that sampling.py and
src/engine/sampler.ts draw, bit for bit; sampling.py says what is computed, in which order.

Candidates are prefixes of the ranking by logit. Nearly always the first few hundred ranks decide, so those are found
first, then a few thousand where they do not, and the whole vocabulary is sorted only where these do not either.

Axes: B rows, V vocabulary, W how far back repetition penalties look, L ranks that are looked at.
"""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from .float32 import Held, exp32, hold_with, log32, running_sum32, sum32
from .sampling import SamplingOptions
from .threefry import uniform_at

#: So many ranks are looked at first, then so many, then all.
FIRST_RANKS = (256, 8192)


class SamplingRows(NamedTuple):
    """How each row draws, and what its penalties look at."""

    key: jax.Array  # u32 [B, 2]: the seed's high word, then its low word
    temperature: jax.Array  # f32 [B], as all that follow unless told
    top_k: jax.Array  # i32 [B]
    top_p: jax.Array  # f32 [B]
    min_p: jax.Array
    frequency_penalty: jax.Array
    presence_penalty: jax.Array
    repetition_penalty: jax.Array
    logit_bias: jax.Array  # f32 [B, V]
    replied: jax.Array  # i32 [B, V]: how often a token is in the reply
    recent: jax.Array  # i32 [B, V]: how often it is among the last W tokens
    ring: jax.Array  # i32 [B, W]: those, the n-th token of all in slot n mod W; V where there is none
    count: jax.Array  # i32 [B]: tokens of all, mod W

    @staticmethod
    def empty(rows: int, vocabulary: int, window: int) -> "SamplingRows":
        """Rows that draw greedily and know of no tokens."""
        one = SamplingRows.one(SamplingOptions(0, temperature=0), (), (), vocabulary, window)
        return SamplingRows(*(jnp.repeat(jnp.asarray(part), rows, axis=0) for part in one))

    @staticmethod
    def one(
        options: SamplingOptions, past: Sequence[int], replied: Sequence[int], vocabulary: int, window: int
    ) -> "SamplingRows":
        """One row, on the host. `past`: tokens before the reply, oldest first; `replied`: those of the reply so far."""
        reply = np.asarray(replied, np.int64)
        last = np.concatenate([np.asarray(past, np.int64), reply])[-window:]
        ring = np.full(window, vocabulary, np.int32)
        ring[: len(last)] = last
        bias = np.zeros(vocabulary, np.float32)
        bias[list(options.logit_bias)] = list(options.logit_bias.values())

        def number(value: float) -> np.ndarray:
            return np.array([value], np.float32)

        return SamplingRows(
            key=np.array([[options.seed >> 32, options.seed & 0xFFFFFFFF]], np.uint32),
            temperature=number(options.temperature),
            top_k=np.array([options.top_k], np.int32),
            top_p=number(options.top_p),
            min_p=number(options.min_p),
            frequency_penalty=number(options.frequency_penalty),
            presence_penalty=number(options.presence_penalty),
            repetition_penalty=number(options.repetition_penalty),
            logit_bias=bias[None],
            replied=np.bincount(reply, minlength=vocabulary).astype(np.int32)[None],
            recent=np.bincount(last, minlength=vocabulary).astype(np.int32)[None],
            ring=ring[None],
            count=np.array([len(last) % window], np.int32),
        )

    def accept(self, tokens: jax.Array, active: jax.Array) -> "SamplingRows":
        """Takes a token into the reply of each active row. tokens i32 [B], active bool [B]."""
        row = jnp.arange(len(tokens))
        nowhere = self.recent.shape[1]
        taken = jnp.where(active, tokens, nowhere)
        forgotten = jnp.where(active, self.ring[row, self.count], nowhere)
        return self._replace(
            replied=self.replied.at[row, taken].add(1, mode="drop"),
            recent=self.recent.at[row, forgotten].add(-1, mode="drop").at[row, taken].add(1, mode="drop"),
            ring=self.ring.at[row, jnp.where(active, self.count, self.ring.shape[1])].set(tokens, mode="drop"),
            count=(self.count + active) % self.ring.shape[1],
        )


def sample(logits: jax.Array, rows: SamplingRows, positions: jax.Array, active: jax.Array) -> jax.Array:
    """The tokens i32 [B] for `positions` i32 or u32 [B] (how many tokens precede each), given logits f32 [B, V].

    Of no meaning for a row that is not `active` bool [B], which costs nothing, nor for one whose highest logit is not a
    finite number.
    """
    zero = _zero(rows.temperature)
    adjusted = _adjust(logits, rows, hold_with(zero[:, None]))
    best = jnp.argmax(adjusted, axis=1).astype(jnp.int32)  # the lowest id of equal ones
    is_drawn = active & (rows.temperature != 0)

    def draw() -> jax.Array:
        highest = jnp.take_along_axis(adjusted, best[:, None], axis=1)
        temperature = jnp.where(is_drawn, rows.temperature, 1)[:, None]
        weights = exp32((adjusted - highest) / temperature, hold_with(zero[:, None]))
        uniform, held = uniform_at(rows.key, positions), hold_with(zero)

        def look_at(lengths: Sequence[int]) -> jax.Array:
            ranked = _likeliest(adjusted, lengths[0]) if lengths else _ranked(adjusted)
            token, is_decided = _draw(adjusted, weights, uniform, rows, ranked, held)
            if not lengths:
                return token
            return lax.cond(jnp.all(is_decided | ~is_drawn), lambda: token, lambda: look_at(lengths[1:]))

        return look_at([length for length in FIRST_RANKS if length < adjusted.shape[1]])

    return lax.cond(is_drawn.any(), lambda: jnp.where(is_drawn, draw(), best), lambda: best)


def log_probabilities(logits: jax.Array) -> jax.Array:
    """log p f32 [B, V] of every token under the model itself: (l - max l) - log32(sum32(exp32(l - max l)))."""
    highest = jnp.max(logits, axis=1, keepdims=True)
    held = hold_with(_zero(highest))
    shifted = logits - highest
    total = sum32(exp32(shifted, held))[:, None]
    return shifted - log32(total, held)


def _zero(x: jax.Array) -> jax.Array:
    """0 for every number, which a compiler does not know: this one might be no number."""
    return jnp.isnan(x).astype(jnp.int32)


def _adjust(logits: jax.Array, rows: SamplingRows, held: Held) -> jax.Array:
    """Logits after bias and penalties."""
    biased = logits + rows.logit_bias
    frequency = held(rows.frequency_penalty[:, None] * rows.replied.astype(jnp.float32))
    lowered = (biased - frequency) - rows.presence_penalty[:, None]
    l = jnp.where(rows.replied > 0, lowered, biased)
    repetition = rows.repetition_penalty[:, None]
    l = jnp.where(rows.recent > 0, jnp.where(l > 0, l / repetition, l * repetition), l)
    return jnp.where(l == 0, jnp.float32(0), l)  # without -0, which some sorts rank behind 0


def _likeliest(l: jax.Array, few: int) -> jax.Array:
    """Ids i32 [B, few] of the highest logits, lowest id first among equals."""
    return lax.top_k(l, few)[1].astype(jnp.int32)


def _ranked(l: jax.Array) -> jax.Array:
    """All ids i32 [B, V] in order of rank."""
    return jnp.argsort(-l, axis=1, stable=True).astype(jnp.int32)


def _draw(
    l: jax.Array, weights: jax.Array, uniform: jax.Array, rows: SamplingRows, ranked: jax.Array, held: Held
) -> tuple[jax.Array, jax.Array]:
    """The token of each row, and whether the ids `ranked` [B, L] were enough to tell."""
    length, vocabulary = ranked.shape[1], l.shape[1]
    ids = jnp.arange(vocabulary)
    by_rank = jnp.take_along_axis(weights, ranked, axis=1)
    running = running_sum32(by_rank)
    is_decided = jnp.ones(len(l), bool)

    def sum_of_first(count: jax.Array) -> jax.Array:
        """sum32 of the weights of the first `count` candidates; all others count 0."""
        last = jnp.take_along_axis(ranked, (jnp.minimum(count, length) - 1)[:, None], axis=1)
        border = jnp.take_along_axis(l, last, axis=1)
        is_candidate = (l > border) | ((l == border) & (ids <= last)) | (count == vocabulary)[:, None]
        return sum32(jnp.where(is_candidate, weights, 0))

    def cut(count: jax.Array, ends: jax.Array, is_used: jax.Array) -> tuple[jax.Array, jax.Array]:
        """The prefix that ends before the first rank of `ends` [B, L], and whether that rank, or none, was seen."""
        first = jnp.where(ends.any(axis=1), jnp.argmax(ends, axis=1), length)
        is_seen = ends.any(axis=1) | (count <= length) | ~is_used
        return jnp.where(is_used & (first < length), jnp.minimum(count, first), count).astype(jnp.int32), is_seen

    count = jnp.where(rows.top_k == 0, vocabulary, jnp.minimum(rows.top_k, vocabulary))
    is_decided &= (count <= length) | (count == vocabulary)
    uses_top_p = rows.top_p < 1
    enough = held(rows.top_p * sum_of_first(count))
    reached = running >= enough[:, None]
    after_enough = jnp.pad(reached, ((0, 0), (1, 0)))[:, :length]  # the rank that reaches it is kept
    count, is_seen = cut(count, after_enough, uses_top_p)
    is_decided &= is_seen
    count, is_seen = cut(count, by_rank < rows.min_p[:, None], rows.min_p > 0)
    is_decided &= is_seen

    is_decided &= (count <= length) | (count == vocabulary)
    drawn = held(uniform * sum_of_first(count))
    exceeds = running > drawn[:, None]
    last_weighing = jnp.sum((by_rank > 0) & (jnp.arange(length) < count[:, None]), axis=1) - 1
    rank = jnp.minimum(jnp.where(exceeds.any(axis=1), jnp.argmax(exceeds, axis=1), length), last_weighing)
    is_decided &= exceeds.any(axis=1) | (count <= length) | (by_rank[:, -1] == 0)
    return jnp.take_along_axis(ranked, rank[:, None], axis=1)[:, 0], is_decided
