"""RoPE with angles that are exact at any position of an int32.

A GPU or TPU computes in f32, whose angles are 6e-3 off at position 100 000. So an angle is counted in 2^-64 turns, in
integers, which wrap at whole turns by themselves; what is left of it becomes f32.
"""

import math

import jax
import jax.numpy as jnp
import numpy as np


def rotation(pos: jax.Array, rotary_dim: int, theta: float) -> tuple[jax.Array, jax.Array]:
    """cos and sin of pos * theta^(-i / half) for i < half = rotary_dim / 2. pos i32 [B, T] -> f32 [B, T, half] each."""
    half = rotary_dim // 2
    turns = [int(2**64 * (theta ** (-i / half) / (2 * math.pi))) for i in range(half)]
    high = np.array([turn >> 32 for turn in turns], np.uint32)
    low = np.array([turn & 0xFFFFFFFF for turn in turns], np.uint32)
    position = pos.astype(jnp.uint32)[..., None]
    fraction = position * high + _high_word(position, low)  # of a turn, in 2^-32; whole turns are lost on purpose
    angle = fraction.astype(jnp.int32).astype(jnp.float32) * np.float32(2 * math.pi / 2**32)
    return jnp.cos(angle), jnp.sin(angle)


def turn(x: jax.Array, cos: jax.Array, sin: jax.Array) -> jax.Array:
    """Turns pairs (i, i + half) of the leading dims of every head. x f32 [B, T, heads, H], cos and sin [B, T, half]."""
    half = cos.shape[-1]
    cos, sin = cos[:, :, None], sin[:, :, None]
    first, second, rest = x[..., :half], x[..., half : 2 * half], x[..., 2 * half :]
    return jnp.concatenate([first * cos - second * sin, second * cos + first * sin, rest], axis=-1)


def _high_word(a: jax.Array, b: np.ndarray) -> jax.Array:
    """The upper 32 bits of the product of two u32."""
    a_high, a_low = a >> 16, a & 0xFFFF
    b_high, b_low = b >> 16, b & 0xFFFF
    middle = a_high * b_low + ((a_low * b_low) >> 16)
    other = a_low * b_high + (middle & 0xFFFF)
    return a_high * b_high + (middle >> 16) + (other >> 16)
