"""The gates of RG-LRU: a linear in each of some blocks."""

import jax

from .numerics import Mode, product


def block_diagonal(x: jax.Array, weight: jax.Array, bias: jax.Array, *, mode: Mode) -> jax.Array:
    """y = x @ weight + bias in every block. x f32 [B, T, R], weight f32 [block, in, out], bias f32 [block, out].

    In f32 in both modes: a decay of 0.999 would be 1 in bfloat16.
    """
    del mode
    blocks = x.reshape(*x.shape[:2], *bias.shape)
    return (product("btni,nio->btno", blocks, weight, "exact") + bias).reshape(x.shape)
