"""Model: a checkpoint on the device, and one pure pass over rows of states.

    model = Model.load(Path("models/pocket"))
    states = model.empty(rows=8)
    states, logits = jax.jit(Model.forward, donate_argnums=1)(model, states, tokens, lengths)

A model is a pytree whose leaves are its weights: give it to a jitted function as an argument, and they are operands.
Closed over, they would be constants of every program that is compiled.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from . import kernels
from .checkpoint import Checkpoint, read_checkpoint, read_weights
from .graph import STATE_SUFFIX, run_graph
from .kernels import Mode
from .layout import Layout

#: States of B rows by the names of the layout, each [B, ...], and `position` i32 [B]: how many tokens each row has read.
States = dict[str, jax.Array]
POSITION = "position"


@partial(jax.tree_util.register_dataclass, data_fields=["weights"], meta_fields=["checkpoint", "mode"])
@dataclass(frozen=True)
class Model:
    """A checkpoint whose weights are on the device, in the types they are stored in."""

    weights: dict[str, jax.Array]
    checkpoint: Checkpoint
    mode: Mode

    @staticmethod
    def load(folder: Path, *, exact: bool = True) -> "Model":
        """Reads a checkpoint folder. Raises GriffinError `invalid_checkpoint`, `invalid_graph` or `unsupported`."""
        checkpoint = read_checkpoint(folder)
        weights = {name: jax.device_put(array) for name, array in read_weights(checkpoint)}
        jax.block_until_ready(weights)
        return Model(weights, checkpoint, "exact" if exact else "fast")

    @property
    def config(self) -> dict[str, Any]:
        """Keys of Hugging Face's config.json."""
        return self.checkpoint.config

    @property
    def format(self) -> str:
        return self.checkpoint.format

    @property
    def exact(self) -> bool:
        return self.mode == "exact"

    @property
    def vocabulary(self) -> int:
        return self.config["vocab_size"]

    @property
    def window(self) -> int:
        """So far attention looks back, and penalties."""
        return self.config["attention_window_size"]

    @property
    def checkpoint_hash(self) -> str:
        """SHA-256 of weights.safetensors."""
        return self.checkpoint.checkpoint_hash

    @property
    def graph_hash(self) -> str:
        """SHA-256 of graph.onnx."""
        return self.checkpoint.graph_hash

    @property
    def stop_tokens(self) -> tuple[int, ...]:
        return self.checkpoint.stop_tokens

    @property
    def layout(self) -> Layout:
        """The entries of a state."""
        return self.checkpoint.layout

    def empty(self, rows: int) -> States:
        """States of rows that have read nothing."""
        states = {name: jnp.zeros((rows, *shape), dtype) for name, (dtype, shape) in self.layout.items()}
        return states | {POSITION: jnp.zeros(rows, jnp.int32)}

    def forward(
        self, states: States, tokens: jax.Array, lengths: jax.Array, *, every: bool = False
    ) -> tuple[States, jax.Array]:
        """Reads the first lengths[b] <= T tokens of each row; a row of length 0 stays as it is, bit for bit.

        tokens i32 [B, T], lengths i32 [B] -> logits f32 [B, V] after the last token that was read, of no meaning for a
        row of length 0. With `every` they are those after each token, f32 [B, T, V]. Rows are independent.
        """
        count = tokens.shape[1]
        pos = states[POSITION][:, None] + jnp.arange(count, dtype=jnp.int32)
        last_index = jnp.maximum(lengths - 1, 0)

        def last(x: jax.Array) -> jax.Array:
            return x if count == 1 else jnp.take_along_axis(x, last_index[:, None, None], axis=1)

        values = run_graph(
            self.checkpoint.graph,
            {**self.weights, **states, "tokens": tokens, "pos": pos},
            lambda node, inputs: kernels.run(node, inputs, lengths, self.mode),
            None if every else last,
        )
        after = {name: values[name + STATE_SUFFIX] for name in self.layout}
        after[POSITION] = states[POSITION] + lengths
        return after, values["logits"] if every else values["logits"][:, 0]

    def row(self, states: States, index: jax.Array | int) -> States:
        """One row of states: states of one row."""
        return {name: jax.lax.dynamic_slice_in_dim(each, index, 1, 0) for name, each in states.items()}

    def insert(self, states: States, index: jax.Array | int, row: States) -> States:
        """The states with one row replaced."""
        return {
            name: jax.lax.dynamic_update_slice_in_dim(each, jnp.asarray(row[name], each.dtype), index, 0)
            for name, each in states.items()
        }

    def row_of(self, arrays: Mapping[str, np.ndarray], position: int) -> States:
        """States of one row, on the host, from the entries of the layout."""
        return {**{name: arrays[name][None] for name in self.layout}, POSITION: np.array([position], np.int32)}

    def arrays_of(self, row: States) -> dict[str, np.ndarray]:
        """The entries of a row, on the host, in the layout's order and byte for byte as the edge holds them."""
        fetched = jax.device_get({name: row[name] for name in self.layout})
        return {name: fetched[name][0] for name in self.layout}
