"""Checkpoints of a run: weights, the optimizer's state and where the documents are, in one safetensors file a step."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from .network import Weights
from .whole import keep_whole

#: So many are kept.
KEPT = 2


@dataclass(frozen=True)
class Place:
    """How far a run is: steps done, and the number of the next document."""

    step: int
    document: int


def save_checkpoint(folder: Path, place: Place, weights: Weights, optimizer_state: Any) -> None:
    """Writes the checkpoint of a step and drops old ones; a run that dies meanwhile leaves the one before."""
    arrays = {name: np.array(array, order="C") for name, array in _named(weights, optimizer_state).items()}
    file = folder / f"step-{place.step:08}.safetensors"
    partial = file.with_suffix(".partial")
    save_file(arrays, partial, metadata={"place": json.dumps(asdict(place))})
    keep_whole(partial, file)
    files = _files(folder)
    kept = [each for each in files if each <= file][-KEPT:]
    for other in set(files) - set(kept):  # later ones could not be read, or the run would be further
        other.unlink()


def has_checkpoints(folder: Path) -> bool:
    """Whether there are any, be they damaged."""
    return bool(_files(folder))


def load_checkpoint(folder: Path, weights: Weights, optimizer_state: Any) -> tuple[Place, Weights, Any] | None:
    """The latest checkpoint that can be read, in the shape of the given weights and state; None where there are none. Raises
    ValueError where none of them can be read.
    """
    files = _files(folder)
    for file in reversed(files):
        try:
            return _load(file, weights, optimizer_state)
        except SafetensorError:
            continue  # a disk that lost its end; the one before is there for that
    if files:
        raise ValueError(f"No checkpoint in {folder} can be read. Delete them all to begin anew.")
    return None


def _load(file: Path, weights: Weights, optimizer_state: Any) -> tuple[Place, Weights, Any]:
    with safe_open(file, "numpy") as stored:
        place = Place(**json.loads(stored.metadata()["place"]))
        wanted = _named(weights, optimizer_state)
        if set(stored.keys()) != set(wanted):
            raise ValueError(f"{file} is of another model; give the run a folder of its own.")
        arrays = {name: stored.get_tensor(name) for name in wanted}
    changed = [name for name, array in arrays.items() if array.shape != wanted[name].shape]
    if changed:
        raise ValueError(f"{file} is of another size: {changed[0]} is {list(arrays[changed[0]].shape)}.")
    structure = jax.tree.structure((weights, optimizer_state))
    loaded = jax.tree.unflatten(structure, jax.device_put(list(arrays.values())))
    return place, *loaded


def _named(weights: Weights, optimizer_state: Any) -> dict[str, Any]:
    leaves, _ = jax.tree.flatten_with_path((weights, optimizer_state))
    return {jax.tree_util.keystr(path): leaf for path, leaf in leaves}


def _files(folder: Path) -> list[Path]:
    return sorted(folder.glob("step-*.safetensors"))
