"""RoPE with angles that are exact at any position of an int32: in f64, as wasm/trig.ts has them. f32 angles would be 6e-3
off at position 100 000.
"""

import jax
import jax.numpy as jnp
import numpy as np

from ..float32 import Held


def rotation(pos: jax.Array, rotary_dim: int, theta: float) -> tuple[jax.Array, jax.Array]:
    """cos and sin of pos * theta^(-2i / rotary_dim) for i < half = rotary_dim / 2. pos i32 [B, T] -> f32 [B, T, half]."""
    frequency = np.array([theta ** (-2 * i / rotary_dim) for i in range(rotary_dim // 2)])
    with jax.enable_x64(True):
        angle = pos.astype(jnp.float64)[..., None] * frequency
        return jnp.cos(angle).astype(jnp.float32), jnp.sin(angle).astype(jnp.float32)


def turn(x: jax.Array, cos: jax.Array, sin: jax.Array, held: Held) -> jax.Array:
    """Turns pairs (i, i + half) of the leading dims of every head. x f32 [B, T, heads, H], cos and sin [B, T, half]."""
    half = cos.shape[-1]
    cos, sin = cos[:, :, None], sin[:, :, None]
    first, second, rest = x[..., :half], x[..., half : 2 * half], x[..., 2 * half :]
    turned = [held(first * cos) - held(second * sin), held(second * cos) + held(first * sin)]
    return jnp.concatenate([*turned, rest], axis=-1)
