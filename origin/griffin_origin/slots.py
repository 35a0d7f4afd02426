"""Slots: the rows of the batch on the device, and the three programs that change them: read a chunk into one row, decode
all rows that reply, put a row in place of another. All are compiled once and own their buffers (donated), so that the
batch is never copied as a whole. Who has which slot is occupancy.py's business.

Axes: B slots, T tokens of a chunk, V vocabulary, K steps of a dispatch, S stop tokens, N likeliest tokens.
"""

from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from .device_sampling import SamplingRows, log_probabilities, sample
from .model import Model, States
from .options import MOST_STOPS, MOST_TOP
from .sampling import SamplingOptions

NO_TOKEN = -1
BROKEN = -2  # the logits of this row are no numbers
SMALLEST_CHUNK = 16


class Rows(NamedTuple):
    """What the device holds of every slot."""

    states: States
    logits: Array  # f32 [B, V] after the last token that was read
    sampling: SamplingRows


class SlotCopy(NamedTuple):
    """What a slot held, which stays as it is whatever happens to the slot."""

    states: States  # one row
    logits: Array  # f32 [1, V] after the last token that was read; 0 where none was
    is_sound: Array  # bool: all of it are numbers


@dataclass(frozen=True)
class Decoded:
    """What a dispatch generated, on the device until somebody looks."""

    tokens: Array  # i32 [K, B]; NO_TOKEN where the row was frozen, BROKEN in the last step of a row without numbers
    log_probabilities: Array  # f32 [K, B]
    top_tokens: Array  # i32 [K, B, N]
    top_log_probabilities: Array  # f32 [K, B, N]


def chunk_lengths(most: int) -> list[int]:
    """Lengths that reading is compiled for, few of them: what padding costs a short chunk is less than what compiling
    another program costs every start."""
    lengths = [min(SMALLEST_CHUNK, most)]
    while lengths[-1] < most:
        lengths.append(min(4 * lengths[-1], most))
    return lengths


class Slots:
    def __init__(self, model: Model, count: int, chunk_tokens: int, dispatch_tokens: int) -> None:
        self.model = model
        self.count = count
        self.dispatch_tokens = dispatch_tokens
        self._lengths = chunk_lengths(chunk_tokens)
        self.empty = model.empty(1)
        self._no_logits = jnp.zeros((1, model.vocabulary), jnp.float32)
        self._rows: Rows | None = None
        self.reset()

    def reset(self) -> None:
        """All slots empty, in new buffers, once there is room where the old ones were."""
        self._rows = None
        model, vocabulary = self.model, self.model.vocabulary
        self._rows = Rows(
            model.empty(self.count),
            jnp.zeros((self.count, vocabulary), jnp.float32),
            SamplingRows.empty(self.count, vocabulary, model.window),
        )
        self._stop_tokens = np.full((self.count, MOST_STOPS), NO_TOKEN, np.int32)

    @property
    def chunk_tokens(self) -> int:
        return self._lengths[-1]

    def warm_up(self) -> None:
        """Compiles every program, so that no turn waits for it."""
        self.place(0, self.empty)
        self.prepare(0, SamplingOptions(0), (), np.zeros(0, np.int32))
        for length in self._lengths:
            self.read(0, np.zeros(length, np.int32))
        idle = np.zeros(self.count, np.int32)
        self.decode(idle, idle, self.no_tokens(), False)
        self.copy(0)
        self.wait()

    def wait(self) -> None:
        """Until the device has done all that it was told."""
        jax.block_until_ready(self._rows.logits)

    def place(self, slot: int, row: States) -> None:
        """Puts a state of one row into a slot; `empty` is one that has read nothing."""
        self._rows = _place(self.model, self._rows, slot, row, self._no_logits)

    def copy(self, slot: int) -> SlotCopy:
        return _copy(self.model, self._rows, slot)

    def restore(self, slot: int, copy: SlotCopy) -> None:
        """Puts back what a slot held, but not how it draws: only tokens that are given may follow."""
        self._rows = _place(self.model, self._rows, slot, copy.states, copy.logits)

    def padded(self, count: int) -> int:
        """So many tokens long is the pass that reads `count` tokens."""
        return next(length for length in self._lengths if length >= count)

    def read(self, slot: int, tokens: np.ndarray) -> None:
        """Reads up to `chunk_tokens` tokens into one slot."""
        padded = np.zeros((1, self.padded(len(tokens))), np.int32)
        padded[0, : len(tokens)] = tokens
        self._rows = _read(self.model, self._rows, slot, padded, np.array([len(tokens)], np.int32))

    def prepare(self, slot: int, options: SamplingOptions, stop_tokens: tuple[int, ...], past: np.ndarray) -> None:
        """Before the first decoding of a turn: how its tokens are drawn. `past` is all before the reply, for penalties."""
        row = SamplingRows.one(options, past, (), self.model.vocabulary, self.model.window)
        self._rows = self._rows._replace(sampling=_place_sampling(self._rows.sampling, slot, row))
        self._stop_tokens[slot] = NO_TOKEN
        self._stop_tokens[slot, : len(stop_tokens)] = stop_tokens

    def no_tokens(self) -> np.ndarray:
        """What `decode` takes where all tokens are to be drawn: NO_TOKEN i32 [K, B]."""
        return np.full((self.dispatch_tokens, self.count), NO_TOKEN, np.int32)

    def decode(self, positions: np.ndarray, budgets: np.ndarray, given: np.ndarray, reports: bool) -> Decoded:
        """Up to `budgets[b]` (at most `dispatch_tokens`) tokens for every slot; 0 leaves its state bit for bit as it is.

        Tokens `given` i32 [K, B] are taken instead of drawn, unless NO_TOKEN: a reply that was interrupted comes to the
        very bits that it had. A row is frozen behind a stop token that was drawn. Every token that comes out has been
        read into the state. Log-probabilities are computed where `reports` says so.
        """
        self._rows, decoded = _decode(
            self.model, self.dispatch_tokens, self._rows, positions, budgets, given, self._stop_tokens, reports
        )
        return Decoded(*decoded)


