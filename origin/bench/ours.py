"""The origin's own programs, as its scheduler calls them: `Slots.decode` for all rows, `Slots.read` for prompts.

The weights are random and made in memory: no file of 5 GB is written or read.
"""

import time

import jax
import jax.numpy as jnp
import numpy as np

from griffin_origin.checkpoint import ELEMENTS, Checkpoint
from griffin_origin.graph import StoredTensor
from griffin_origin.model import POSITION, Model
from griffin_origin.slots import Slots

SEED = 2402
#: Values after which a weight repeats: a prime, so that no two rows are alike.
NOISE = 1_048_573
DISPATCH_TOKENS = 8


def random_model(checkpoint: Checkpoint, *, exact: bool) -> Model:
    """A model of the checkpoint's shapes. Weights are of ordinary magnitudes, so all numbers stay finite."""
    noise = np.random.default_rng(SEED).uniform(-1, 1, NOISE).astype(np.float32)
    weights = {
        name: jax.device_put(_random_weight(noise, name, tensor))
        for name, tensor in checkpoint.graph.initializers.items()
    }
    return Model(jax.block_until_ready(weights), checkpoint, "exact" if exact else "fast")


def _random_weight(noise: np.ndarray, name: str, tensor: StoredTensor) -> np.ndarray:
    dtype, values = ELEMENTS[tensor.element_type]
    *rows, columns = tensor.shape
    shape = (*rows, columns // values)
    if dtype.kind in "iu":
        return np.resize((127 * noise).astype(np.int8).view(dtype), shape)
    if name.endswith("_scale"):
        return np.full(shape, 1e-2 / np.sqrt(32 * columns), dtype)
    return np.resize((np.sqrt(3 / columns) * noise).astype(dtype), shape)


class Decode:
    """Greedy decoding of `batch` rows that all have read `position` tokens."""

    def __init__(self, model: Model, batch: int, position: int, tokens: int) -> None:
        self._slots = Slots(model, batch, 1, DISPATCH_TOKENS)
        self._batch, self._tokens, self._position = batch, tokens, position
        row = {name: value + 0.1 for name, value in model.empty(1).items() if name != POSITION}
        row[POSITION] = jnp.full(1, position, jnp.int32)
        for slot in range(batch):
            self._slots.place(slot, row)
        self._budgets = np.full(batch, DISPATCH_TOKENS, np.int32)
        self._given = self._slots.no_tokens()
        self._dispatch()

    def _dispatch(self) -> None:
        positions = np.full(self._batch, self._position, np.int32)
        tokens = np.asarray(self._slots.decode(positions, self._budgets, self._given, False).tokens)
        if (tokens < 0).any():  # else less was done than is counted
            raise RuntimeError("A row has not decoded all its tokens.")
        self._position += DISPATCH_TOKENS

    def measure(self) -> float:
        """Tokens a second, of all rows."""
        began = time.perf_counter()
        for _ in range(self._tokens // DISPATCH_TOKENS):
            self._dispatch()
        return self._batch * self._tokens / (time.perf_counter() - began)


class Prefill:
    """Reads one prompt for each of `batch` rows, one row after another, as the scheduler does."""

    def __init__(self, model: Model, batch: int, tokens: int, chunk_tokens: int) -> None:
        self._slots = Slots(model, batch, chunk_tokens, 1)
        self._batch = batch
        self._prompt = np.random.default_rng(SEED).integers(0, model.vocabulary, tokens).astype(np.int32)
        self.measure()

    def measure(self) -> float:
        """Tokens a second, of all rows."""
        for slot in range(self._batch):
            self._slots.place(slot, self._slots.empty)
        self._slots.wait()
        began = time.perf_counter()
        for slot in range(self._batch):
            for at in range(0, len(self._prompt), self._slots.chunk_tokens):
                self._slots.read(slot, self._prompt[at : at + self._slots.chunk_tokens])
        self._slots.wait()
        return self._batch * len(self._prompt) / (time.perf_counter() - began)
