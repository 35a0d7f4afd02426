"""An origin in one process: a checkpoint, its batcher, and what is said of both. Made once by app.py's users."""

from pathlib import Path

from .batcher import Batcher
from .compiled import keep_compiled
from .layout import MAX_POSITION, layout_bytes
from .metrics import Metrics
from .model import Model
from .protocol import Served
from .settings import Settings
from .spelling import Spelling

TOKENIZER = "tokenizer.json"


class Origin:
    """Loads the checkpoint and compiles every program: from then on no request waits for either.

    A `model` that is loaded already is served instead: origins of one process then share weights and programs.
    """

    def __init__(self, settings: Settings, model: Model | None = None) -> None:
        keep_compiled()
        folder = Path(settings.checkpoint)
        self.settings = settings
        self.name = settings.name or folder.resolve().name
        self.model = model or Model.load(folder, exact=settings.exact)
        tokenizer = folder / TOKENIZER
        self.spelling = Spelling.load(tokenizer) if tokenizer.exists() else None
        layout = self.model.layout
        self.served = Served(
            checkpoint=self.model.checkpoint_hash,
            graph=self.model.graph_hash,
            vocabulary=self.model.vocabulary,
            stop_tokens=tuple(self.model.stop_tokens),
            layout=layout,
            state_bytes=layout_bytes(layout),
            has_tokenizer=self.spelling is not None,
            prompt_tokens=settings.prompt_tokens,
            max_tokens=min(settings.max_tokens, MAX_POSITION),
        )
        self.metrics = Metrics()
        self.batcher = Batcher(self.model, self.served, settings, self.metrics)

    def description(self) -> dict:
        """What GET /v1/models says of the one model."""
        served, settings = self.served, self.settings
        return {
            "id": self.name,
            "object": "model",
            "checkpoint": served.checkpoint,
            "graph": served.graph,
            "format": self.model.format,
            "exact": settings.exact,
            "vocabulary": served.vocabulary,
            "window": self.model.window,
            "state_bytes": served.state_bytes,
            "parameters": self.model.checkpoint.parameters,
            "stop_tokens": list(served.stop_tokens),
            "slots": settings.slots,
            "limits": {
                "body_bytes": served.body_bytes,
                "prompt_tokens": settings.prompt_tokens,
                "max_tokens": served.max_tokens,
                "turn_seconds": settings.turn_seconds,
            },
        }

    def close(self) -> None:
        self.batcher.close()
