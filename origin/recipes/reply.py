"""Replies of a model in this process, greedy, many at a time."""

from collections.abc import Sequence
from pathlib import Path

import jax
import numpy as np

from griffin_origin.model import Model, States

from .encoder import Encoder

#: Rows and tokens of a pass that reads prompts: whatever is asked, two programs are compiled.
ROWS, CHUNK = 25, 128
MOST_TOKENS = 80


class Talker:
    """A checkpoint that answers."""

    def __init__(self, checkpoint: Path, encoder: Encoder) -> None:
        """`checkpoint` is a folder of `griffin convert`."""
        self._model = Model.load(checkpoint)
        self._forward = jax.jit(Model.forward)
        self._encoder = encoder

    def replies(self, prompts: Sequence[Sequence[int]]) -> list[str]:
        """What the model says after each prompt."""
        groups = [prompts[start : start + ROWS] for start in range(0, len(prompts), ROWS)]
        return [reply for group in groups for reply in self._group(group)]

    def _group(self, prompts: Sequence[Sequence[int]]) -> list[str]:
        stops = (*self._model.stop_tokens, self._encoder.end_of_turn)
        said: list[list[int]] = [[] for _ in prompts]
        states, following = self._read(prompts)
        active = list(range(len(prompts)))
        for _ in range(MOST_TOKENS):
            active = [row for row in active if following[row] not in stops]
            if not active:
                break
            for row in active:
                said[row].append(int(following[row]))
            lengths = np.zeros(ROWS, np.int32)
            lengths[active] = 1
            states, logits = self._forward(self._model, states, following[:, None], lengths)
            following = np.asarray(logits).argmax(-1).astype(np.int32)
        return [self._encoder.spell(tokens) for tokens in said]

    def _read(self, prompts: Sequence[Sequence[int]]) -> tuple[States, np.ndarray]:
        """The states behind the prompts, and the likeliest token after each, i32 [ROWS]."""
        states = self._model.empty(ROWS)
        following = np.zeros(ROWS, np.int32)
        for start in range(0, max(map(len, prompts)), CHUNK):
            tokens, lengths = np.zeros((ROWS, CHUNK), np.int32), np.zeros(ROWS, np.int32)
            for row, prompt in enumerate(prompts):
                part = prompt[start : start + CHUNK]
                tokens[row, : len(part)], lengths[row] = part, len(part)
            states, logits = self._forward(self._model, states, tokens, lengths)
            following = np.where(lengths > 0, np.asarray(logits).argmax(-1), following).astype(np.int32)
        return states, following
