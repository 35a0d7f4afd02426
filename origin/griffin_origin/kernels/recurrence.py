"""The recurrence under RG-LRU, and the square root in front of it, with gradients that a trainer can use."""

import jax
import jax.numpy as jnp
from jax import lax

#: So steep the square root is at most: at a = 1 its true gradient is infinite. Source: recurrentgemma/jax/layers.py.
STEEPEST_ROOT = 1000.0


@jax.custom_vjp
def recurrence(a: jax.Array, x: jax.Array, state: jax.Array) -> jax.Array:
    """h[t] = a[t] * h[t - 1] + x[t], h[-1] = state. a, x f32 [B, T, R], state f32 [B, R] -> h f32 [B, T, R].

    The gradient is the same recurrence from the last token to the first, and needs a and h alone; differentiating the
    scan itself would keep the arrays of each of its log T levels.
    """
    a, x = lax.associative_scan(_after, (a, x), axis=1)
    return a * state[:, None] + x


def _forward(a: jax.Array, x: jax.Array, state: jax.Array) -> tuple[jax.Array, tuple[jax.Array, ...]]:
    h = recurrence(a, x, state)
    return h, (a, h, state)


def _backward(kept: tuple[jax.Array, ...], of_h: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
    a, h, state = kept
    following = jnp.concatenate([a[:, 1:], jnp.zeros_like(a[:, :1])], axis=1)
    _, of_x = lax.associative_scan(_after, (following, of_h), axis=1, reverse=True)
    before = jnp.concatenate([state[:, None], h[:, :-1]], axis=1)
    return of_x * before, of_x, a[:, 0] * of_x[:, 0]


recurrence.defvjp(_forward, _backward)


def _after(first: tuple[jax.Array, jax.Array], then: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
    """Two steps h -> a * h + x as one."""
    return first[0] * then[0], then[0] * first[1] + then[1]


@jax.custom_jvp
def root(x: jax.Array) -> jax.Array:
    """The square root of x >= 0, with a gradient of at most STEEPEST_ROOT."""
    return jnp.sqrt(x)


@root.defjvp
def _root_jvp(primals: tuple[jax.Array], tangents: tuple[jax.Array]) -> tuple[jax.Array, jax.Array]:
    y = root(primals[0])
    return y, tangents[0] / jnp.maximum(2 * y, 1 / STEEPEST_ROOT)
