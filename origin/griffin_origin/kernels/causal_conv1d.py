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
    In training a token has no inputs of another segment; the state is of the first token's.
    """
    tokens = x.shape[1]
    inputs = jnp.concatenate([state, x], axis=1)
    taps = [inputs[:, tap : tap + tokens] for tap in range(TAPS)]
    if call.segments is not None:
        taps = _of_own_segment(taps, call.segments)
    y = call.held(taps[0] * weight[0])
    for tap in range(1, TAPS):
        y = y + call.held(taps[tap] * weight[tap])
    last_three = call.lengths[:, None] + jnp.arange(TAPS - 1)  # a row that reads n tokens keeps inputs n, n + 1, n + 2
    return y + bias, jnp.take_along_axis(inputs, last_three[..., None], axis=1)


def _of_own_segment(taps: list[jax.Array], segments: jax.Array) -> list[jax.Array]:
    """The inputs under each tap, 0 where they are of another segment than the token itself."""
    padded = jnp.pad(segments, ((0, 0), (TAPS - 1, 0)), mode="edge")
    is_own = [padded[:, tap : tap + segments.shape[1]] == segments for tap in range(TAPS)]
    return [jnp.where(own[..., None], inputs, 0) for own, inputs in zip(is_own, taps, strict=True)]
