"""Elementary functions of f32 with the bits of wasm/math.ts, which says how each is computed and how exact it is. Training
has JAX's, for these round in steps, which have no gradients.
"""

from collections.abc import Callable
from functools import partial, wraps

import jax
import jax.numpy as jnp
from jax import lax

from ..float32 import Held
from .numerics import Call

MAGIC = 12582912  # 1.5 * 2**23: adding it rounds to an integer, half to even
ONE_BITS = 0x3F800000

Function = Callable[[jax.Array, Call], jax.Array]


def _in_training(trained: Callable[[jax.Array], jax.Array]) -> Callable[[Function], Function]:
    """Says what a function is in training."""

    def of(function: Function) -> Function:
        @wraps(function)
        def chosen(x: jax.Array, call: Call) -> jax.Array:
            return trained(x) if call.mode == "train" else function(x, call)

        return chosen

    return of


def _polynomial(x: jax.Array, coefficients: tuple[float, ...], held: Held) -> jax.Array:
    y = jnp.full_like(x, coefficients[0])
    for coefficient in coefficients[1:]:
        y = held(y * x) + jnp.float32(coefficient)
    return y


def _power_of_two(n: jax.Array) -> jax.Array:
    """2**n of i32 n from -127 (of which it is 0) to 127."""
    return lax.bitcast_convert_type((n << 23) + ONE_BITS, jnp.float32)


def _expm1_reduced(x: jax.Array, held: Held) -> tuple[jax.Array, jax.Array]:
    """exp(r) - 1 and i32 n, where x = n * ln 2 + r."""
    n = held(held(x * jnp.float32(1.442695)) + jnp.float32(MAGIC)) - jnp.float32(MAGIC)
    r = held(x - held(n * jnp.float32(0.693359375))) - held(n * jnp.float32(-0.00021219444))
    p = _polynomial(r, (0.0013819826, 0.008368687, 0.041668277, 0.16666521, 0.49999994), held)
    return held(held(r * r) * p) + r, n.astype(jnp.int32)


@_in_training(jnp.exp)
def exp(x: jax.Array, call: Call) -> jax.Array:
    held = call.held
    y, n = _expm1_reduced(jnp.clip(x, -104, 89), held)
    half = n >> 1
    return held(held((y + 1) * _power_of_two(half)) * _power_of_two(n - half))


def exp_normal(x: jax.Array, call: Call) -> jax.Array:
    """exp of x <= 88; 0 from -87.7 down."""
    held = call.held
    y, n = _expm1_reduced(jnp.maximum(x, -88), held)
    return held((y + 1) * _power_of_two(n))


def expm1(x: jax.Array, call: Call) -> jax.Array:
    held = call.held
    y, n = _expm1_reduced(jnp.maximum(x, -87), held)
    scale = _power_of_two(n)
    return held(y * scale) + (scale - 1)


@_in_training(jax.nn.sigmoid)
def sigmoid(x: jax.Array, call: Call) -> jax.Array:
    return 1 / (1 + exp(-x, call))


@_in_training(jnp.tanh)
def tanh(x: jax.Array, call: Call) -> jax.Array:
    m = expm1(-jnp.abs(x * 2), call)
    return jnp.copysign(m / (m + 2), x)


@_in_training(jax.nn.softplus)
def softplus(x: jax.Array, call: Call) -> jax.Array:
    held = call.held
    y = exp(-jnp.abs(x), call)
    s = y / (y + 2)
    z = held(s * s)
    p = _polynomial(z, (0.2802711, 0.27998558, 0.40021738, 0.6666641), held)
    return jnp.maximum(x, 0) + (held(held(s * z) * p) + (s + s))


@_in_training(jax.nn.silu)
def silu(x: jax.Array, call: Call) -> jax.Array:
    return x / (1 + exp(-x, call))


@_in_training(partial(jax.nn.gelu, approximate=True))
def gelu_tanh(x: jax.Array, call: Call) -> jax.Array:
    held = call.held
    slope = held(held(x * x) * jnp.float32(-0.071354814)) + jnp.float32(-1.5957692)
    return x / (1 + exp(held(x * slope), call))
