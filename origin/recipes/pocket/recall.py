"""Recall through HTTP, before and after kill -9: facts are told to a running server, which then talks of other things;
it is asked for them, is killed, is started again, and is asked the same from the same place.
"""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from tqdm import tqdm

from .probes import DISTANCES, FACTS, Probe, probes, talk
from .server import Reply, Server

#: Conversations at a time.
TOGETHER = 4

#: A fact and a distance.
Cell = tuple[str, tuple[int, int]]
CELLS: tuple[Cell, ...] = tuple((fact, distance) for fact in FACTS for distance in DISTANCES)


@dataclass(frozen=True)
class Recall:
    """Right answers by fact and distance, of `count` each."""

    count: int
    before: dict[Cell, int]
    after: dict[Cell, int]
    #: Answers after the kill that are the answers before it.
    same: int
    #: Answers after the kill whose state was restored, every token of the history.
    restored: int


def measure_recall(server: Server, count: int, cells: Sequence[Cell] = CELLS) -> Recall:
    """Asks `count` times for each fact at each distance."""
    with ThreadPoolExecutor(TOGETHER) as pool, tqdm(total=3 * len(cells) * count, unit="probe") as bar:

        def told(cell: Cell) -> list[tuple[Probe, Reply]]:
            found = _conversations(server, cell, count)
            bar.update(count)
            return found

        conversations = list(pool.map(told, cells))

        def ask(conversation: tuple[Probe, Reply]) -> Reply:
            probe, last = conversation
            bar.update()
            return server.respond(probe.question, last.id)

        before = [list(pool.map(ask, each)) for each in conversations]
        server.kill_and_restart()
        after = [list(pool.map(ask, each)) for each in conversations]

    def right(replies: list[list[Reply]]) -> dict[Cell, int]:
        return {
            cell: sum(probe.is_right(reply.text) for (probe, _), reply in zip(of_cell, answers, strict=True))
            for cell, of_cell, answers in zip(cells, conversations, replies, strict=True)
        }

    pairs = [
        (x, y) for answers, others in zip(before, after, strict=True) for x, y in zip(answers, others, strict=True)
    ]
    lasts = [last for of_cell in conversations for _, last in of_cell]
    restored = sum(
        reply.state == "restored" and reply.restored_tokens >= last.tokens
        for last, (_, reply) in zip(lasts, pairs, strict=True)
    )
    return Recall(count, right(before), right(after), sum(x.text == y.text for x, y in pairs), restored)


def _conversations(server: Server, cell: Cell, count: int) -> list[tuple[Probe, Reply]]:
    fact, distance = cell
    found: list[tuple[Probe, Reply]] = []
    source: Iterator[Probe] = probes(FACTS[fact], distance)
    while len(found) < count:
        probe = next(source)
        last = _told(server, probe, distance)
        if last is not None:
            found.append((probe, last))
    return found


def _told(server: Server, probe: Probe, distance: tuple[int, int]) -> Reply | None:
    """The last reply before the question; None where the talk became longer than it should be."""
    _, most = distance
    last = server.respond(probe.told.user, None)
    start = last.tokens
    while last.tokens - start < probe.talk_tokens:
        for turn in talk(probe.random):
            last = server.respond(turn.user, last.id)
    return last if last.tokens - start <= most else None
