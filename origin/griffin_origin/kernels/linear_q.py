"""Linear with int8 or int4 weights, dequantised inside the product: no wide copy of a matrix outlives its use."""

import jax

from .blocks import dequantize, round_to_int8
from .numerics import Mode, product


def linear_q(
    x: jax.Array, weight: jax.Array, block_scale: jax.Array, bias: jax.Array | None = None, *, mode: Mode
) -> jax.Array:
    """y = x @ dequantized weight.T + bias. x f32 [B, T, K], weight int8 [M, K] or int4 as u8
    [M, K / 2], block_scale f32 [M, G], bias f32 [M].

    In exact mode x is rounded to int8 in blocks of 32 first, as the function says; fast mode leaves that out.
    """
    if mode == "exact":
        x = round_to_int8(x)
    y = product("btk,mk->btm", x, dequantize(weight, block_scale), mode)
    return y if bias is None else y + bias
