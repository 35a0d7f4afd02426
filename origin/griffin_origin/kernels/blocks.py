"""Blocks of 32 values along a row, which share a scale; the last block of a row may be shorter."""

import jax
import jax.numpy as jnp

from ..float32 import Held
from .numerics import divide

BLOCK = 32
#: A block whose largest magnitude is below this is zero: 127 / max would not be finite.
SMALLEST_MAX = 1e-36


def to_blocks(x: jax.Array, size: int = BLOCK) -> jax.Array:
    """[..., K] -> [..., G, size], the last block filled up with zeros."""
    missing = -x.shape[-1] % size
    if missing:
        x = jnp.pad(x, [(0, 0)] * (x.ndim - 1) + [(0, missing)])
    return x.reshape(*x.shape[:-1], -1, size)


def from_blocks(blocks: jax.Array, size: int) -> jax.Array:
    """The inverse of to_blocks: [..., G, 32] -> [..., size]."""
    return blocks.reshape(*blocks.shape[:-2], -1)[..., :size]


def values_of(stored: jax.Array) -> jax.Array:
    """Stored values int8 [..., K], or int4 as u8 [..., K / 2], as int8 [..., K]."""
    return unpack(stored) if stored.dtype == jnp.uint8 else stored


def unpack(pairs: jax.Array) -> jax.Array:
    """The int4 values in bytes u8 [..., K / 2], as int8 [..., K]; the first one of a byte lies in the low nibble."""
    signed = pairs.astype(jnp.int8)
    values = jnp.stack([(signed << 4) >> 4, signed >> 4], axis=-1)
    return values.reshape(*pairs.shape[:-1], -1)


def dequantize(stored: jax.Array, block_scale: jax.Array) -> jax.Array:
    """What stored values with scales f32 [..., G] stand for, as f32 [..., K]."""
    values = values_of(stored)
    blocks = to_blocks(values).astype(jnp.float32) * block_scale[..., None]
    return from_blocks(blocks, values.shape[-1])


def round_to_int8(x: jax.Array, held: Held) -> tuple[jax.Array, jax.Array]:
    """x f32 [..., K] as integers -127 to 127, f32 [..., G, 32], and the scale f32 [..., G] of each block."""
    blocks = to_blocks(x)
    largest = jnp.max(jnp.abs(blocks), axis=-1)
    factor = held(jnp.where(largest < SMALLEST_MAX, 0.0, 127 / largest))
    return jnp.round(held(blocks * factor[..., None])), divide(largest, 127)
