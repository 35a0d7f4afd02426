"""Bodies of the protocol: what a POST asks for, and the frames of its answer. Truth: PROTOCOL.md."""

import json
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from .errors import GriffinError
from .layout import MAX_POSITION, Layout, check_state, read_position
from .options import GenerateOptions, PrefillOptions, Warm, parse_options
from .sampling import SamplingOptions
from .tensors import HEADER_LIMIT_BYTES, Tensors, read_tensors, write_tensors

VERSION = "1"
TOKEN_ARRAYS = ("tokens", "history", "replied")
METADATA = {"format", "format_version", "checkpoint", "graph", "options"}

WAITING, TOKENS, RESULT, ERROR = range(4)

STATUS = {
    "invalid_argument": 400,
    "invalid_state": 400,
    "unauthorized": 401,
    "not_found": 404,
    "timeout": 408,
    "checkpoint_mismatch": 409,
    "state_needed": 409,
    "too_large": 413,
    "internal": 500,
    "busy": 503,
}


@dataclass(frozen=True)
class Served:
    """What is served here, as far as requests are checked against it."""

    checkpoint: str  # SHA-256 of weights.safetensors
    graph: str  # SHA-256 of graph.onnx
    vocabulary: int
    stop_tokens: tuple[int, ...]
    layout: Layout  # of a state
    state_bytes: int
    has_tokenizer: bool
    prompt_tokens: int  # limits
    max_tokens: int

    @property
    def body_bytes(self) -> int:
        """The most bytes of a body."""
        return 8 + HEADER_LIMIT_BYTES + self.state_bytes + len(TOKEN_ARRAYS) * 4 * self.prompt_tokens


@dataclass(frozen=True)
class TurnRequest:
    """A checked request: a turn of src/engine/engine.ts without a format."""

    tokens: np.ndarray  # i32 [n]
    history: np.ndarray
    replied: np.ndarray
    state: Mapping[str, np.ndarray] | None  # the layout's entries
    position: int  # of the state it begins with
    id: str | None
    max_tokens: int
    stop: Sequence[str]
    stop_tokens: Sequence[int]
    sampling: SamplingOptions
    top_log_probabilities: int | None
    wants_logits: bool
    wants_state: bool
    warm: Warm | None
    keep: str | None


def read_turn(body: bytes | bytearray, served: Served, generates: bool) -> TurnRequest:
    """The turn in a body. Errors come in the order that PROTOCOL.md promises."""
    file = read_tensors(body)
    names = file.metadata
    if names.get("format") != "griffin_turn" or names.get("format_version") != VERSION:
        raise _invalid(f"format and format_version must be griffin_turn and {VERSION}.")
    if not METADATA <= set(names) <= METADATA | {"position"}:
        raise _invalid(f"The metadata must be {', '.join(sorted(METADATA))}, and position with a state.")
    tokens = {name: _token_ids(file, name, served) for name in TOKEN_ARRAYS}
    options = parse_options(GenerateOptions if generates else PrefillOptions, names["options"])
    if len(tokens["tokens"]) == 0:
        raise _invalid("There must be at least one token to read, got none.")
    state = {name: array for name, array in file.arrays.items() if name not in TOKEN_ARRAYS}
    position = _position(names, state, options.warm)
    request = _turn(tokens, state or None, position, options, served)
    end = position + len(request.tokens) + max(request.max_tokens, len(request.replied))
    if end > MAX_POSITION:
        raise _invalid(f"The turn would reach position {end}; the last one is {MAX_POSITION}.")
    if (names["checkpoint"], names["graph"]) != (served.checkpoint, served.graph):
        raise GriffinError(
            "checkpoint_mismatch",
            f"This origin serves checkpoint {served.checkpoint} and graph {served.graph}, not those of the request.",
        )
    if state:
        check_state(state, position, served.layout)
    return request


