"""Folders in Hugging Face's layout, and the edge's converter, which makes the graph that is trained.

The trainer's weights have the names and shapes of graph.onnx: Hugging Face's without `model.`, and the convolution as
[4, R] where Hugging Face has [R, 1, 4].
"""

import json
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
from safetensors.numpy import save

from .whole import write_whole

ROOT = Path(__file__).parents[2]
NODE = ROOT / "node_modules/.bin/node"
GRIFFIN = ROOT / "dist/griffin.js"
WEIGHTS_FILE = "model.safetensors"
CONFIG_FILE = "config.json"
DTYPES = {"float32": np.dtype(np.float32), "bfloat16": np.dtype(ml_dtypes.bfloat16)}


def read_config(folder: Path) -> dict[str, Any]:
    """Keys of a folder's config.json."""
    return json.loads((folder / CONFIG_FILE).read_text())


def write_model(folder: Path, config: Mapping[str, Any], tensors: Mapping[str, np.ndarray], dtype: str) -> None:
    """Writes config.json and model.safetensors; a reader finds the old or the new weights, never half of them."""
    described = {**config, "torch_dtype": dtype}
    write_whole(folder / CONFIG_FILE, json.dumps(described, indent=2) + "\n")
    stored = {name: np.ascontiguousarray(tensor, DTYPES[dtype]) for name, tensor in tensors.items()}
    # save_file would let nobody else read it.
    write_whole(folder / WEIGHTS_FILE, save(stored, metadata={"format": "pt"}))


def to_hugging_face(weights: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """A graph's weights by Hugging Face's names and in its shapes."""
    return {
        name if name == "lm_head.weight" else f"model.{name}": _taps_last(array) if "conv_1d.weight" in name else array
        for name, array in weights.items()
    }


def _taps_last(array: np.ndarray) -> np.ndarray:
    return array.T[:, None]


def griffin(*arguments: str | Path) -> str:
    """Runs the griffin program of this checkout and returns what it printed."""
    if not GRIFFIN.exists():
        raise FileNotFoundError(f"{GRIFFIN} is not built: run `npm run build` in {ROOT}.")
    done = subprocess.run([NODE, GRIFFIN, *arguments], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"griffin {arguments[0]} failed: {done.stderr.strip()}")
    return done.stdout


def convert(folder: Path, out: Path, weight_format: str = "f32") -> Path:
    """Makes a checkpoint folder of a Hugging Face folder."""
    griffin("convert", folder, out, "--quantize", weight_format, "--quiet")
    return out
