"""RMSNorm with a weight around 0."""

import jax
import jax.numpy as jnp
from jax import lax


def rms_norm(x: jax.Array, weight: jax.Array, *, epsilon: float) -> jax.Array:
    """y = x / sqrt(mean(x^2) + epsilon) * (1 + weight). x f32 [B, T, D], weight f32 [D]."""
    mean_square = jnp.mean(x * x, axis=-1, keepdims=True)
    return x * lax.rsqrt(mean_square + epsilon) * (1 + weight)
