"""The network in training: the origin's graph and kernels, over rows of packed documents. On GPUs and TPUs matrices are
multiplied in bfloat16 with f32 sums; gates, states and weights are f32 everywhere.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from griffin_origin import kernels
from griffin_origin.checkpoint import Checkpoint
from griffin_origin.graph import run_graph
from griffin_origin.layout import is_ring

Weights = dict[str, jax.Array]


def logits(checkpoint: Checkpoint, weights: Weights, batch: dict[str, Any], window: int) -> jax.Array:
    """Logits after every token of a batch (packing.py), f32 [B, T, V]; each document begins with an empty state."""
    rows, tokens = batch["tokens"].shape
    states = {
        name: jnp.zeros((rows, window if is_ring(name) else shape[0], *shape[1:]), dtype)
        for name, (dtype, shape) in checkpoint.layout.items()
    }
    lengths = jnp.full(rows, tokens, jnp.int32)
    values = run_graph(
        checkpoint.graph,
        {**weights, **states, "tokens": batch["tokens"], "pos": batch["pos"]},
        lambda node, inputs: kernels.run(node, inputs, lengths, "train", batch["segments"]),
        None,
    )
    return values["logits"]


def losses(logits: jax.Array, targets: jax.Array) -> jax.Array:
    """Cross-entropy of every target i32 [B, T] in nats, f32 [B, T]."""
    said = jnp.take_along_axis(logits, targets[..., None], axis=-1)[..., 0]
    return jax.nn.logsumexp(logits, axis=-1) - said


def mean_loss(checkpoint: Checkpoint, weights: Weights, batch: dict[str, Any], window: int) -> jax.Array:
    """The weighted mean of the losses."""
    counts = batch["weights"]
    all_losses = losses(logits(checkpoint, weights, batch, window), batch["targets"])
    return (all_losses * counts).sum() / jnp.maximum(counts.sum(), 1e-9)


# Programs, which are compiled once for each size of batches and each window.

compiled_logits = jax.jit(logits, static_argnums=(0, 3))
compiled_losses = jax.jit(losses)
#: (the mean loss, its gradient by each weight)
compiled_gradients = jax.jit(jax.value_and_grad(mean_loss, argnums=1), static_argnums=(0, 3))


def measure(checkpoint: Checkpoint, weights: Weights, batch: dict[str, Any], window: int) -> np.ndarray:
    """The losses of a batch."""
    return np.asarray(compiled_losses(compiled_logits(checkpoint, weights, batch, window), batch["targets"]))
