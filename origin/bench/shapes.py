"""What is measured: a Griffin of one of three shapes, a transformer of about as many parameters, and at which sizes."""

import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from griffin_origin.checkpoint import Checkpoint, read_checkpoint

ROOT = Path(__file__).parents[2]
#: Graphs that were made; git ignores it.
GRAPHS = ROOT / ".bench/origin"
LARGE_DEVICE_BYTES = 60e9


@dataclass(frozen=True)
class Plan:
    """Sizes of a run. A history is how many tokens were read before."""

    batches: tuple[int, ...]
    #: None, some and many tokens, and the batch that they are compared at.
    histories: tuple[int, int, int]
    history_batch: int
    prompt_tokens: int
    prompt_batches: tuple[int, ...]
    #: Tokens of a row in one sample of decoding.
    decode_tokens: int
    #: The most tokens of a prompt that ours reads in one pass.
    chunk_tokens: int
    #: Keys of transformers' GemmaConfig.
    transformer: dict[str, int]


PLANS = {
    "tiny": Plan(
        batches=(1, 2),
        histories=(0, 20, 200),
        history_batch=2,
        prompt_tokens=32,
        prompt_batches=(1,),
        decode_tokens=8,
        chunk_tokens=32,
        transformer={
            "vocab_size": 300,
            "hidden_size": 64,
            "intermediate_size": 192,
            "num_hidden_layers": 3,
            "num_attention_heads": 2,
            "num_key_value_heads": 1,
            "head_dim": 32,
        },
    ),
    "small": Plan(
        batches=(1, 8, 64),
        histories=(0, 2_000, 32_000),
        history_batch=4,
        prompt_tokens=512,
        prompt_batches=(1, 8),
        decode_tokens=16,
        chunk_tokens=256,
        transformer={
            "vocab_size": 4096,
            "hidden_size": 512,
            "intermediate_size": 2048,
            "num_hidden_layers": 8,
            "num_attention_heads": 8,
            "num_key_value_heads": 1,
            "head_dim": 64,
        },
    ),
    # RecurrentGemma-2B beside Gemma-2B.
    "2b": Plan(
        batches=(1, 8, 64, 256),
        histories=(0, 2_000, 32_000),
        history_batch=16,
        prompt_tokens=2_048,
        prompt_batches=(1, 8),
        decode_tokens=64,
        chunk_tokens=2_048,
        transformer={
            "vocab_size": 256_000,
            "hidden_size": 2048,
            "intermediate_size": 16_384,
            "num_hidden_layers": 18,
            "num_attention_heads": 8,
            "num_key_value_heads": 1,
            "head_dim": 256,
        },
    ),
}


def default_shapes(device_bytes: int | None) -> str:
    """The 2B where a device has its own memory, and enough for the model, its peers and 256 states."""
    return "2b" if device_bytes is not None and device_bytes >= LARGE_DEVICE_BYTES else "small"


def griffin(shapes: str, format: str) -> Checkpoint:
    """What the edge's exporter makes of the shapes: graph.onnx and model.json, without weights.

    Made anew where there is Node; elsewhere a folder that was made before and brought along is taken.
    """
    folder = GRAPHS / f"{shapes}-{format}"
    node = ROOT / "node_modules/.bin/node"
    if node.exists():
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        subprocess.run([node, Path(__file__).with_name("graphs.ts"), shapes, format, folder], check=True)
    elif not (folder / "model.json").exists():
        raise SystemExit(f"There is no Node to make {folder} with (npm ci), and it was not brought along.")
    return read_checkpoint(folder)
