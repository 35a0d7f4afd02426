"""Checkpoint: a model folder as the edge reads it (src/checkpoint/): model.json, graph.onnx, weights.safetensors.

Every byte is checked against the hashes of model.json. Weights stay as they are stored; int4, of which NumPy and JAX
would hold one value a byte, as u8 with the two values of a byte.
"""

import hashlib
import json
import math
import mmap
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
from onnx import TensorProto

from .errors import GriffinError
from .graph import WEIGHTS_FILE, Graph, StoredTensor, read_graph
from .layout import Layout, layout_bytes, state_layout

MANIFEST_VERSION = 1
GRAPH_FILE = "graph.onnx"
FORMATS = ("f32", "bf16", "int8", "int4")

#: ONNX element type -> (what the weight is an array of, how many values one of these holds)
ELEMENTS: dict[int, tuple[np.dtype, int]] = {
    TensorProto.FLOAT: (np.dtype(np.float32), 1),
    TensorProto.BFLOAT16: (np.dtype(ml_dtypes.bfloat16), 1),
    TensorProto.INT8: (np.dtype(np.int8), 1),
    TensorProto.INT4: (np.dtype(np.uint8), 2),
}


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """What a folder says of its model; `read_weights` reads the weights. Equal only to itself, and so hashable."""

    folder: Path
    #: Keys of Hugging Face's config.json.
    config: dict[str, Any]
    format: str
    #: What the attention window is kept in: f32 or bf16.
    kv: str
    parameters: int
    state_bytes: int
    stop_tokens: tuple[int, ...]
    #: SHA-256 of weights.safetensors and of graph.onnx.
    checkpoint_hash: str
    graph_hash: str
    graph: Graph
    layout: Layout


def read_checkpoint(folder: Path) -> Checkpoint:
    """Reads and checks everything but the weights. Raises `invalid_checkpoint`, `invalid_graph` or `unsupported`."""
    try:
        manifest = json.loads((folder / "model.json").read_text())
    except (OSError, ValueError) as cause:
        raise GriffinError("invalid_checkpoint", f"{folder} has no model.json that can be read: {cause}") from cause
    if manifest.get("griffin") != MANIFEST_VERSION:
        got = manifest.get("griffin")
        raise GriffinError("unsupported", f"model.json is version {got}; this code reads {MANIFEST_VERSION}.")
    if manifest["format"] not in FORMATS or manifest["kv"] not in ("f32", "bf16"):
        raise GriffinError("unsupported", f"model.json: unknown format {manifest['format']} or kv {manifest['kv']}.")

    graph_bytes = (folder / GRAPH_FILE).read_bytes()
    files = manifest["files"]
    _check_hash(GRAPH_FILE, hashlib.sha256(graph_bytes).hexdigest(), files[GRAPH_FILE]["sha256"])
    graph = read_graph(graph_bytes)
    layout = state_layout(graph.states, manifest["kv"])
    if layout_bytes(layout) != manifest["state_bytes"]:
        got = f"{manifest['state_bytes']}, the graph has {layout_bytes(layout)}"
        raise GriffinError("invalid_checkpoint", f"The bytes of a state in model.json are {got}.")
    return Checkpoint(
        folder=folder,
        config=manifest["config"],
        format=manifest["format"],
        kv=manifest["kv"],
        parameters=manifest["parameters"],
        state_bytes=manifest["state_bytes"],
        stop_tokens=tuple(manifest["stop_token_ids"]),
        checkpoint_hash=files[WEIGHTS_FILE]["sha256"],
        graph_hash=files[GRAPH_FILE]["sha256"],
        graph=graph,
        layout=layout,
    )


def read_weights(checkpoint: Checkpoint) -> Iterator[tuple[str, np.ndarray]]:
    """Each weight by name, a view of the file. Raises `invalid_checkpoint`."""
    with (checkpoint.folder / WEIGHTS_FILE).open("rb") as file:
        _check_hash(WEIGHTS_FILE, hashlib.file_digest(file, "sha256").hexdigest(), checkpoint.checkpoint_hash)
        data = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
    for name, tensor in checkpoint.graph.initializers.items():
        yield name, _read_tensor(name, tensor, data)


def _read_tensor(name: str, tensor: StoredTensor, data: memoryview) -> np.ndarray:
    if tensor.element_type not in ELEMENTS:
        raise GriffinError("unsupported", f'Weight "{name}": element type {tensor.element_type} is not known.')
    dtype, values = ELEMENTS[tensor.element_type]
    *rows, columns = tensor.shape
    if columns % values != 0:
        raise GriffinError("unsupported", f'Weight "{name}" has rows of {columns} values, which end within a byte.')
    shape = (*rows, columns // values)
    end = tensor.offset_bytes + tensor.length_bytes
    if tensor.offset_bytes < 0 or tensor.length_bytes != math.prod(shape) * dtype.itemsize or end > len(data):
        raise GriffinError("invalid_checkpoint", f'Weight "{name}" {list(tensor.shape)} does not lie where it should.')
    return np.frombuffer(data[tensor.offset_bytes : end], dtype).reshape(shape)


def _check_hash(file: str, got: str, expected: str) -> None:
    if got != expected:
        raise GriffinError("invalid_checkpoint", f"{file} is damaged: SHA-256 is {got}, model.json says {expected}.")
