"""exp, log and sums in f32 on the device, with the bits of src/engine/float32.ts: the steps are those of sampling.py.

Compilers make one rounding of a product and a sum (fused multiply-add), where these numbers have two. What keeps them
from it is `held`: an integer operation that changes nothing, but that no compiler can know to change nothing.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import lax

LANES = 256
#: So many additions are one step of a loop on the device.
UNROLLED = 32

#: Keeps an f32 as it is, rounded.
Held = Callable[[jax.Array], jax.Array]


def hold_with(zero: jax.Array) -> Held:
    """`zero` is an i32 that is 0, but computed from an operand of the program, so that it is unknown to a compiler."""

    def held(x: jax.Array) -> jax.Array:
        bits = lax.bitcast_convert_type(x, jnp.int32) ^ zero
        return lax.bitcast_convert_type(bits, jnp.float32)

    return held


def exp32(x: jax.Array, held: Held) -> jax.Array:
    """e**x of f32 x <= 0; exactly 0 below -87."""
    safe = jnp.maximum(x, -87)
    magic = jnp.float32(12582912)  # 1.5 * 2**23: adding and taking it away rounds to an integer, half to even
    n = held(held(safe * jnp.float32(1.4426950408889634)) + magic) - magic
    r = held(safe - held(n * jnp.float32(0.693359375))) - held(n * jnp.float32(-2.1219444e-4))
    y = jnp.full_like(r, 1.9875691e-4)
    for coefficient in (1.3981999e-3, 8.333452e-3, 4.1665796e-2, 1.6666666e-1, 5.0000001e-1):
        y = held(y * r) + jnp.float32(coefficient)
    y = (held(y * held(r * r)) + r) + jnp.float32(1)
    power = lax.bitcast_convert_type((n.astype(jnp.int32) + 127) << 23, jnp.float32)  # 2**n
    return jnp.where(x < -87, jnp.float32(0), y * power)


def log32(x: jax.Array, held: Held) -> jax.Array:
    """The natural logarithm of positive, finite and normal f32 x."""
    pattern = lax.bitcast_convert_type(x, jnp.int32)
    m = lax.bitcast_convert_type((pattern & 0x007FFFFF) | 0x3F000000, jnp.float32)
    e = ((pattern >> 23) - 126).astype(jnp.float32)  # x = m * 2**e with m in [1/2, 1)
    low = m < jnp.float32(0.7071067811865476)
    e = jnp.where(low, e - 1, e)
    m = jnp.where(low, held(m + m) - 1, m - 1)
    square = held(m * m)
    y = jnp.full_like(m, 7.0376836e-2)
    for coefficient in (
        -1.151461e-1, 1.1676999e-1, -1.2420141e-1, 1.4249323e-1, -1.6668058e-1, 2.0000715e-1, -2.4999994e-1, 3.3333331e-1,
    ):  # fmt: skip
        y = held(y * m) + jnp.float32(coefficient)
    tail = held(held(y * m) * square) + held(e * jnp.float32(-2.1219444e-4))
    return (m + held(tail - held(0.5 * square))) + held(e * jnp.float32(0.693359375))


def sum32(terms: jax.Array) -> jax.Array:
    """f32 [B, n] -> [B]: lane j adds the terms i = j mod 256 in order of i, then halves of lanes are added."""
    rows, count = terms.shape
    size = LANES * UNROLLED if count > LANES * UNROLLED else LANES * max(1, -(-count // LANES))
    padded = jnp.pad(terms, ((0, 0), (0, -count % size))).reshape(rows, -1, size // LANES, LANES)

    def add(lanes: jax.Array, block: jax.Array) -> tuple[jax.Array, None]:
        for i in range(block.shape[1]):
            lanes = lanes + block[:, i]
        return lanes, None

    lanes, _ = lax.scan(add, jnp.zeros((rows, LANES), jnp.float32), jnp.moveaxis(padded, 1, 0))
    while lanes.shape[1] > 1:
        half = lanes.shape[1] // 2
        lanes = lanes[:, :half] + lanes[:, half:]
    return lanes[:, 0]


def running_sum32(terms: jax.Array) -> jax.Array:
    """f32 [B, n] -> [B, n]: sums of the first terms, each added to the sum before it."""
    rows, count = terms.shape
    padded = jnp.pad(terms, ((0, 0), (0, -count % UNROLLED))).reshape(rows, -1, UNROLLED)

    def add(sum_before: jax.Array, block: jax.Array) -> tuple[jax.Array, jax.Array]:
        sums = []
        for i in range(UNROLLED):
            sum_before = sum_before + block[:, i]
            sums.append(sum_before)
        return sum_before, jnp.stack(sums, axis=1)

    _, sums = lax.scan(add, jnp.zeros(rows, jnp.float32), jnp.moveaxis(padded, 1, 0))
    return jnp.moveaxis(sums, 0, 1).reshape(rows, -1)[:, :count]
