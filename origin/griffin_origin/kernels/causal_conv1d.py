"""The short causal convolution in front of RG-LRU."""

import jax
import jax.numpy as jnp

from .numerics import Call

TAPS = 4


def causal_conv1d(
    x: jax.Array, weight: jax.Array, bias: jax.Array, state: jax.Array, *, call: Call
) -> tuple[jax.Array, jax.Array]:
    """y[t] = sum over s of weight[s] * x[t - 3 + s] + bias, oldest first.

    x f32 [B, T, R], weight f32 [4, R], bias f32 [R], state f32 [B, 3, R]: the last three inputs, oldest first.
    """
    tokens = x.shape[1]
    inputs = jnp.concatenate([state, x], axis=1)
    y = call.held(inputs[:, :tokens] * weight[0])
    for tap in range(1, TAPS):
        y = y + call.held(inputs[:, tap : tap + tokens] * weight[tap])
    last_three = call.lengths[:, None] + jnp.arange(TAPS - 1)  # a row that reads n tokens keeps inputs n, n + 1, n + 2
    return y + bias, jnp.take_along_axis(inputs, last_three[..., None], axis=1)
