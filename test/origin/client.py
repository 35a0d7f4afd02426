"""A client of the protocol for tests, written from PROTOCOL.md with the safetensors library: nothing of the origin is in it."""

import json
import struct
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import httpx
import numpy as np
from safetensors.numpy import load, save

MOST_SECONDS = 60
KINDS = ("waiting", "tokens", "result", "error")
GREEDY = {"seed": "0", "temperature": 0}


@dataclass
class Answer:
    """All frames of one answer. `metadata` is None where the stream broke off."""

    tokens: list[int] = field(default_factory=list)
    log_probabilities: list[float] = field(default_factory=list)
    top: list = field(default_factory=list)
    metadata: dict | None = None
    arrays: dict = field(default_factory=dict)
    error: dict | None = None
    payload: bytes = b""

    @property
    def state(self) -> tuple[int, dict]:
        return int(self.metadata["position"]), {k: v for k, v in self.arrays.items() if k != "logits"}


def body(model: dict, tokens: Iterable[int], options, state=None, history=None, replied=None, metadata=None) -> bytes:
    """`model`: an entry of /v1/models. `state`: position and arrays, as `Answer.state`."""
    names = {
        "format": "griffin_turn", "format_version": "1", "checkpoint": model["checkpoint"], "graph": model["graph"],
        "options": json.dumps(options),
    }  # fmt: skip
    arrays = {"tokens": np.array(list(tokens), np.int32)}
    if state is not None:
        names["position"] = str(state[0])
        arrays |= state[1]
    for name, ids in (("history", history), ("replied", replied)):
        if ids is not None:
            arrays[name] = np.array(ids, np.int32)
    return save(arrays, {**names, **(metadata or {})})


def metadata_of(file: bytes) -> dict:
    (length,) = struct.unpack_from("<Q", file)
    return json.loads(file[8 : 8 + length]).get("__metadata__")


def frames(pieces: Iterable[bytes]) -> Iterator[tuple[str, bytes]]:
    """Frames of a stream that comes in pieces, cut anywhere."""
    held = b""
    until = time.monotonic() + MOST_SECONDS
    for piece in pieces:
        assert time.monotonic() < until, "the stream does not end"
        held += piece
        while len(held) >= 5:
            kind, length = struct.unpack_from("<BI", held)
            if len(held) < 5 + length:
                break
            yield KINDS[kind], held[5 : 5 + length]
            held = held[5 + length :]


def take(answer: Answer, kind: str, payload: bytes) -> None:
    if kind == "tokens":
        value = json.loads(payload)
        answer.tokens += value["tokens"]
        answer.log_probabilities += value.get("log_probabilities", [])
        answer.top += value.get("top", [])
    elif kind == "result":
        answer.payload = payload
        answer.metadata = metadata_of(payload)
        answer.arrays = load(payload)
    elif kind == "error":
        answer.error = json.loads(payload)["error"]


def same_state(a: tuple[int, dict], b: tuple[int, dict]) -> None:
    """Checks that position and bits are the same."""
    assert a[0] == b[0]
    assert set(a[1]) == set(b[1])
    for name in a[1]:
        assert a[1][name].tobytes() == b[1][name].tobytes(), name


def gather(pieces: Iterable[bytes]) -> Answer:
    answer = Answer()
    for kind, payload in frames(pieces):
        assert (answer.metadata, answer.error) == (None, None), "a frame follows the last one"
        take(answer, kind, payload)
    return answer


class Client:
    def __init__(self, url: str, **headers: str) -> None:
        self.http = httpx.Client(base_url=url, headers=headers, timeout=60, trust_env=False)
        self.model = self.http.get("/v1/models").json()["data"][0]

    def options(self, max_tokens: int = 16, sampling: dict = GREEDY, **more) -> dict:
        return {"max_tokens": max_tokens, "sampling": sampling, **more}

    def generate(self, tokens, options: dict | None = None, **more) -> Answer:
        sent = body(self.model, tokens, self.options() if options is None else options, **more)
        return self.answer("/v1/generate", sent)

    def prefill(self, tokens, options: dict | None = None, **more) -> Answer:
        return self.answer("/v1/prefill", body(self.model, tokens, options or {}, **more))

    def answer(self, path: str, sent: bytes) -> Answer:
        response = self.http.post(path, content=sent)
        assert response.status_code == 200, response.text
        return gather([response.content])

    def refusal(self, path: str, sent: bytes) -> tuple[int, str]:
        response = self.http.post(path, content=sent)
        assert response.headers["x-griffin-protocol"] == "1"
        return response.status_code, response.json()["error"]["code"]
