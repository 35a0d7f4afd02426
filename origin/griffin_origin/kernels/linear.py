"""Linear with f32 or bfloat16 weights."""

import jax

from .numerics import Call


def linear(x: jax.Array, weight: jax.Array, bias: jax.Array | None = None, *, call: Call) -> jax.Array:
    """y = x @ weight.T + bias. x f32 [B, T, K], weight f32 or bf16 [M, K], bias f32 [M]."""
    y = call.product("btk,mk->btm", x, weight)
    return y if bias is None else y + bias
