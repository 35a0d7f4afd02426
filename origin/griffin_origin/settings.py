"""What an operator sets, all of it in the environment as GRIFFIN_…: the same for a plain process and a replica of Ray Serve."""

import logging
import math
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, fields

log = logging.getLogger(__name__)
PREFIX = "GRIFFIN_"
#: So many tokens and their reports fit into the largest frame of tokens there is (PROTOCOL.md).
MOST_DISPATCH_TOKENS = 256


@dataclass(frozen=True)
class Settings:
    """One field is one variable: `slots` is GRIFFIN_SLOTS."""

    checkpoint: str = "models/pocket"  # folder with model.json, graph.onnx, weights.safetensors, tokenizer.json
    origin_key: str = ""  # clients' bearer key, visible ASCII; empty: everybody is served
    name: str = ""  # of the model in /v1/models; the folder's name unless told
    exact: bool = True  # the edge's numbers; False: faster, and says so
    slots: int = 32  # rows of a batch, and states on the device
    queue: int = 128  # turns that may wait for a slot
    chunk_tokens: int = 256  # the most tokens that are read between two dispatches of decoding
    dispatch_tokens: int = 8  # the most tokens that a row generates before the host looks; at most 256
    warm_seconds: float = 600
    wait_seconds: float = 30  # for a slot
    turn_seconds: float = 3600
    step_seconds: float = 120  # of the device, for some chunks and a dispatch: where it takes longer, it hangs
    body_seconds: float = 60  # for a request's body to come, and for a client to take what it is given
    heartbeat_seconds: float = 10
    prompt_tokens: int = 2**20
    max_tokens: int = 2**16

    @staticmethod
    def of(environment: Mapping[str, str] = os.environ) -> "Settings":
        """Fails with ValueError, naming the variable, where a value is not of its kind. Warns of variables that set nothing."""
        variables = {f"{PREFIX}{field.name.upper()}": field for field in fields(Settings)}
        for unknown in sorted(name for name in environment if name.startswith(PREFIX) and name not in variables):
            log.warning("%s is no setting of an origin", unknown)
        settings = Settings(
            **{
                field.name: _read(variable, environment[variable], field.type)
                for variable, field in variables.items()
                if variable in environment
            }
        )
        if settings.dispatch_tokens > MOST_DISPATCH_TOKENS:
            got = settings.dispatch_tokens
            raise ValueError(f"GRIFFIN_DISPATCH_TOKENS must be at most {MOST_DISPATCH_TOKENS}, got {got}.")
        if re.search(r"[^\x21-\x7e]", settings.origin_key):
            raise ValueError("GRIFFIN_ORIGIN_KEY must be visible ASCII without white space, at its end as well.")
        return settings


def _read(variable: str, text: str, kind: type) -> object:
    if kind is bool:
        if text not in ("true", "false"):
            raise ValueError(f"{variable} must be true or false, got {text!r}.")
        return text == "true"
    try:
        value = kind(text)
    except ValueError:
        raise ValueError(f"{variable} must be a number, got {text!r}.") from None
    if kind is not str and not 0 < value < math.inf:
        raise ValueError(f"{variable} must be above 0 and finite, got {text!r}.")
    return value
