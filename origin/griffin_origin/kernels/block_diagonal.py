"""The gates of RG-LRU: a linear in each of some blocks."""

import jax
import jax.numpy as jnp

from .numerics import Call, product


def block_diagonal(x: jax.Array, weight: jax.Array, bias: jax.Array, *, call: Call) -> jax.Array:
    """y = x @ weight + bias in every block. x f32 [B, T, R], weight f32 [block, in, out], bias f32 [block, out].

    In f32 in every mode: a decay of 0.999 would be 1 in bfloat16.
    """
    blocks = x.reshape(*x.shape[:2], *bias.shape)
    if call.in_order:
        y = call.dot_in_order(jnp.moveaxis(blocks, -1, 0)[..., None], jnp.moveaxis(weight, 1, 0)[:, None, None])
    else:
        y = product("btni,nio->btno", blocks, weight, "exact")
    return (y + bias).reshape(x.shape)
