"""The recipe: everything that decides a training run but its documents, read from one JSON file."""

import json
from dataclasses import MISSING, dataclass, fields
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Stage:
    """Steps of one kind. The learning rate falls from `rate` to `last_rate` by half a cosine."""

    steps: int
    rate: float
    last_rate: float
    #: So many steps it takes to come up to the rate at first.
    warmup_steps: int = 0
    #: The attention window; the config's unless told. A wide one at first makes early steps easier.
    window: int | None = None
    #: By so much the bias of the recurrence gates is lowered for the slow half of the channels when the stage begins:
    #: these then forget little, which is what makes long recall appear.
    open_gates: float = 0.0


@dataclass(frozen=True)
class Recipe:
    """A run. Sizes of the model are those of Hugging Face's config.json."""

    config: dict[str, Any]
    stages: tuple[Stage, ...]
    rows: int
    row_tokens: int
    #: Documents that the tokenizer is trained on, at most.
    tokenizer_documents: int
    #: Between checkpoints, each of which is an export as well.
    checkpoint_steps: int
    #: Rows of held-out documents that the loss is measured on at every checkpoint.
    held_out_rows: int
    #: What weights are exported in: float32 or bfloat16.
    export: str
    #: What a token counts that the model never has to say: those of the user.
    user_weight: float = 0.1
    weight_decay: float = 0.05
    beta2: float = 0.98
    clip_norm: float = 1.0
    seed: int = 0

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

    def window_of(self, stage: Stage, window: int) -> int:
        """The attention window of a stage; `window` is the model's."""
        return stage.window or window


def read_recipe(file: Path) -> Recipe:
    """Reads a recipe; `config` may be the path of a config.json, seen from the recipe. Raises ValueError."""
    value = json.loads(file.read_text())
    known = {field.name for field in fields(Recipe)}
    if missing := sorted(
        field.name for field in fields(Recipe) if field.default is MISSING and field.name not in value
    ):
        raise ValueError(f"{file} must have {', '.join(missing)}.")
    if unknown := sorted(set(value) - known):
        raise ValueError(f"{file}: nothing is called {', '.join(unknown)}; there are {', '.join(sorted(known))}.")
    if isinstance(value["config"], str):
        value["config"] = json.loads((file.parent / value["config"]).read_text())
    try:
        value["stages"] = tuple(Stage(**stage) for stage in value["stages"])
    except TypeError as cause:
        raise ValueError(f"{file}: {cause}".replace("Stage.__init__()", "a stage")) from cause
    if value["export"] not in ("float32", "bfloat16"):
        raise ValueError(f'{file}: "export" must be float32 or bfloat16.')
    return Recipe(**value)
