"""Linear with f32 or bfloat16 weights."""

import jax

from .numerics import Mode, product


def linear(x: jax.Array, weight: jax.Array, bias: jax.Array | None = None, *, mode: Mode) -> jax.Array:
    """y = x @ weight.T + bias. x f32 [B, T, K], weight f32 or bf16 [M, K], bias f32 [M]."""
    y = product("btk,mk->btm", x, weight, mode)
    return y if bias is None else y + bias
