"""RG-LRU, the gated linear recurrence (Griffin, arXiv 2402.19427)."""

import jax
import jax.numpy as jnp
from jax import lax

from .elementary import exp, sigmoid, softplus
from .numerics import Call
from .recurrence import recurrence, root

#: So many tokens are one step of a loop on the device.
UNROLLED = 4


def rg_lru(
    x: jax.Array,
    input_gate: jax.Array,
    recurrent_gate: jax.Array,
    a_param: jax.Array,
    pos: jax.Array,
    state: jax.Array,
    *,
    call: Call,
) -> tuple[jax.Array, jax.Array]:
    """h = a * h + sqrt(1 - a^2) * (sigmoid(input_gate) * x); log a = -8 * sigmoid(recurrent_gate) * softplus(a_param).

    At position 0 a = 0 and the root is 1. x and the gates, which come before their sigmoid, f32 [B, T, R];
    a_param f32 [R], pos i32 [B, T], state f32 [B, R].

    a^2 is rounded to f32 before the difference is taken: models are trained with that.
    """
    held, lengths = call.held, call.lengths
    log_a = held(-8 * sigmoid(recurrent_gate, call)) * softplus(a_param, call)
    is_first = (pos == 0)[..., None]
    is_read = (jnp.arange(x.shape[1]) < lengths[:, None])[..., None]
    multiplier = jnp.where(is_first, 1.0, root(1 - exp(log_a + log_a, call)))
    a = jnp.where(is_first, 0.0, exp(log_a, call))
    added = held(multiplier * held(sigmoid(input_gate, call) * x))
    a, added = jnp.where(is_read, a, 1.0), jnp.where(is_read, added, 0.0)

    if x.shape[1] == 1:
        y = held(a * state[:, None]) + added
    elif call.in_order:
        y = _one_after_the_other(a, added, state, call)
    else:
        y = recurrence(a, added, state)
    return y, jnp.where(lengths[:, None] > 0, y[:, -1], state)


def _one_after_the_other(a: jax.Array, added: jax.Array, state: jax.Array, call: Call) -> jax.Array:
    def step(h: jax.Array, at: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        h = call.held(at[0] * h) + at[1]
        return h, h

    tokens_first = (jnp.moveaxis(a, 1, 0), jnp.moveaxis(added, 1, 0))
    return jnp.moveaxis(lax.scan(step, state, tokens_first, unroll=UNROLLED)[1], 0, 1)
