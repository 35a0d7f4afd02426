"""The layout of a state (src/model/state.ts): its entries are the graph's state inputs, one after another.

`layers.{i}.rg_lru` [R] and `.conv1d` [3, R] f32; `.keys` and `.values` [W, C], rings in f32 or bf16: position p lies in
slot p mod W.
"""

import math
from collections.abc import Mapping

import ml_dtypes
import numpy as np

from .errors import GriffinError

#: The last position there is: it is an i32.
MAX_POSITION = 2**31 - 1

#: Name of an entry -> what is stored, and its shape; in the order of the data.
Layout = Mapping[str, tuple[np.dtype, tuple[int, ...]]]


def state_layout(shapes: Mapping[str, tuple[int, ...]], kv: str) -> Layout:
    """The layout of a graph's state inputs; `kv` says what rings are stored in, f32 or bf16."""
    f32 = np.dtype(np.float32)
    ring = np.dtype(ml_dtypes.bfloat16) if kv == "bf16" else f32
    return {name: (ring if is_ring(name) else f32, shape) for name, shape in shapes.items()}


def is_ring(name: str) -> bool:
    """Whether an entry has a slot for each position of the window."""
    return name.endswith((".keys", ".values"))


def layout_bytes(layout: Layout) -> int:
    """Bytes of a state."""
    return sum(dtype.itemsize * math.prod(shape) for dtype, shape in layout.values())


def read_position(text: str) -> int | None:
    """The position of a state as metadata have it, from 1 to MAX_POSITION; None where it is no such number."""
    is_number = text.isascii() and text.isdecimal() and len(text) <= 10
    return int(text) if is_number and 1 <= int(text) <= MAX_POSITION else None


def check_state(arrays: Mapping[str, np.ndarray], position: int, layout: Layout) -> None:
    """Refuses other tensors than the layout's, and values that no pass computes. Raises `invalid_state`."""
    for name, (dtype, shape) in layout.items():
        found = arrays.get(name)
        if found is None or found.dtype != dtype or found.shape != shape:
            raise _bad(f"must have {name} as {dtype} {list(shape)}.")
        if not np.isfinite(found).all():
            raise _bad(f"has values in {name} that are not finite.")
        if is_ring(name) and found[position:].any():  # none of a ring that is full
            raise _bad(f"has values in {name} behind position {position}.")
    if len(arrays) != len(layout):
        raise _bad(f"has {len(arrays)} tensors, this model's {len(layout)}.")


def _bad(message: str) -> GriffinError:
    return GriffinError("invalid_state", f"The state {message}")
