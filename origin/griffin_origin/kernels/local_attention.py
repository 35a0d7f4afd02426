"""Local attention: each token sees itself and the W before it, those before the call through a ring."""

import jax
import jax.numpy as jnp
import numpy as np
from onnx import TensorProto

from .blocks import to_blocks
from .elementary import exp_normal
from .numerics import Call, divide, sum_in_order, sum_of_lanes
from .rotary import rotation, turn

#: So many lanes the edge's vectors have. Scores lie in lanes by position mod 4.
LANES = 4


def local_attention(
    q: jax.Array,
    k: jax.Array,
    v: jax.Array,
    pos: jax.Array,
    keys: jax.Array,
    values: jax.Array,
    *,
    call: Call,
    head_dim: int,
    rotary_dim: int,
    rope_theta: float,
    kv_dtype: int,
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Attention with RoPE on the leading rotary_dim of every head, softmax in f32.

    q f32 [B, T, N * H], k and v f32 [B, T, C], pos i32 [B, T]: consecutive; keys (after RoPE) and values f32 or bf16
    [B, W, C]: the entry of position p lies in slot p mod W. kv_dtype is an ONNX element type: what keys and values are
    rounded to before any query reads them. In training a token sees those of its own segment.
    """
    rows, tokens, _ = q.shape
    window, width = keys.shape[1:]
    kv_heads = width // head_dim
    cos, sin = rotation(pos, rotary_dim, rope_theta)
    queries = turn(q.reshape(rows, tokens, -1, head_dim), cos, sin, call.held)
    queries = queries.reshape(rows, tokens, kv_heads, -1, head_dim)
    new_keys = _rounded(turn(k.reshape(rows, tokens, kv_heads, head_dim), cos, sin, call.held), kv_dtype)
    new_values = _rounded(v.reshape(rows, tokens, kv_heads, head_dim), kv_dtype)
    ring_keys = keys.reshape(rows, window, kv_heads, head_dim)
    ring_values = values.reshape(rows, window, kv_heads, head_dim)
    attend = _attend_in_order if call.in_order else _attend
    y = attend(queries, (ring_keys, new_keys), (ring_values, new_values), pos, call)

    slots = _slots(pos, call.lengths, window)
    row = jnp.arange(rows)[:, None]
    keys, values = (
        ring.at[row, slots].set(new.reshape(rows, tokens, width).astype(ring.dtype), mode="drop")
        for ring, new in ((keys, new_keys), (values, new_values))
    )
    return y.reshape(q.shape), keys, values


# Axes: b row, t query, s key, n key/value head, g query head of it, h head dim. Keys and values come in two arrays
# [b, s, n, h]: the ring, and those of the new tokens.
Pair = tuple[jax.Array, jax.Array]


def _attend(queries: jax.Array, keys: Pair, values: Pair, pos: jax.Array, call: Call) -> jax.Array:
    """Scores are taken against the ring and against the new tokens apart, so that the ring is read where it lies. The
    kernels behind jax.nn.dot_product_attention want both in one array: a copy of the whole window for every token.
    """
    window = keys[0].shape[1]
    queries = queries * np.float32(queries.shape[-1] ** -0.5)
    scores = jnp.concatenate([call.product("btngh,bsnh->bngts", queries, each) for each in keys], axis=-1)
    visible = _visible(pos, window, call.segments)
    weights = jax.nn.softmax(jnp.where(visible[:, None, None], scores, -jnp.inf), axis=-1)
    parts = ((weights[..., :window], values[0]), (weights[..., window:], values[1]))
    return sum(call.product("bngts,bsnh->btngh", part, each) for part, each in parts)


def _attend_in_order(queries: jax.Array, keys: Pair, values: Pair, pos: jax.Array, call: Call) -> jax.Array:
    """Keys and values in order of position, from a multiple of 4 on: so they lie, and are added, at the edge."""
    window, tokens, head_dim = keys[0].shape[1], pos.shape[1], queries.shape[-1]
    begin = pos[:, :1]
    count = -(-(window + tokens + LANES - 1) // LANES) * LANES
    position = (begin - window) // LANES * LANES + jnp.arange(count)  # [b, s]
    place = jnp.where(position < begin, position % window, window + jnp.minimum(position - begin, tokens - 1))

    def in_order(pair: Pair) -> jax.Array:
        return jnp.take_along_axis(jnp.concatenate(pair, axis=1), place[..., None, None], axis=1).astype(jnp.float32)

    age = pos[:, :, None] - position[:, None]
    visible = (position >= 0)[:, None] & (age >= 0) & (age <= window)

    q_lanes = jnp.einsum("btngil->ilbngt", to_blocks(queries, LANES))
    k_lanes = jnp.einsum("bsnil->ilbns", to_blocks(in_order(keys), LANES))
    scores = sum_of_lanes(call.dot_in_order(q_lanes[..., None], k_lanes[:, :, :, :, None, None]))
    scores = call.held(scores * (1 / np.sqrt(np.float32(head_dim))))
    scores = jnp.where(visible[:, None, None], scores, -jnp.inf)
    weights = exp_normal(scores - jnp.max(scores, axis=-1, keepdims=True), call)  # [b, n, g, t, s]
    total = sum_of_lanes(sum_in_order(jnp.einsum("bngtil->ilbngt", to_blocks(weights, LANES))))
    weights = divide(weights, total[..., None])
    y = call.dot_in_order(
        jnp.einsum("bngts->sbngt", weights)[..., None], jnp.einsum("bsnh->sbnh", in_order(values))[:, :, :, None, None]
    )
    return jnp.einsum("bngth->btngh", y)


def _rounded(x: jax.Array, kv_dtype: int) -> jax.Array:
    return x.astype(jnp.bfloat16) if kv_dtype == TensorProto.BFLOAT16 else x


def _visible(pos: jax.Array, window: int, segments: jax.Array | None) -> jax.Array:
    """[B, T, W + T]: what each token sees of the ring, which is of the first token's segment, and of the new tokens."""
    sees_ring, sees_new = _sees_ring(pos, window), _sees_new(pos, window)
    if segments is not None:
        sees_ring &= (segments == segments[:, :1])[..., None]
        sees_new &= segments[:, :, None] == segments[:, None, :]
    return jnp.concatenate([sees_ring, sees_new], axis=-1)


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
