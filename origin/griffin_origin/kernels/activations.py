"""Functions of single elements."""

import jax
import jax.numpy as jnp

from .elementary import gelu_tanh, silu, tanh
from .numerics import Call, divide


def gelu_mul(gate: jax.Array, x: jax.Array, *, call: Call) -> jax.Array:
    """y = gelu_tanh(gate) * x. gate, x f32 [B, T, E]."""
    return call.held(gelu_tanh(gate, call) * x)


def silu_mul(gate: jax.Array, x: jax.Array, *, call: Call) -> jax.Array:
    """y = gate * sigmoid(gate) * x. gate, x f32 [B, T, E]."""
    return call.held(silu(gate, call) * x)


def soft_cap(x: jax.Array, *, call: Call, cap: float) -> jax.Array:
    """y = cap * tanh(x / cap). x f32 [B, T, V]."""
    return call.held(tanh(call.held(divide(x, cap)), call) * jnp.float32(cap))


def add(a: jax.Array, b: jax.Array, *, call: Call) -> jax.Array:
    """y = a + b of f32 [B, T, D]."""
    del call
    return a + b
