"""All contenders of a comparison in one process, one sample of each a round: what slows the machine meets them alike.
Every round begins with another one of them (bench/rounds.ts).
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

#: Threads of a contender that wait for more work, spinning, have stopped after this.
REST_SECONDS = 0.005


@dataclass(frozen=True)
class Contender:
    name: str
    unit: str
    measure: Callable[[], float]  # takes one sample, ready to be taken again


@dataclass(frozen=True)
class Share:
    """A figure over something else, round by round. `of` reads well after a number."""

    of: str
    values: Sequence[float]


@dataclass(frozen=True)
class Figure:
    """What was measured: one value a round. More is better."""

    name: str
    unit: str
    values: Sequence[float]
    shares: tuple[Share, ...] = field(default=())


def interleave(contenders: Sequence[Contender], rounds: int) -> list[Figure]:
    """A figure of each contender, in their order. The first sample of each is not counted."""
    values: list[list[float]] = [[] for _ in contenders]
    for contender in contenders:
        contender.measure()
    for at in range(rounds):
        for turn in range(len(contenders)):
            index = (turn + at) % len(contenders)
            time.sleep(REST_SECONDS)
            values[index].append(contenders[index].measure())
    return [Figure(each.name, each.unit, tuple(found)) for each, found in zip(contenders, values, strict=True)]