def _turn(tokens: Mapping, state: Mapping | None, position: int, options, served: Served) -> TurnRequest:
    common = {
        **tokens, "state": state, "position": position, "id": options.id,
        "wants_state": options.return_state, "warm": options.warm, "keep": options.keep,
    }  # fmt: skip
    if isinstance(options, PrefillOptions):
        if len(tokens["replied"]) > 0:
            raise _invalid("replied is for generate.")
        return TurnRequest(
            **common, max_tokens=0, stop=(), stop_tokens=(), sampling=SamplingOptions(0),
            top_log_probabilities=None, wants_logits=options.logits,
        )  # fmt: skip
    if options.max_tokens > served.max_tokens or len(tokens["replied"]) > served.max_tokens:
        raise GriffinError("too_large", f"A reply has at most {served.max_tokens} tokens here.")
    if options.stop and not served.has_tokenizer:
        raise _invalid("options.stop: this checkpoint has no tokenizer.")
    given = options.sampling
    bias = {int(token): value for token, value in given.logit_bias.items()}
    stop_tokens = served.stop_tokens if options.stop_tokens is None else tuple(options.stop_tokens)
    if any(token >= served.vocabulary for token in [*bias, *stop_tokens]):
        raise _invalid(f"options: token ids are below {served.vocabulary}.")
    if int(given.seed) >= 2**64:
        raise _invalid("options.sampling.seed must be below 2^64.")
    sampling = SamplingOptions(**(given.model_dump() | {"seed": int(given.seed), "logit_bias": bias}))
    return TurnRequest(
        **common, max_tokens=options.max_tokens, stop=tuple(options.stop), stop_tokens=stop_tokens, sampling=sampling,
        top_log_probabilities=options.top_log_probabilities, wants_logits=False,
    )  # fmt: skip


def _token_ids(file: Tensors, name: str, served: Served) -> np.ndarray:
    ids = file.arrays.get(name)
    if ids is None:
        return np.zeros(0, np.int32)
    if ids.dtype != np.int32 or ids.ndim != 1:
        raise _invalid(f"{name} must be I32 [n].")
    if len(ids) > served.prompt_tokens:
        raise GriffinError("too_large", f"{name} has {len(ids)} tokens, more than {served.prompt_tokens}.")
    if len(ids) > 0 and (ids.min() < 0 or ids.max() >= served.vocabulary):
        raise _invalid(f"{name} has ids that are not from 0 to {served.vocabulary - 1}.")
    return ids.copy()  # a view would keep the whole body


def _position(names: Mapping[str, str], state: Mapping, warm: Warm | None) -> int:
    if state and warm is not None:
        raise _invalid("A turn begins with a state or with a warm one, not with both.")
    if not state:
        if "position" in names:
            raise _invalid("position comes with a state.")
        return 0 if warm is None else warm.position
    position = read_position(names.get("position", ""))
    if position is None:
        raise _invalid(f"position must be from 1 to {MAX_POSITION}.")
    return position


def _invalid(message: str) -> GriffinError:
    return GriffinError("invalid_argument", message)


def frame(kind: int, payload: bytes = b"") -> bytes:
    return struct.pack("<BI", kind, len(payload)) + payload


def internal() -> GriffinError:
    """What a client learns of a fault of ours: nothing of its cause."""
    return GriffinError("internal", "The origin failed to run this turn.")


def error_body(error: GriffinError) -> dict:
    """The JSON of an HTTP error and of an error frame."""
    return {"error": {"code": error.code, "message": error.message}}


def error_frame(error: GriffinError) -> bytes:
    return frame(ERROR, json.dumps(error_body(error)).encode())


def tokens_frame(tokens: Sequence[int], reports: Sequence[tuple[float, list]] | None) -> bytes:
    """`reports`: of each token its log-probability and the likeliest ones as [id, log-probability]."""
    value: dict = {"tokens": list(tokens)}
    if reports is not None:
        value["log_probabilities"] = [own for own, _ in reports]
        value["top"] = [top for _, top in reports]
    return frame(TOKENS, json.dumps(value, separators=(",", ":")).encode())


def result_frame(served: Served, facts: Mapping[str, str], arrays: Mapping[str, np.ndarray]) -> bytes:
    """`arrays`: the entries of the state in the layout's order, if it is wanted, then the logits, if they are."""
    names = {"format": "griffin_result", "format_version": VERSION, "checkpoint": served.checkpoint}
    return frame(RESULT, write_tensors({**names, "graph": served.graph, **facts}, arrays))
