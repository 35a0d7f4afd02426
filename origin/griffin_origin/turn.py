"""One turn as the host sees it: what of it was read, what it replied, and how it ended (src/engine/reply.ts).

Knows nothing of devices. A turn that runs belongs to the batcher's thread; only `deliver` reaches its client.
"""

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from .errors import GriffinError
from .protocol import TurnRequest, error_frame
from .spelling import Spelling, StopMatcher

#: Takes frames, and whether the last one is among them; may be called from any thread.
Deliver = Callable[[bytes, bool], None]


@dataclass(eq=False)
class Turn:
    request: TurnRequest
    spelling: Spelling | None
    deliver: Deliver
    began_at: float = field(default_factory=time.monotonic)
    slot: int | None = None
    is_cancelled: bool = False  # its client wants it to end, and its state
    given_up: str | None = None  # why nobody waits for it any more: "dropped" by its client, or the code of an error

    def __post_init__(self) -> None:
        request = self.request
        self.read = 0  # of `tokens`
        self.reply: list[int] = []  # `replied`, and what was generated
        self.decoded = 0  # of `reply`: so many of its tokens are in the state
        self.stopped_by: int | str | None = None
        self._matcher = StopMatcher(self.spelling, request.stop) if request.stop and self.spelling else None
        for token in request.replied.tolist():
            self._accept(token)

    def drop(self) -> None:
        """Its client is gone."""
        self._give_up("dropped", b"")

    def fail(self, error: GriffinError) -> None:
        """It ends with an error: its client is told at once, though a step may still use its slot."""
        self._give_up(error.code, error_frame(error))

    def _give_up(self, why: str, last: bytes) -> None:
        if self.given_up is None:
            self.given_up = why
            self.deliver(last, True)

    @property
    def needs_slot(self) -> bool:
        """Whether it waits for one: a turn that was cancelled and has nothing to read needs none."""
        return self.slot is None and not self.has_ended

    def take_state(self) -> Mapping[str, np.ndarray] | None:
        """The state that it came with, which it lets go of: it is large."""
        state, self.request = self.request.state, replace(self.request, state=None)
        return state

    @property
    def position(self) -> int:
        return self.request.position + self.read + self.decoded

    @property
    def generated(self) -> int:
        """How many tokens were generated here."""
        return len(self.reply) - len(self.request.replied)

    @property
    def is_reading(self) -> bool:
        """A cancelled turn reads on only through what its client was given: the state must hold that."""
        return self.read < len(self.request.tokens) and not (self.is_cancelled and len(self.request.replied) == 0)

    @property
    def behind(self) -> int:
        """How many tokens of the reply are to be decoded again: read as a prompt, they would leave other last bits."""
        return len(self.reply) - self.decoded

    def again(self, most: int) -> list[int]:
        """The first of them."""
        return self.reply[self.decoded : self.decoded + most]

    @property
    def _is_over(self) -> bool:
        """Whether nothing more is to be generated."""
        is_complete = self.stopped_by is not None or len(self.reply) >= self.request.max_tokens
        return is_complete or self.is_cancelled

    @property
    def has_ended(self) -> bool:
        """True when there is nothing more to read, and nothing more to generate."""
        return not self.is_reading and self.behind == 0 and self._is_over

    def budget(self, dispatch_tokens: int) -> int:
        """How many tokens may be decoded before the host must look."""
        new = 0 if self._is_over else self.request.max_tokens - len(self.reply)
        return min(self.behind + new, dispatch_tokens)

    def may_overrun(self, budget: int) -> bool:
        """Whether a stop string may end the reply before the last of `budget` tokens is decoded."""
        return self._matcher is not None and budget - self.behind > 1

    def take(self, tokens: Sequence[int]) -> list[int]:
        """Takes tokens that were decoded: first those that are decoded again, then new ones.

        Gives the new ones that belong to the reply. Where it ends before the last of them, none counts as decoded: the
        state must go back to what it was, and take those that belong to the reply again.
        """
        new = tokens[self.behind :]
        taken = []
        for token in new:
            if self.stopped_by is not None:
                break
            self._accept(token)
            taken.append(token)
        if len(taken) == len(new):
            self.decoded += len(tokens)
        return taken

    def _accept(self, token: int) -> None:
        self.reply.append(token)
        self.stopped_by = token if token in self.request.stop_tokens else None
        if self._matcher and self.stopped_by is None:
            self.stopped_by = self._matcher.push(token)

    @property
    def finish_reason(self) -> str:
        if self.read < len(self.request.tokens):
            return "cancelled"
        if self.stopped_by is not None:
            return "stop"
        return "length" if len(self.reply) >= self.request.max_tokens else "cancelled"

    def facts(self) -> dict[str, str]:
        """What the metadata of the result say of this turn."""
        facts = {
            "position": str(self.position),
            "finish_reason": self.finish_reason,
            "prompt_tokens": str(self.read),
            "completion_tokens": str(len(self.reply)),
            "computed_tokens": str(self.position - self.request.position),
        }
        if self.finish_reason == "stop":
            facts["stopped_by"] = json.dumps(self.stopped_by)
        return facts
