"""Rows of the embedding table."""

import jax
import jax.numpy as jnp

from .blocks import dequantize
from .numerics import Call


def embed(tokens: jax.Array, table: jax.Array, *, call: Call, scale: float) -> jax.Array:
    """y = table[tokens] * scale. tokens i32 [B, T], table f32 or bf16 [V, D]."""
    return call.held(table[tokens].astype(jnp.float32) * jnp.float32(scale))


def embed_q(tokens: jax.Array, table: jax.Array, block_scale: jax.Array, *, call: Call, scale: float) -> jax.Array:
    """y = dequantized table[tokens] * scale. tokens i32 [B, T], table int8 [V, D] or int4 as u8 [V, D / 2],
    block_scale f32 [V, G]."""
    return call.held(call.held(dequantize(table[tokens], block_scale[tokens])) * jnp.float32(scale))
