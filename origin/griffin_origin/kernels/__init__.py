"""The kernels: one pure function for each function of the graph, batched over rows; inputs in the graph's order.

Axes: B rows · T tokens · D width · R lru_width · E MLP width · N query heads · H head dim · C key/value width
      W attention window · V vocabulary · K, M in- and outputs of a linear · G blocks of 32 along K

What each function computes is its body in src/model/bodies.ts, and in which order, the kernel of the same name in wasm/.
Here a call has rows of different lengths besides: of row b only the first `lengths[b]` tokens count. Tokens behind them
never reach a state, and a row of length 0 keeps its states bit for bit.
"""

from collections.abc import Mapping
from functools import partial
from typing import Any

import jax

from ..graph import Node
from .activations import add, gelu_mul, silu_mul, soft_cap
from .block_diagonal import block_diagonal
from .causal_conv1d import causal_conv1d
from .embed import embed, embed_q
from .linear import linear
from .linear_q import linear_q
from .local_attention import local_attention
from .numerics import Call, Mode
from .rg_lru import rg_lru
from .rms_norm import rms_norm

__all__ = ["Mode", "run"]

KERNELS: Mapping[str, Any] = {
    "Add": add,
    "block_diagonal": block_diagonal,
    "causal_conv1d": causal_conv1d,
    "embed": embed,
    "embed_q": embed_q,
    "gelu_mul": gelu_mul,
    "linear": linear,
    "linear_q": linear_q,
    "local_attention": local_attention,
    "rg_lru": rg_lru,
    "rms_norm": rms_norm,
    "silu_mul": silu_mul,
    "soft_cap": soft_cap,
}


def run(
    node: Node, inputs: list[jax.Array], lengths: jax.Array, mode: Mode, segments: jax.Array | None = None
) -> tuple[jax.Array, ...]:
    """The outputs of a node; lengths i32 [B]. Segments i32 [B, T], for training alone: which tokens of a row are of one
    document. pos counts from 0 in each.
    """
    attributes = tuple(sorted(node.attributes.items()))
    return _run(inputs, lengths, segments, operator=node.operator, attributes=attributes, mode=mode)


@partial(jax.jit, static_argnames=("operator", "attributes", "mode"))
def _run(
    inputs: list[jax.Array],
    lengths: jax.Array,
    segments: jax.Array | None,
    *,
    operator: str,
    attributes: tuple,
    mode: Mode,
) -> tuple:
    """Jitted, so that calls with the same shapes are traced once for all layers."""
    outputs = KERNELS[operator](*inputs, call=Call.of(lengths, mode, segments), **dict(attributes))
    return outputs if isinstance(outputs, tuple) else (outputs,)
