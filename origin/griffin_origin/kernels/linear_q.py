"""Linear with int8 or int4 weights, dequantised inside the product: no wide copy of a matrix outlives its use."""

import jax
import jax.numpy as jnp
from jax import lax

from .blocks import dequantize, from_blocks, round_to_int8, to_blocks, values_of
from .numerics import Call

#: So many blocks are multiplied at once: their products, which wait to be added in order, take memory.
MOST_BLOCKS = 16


def linear_q(
    x: jax.Array, weight: jax.Array, block_scale: jax.Array, bias: jax.Array | None = None, *, call: Call
) -> jax.Array:
    """y = x @ dequantized weight.T + bias. x f32 [B, T, K], weight int8 [M, K] or int4 as u8
    [M, K / 2], block_scale f32 [M, G], bias f32 [M].

    In exact mode x is rounded to int8 in blocks of 32 first, as the function says; fast mode leaves that out.
    """
    if call.in_order:
        y = _in_order(x, weight, block_scale, call)
    else:
        if call.mode == "exact":
            blocks, scale = round_to_int8(x, call.held)
            x = from_blocks(blocks * scale[..., None], x.shape[-1])
        y = call.product("btk,mk->btm", x, dequantize(weight, block_scale))
    return y if bias is None else y + bias


def _in_order(x: jax.Array, weight: jax.Array, block_scale: jax.Array, call: Call) -> jax.Array:
    """Adds up the blocks in order, as wasm/linear_q.ts does. Products within a block are integers below 2^24: exact."""
    held = call.held
    x_blocks, x_scale = (jnp.moveaxis(each, 2, 0) for each in round_to_int8(x, held))  # [G, B, T, 32], [G, B, T]
    w_blocks = jnp.moveaxis(to_blocks(values_of(weight)), 1, 0)  # [G, M, 32]
    operands = (x_blocks, x_scale, w_blocks, block_scale.T)

    def add(total: jax.Array, group: tuple[jax.Array, ...]) -> tuple[jax.Array, None]:
        x, x_scale, w, w_scale = group
        dots = jnp.einsum("gbtk,gmk->gbtm", x, w.astype(jnp.float32))
        for i in range(len(dots)):
            total = total + held(dots[i] * held(w_scale[i] * x_scale[i][..., None]))
        return total, None

    count = len(x_blocks)
    steps = -(-count // MOST_BLOCKS)
    size = -(-count // steps)

    def groups(each: jax.Array) -> jax.Array:
        padded = jnp.pad(each, [(0, steps * size - count)] + [(0, 0)] * (each.ndim - 1))
        return padded.reshape(steps, size, *each.shape[1:])

    total, _ = lax.scan(add, jnp.zeros((*x.shape[:2], len(weight)), jnp.float32), jax.tree.map(groups, operands))
    return total
