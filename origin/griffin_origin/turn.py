"""One turn as the host sees it: what of it was read, what it replied, and how it ended (src/engine/reply.ts).

Knows nothing of slots and devices. `Turn` belongs to the scheduler's thread; only `deliver` reaches its client.
"""

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from .protocol import TurnRequest
from .spelling import Spelling, StopMatcher


@dataclass(eq=False)
class Turn:
    request: TurnRequest
    spelling: Spelling | None
    deliver: Callable[[bytes, bool], None]  # a frame, and whether it is the last; may be called from any thread
    began_at: float = field(default_factory=time.monotonic)
    slot: int | None = None
    is_cancelled: bool = False  # its client wants it to end, and its state
    is_dropped: bool = False  # its client is gone

    def __post_init__(self) -> None:
        request = self.request
        self.prompt = np.concatenate([request.tokens, request.replied])  # read before anything is generated
        self.read = 0
        self.completion_tokens = 0
        self.generated: list[int] = []
        self.stopped_by: int | str | None = None
        self._matcher = StopMatcher(self.spelling, request.stop) if request.stop and self.spelling else None
        for token in request.replied.tolist():
            self._accept(token)

    @property
    def position(self) -> int:
        return self.request.position + self.read + len(self.generated)

    @property
    def is_reading(self) -> bool:
        """A cancelled turn reads on only through what its client was given: the state must hold that."""
        return self.read < len(self.prompt) and not (self.is_cancelled and len(self.request.replied) == 0)

    @property
    def has_ended(self) -> bool:
        """True when there is nothing more to read, and nothing more to generate."""
        if self.is_reading:
            return False
        is_over = self.stopped_by is not None or self.completion_tokens >= self.request.max_tokens
        return is_over or self.is_cancelled

    def budget(self, dispatch_tokens: int) -> int:
        """How many tokens may be generated before the host must look: where stop strings are watched for, one."""
        return min(1 if self._matcher else dispatch_tokens, self.request.max_tokens - self.completion_tokens)

    def accept(self, tokens: Sequence[int]) -> None:
        """Takes tokens that were generated, and read into the state."""
        for token in tokens:
            self.generated.append(token)
            self._accept(token)

    def _accept(self, token: int) -> None:
        self.completion_tokens += 1
        self.stopped_by = token if token in self.request.stop_tokens else None
        if self._matcher and self.stopped_by is None:
            self.stopped_by = self._matcher.push(token)

    @property
    def finish_reason(self) -> str:
        if self.read < len(self.prompt):
            return "cancelled"
        if self.stopped_by is not None:
            return "stop"
        return "length" if self.completion_tokens >= self.request.max_tokens else "cancelled"

    def facts(self) -> dict[str, str]:
        """What the metadata of the result say of this turn."""
        facts = {
            "position": str(self.position),
            "finish_reason": self.finish_reason,
            "prompt_tokens": str(min(self.read, len(self.request.tokens))),
            "completion_tokens": str(self.completion_tokens),
            "computed_tokens": str(self.position - self.request.position),
        }
        if self.finish_reason == "stop":
            facts["stopped_by"] = json.dumps(self.stopped_by)
        return facts
