"""Test models that edge.ts wrote, and rows that read tokens, with two programs a model: three rows of 32 tokens or of 1."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import jax
import numpy as np

from griffin_origin.model import Model, States

GOLDENS = ("tiny-f32", "wide-bf16", "oneblock-f32", "pocket-f32")
UNQUANTIZED = (*GOLDENS, "silu_uncapped_unscaled-f32")
QUANTIZED = ("pocket-int8", "four_kv_heads_untied-int4")
MODELS = (*UNQUANTIZED, *QUANTIZED)

ROWS = 3
CHUNK = 32
forward = jax.jit(Model.forward, static_argnames="every")


@dataclass(frozen=True)
class Known:
    """A model and what the edge says of it."""

    folder: Path
    model: Model
    tokens: list[int]
    logits: np.ndarray  # f32 [T, V], after every token

    @property
    def half(self) -> int:
        """So many tokens the edge had read where it wrote half.state."""
        return len(self.tokens) // 2

    @property
    def state_file(self) -> bytes:
        return (self.folder / "half.state").read_bytes()


@lru_cache
def known(folder: Path) -> Known:
    model = Model.load(folder)
    tokens = json.loads((folder / "tokens.json").read_text())
    logits = np.fromfile(folder / "logits.f32", np.float32).reshape(len(tokens), -1)
    return Known(folder, model, tokens, logits)


def read(
    model: Model,
    sequences: Sequence[Sequence[int]],
    states: States | None = None,
    chunk: int = CHUNK,
    width: int = CHUNK,
) -> tuple[list[np.ndarray], States]:
    """Three rows read their sequences, of any lengths, in chunks of `chunk` tokens out of passes that have `width`.

    Gives the logits [T, V] of each row, and the states. What fills up a pass are tokens that would change everything.
    """
    assert len(sequences) == ROWS
    assert chunk <= width
    states = model.empty(ROWS) if states is None else states
    logits = [[np.zeros((0, model.vocabulary), np.float32)] for _ in sequences]
    for at in range(0, max(map(len, sequences)), chunk):
        pieces = [sequence[at : at + chunk] for sequence in sequences]
        lengths = np.array([len(piece) for piece in pieces], np.int32)
        tokens = np.full((ROWS, width), model.vocabulary - 1, np.int32)
        for row, piece in enumerate(pieces):
            tokens[row, : len(piece)] = piece
        states, every = forward(model, states, tokens, lengths, every=True)
        for row, length in enumerate(lengths):
            logits[row].append(np.asarray(every)[row, :length])
    return [np.concatenate(pieces) for pieces in logits], states


def alone(model: Model, sequence: Sequence[int], row: int = 0, **options) -> tuple[np.ndarray, States]:
    """One row reads; the others stay empty."""
    logits, states = read(model, [sequence if i == row else [] for i in range(ROWS)], **options)
    return logits[row], model.row(states, row)


def relative_error(actual: np.ndarray, expected: np.ndarray) -> float:
    """Root mean square of the differences, over that of what is expected."""
    return float(np.sqrt(np.sum((actual - expected) ** 2.0) / np.sum(expected**2.0)))


def largest(a: np.ndarray, b: np.ndarray) -> float:
    """The largest |a - b|; infinite where shapes differ."""
    return float(np.max(np.abs(np.float32(a) - np.float32(b)))) if a.shape == b.shape else np.inf


def same_bits(a: States, b: States) -> bool:
    return set(a) == set(b) and all(np.asarray(a[name]).tobytes() == np.asarray(b[name]).tobytes() for name in a)
