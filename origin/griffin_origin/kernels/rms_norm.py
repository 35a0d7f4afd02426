"""RMSNorm with a weight around 0."""

import jax
import jax.numpy as jnp

from .blocks import to_blocks
from .numerics import Call, divide, sum_in_order, sum_of_lanes


def rms_norm(x: jax.Array, weight: jax.Array, *, call: Call, epsilon: float) -> jax.Array:
    """y = x * (1 / sqrt(mean(x^2) + epsilon)) * (1 + weight). x f32 [B, T, D], weight f32 [D]."""
    held = call.held
    squares = held(x * x)
    if call.in_order:
        total = sum_of_lanes(sum_in_order(jnp.moveaxis(to_blocks(squares, 4), (-2, -1), (0, 1))))
    else:
        total = jnp.sum(squares, axis=-1)
    mean = divide(total, x.shape[-1])
    scale = held(1 / held(jnp.sqrt(mean + jnp.float32(epsilon))))
    return held(held(x * scale[..., None]) * (1 + weight))
