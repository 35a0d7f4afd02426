"""Weights to begin with, by Hugging Face's names and in its shapes, as recurrentgemma begins.

Source: recurrentgemma/jax/layers.py and modules.py. One thing is pocket's own: the convolution begins near the identity,
its last tap at 1, so that a shallow model reads its input from the first step on.
"""

import math
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

#: The recurrence begins with decays in this range where its gate is open an eighth (RG-LRU's c is 8).
SLOWEST, FASTEST = 0.999, 0.9
CONV_TAPS = 4


def block_types(config: Mapping[str, Any]) -> list[str]:
    """The kind of every layer: a pattern, repeated and cut off."""
    pattern = config.get("block_types") or config["_block_types"]
    return [pattern[i % len(pattern)] for i in range(config["num_hidden_layers"])]


def initial_weights(config: Mapping[str, Any], seed: int) -> dict[str, np.ndarray]:
    """Every tensor of a model, f32. `config` has the keys of Hugging Face's config.json."""
    return dict(_tensors(config, np.random.default_rng(seed)))


def _tensors(config: Mapping[str, Any], random: np.random.Generator) -> Iterator[tuple[str, np.ndarray]]:
    width = config["hidden_size"]
    layers = config["num_hidden_layers"]

    def normal(*shape: int, variance: float) -> np.ndarray:
        return (random.standard_normal(shape) * math.sqrt(variance)).astype(np.float32)

    def linear(name: str, out: int, of: int, scale: float = 1.0, bias: bool = True) -> Iterator[tuple[str, np.ndarray]]:
        yield f"{name}.weight", normal(out, of, variance=scale / of)
        if bias:
            yield f"{name}.bias", np.zeros(out, np.float32)

    last_scale = config.get("final_w_init_variance_scale", 2 / layers)  # of what is added to the residual stream
    yield "model.embed_tokens.weight", normal(config["vocab_size"], width, variance=1 / width)
    for i, kind in enumerate(block_types(config)):
        layer = f"model.layers.{i}"
        block, mlp = f"{layer}.temporal_block", f"{layer}.mlp_block"
        yield f"{layer}.temporal_pre_norm.weight", np.zeros(width, np.float32)
        yield f"{layer}.channel_pre_norm.weight", np.zeros(width, np.float32)
        if kind == "recurrent":
            lru = config.get("lru_width") or width
            heads = config["num_attention_heads"]
            yield from linear(f"{block}.linear_x", lru, width)
            yield from linear(f"{block}.linear_y", lru, width)
            yield from linear(f"{block}.linear_out", width, lru, last_scale)
            conv = normal(lru, 1, CONV_TAPS, variance=config.get("w_init_variance_scale", 0.01) / CONV_TAPS)
            conv[..., -1] += 1
            yield f"{block}.conv_1d.weight", conv
            yield f"{block}.conv_1d.bias", np.zeros(lru, np.float32)
            size = lru // heads
            for gate in ("input_gate", "recurrent_gate"):
                yield f"{block}.rg_lru.{gate}_weight", normal(heads, size, size, variance=1 / size)
                yield f"{block}.rg_lru.{gate}_bias", np.zeros((heads, size), np.float32)
            yield f"{block}.rg_lru.recurrent_param", _recurrent_param(random, lru)
        else:
            head = config["head_dim"]
            queries, keys = config["num_attention_heads"] * head, config["num_key_value_heads"] * head
            bias = bool(config.get("attention_bias", False))
            yield from linear(f"{block}.q_proj", queries, width, bias=bias)
            yield from linear(f"{block}.k_proj", keys, width, bias=bias)
            yield from linear(f"{block}.v_proj", keys, width, bias=bias)
            yield from linear(f"{block}.o_proj", width, queries, last_scale)
        expanded = config["intermediate_size"] // 2  # Hugging Face counts both halves
        yield from linear(f"{mlp}.gate_proj", expanded, width)
        yield from linear(f"{mlp}.up_proj", expanded, width)
        yield from linear(f"{mlp}.down_proj", width, expanded, last_scale)
    yield "model.final_norm.weight", np.zeros(width, np.float32)
    if not config.get("tie_word_embeddings", True):
        yield "lm_head.weight", normal(config["vocab_size"], width, variance=1 / width)


def _recurrent_param(random: np.random.Generator, size: int) -> np.ndarray:
    """softplus(param) = -log(a), with the squares of the decays a spread evenly."""
    log_a = 0.5 * np.log(random.uniform(FASTEST**2, SLOWEST**2, size))
    return np.log(np.expm1(-log_a)).astype(np.float32)
