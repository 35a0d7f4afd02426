"""The kernels: one pure function for each function of the graph, batched over rows; inputs in the graph's order.

Axes: B rows · T tokens · D width · R lru_width · E MLP width · N query heads · H head dim · C key/value width
      W attention window · V vocabulary · K, M in- and outputs of a linear · G blocks of 32 along K

What each function computes is its body in src/model/bodies.ts. Here a call has rows of different lengths besides: of
row b only the first `lengths[b]` tokens count. Tokens behind them never reach a state, and a row of length 0 keeps its
states bit for bit.
"""

from collections.abc import Mapping
from typing import Any

import jax

from ..graph import Node
from .activations import gelu_mul, silu_mul, soft_cap
from .block_diagonal import block_diagonal
from .causal_conv1d import causal_conv1d
from .embed import embed, embed_q
from .linear import linear
from .linear_q import linear_q
from .local_attention import local_attention
from .numerics import Mode
from .rg_lru import rg_lru
from .rms_norm import rms_norm

__all__ = ["Mode", "call"]

#: Kernels that look at one token alone and multiply no matrices.
_PLAIN: Mapping[str, Any] = {
    "embed": embed,
    "embed_q": embed_q,
    "rms_norm": rms_norm,
    "gelu_mul": gelu_mul,
    "silu_mul": silu_mul,
    "soft_cap": soft_cap,
    "Add": lambda a, b: a + b,
}
#: Those that multiply matrices.
_MATRIX: Mapping[str, Any] = {"linear": linear, "linear_q": linear_q, "block_diagonal": block_diagonal}


def call(node: Node, inputs: list[jax.Array], lengths: jax.Array, mode: Mode) -> tuple[jax.Array, ...]:
    """Runs a node's kernel; lengths i32 [B]."""
    operator, attributes = node.operator, node.attributes
    if operator in _PLAIN:
        return (_PLAIN[operator](*inputs, **attributes),)
    if operator in _MATRIX:
        return (_MATRIX[operator](*inputs, mode=mode),)
    if operator == "causal_conv1d":
        return causal_conv1d(*inputs, lengths=lengths)
    if operator == "rg_lru":
        return rg_lru(*inputs, lengths=lengths)
    return local_attention(*inputs, lengths=lengths, mode=mode, **attributes)
