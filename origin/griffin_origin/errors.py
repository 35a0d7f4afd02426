"""Errors: one class and a closed list of codes, as in src/errors.ts and origin/PROTOCOL.md."""

from typing import Literal

ErrorCode = Literal[
    "busy",
    "checkpoint_mismatch",
    "internal",
    "invalid_argument",
    "invalid_checkpoint",
    "invalid_graph",
    "invalid_state",
    "not_found",
    "state_needed",
    "timeout",
    "too_large",
    "unauthorized",
    "unsupported",
]


class GriffinError(Exception):
    """What went wrong, where, what was expected and what was got; `code` is what programs look at."""

    def __init__(self, code: ErrorCode, message: str) -> None:
        super().__init__(message)
        self.code: ErrorCode = code
        self.message = message
