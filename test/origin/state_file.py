"""The file of a state, as the edge exports and imports it (src/engine/state-file.ts): safetensors with the entries of the
layout and the last tokens that were read. Metadata names the model and the position; a SHA-256 over both finds damage.
An origin reads and writes none: with this, tests compare its states with the edge's.
"""

import hashlib
import json
import struct
from collections.abc import Mapping, Sequence

import numpy as np

from griffin_origin.errors import GriffinError
from griffin_origin.layout import MAX_POSITION, check_state, read_position
from griffin_origin.model import Model, States
from griffin_origin.tensors import Tensors, read_tensors, write_tensors

FORMAT = "griffin_state"
FORMAT_VERSION = "1"
TOKENS = "tokens"


def state_to_bytes(model: Model, row: States, tokens: Sequence[int]) -> bytes:
    """The file of one row; `tokens` are the last ones it has read, oldest first: at least one, at most the window."""
    arrays = {**model.arrays_of(row), TOKENS: np.asarray(tokens, np.int32)}
    names = {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "checkpoint": model.checkpoint_hash,
        "graph": model.graph_hash,
        "position": str(int(row["position"][0])),
        "last_token": str(tokens[-1]),
    }
    data = b"".join(np.ascontiguousarray(array).tobytes() for array in arrays.values())
    return write_tensors({**names, "sha256": _digest(names, data)}, arrays)


def state_from_bytes(model: Model, file: bytes) -> tuple[States, list[int]]:
    """The row in a file, and its last tokens. Raises `invalid_state` or `checkpoint_mismatch`, saying what is wrong."""
    try:
        read = read_tensors(file)
    except GriffinError as cause:
        raise _bad("It is no safetensors file, or cut off.") from cause
    names = {name: value for name, value in read.metadata.items() if name != "sha256"}
    if names.get("format") != FORMAT or names.get("format_version") != FORMAT_VERSION:
        raise _bad(f"It does not say that it is a {FORMAT} of version {FORMAT_VERSION}.")
    if (names.get("checkpoint"), names.get("graph")) != (model.checkpoint_hash, model.graph_hash):
        raise GriffinError(
            "checkpoint_mismatch", "The state belongs to another model: the hashes are not this model's."
        )
    if _digest(names, file[_header_bytes(file) :]) != read.metadata.get("sha256"):
        raise _bad("It is damaged: its bytes are not the ones that its sha256 is of.")
    position = read_position(names.get("position", ""))
    if position is None:
        raise _bad(f"Its position is not one from 1 to {MAX_POSITION}.")
    tokens = _tokens(model, read, position)
    if str(tokens[-1]) != names.get("last_token"):
        raise _bad("Its last token is not the one that its metadata names.")
    if list(read.arrays) != [*model.layout, TOKENS]:
        raise _bad("Its tensors are not this model's, or not in their order.")
    arrays = {name: array for name, array in read.arrays.items() if name != TOKENS}
    check_state(arrays, position, model.layout)
    return model.row_of(arrays, position), tokens


def _tokens(model: Model, read: Tensors, position: int) -> list[int]:
    found = read.arrays.get(TOKENS)
    most = max(model.window, 1)
    if found is None or found.dtype != np.int32 or found.ndim != 1 or not 1 <= len(found) <= min(position, most):
        raise _bad(f"A state at position {position} has 1 to {most} of its last tokens, as I32 [n].")
    if found.min() < 0 or found.max() >= model.vocabulary:
        raise _bad("A token is not in the vocabulary.")
    return found.tolist()


def _header_bytes(file: bytes) -> int:
    """Where the data of a file begins, which `read_tensors` has accepted."""
    (length,) = struct.unpack_from("<Q", file)
    return 8 + length


def _digest(names: Mapping[str, str], data: bytes) -> str:
    """SHA-256 of the metadata, by name, and of the data."""
    pairs = json.dumps([list(pair) for pair in sorted(names.items())], separators=(",", ":"), ensure_ascii=False)
    digest = hashlib.sha256(pairs.encode())
    digest.update(data)
    return digest.hexdigest()


def _bad(message: str) -> GriffinError:
    return GriffinError("invalid_state", f"This state cannot be used. {message}")
