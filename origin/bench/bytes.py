"""The bytes that decoding one token of every row must move through memory, from the config alone.

Counted are the weights, each read once for all rows; for each row its state, read whole, and what a token changes of it,
written; and each row's logits, written. Not counted, for a better program could keep them in caches: activations, what
sampling reads, quantised embedding rows. A window counts as full: after W tokens it is.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

CONV_TAPS = 4
BLOCK = 32
F32 = 4
MATRIX_BITS = {"f32": 32, "bf16": 16, "int8": 8, "int4": 4}
RING_BYTES = {"f32": 4, "bf16": 2}

Config = Mapping[str, Any]


@dataclass(frozen=True)
class Bytes:
    """Of one step."""

    weights: int
    state_read: int  # of one row, as the two below
    state_written: int
    logits: int

    def of(self, batch: int) -> int:
        return self.weights + batch * (self.state_read + self.state_written + self.logits)


def step_bytes(config: Config, format: str, kv: str) -> Bytes:
    """Of a model with these keys of Hugging Face's config.json, whose window is kept in `kv`."""
    blocks = config["block_types"]
    recurrent, attention = (blocks.count(kind) for kind in ("recurrent", "attention"))
    lru, window = config["lru_width"], config["attention_window_size"]
    recurrences = recurrent * CONV_TAPS * lru * F32  # h, and the last three inputs of the convolution
    slot = attention * 2 * _kv_width(config) * RING_BYTES[kv]
    return Bytes(
        weights=weight_bytes(config, format),
        state_read=recurrences + window * slot,
        state_written=recurrences + slot,
        logits=config["vocab_size"] * F32,
    )


def weight_bytes(config: Config, format: str) -> int:
    """All weights once. The embedding table is the head of tied models; of others only single rows of it are read."""
    vectors = F32 * sum(_vectors(config))
    matrices = sum(_matrix_bytes(rows, columns, format) for rows, columns in _matrices(config))
    return vectors + matrices


def _matrix_bytes(rows: int, columns: int, format: str) -> int:
    scales = rows * math.ceil(columns / BLOCK) * F32 if format in ("int8", "int4") else 0
    return rows * columns * MATRIX_BITS[format] // 8 + scales


def _kv_width(config: Config) -> int:
    return config["num_key_value_heads"] * config["head_dim"]


def _query_width(config: Config) -> int:
    return config["num_attention_heads"] * config["head_dim"]


def _matrices(config: Config) -> Iterator[tuple[int, int]]:
    """[rows, columns] of what `linear` multiplies by."""
    width, lru, mlp = config["hidden_size"], config["lru_width"], config["intermediate_size"] // 2
    yield config["vocab_size"], width  # the head
    for kind in config["block_types"]:
        if kind == "recurrent":
            yield from [(lru, width), (lru, width), (width, lru)]
        else:
            queries, kv = _query_width(config), _kv_width(config)
            yield from [(queries, width), (kv, width), (kv, width), (width, queries)]
        yield from [(mlp, width), (mlp, width), (width, mlp)]


def _vectors(config: Config) -> Iterator[int]:
    """Elements of what is f32 in every format."""
    width, lru, mlp = config["hidden_size"], config["lru_width"], config["intermediate_size"] // 2
    gate = lru * lru // config["num_attention_heads"] + lru
    has_bias = config["attention_bias"]
    for kind in config["block_types"]:
        if kind == "recurrent":
            convolution = CONV_TAPS * lru + lru
            yield 2 * lru + convolution + 2 * gate + lru + width  # biases of x and y, recurrent_param, bias of out
        else:
            yield width + has_bias * (_query_width(config) + 2 * _kv_width(config))
        yield 2 * width + 2 * mlp + width  # norms; biases of gate, up and down
    yield width
