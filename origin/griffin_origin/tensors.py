"""Safetensors in memory: one header, then tensors. What is read is a stranger's: every part of it is checked.

The library reads metadata of files on disk only, so the header is read and written here.
Truth: https://github.com/huggingface/safetensors#format
"""

import json
import math
import struct
from collections.abc import Mapping
from dataclasses import dataclass

import ml_dtypes
import numpy as np

from .errors import GriffinError

HEADER_LIMIT_BYTES = 2**20
DTYPES = {"F32": np.dtype("<f4"), "BF16": np.dtype(ml_dtypes.bfloat16), "I32": np.dtype("<i4")}
NAMES = {dtype: name for name, dtype in DTYPES.items()}


@dataclass(frozen=True)
class Tensors:
    """What a safetensors body holds. The arrays are views of its bytes."""

    metadata: Mapping[str, str]
    arrays: Mapping[str, np.ndarray]


def _bad(message: str) -> GriffinError:
    return GriffinError("invalid_argument", f"The body is no safetensors file of this protocol: {message}")


def read_tensors(body: bytes | bytearray) -> Tensors:
    """Fails with `invalid_argument` where the file is malformed, has holes, overlaps, or other dtypes than DTYPES."""
    if len(body) < 8:
        raise _bad(f"it has {len(body)} bytes.")
    (length,) = struct.unpack_from("<Q", body)
    if length > min(HEADER_LIMIT_BYTES, len(body) - 8):
        raise _bad(f"its header claims {length} bytes.")
    header = _header(body[8 : 8 + length])
    metadata = header.pop("__metadata__", {})
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise _bad("its metadata are not strings.")

    start = 8 + length
    placed = sorted(((*_entry(name, entry), name) for name, entry in header.items()), key=lambda at: at[:2])
    end = 0
    arrays = {}
    for begin, stop, dtype, shape, name in placed:
        if begin != end or stop > len(body) - start:
            raise _bad(f"{_named(name)} is not behind the one before it, or ends behind the body.")
        end = stop
        count = (stop - begin) // dtype.itemsize
        arrays[name] = np.frombuffer(body, dtype, count, start + begin).reshape(shape)
    if start + end != len(body):
        raise _bad("bytes follow its last tensor.")
    return Tensors(metadata, arrays)


def _header(text: bytes | bytearray) -> dict:
    def unique(pairs: list) -> dict:
        found = dict(pairs)
        if len(found) < len(pairs):
            raise _bad("its header has a key twice.")
        return found

    try:
        header = json.loads(text.decode("utf-8"), object_pairs_hook=unique)
    except (ValueError, RecursionError):
        raise _bad("its header is not JSON.") from None
    if not isinstance(header, dict):
        raise _bad("its header is not a JSON object.")
    return header


def _entry(name: str, entry: object) -> tuple[int, int, np.dtype, tuple[int, ...]]:
    if not isinstance(entry, dict) or set(entry) != {"dtype", "shape", "data_offsets"}:
        raise _bad(f"{_named(name)} is not described by dtype, shape and data_offsets.")
    dtype = DTYPES.get(entry["dtype"]) if isinstance(entry["dtype"], str) else None
    if dtype is None:
        raise _bad(f"{_named(name)} must be one of {', '.join(DTYPES)}.")
    shape, offsets = entry["shape"], entry["data_offsets"]
    if not _counts(shape) or not _counts(offsets) or len(offsets) != 2 or len(shape) > 8:
        raise _bad(f"{_named(name)} has no shape and place.")
    size = dtype.itemsize * math.prod(shape)
    # A tensor without elements has no long sides either: numpy takes no huge ones.
    if offsets[1] - offsets[0] != size or max(shape, default=0) > max(size, 1):
        raise _bad(f"{_named(name)} does not fill its place.")
    return offsets[0], offsets[1], dtype, tuple(shape)


def _named(name: str) -> str:
    return f"tensor {name[:64]!r}"


def _counts(value: object) -> bool:
    return isinstance(value, list) and all(type(one) is int and 0 <= one < 2**53 for one in value)


def write_tensors(metadata: Mapping[str, str], arrays: Mapping[str, np.ndarray]) -> bytes:
    """The file of `arrays`, in their order and without holes; the data begins at a multiple of 8 bytes."""
    header: dict = {"__metadata__": dict(metadata)}
    end = 0
    for name, array in arrays.items():
        begin, end = end, end + array.nbytes
        header[name] = {"dtype": NAMES[array.dtype], "shape": list(array.shape), "data_offsets": [begin, end]}
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    data = [np.ascontiguousarray(array).tobytes() for array in arrays.values()]
    return b"".join([struct.pack("<Q", len(text)), text, *data])