def _put(everything: Array, one: Array, slot: Array) -> Array:
    return lax.dynamic_update_slice_in_dim(everything, one.astype(everything.dtype), slot, 0)


# The model is an operand: closed over, its weights would be constants of every program.
@partial(jax.jit, donate_argnums=1)
def _place(model: Model, rows: Rows, slot: Array, row: States, logits: Array) -> Rows:
    return rows._replace(states=model.insert(rows.states, slot, row), logits=_put(rows.logits, logits, slot))


@partial(jax.jit, donate_argnums=0)
def _place_sampling(everything: SamplingRows, slot: Array, one: SamplingRows) -> SamplingRows:
    return jax.tree.map(lambda all_rows, row: _put(all_rows, row, slot), everything, one)


@jax.jit
def _copy(model: Model, rows: Rows, slot: Array) -> SlotCopy:
    row, logits = model.row(rows.states, slot), lax.dynamic_slice_in_dim(rows.logits, slot, 1, 0)
    are_numbers = [jnp.isfinite(each).all() for each in row.values()]
    return SlotCopy(row, logits, jnp.stack([*are_numbers, jnp.isfinite(logits.max())]).all())


@partial(jax.jit, donate_argnums=1)
def _read(model: Model, rows: Rows, slot: Array, tokens: Array, lengths: Array) -> Rows:
    row, logits = model.forward(model.row(rows.states, slot), tokens, lengths)
    return rows._replace(states=model.insert(rows.states, slot, row), logits=_put(rows.logits, logits, slot))


class _Step(NamedTuple):
    step: Array
    rows: Rows
    positions: Array
    left: Array  # i32 [B]: tokens each row may still generate
    out: tuple[Array, Array, Array, Array]


def _report(logits: Array, tokens: Array, top: int) -> tuple[Array, Array, Array]:
    """Under the model itself: log p of `tokens` [B], and ids [B, N] and log p of the likeliest, lowest id first of equal."""
    every = log_probabilities(logits)
    ids = lax.top_k(logits, top)[1]
    own = jnp.take_along_axis(every, tokens[:, None], -1)[:, 0]
    return own, ids, jnp.take_along_axis(every, ids, -1)


@partial(jax.jit, static_argnums=1, donate_argnums=2)
def _decode(
    model: Model,
    steps: int,
    rows: Rows,
    positions: Array,
    budgets: Array,
    given: Array,
    stop_tokens: Array,
    wants_reports: Array,
) -> tuple[Rows, tuple[Array, Array, Array, Array]]:
    count, vocabulary = rows.logits.shape
    top = min(MOST_TOP, vocabulary)
    out = (
        jnp.full((steps, count), NO_TOKEN, jnp.int32),
        jnp.zeros((steps, count), jnp.float32),
        jnp.zeros((steps, count, top), jnp.int32),
        jnp.zeros((steps, count, top), jnp.float32),
    )

    def one_step(at: _Step) -> _Step:
        logits = at.rows.logits
        active = (at.left > 0) & jnp.isfinite(logits.max(-1))
        is_given = given[at.step] >= 0
        sampled = sample(logits, at.rows.sampling, at.positions, active & ~is_given)
        drawn = jnp.where(is_given, given[at.step], sampled)
        tokens = jnp.where(active, drawn, jnp.where(at.left > 0, BROKEN, NO_TOKEN))
        fed = jnp.where(active, drawn, 0)
        nothing = tuple(jnp.zeros_like(part[0]) for part in out[1:])
        reports = lax.cond(wants_reports, lambda: _report(logits, fed, top), lambda: nothing)
        states, read = model.forward(at.rows.states, fed[:, None], active.astype(jnp.int32))
        after = Rows(states, jnp.where(active[:, None], read, logits), at.rows.sampling.accept(fed, active))
        stopped = (fed[:, None] == stop_tokens).any(-1) & ~is_given
        left = jnp.where(active & ~stopped, at.left - 1, 0)
        written = tuple(
            lax.dynamic_update_slice_in_dim(all_steps, one[None], at.step, 0)
            for all_steps, one in zip(at.out, (tokens, *reports), strict=True)
        )
        return _Step(at.step + 1, after, at.positions + active, left, written)

    begin = _Step(jnp.int32(0), rows, positions, jnp.minimum(budgets, steps), out)
    end = lax.while_loop(lambda at: (at.step < steps) & (at.left > 0).any(), one_step, begin)
    return end.rows, end.out
