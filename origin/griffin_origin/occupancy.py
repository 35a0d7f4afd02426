"""Who has which slot: turns that wait for one in their order, turns that run in one, and warm states, which stay in theirs
until a turn goes on with them or needs the slot. Knows nothing of devices, threads and limits of time: it is guarded by
the lock of batcher.py.
"""

import secrets
import time
from collections import OrderedDict, deque
from dataclasses import dataclass

from .errors import GriffinError
from .metrics import Metrics
from .options import Warm
from .protocol import internal
from .turn import Turn


@dataclass(frozen=True)
class Kept:
    """A slot whose turn is over and whose state may be gone on with."""

    slot: int
    position: int
    fingerprint: str
    at: float


class Occupancy:
    def __init__(self, slots: int, queue: int, metrics: Metrics) -> None:
        self._slots = slots
        self._queue = queue
        self._metrics = metrics
        self.bodies = 0  # of turns to come, that are being read
        self.waiting: deque[Turn] = deque()
        self.running: list[Turn] = []
        self.free = list(range(slots))
        self.kept: OrderedDict[str, Kept] = OrderedDict()  # least recently used first
        self._by_id: dict[str, Turn] = {}

    @property
    def turns(self) -> list[Turn]:
        return [*self.running, *self.waiting]

    def check_room(self) -> None:
        """There are at most as many turns as slots and places in the queue, from the beginning of their bodies. Fails with `busy`."""
        count = self.bodies + len(self.turns)
        if count >= self._slots + self._queue:
            raise GriffinError("busy", f"All slots are taken, and {count - self._slots} turns wait or come.")

    def enter(self, turn: Turn) -> None:
        """A turn waits, with the slot of the warm state that it goes on with. Fails with `state_needed`."""
        if turn.request.warm is not None:
            turn.slot = self._take(turn.request.warm)
        if turn.request.id is not None:
            if (repeated := self._by_id.get(turn.request.id)) is not None:
                repeated.drop()
            self._by_id[turn.request.id] = turn
        self.waiting.append(turn)

    def find(self, turn_id: str) -> Turn | None:
        return self._by_id.get(turn_id)

    def give_slots(self) -> None:
        """To those who wait, in their order: free ones, then those of the warm states that were used least recently."""
        for turn in self.waiting:
            if turn.needs_slot and turn.given_up is None:
                if self.free:
                    turn.slot = self.free.pop()
                elif self.kept:
                    turn.slot = self.kept.popitem(last=False)[1].slot

    def admit(self) -> list[Turn]:
        """Takes out those who were given up, and has those run who wait and have a slot, or need none."""
        given_up = [turn for turn in self.turns if turn.given_up is not None]
        self.running = [turn for turn in self.running if turn.given_up is None]
        self.waiting = deque(turn for turn in self.waiting if turn.given_up is None)
        for turn in given_up:
            self._leave(turn)
        self.give_slots()
        admitted = [turn for turn in self.waiting if not turn.needs_slot]
        self.waiting = deque(turn for turn in self.waiting if turn.needs_slot)
        self.running += admitted
        return admitted

    def finish(self, turn: Turn) -> dict[str, str]:
        """A turn has ended: keeps or frees its slot, and gives what its result says of that."""
        self.running.remove(turn)
        self._forget(turn)
        key = turn.request.keep
        if turn.slot is None:
            return {}
        if key is None or turn.given_up is not None or turn.position == 0:
            self.free.append(turn.slot)
            return {}
        if (older := self.kept.pop(key, None)) is not None:
            self.free.append(older.slot)
        fingerprint = secrets.token_hex(16)
        self.kept[key] = Kept(turn.slot, turn.position, fingerprint, time.monotonic())
        return {"fingerprint": fingerprint}

    def fail(self, turn: Turn) -> None:
        """A turn that runs ends without a result."""
        self.running.remove(turn)
        self._fail(turn)

    def lose_states(self) -> None:
        """Nothing is in the slots any more: turns whose states were there fail, the others wait on."""
        lost = [*self.running, *(turn for turn in self.waiting if turn.request.warm is not None)]
        self.running = []
        self.waiting = deque(turn for turn in self.waiting if turn.request.warm is None)
        for turn in lost:
            self._fail(turn)
        for turn in self.waiting:
            turn.slot = None
        self.kept.clear()
        self.free = list(range(self._slots))

    def expire(self, warm_seconds: float) -> None:
        """Frees the slots of warm states that are older."""
        oldest = time.monotonic() - warm_seconds
        while self.kept and next(iter(self.kept.values())).at < oldest:
            self.free.append(self.kept.popitem(last=False)[1].slot)

    def observe(self) -> None:
        """Brings the metrics of what is the case now up to date."""
        numbers = {"warm": len(self.kept), "nothing": len(self.free)}
        numbers["turn"] = self._slots - sum(numbers.values())
        for holds, number in numbers.items():
            self._metrics.slots.labels(holds).set(number)
        self._metrics.waiting.set(len(self.waiting))

    def _take(self, warm: Warm) -> int:
        kept = self.kept.get(warm.key)
        is_same = kept is not None and (kept.position, kept.fingerprint) == (warm.position, warm.fingerprint)
        self._metrics.warm.labels("yes" if is_same else "no").inc()
        if kept is None or not is_same:
            raise GriffinError("state_needed", "The warm state is not here. Send the request with the state.")
        del self.kept[warm.key]
        return kept.slot

    def _fail(self, turn: Turn) -> None:
        turn.fail(internal())
        self._leave(turn)

    def _leave(self, turn: Turn) -> None:
        self._forget(turn)
        if turn.slot is not None:
            self.free.append(turn.slot)
        self._metrics.turns.labels(turn.given_up).inc()

    def _forget(self, turn: Turn) -> None:
        if turn.request.id is not None and self._by_id.get(turn.request.id) is turn:
            del self._by_id[turn.request.id]
