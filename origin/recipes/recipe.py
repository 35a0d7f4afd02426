"""The recipe: everything that decides a training run but its documents, read from one JSON file."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError

#: Sizes that a config has to have.
REQUIRED = (
    "vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "num_key_value_heads",
    "head_dim",
)  # fmt: skip

Count = Annotated[int, Field(ge=1, strict=True)]
Rate = Annotated[float, Field(gt=0, allow_inf_nan=False)]


@dataclass(frozen=True)
class Stage:
    """Steps of one kind. The learning rate falls from `rate` to `last_rate` by half a cosine."""

    __pydantic_config__ = ConfigDict(extra="forbid")

    steps: Count
    rate: Rate
    last_rate: Rate
    #: So many steps it takes to come up to the rate at first.
    warmup_steps: Annotated[int, Field(ge=0)] = 0
    #: The attention window; the config's unless told. A wide one at first makes early steps easier.
    window: Count | None = None
    #: By so much the bias of the recurrence gates is lowered for the slow half of the channels when the stage begins:
    #: these then forget little, which is what makes long recall appear.
    open_gates: float = 0.0


@dataclass(frozen=True)
class Recipe:
    """A run. Sizes of the model are those of Hugging Face's config.json."""

    __pydantic_config__ = ConfigDict(extra="forbid")

    config: dict[str, Any]
    stages: Annotated[tuple[Stage, ...], Field(min_length=1)]
    rows: Count
    row_tokens: Count
    #: Documents that the tokenizer is trained on, at most.
    tokenizer_documents: Count
    #: Between checkpoints, each of which is an export as well.
    checkpoint_steps: Count
    #: Rows of held-out documents that the loss is measured on at every checkpoint.
    held_out_rows: Count
    #: What weights are exported in.
    export: Literal["float32", "bfloat16"]
    #: What a token counts that the model never has to say: those of the user.
    user_weight: Annotated[float, Field(ge=0, le=1)] = 0.1
    weight_decay: Annotated[float, Field(ge=0)] = 0.05
    beta2: Annotated[float, Field(gt=0, lt=1)] = 0.98
    clip_norm: Rate = 1.0
    #: Of the weights to begin with.
    seed: Annotated[int, Field(ge=0)] = 0

    @property
    def steps(self) -> int:
        return sum(stage.steps for stage in self.stages)

    def stage_at(self, step: int) -> tuple[Stage, int]:
        """The stage of a step, and the step's number in it."""
        for stage in self.stages:
            if step < stage.steps:
                return stage, step
            step -= stage.steps
        raise ValueError("The step is behind the last one.")


def read_recipe(file: Path) -> Recipe:
    """Reads a recipe; `config` may be the path of a config.json, seen from the recipe. Raises ValueError."""
    value = _read_json(file)
    if isinstance(value, dict) and isinstance(value.get("config"), str):
        value["config"] = _read_json(file.parent / value["config"])
    try:
        recipe = TypeAdapter(Recipe).validate_python(value)
    except ValidationError as cause:
        first = cause.errors()[0]
        raise ValueError(f"{file}: {'.'.join(map(str, first['loc']))}: {first['msg']}.") from cause
    for name in REQUIRED:
        size = recipe.config.get(name)
        if not isinstance(size, int) or size < 1:
            raise ValueError(f"{file}: config.{name} must be a whole number above 0.")
    return recipe


def _read_json(file: Path) -> Any:
    try:
        return json.loads(file.read_text())
    except ValueError as cause:
        raise ValueError(f"{file} is not JSON: {cause}") from cause
