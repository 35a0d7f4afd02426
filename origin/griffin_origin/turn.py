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
        self.read = 0  # of `tokens`
        self.replayed = 0  # of `replied`
        self.completion_tokens = 0
        self.generated: list[int] = []
        self.stopped_by: int | str | None = None
        self._matcher = StopMatcher(self.spelling, request.stop) if request.stop and self.spelling else None
        for token in request.replied.tolist():
            self._accept(token)

    @property
    def position(self) -> int:
        return self.request.position + self.read + self.replayed + len(self.generated)

    @property
    def is_reading(self) -> bool:
        """A cancelled turn reads on only through what its client was given: the state must hold that."""
        return self.read < len(self.request.tokens) and not (self.is_cancelled and len(self.request.replied) == 0)

    @property
    def to_replay(self) -> np.ndarray:
        """Those of `replied` that are to be decoded again: read as a prompt, they would leave other last bits."""
        return self.request.replied[self.replayed :]

    @property
    def _is_over(self) -> bool:
        """Whether nothing more is to be generated."""
        is_complete = self.stopped_by is not None or self.completion_tokens >= self.request.max_tokens
        return is_complete or self.is_cancelled

    @property
    def has_ended(self) -> bool:
        """True when there is nothing more to read, and nothing more to generate."""
        return not self.is_reading and len(self.to_replay) == 0 and self._is_over

    def budget(self, dispatch_tokens: int) -> int:
        """How many tokens may be decoded before the host must look: where stop strings are watched for, one new one."""
        left = 0 if self._is_over else self.request.max_tokens - self.completion_tokens
        new = min(left, 1) if self._matcher else left
        return min(len(self.to_replay) + new, dispatch_tokens)

    def replay(self, decoded: int) -> int:
        """How many of `decoded` tokens, the first ones, were replied before; they count as decoded again."""
        again = min(decoded, len(self.to_replay))
        self.replayed += again
        return again

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
        if self.read < len(self.request.tokens):
            return "cancelled"
        if self.stopped_by is not None:
            return "stop"
        return "length" if self.completion_tokens >= self.request.max_tokens else "cancelled"

    def facts(self) -> dict[str, str]:
        """What the metadata of the result say of this turn."""
        facts = {
            "position": str(self.position),
            "finish_reason": self.finish_reason,
            "prompt_tokens": str(self.read),
            "completion_tokens": str(self.completion_tokens),
            "computed_tokens": str(self.position - self.request.position),
        }
        if self.finish_reason == "stop":
            facts["stopped_by"] = json.dumps(self.stopped_by)
        return facts
