"""Evaluation of any model: perplexity on documents that were held out."""

from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np

from griffin_origin.model import Model

from . import network
from .documents import Source
from .encoder import Encoder
from .packing import pack, rows_of, together

#: Rows that are measured at most, and at a time.
MOST_ROWS, ROWS = 64, 8


@dataclass(frozen=True)
class Perplexity:
    """Of the tokens that the model has to say: all of them, those in the first window of their document, and those behind
    it, where the recurrent state is all that knows the beginning. NaN where there are none.
    """

    all: float
    in_first_window: float
    behind: float
    tokens: int


def perplexity(checkpoint: Path, encoder: Encoder, source: Source, row_tokens: int) -> Perplexity:
    """Measures a checkpoint of `griffin convert` in f32."""
    model = Model.load(checkpoint)
    rows = list(islice(rows_of(source.held_out(encoder, row_tokens), row_tokens), MOST_ROWS))
    if not rows:
        raise ValueError("There is nothing held out: give more text.")
    rows += [pack([], row_tokens)] * (-len(rows) % ROWS)
    batches = [together(rows[start : start + ROWS]) for start in range(0, len(rows), ROWS)]
    losses = np.concatenate(
        [network.measure(model.checkpoint, model.weights, batch, model.window) for batch in batches]
    )
    batch = together(batches)
    is_said = batch["weights"] == 1
    if not is_said.any():
        raise ValueError("What is held out has nothing that the model has to say.")
    is_near = batch["pos"] < model.window
    return Perplexity(
        _perplexity(losses[is_said]),
        _perplexity(losses[is_said & is_near]),
        _perplexity(losses[is_said & ~is_near]),
        int(is_said.sum()),
    )


def _perplexity(losses: np.ndarray) -> float:
    return float(np.exp(losses.mean())) if losses.size else float("nan")
