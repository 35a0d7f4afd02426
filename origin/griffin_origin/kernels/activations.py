"""Functions of single elements."""

import jax
import jax.numpy as jnp


def gelu_mul(gate: jax.Array, x: jax.Array) -> jax.Array:
    """y = gelu_tanh(gate) * x. gate, x f32 [B, T, E]."""
    return jax.nn.gelu(gate, approximate=True) * x


def silu_mul(gate: jax.Array, x: jax.Array) -> jax.Array:
    """y = gate * sigmoid(gate) * x. gate, x f32 [B, T, E]."""
    return jax.nn.silu(gate) * x


def soft_cap(x: jax.Array, *, cap: float) -> jax.Array:
    """y = cap * tanh(x / cap). x f32 [B, T, V]."""
    return cap * jnp.tanh(x / cap)
