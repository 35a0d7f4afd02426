"""The options of a turn on the wire (PROTOCOL.md), checked once. Their meaning: src/engine/sampler.ts and engine.ts."""

from typing import Annotated, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from .errors import GriffinError

MOST_TOP = 100
MOST_STOPS = 64
MOST_STOP_BYTES = 4096

TokenId = Annotated[int, Field(ge=0)]


def _is_short(stop: str) -> str:
    if len(stop.encode()) > MOST_STOP_BYTES:
        raise ValueError(f"a stop string has at most {MOST_STOP_BYTES} bytes")
    return stop


Stop = Annotated[str, Field(min_length=1), AfterValidator(_is_short)]
Key = Annotated[str, Field(min_length=1, max_length=128)]


class _Strict(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False, frozen=True)


class Sampling(_Strict):
    seed: Annotated[str, Field(pattern=r"^(0|[1-9][0-9]{0,19})$")]
    temperature: Annotated[float, Field(ge=0, le=100)] = 1.0
    top_k: Annotated[int, Field(ge=0, lt=2**31)] = 0
    top_p: Annotated[float, Field(ge=0, le=1)] = 1.0
    min_p: Annotated[float, Field(ge=0, le=1)] = 0.0
    frequency_penalty: Annotated[float, Field(ge=-2, le=2)] = 0.0
    presence_penalty: Annotated[float, Field(ge=-2, le=2)] = 0.0
    repetition_penalty: Annotated[float, Field(ge=0.01, le=100)] = 1.0
    logit_bias: Annotated[
        dict[Annotated[str, Field(pattern=r"^(0|[1-9][0-9]{0,8})$")], Annotated[float, Field(ge=-100, le=100)]],
        Field(max_length=1024),
    ] = {}


class Warm(_Strict):
    """Names a state that the origin kept; all three must be right."""

    key: Key
    position: Annotated[int, Field(ge=1, lt=2**31)]
    fingerprint: str


class _Options(_Strict):
    id: Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,64}$")] | None = None
    return_state: bool = True
    warm: Warm | None = None
    keep: Key | None = None


class PrefillOptions(_Options):
    logits: bool = True


class GenerateOptions(_Options):
    max_tokens: Annotated[int, Field(ge=0)]
    sampling: Sampling
    stop: Annotated[list[Stop], Field(max_length=MOST_STOPS)] = []
    stop_tokens: Annotated[list[TokenId], Field(max_length=MOST_STOPS)] | None = None
    top_log_probabilities: Annotated[int, Field(ge=0, le=MOST_TOP)] | None = None


Options = TypeVar("Options", bound=_Options)


NAMES = {name for kind in (PrefillOptions, GenerateOptions, Sampling, Warm) for name in kind.model_fields}


def parse_options(kind: type[Options], text: str) -> Options:
    """Fails with `invalid_argument`, naming the first option that is wrong, never what was sent: it may be a user's word."""
    try:
        return kind.model_validate_json(text)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False, include_context=False)[0]
        where = ".".join(["options", *(name for name in first["loc"] if name in NAMES)])
        raise GriffinError("invalid_argument", f"{where}: {first['msg']}.") from None
