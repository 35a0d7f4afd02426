"""Local attention: each token sees itself and the W before it, those before the call through a ring.

Scores are taken against the ring and against the new tokens apart, so that the ring is read where it lies; a step
writes its own slots and nothing else. The kernels behind jax.nn.dot_product_attention want both in one array: a copy of the
whole window for every token.
"""

import jax
import jax.numpy as jnp
import numpy as np
from onnx import TensorProto

from .numerics import Mode, product
from .rotary import rotation, turn


def local_attention(
    q: jax.Array,
    k: jax.Array,
    v: jax.Array,
    pos: jax.Array,
    keys: jax.Array,
    values: jax.Array,
    *,
    lengths: jax.Array,
    mode: Mode,
    head_dim: int,
    rotary_dim: int,
    rope_theta: float,
    kv_dtype: int,
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Attention with RoPE on the leading rotary_dim of every head, softmax in f32.

    q f32 [B, T, N * H], k and v f32 [B, T, C], pos i32 [B, T]: consecutive; keys (after RoPE) and values f32 or bf16
    [B, W, C]: the entry of position p lies in slot p mod W. kv_dtype is an ONNX element type: what keys and values are
    rounded to before any query reads them.
    """
    rows, tokens, _ = q.shape
    window, width = keys.shape[1:]
    kv_heads = width // head_dim
    cos, sin = rotation(pos, rotary_dim, rope_theta)
    queries = turn(q.reshape(rows, tokens, -1, head_dim), cos, sin) * np.float32(head_dim**-0.5)
    queries = queries.reshape(rows, tokens, kv_heads, -1, head_dim)
    new_keys = _rounded(turn(k.reshape(rows, tokens, kv_heads, head_dim), cos, sin), kv_dtype)
    new_values = _rounded(v.reshape(rows, tokens, kv_heads, head_dim), kv_dtype)
    ring_keys = keys.reshape(rows, window, kv_heads, head_dim)
    ring_values = values.reshape(rows, window, kv_heads, head_dim)

    # Axes: b row, t query, s key, n key/value head, g query head of it, h head dim.
    scores = jnp.concatenate(
        [product("btngh,bsnh->bngts", queries, each, mode) for each in (ring_keys, new_keys)], axis=-1
    )
    visible = jnp.concatenate([_sees_ring(pos, window), _sees_new(pos, window)], axis=-1)
    weights = jax.nn.softmax(jnp.where(visible[:, None, None], scores, -jnp.inf), axis=-1)
    y = sum(
        product("bngts,bsnh->btngh", part, each, mode)
        for part, each in ((weights[..., :window], ring_values), (weights[..., window:], new_values))
    )

    slots = _slots(pos, lengths, window)
    row = jnp.arange(rows)[:, None]
    keys, values = (
        ring.at[row, slots].set(new.reshape(rows, tokens, width).astype(ring.dtype), mode="drop")
        for ring, new in ((keys, new_keys), (values, new_values))
    )
    return y.reshape(q.shape), keys, values


def _rounded(x: jax.Array, kv_dtype: int) -> jax.Array:
    return x.astype(jnp.bfloat16) if kv_dtype == TensorProto.BFLOAT16 else x


def _sees_ring(pos: jax.Array, window: int) -> jax.Array:
    """[B, T, W]. Slot j holds the last position p < pos[:, 0] with p mod W = j."""
    last = pos[:, :1] - 1
    position = last - (last - jnp.arange(window)) % window
    return (position >= 0)[:, None] & (position[:, None] >= pos[..., None] - window)


def _sees_new(pos: jax.Array, window: int) -> jax.Array:
    """[B, T, T]: not the future, and not more than W back."""
    age = pos[:, :, None] - pos[:, None, :]
    return (age >= 0) & (age <= window)


def _slots(pos: jax.Array, lengths: jax.Array, window: int) -> jax.Array:
    """[B, T]: where each token is written; W, which is nowhere, unless it is one of the last W that its row reads."""
    index = jnp.arange(pos.shape[1])
    is_kept = (index < lengths[:, None]) & (index >= lengths[:, None] - window)
    return jnp.where(is_kept, pos % window, window)
