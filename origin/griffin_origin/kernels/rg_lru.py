"""RG-LRU, the gated linear recurrence (Griffin, arXiv 2402.19427)."""

import jax
import jax.numpy as jnp
from jax import lax


def rg_lru(
    x: jax.Array,
    input_gate: jax.Array,
    recurrent_gate: jax.Array,
    a_param: jax.Array,
    pos: jax.Array,
    state: jax.Array,
    *,
    lengths: jax.Array,
) -> tuple[jax.Array, jax.Array]:
    """h = a * h + sqrt(1 - a^2) * sigmoid(input_gate) * x; log a = -8 * sigmoid(recurrent_gate) * softplus(a_param).

    At position 0 a = 0 and the root is 1. x and the gates, which come before their sigmoid, f32 [B, T, R];
    a_param f32 [R], pos i32 [B, T], state f32 [B, R].
    """
    log_a = -8 * jax.nn.softplus(a_param) * jax.nn.sigmoid(recurrent_gate)
    # a^2 has to be the f32 nearest to it, and 1 - a^2 is taken in f32: models are trained with that. Where a is near 1
    # exp would miss by a last bit, which the root magnifies; 1 + expm1 does not.
    square_of_a = 1 + jnp.expm1(2 * log_a)
    is_first = (pos == 0)[..., None]
    is_read = (jnp.arange(x.shape[1]) < lengths[:, None])[..., None]
    multiplier = jnp.where(is_first, 1.0, jnp.sqrt(1 - square_of_a))
    a = jnp.where(is_first, 0.0, jnp.exp(log_a))
    h = jnp.where(is_read, multiplier * (jax.nn.sigmoid(input_gate) * x), 0.0)
    a = jnp.where(is_read, a, 1.0)

    if x.shape[1] > 1:
        a, h = lax.associative_scan(_after, (a, h), axis=1)
    y = a * state[:, None] + h
    return y, jnp.where(lengths[:, None] > 0, y[:, -1], state)


def _after(first: tuple[jax.Array, jax.Array], then: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
    """Two steps h -> a * h + x as one."""
    return first[0] * then[0], then[0] * first[1] + then[1]
