"""Continuous batching: a thread that owns the device. Over and over it gives free slots to waiting turns, reads at most one
chunk's worth of prompts, and decodes all rows that reply by one dispatch. So a long prompt delays a reply's next tokens by
one chunk at most, and a turn may come and go while others run; a row never sees its neighbours.

A device may hang, and with it that thread. So a second one looks at the clock: it ends what takes too long.

`submit`, `cancel` and `drop` may be called from any thread.
"""

import logging
import secrets
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass

import jax
import numpy as np

from .errors import GriffinError
from .metrics import Metrics
from .model import Model, States
from .options import Warm
from .protocol import Served, error_frame, internal, result_frame, tokens_frame
from .settings import Settings
from .slots import BROKEN, Decoded, SlotCopy, Slots
from .turn import Turn

log = logging.getLogger(__name__)

WRITERS = 2
#: So many results may be in the making, each with a state: then the batch waits for them.
MOST_RESULTS = 2 * WRITERS
#: How often the clock is looked at.
WATCH_SECONDS = 0.5
#: So long the step that runs may take to end when the origin is closed; one that hangs is left behind.
CLOSE_SECONDS = 5


def away() -> GriffinError:
    """What a client learns of an origin that runs no turns."""
    return GriffinError("busy", "This origin is stopping, or its device does not answer.")


@dataclass(frozen=True)
class Kept:
    """A slot whose turn is over and whose state may be gone on with."""

    slot: int
    position: int
    fingerprint: str
    at: float


class Batcher:
    def __init__(self, model: Model, served: Served, settings: Settings, metrics: Metrics) -> None:
        self._model = model
        self._served = served
        self._settings = settings
        self._metrics = metrics
        self._slots = Slots(model, settings.slots, settings.chunk_tokens, settings.dispatch_tokens)
        self._slots.warm_up()
        self._changed = threading.Condition()
        # All below is guarded by _changed; turns themselves belong to the thread once they have a slot.
        self._waiting: deque[Turn] = deque()
        self._running: list[Turn] = []
        self._free = list(range(settings.slots))
        self._kept: OrderedDict[str, Kept] = OrderedDict()  # least recently used first
        self._by_id: dict[str, Turn] = {}
        self._bodies = 0  # of turns to come, that are being read
        self._step_began_at: float | None = None  # None between steps
        self._closing = threading.Event()
        self._has_failed = False
        self._writers = ThreadPoolExecutor(WRITERS, "results")
        self._room_for_results = threading.Semaphore(MOST_RESULTS)
        self._thread = threading.Thread(target=self._run, name="batcher", daemon=True)
        self._thread.start()
        threading.Thread(target=self._watch, name="batcher's clock", daemon=True).start()

    @property
    def is_healthy(self) -> bool:
        """Whether turns run: neither is it over, nor does the device hang."""
        return self._thread.is_alive() and not self._closing.is_set() and not self._hangs

    @property
    def ended_well(self) -> bool:
        """Whether it is over because it was closed, and not because of a failure."""
        return not self._thread.is_alive() and not self._has_failed

    def join(self) -> None:
        """Waits until it is over."""
        self._thread.join()

    @contextmanager
    def reading_body(self) -> Iterator[None]:
        """While the body of a turn is read, there is room for the turn. Fails with `busy` where there is none."""
        with self._changed:
            self._check_room()
            self._bodies += 1
        try:
            yield
        finally:
            with self._changed:
                self._bodies -= 1

    def submit(self, turn: Turn) -> None:
        """Takes a turn, inside `reading_body`. Fails with `state_needed`, or with `busy` where no turns run."""
        with self._changed:
            self._check_health()
            if turn.request.warm is not None:
                turn.slot = self._take(turn.request.warm)
            if turn.request.id is not None:
                if (repeated := self._by_id.get(turn.request.id)) is not None:
                    self._drop(repeated)
                self._by_id[turn.request.id] = turn
            self._waiting.append(turn)
            self._changed.notify()

    def cancel(self, turn_id: str) -> bool:
        """Ends a turn after the dispatch that runs; False where none has this id."""
        with self._changed:
            turn = self._by_id.get(turn_id)
            if turn is not None:
                turn.is_cancelled = True
                self._changed.notify()
            return turn is not None

    def drop(self, turn: Turn) -> None:
        """The client is gone: the slot is free after the dispatch that runs. Nothing happens where the turn has ended."""
        with self._changed:
            self._drop(turn)

    def observe(self) -> None:
        """Brings the metrics of what is the case now up to date."""
        with self._changed:
            numbers = {"warm": len(self._kept), "nothing": len(self._free)}
            numbers["turn"] = self._settings.slots - sum(numbers.values())
            for holds, number in numbers.items():
                self._metrics.slots.labels(holds).set(number)
            self._metrics.waiting.set(len(self._waiting))

    def close(self) -> None:
        """Ends everything; turns in the making fail with `busy`."""
        with self._changed:
            self._closing.set()
            self._end_all()
            self._changed.notify()
        self._thread.join(CLOSE_SECONDS)
        self._writers.shutdown(wait=False)

    # -- with _changed held

    @property
    def _hangs(self) -> bool:
        began_at = self._step_began_at
        return began_at is not None and time.monotonic() - began_at > self._settings.step_seconds

    def _check_health(self) -> None:
        if not self.is_healthy:
            raise away()

    def _check_room(self) -> None:
        """At most as many turns as slots and places in the queue are there, from the beginning of their bodies."""
        self._check_health()
        turns = self._bodies + len(self._waiting) + len(self._running)
        if turns >= self._settings.slots + self._settings.queue:
            raise GriffinError("busy", f"All slots are taken, and {turns - self._settings.slots} turns wait or come.")

    def _drop(self, turn: Turn) -> None:
        self._give_up(turn, "dropped", b"")

    def _end(self, turn: Turn, error: GriffinError) -> None:
        self._give_up(turn, error.code, error_frame(error))

    def _end_all(self) -> None:
        for turn in [*self._running, *self._waiting]:
            self._end(turn, away())

    def _give_up(self, turn: Turn, why: str, last: bytes) -> None:
        """Nobody waits for it any more: the step that runs may still use its slot, then it leaves."""
        if turn.given_up is None:
            turn.given_up = why
            turn.deliver(last, True)
            self._changed.notify()

    def _take(self, warm: Warm) -> int:
        kept = self._kept.get(warm.key)
        is_same = kept is not None and (kept.position, kept.fingerprint) == (warm.position, warm.fingerprint)
        self._metrics.warm.labels("yes" if is_same else "no").inc()
        if kept is None or not is_same:
            raise GriffinError("state_needed", "The warm state is not here. Send the request with the state.")
        del self._kept[warm.key]
        return kept.slot

    def _release(self, turn: Turn) -> dict[str, str]:
        """Keeps or frees the slot of a turn that has ended; gives what its result says of that."""
        key = turn.request.keep
        if key is None or turn.given_up or turn.position == 0:
            self._free.append(turn.slot)
            return {}
        if (older := self._kept.pop(key, None)) is not None:
            self._free.append(older.slot)
        fingerprint = secrets.token_hex(16)
        self._kept[key] = Kept(turn.slot, turn.position, fingerprint, time.monotonic())
        return {"fingerprint": fingerprint}

    def _forget(self, turn: Turn) -> None:
        if turn.request.id is not None and self._by_id.get(turn.request.id) is turn:
            del self._by_id[turn.request.id]

    def _expire(self) -> None:
        oldest = time.monotonic() - self._settings.warm_seconds
        while self._kept and next(iter(self._kept.values())).at < oldest:
            self._free.append(self._kept.popitem(last=False)[1].slot)

    def _admit(self) -> list[Turn]:
        """Takes out those who were given up, then gives slots to those who wait, in their order."""
        for turn in [turn for turn in self._running if turn.given_up]:
            self._running.remove(turn)
            self._leave(turn)
        for turn in [turn for turn in self._waiting if turn.given_up]:
            self._waiting.remove(turn)
            self._leave(turn)
        self._give_slots()
        admitted = [turn for turn in self._waiting if not _needs_slot(turn)]
        self._waiting = deque(turn for turn in self._waiting if _needs_slot(turn))
        self._running += admitted
        return admitted

    def _give_slots(self) -> None:
        for turn in self._waiting:
            if _needs_slot(turn) and not turn.given_up:
                turn.slot = self._free_slot()

    def _free_slot(self) -> int | None:
        """One that holds nothing, or else the warm state that was used least recently; None where turns have them all."""
        if self._free:
            return self._free.pop()
        return self._kept.popitem(last=False)[1].slot if self._kept else None

    def _leave(self, turn: Turn) -> None:
        """Forgets a turn that was given up, and frees its slot."""
        self._forget(turn)
        if turn.slot is not None:
            self._free.append(turn.slot)
        self._metrics.turns.labels(turn.given_up).inc()

    # -- the clock's thread

    def _watch(self) -> None:
        while not self._closing.wait(WATCH_SECONDS):
            with self._changed:
                self._expire()
                self._give_slots()  # those for whom there is one do not wait for it, however long the step is
                if self._hangs:
                    self._end_all()
                for turn in [*self._running, *self._waiting]:
                    self._end_late(turn)

    def _end_late(self, turn: Turn) -> None:
        seconds = time.monotonic() - turn.began_at
        if _needs_slot(turn) and seconds > self._settings.wait_seconds:
            self._end(turn, GriffinError("busy", "No slot came in time."))
        elif seconds > self._settings.turn_seconds:
            limit = self._settings.turn_seconds
            self._end(turn, GriffinError("timeout", f"The turn took longer than {limit:g} s."))

    # -- the device's thread

    def _run(self) -> None:
        try:
            self._work()
        except BaseException:
            self._has_failed = True
            raise
        finally:  # whatever ended it: nobody waits for a thread that is gone
            self._closing.set()
            with self._changed:
                self._end_all()

    def _work(self) -> None:
        while True:
            with self._changed:
                self._step_began_at = None
                self._changed.wait_for(lambda: self._closing.is_set() or self._running or self._waiting)
                if self._closing.is_set():
                    return
                admitted = self._admit()
                self._step_began_at = time.monotonic()
            try:
                self._step(admitted)
                continue
            except Exception:
                log.exception("a dispatch failed; all running turns end and the slots begin anew")
            self._begin_anew()  # not before the exception is gone, and with it what holds the slots

    def _step(self, admitted: list[Turn]) -> None:
        for turn in admitted:
            if turn.slot is not None:
                self._begin(turn)
        self._read()
        replying = [turn for turn in self._running if not turn.is_reading and not turn.has_ended]
        if replying:
            self._decode(replying)
        else:  # nobody else keeps the host from telling the device more than it can do
            self._slots.wait()
        for turn in [turn for turn in self._running if turn.has_ended]:
            self._finish(turn)

    def _begin(self, turn: Turn) -> None:
        request = turn.request
        if request.warm is None:
            self._slots.place(turn.slot, self._given(turn))
        past = np.concatenate([request.history, request.tokens])[-self._model.window :]
        self._slots.prepare(turn.slot, request.sampling, request.stop_tokens, past)

    def _given(self, turn: Turn) -> States:
        """The state that a turn comes with."""
        state = turn.take_state()
        return self._slots.empty if state is None else self._model.row_of(state, turn.request.position)

    def _read(self) -> None:
        """Chunks of those that read, in turns, as long as their passes together are not longer than the longest chunk.

        Where a prompt is cut does not depend on who else reads: the same turn computes the same bits.
        """
        budget = self._slots.chunk_tokens
        for turn in [turn for turn in self._running if turn.is_reading]:
            chunk = turn.request.tokens[turn.read : turn.read + self._slots.chunk_tokens]
            budget -= self._slots.padded(len(chunk))
            if budget < 0:
                break
            self._slots.read(turn.slot, chunk)
            turn.read += len(chunk)
            self._metrics.read.inc(len(chunk))
            if turn.is_reading:  # behind the others
                with self._changed:
                    self._running.remove(turn)
                    self._running.append(turn)

    def _decode(self, turns: list[Turn]) -> None:
        positions, budgets = np.zeros((2, self._settings.slots), np.int32)
        given = self._slots.no_tokens()
        before: dict[Turn, SlotCopy] = {}
        for turn in turns:
            positions[turn.slot] = turn.position
            budgets[turn.slot] = budget = turn.budget(self._settings.dispatch_tokens)
            again = turn.again(len(given))
            given[: len(again), turn.slot] = again
            if turn.may_overrun(budget):
                before[turn] = self._slots.copy(turn.slot)
        began_at = time.monotonic()
        reported = any(turn.request.top_log_probabilities is not None for turn in turns)
        decoded = self._slots.decode(positions, budgets, given, reported)
        tokens = np.asarray(decoded.tokens)
        self._metrics.dispatch.observe(time.monotonic() - began_at)
        reports = Reports(decoded)
        for turn in turns:
            row = tokens[:, turn.slot]
            came = row[row >= 0].tolist()
            end = turn.decoded + len(came)
            self._pass_on(turn, came, reports)
            if turn.decoded < end:  # a stop string was complete before the last of them
                self._slots.restore(turn.slot, before[turn])
            elif (row == BROKEN).any():
                self._fail(turn)

    def _pass_on(self, turn: Turn, came: list[int], reports: "Reports") -> None:
        """Has a turn take the tokens that came of a dispatch, and its client those that are new."""
        replayed, is_first = min(turn.behind, len(came)), turn.generated == 0
        chosen = turn.take(came)
        self._metrics.read.inc(replayed)
        self._metrics.generated.inc(len(chosen))
        if not chosen:
            return
        if is_first:
            self._metrics.first_token.observe(time.monotonic() - turn.began_at)
        top = turn.request.top_log_probabilities
        steps = slice(replayed, replayed + len(chosen))
        turn.deliver(tokens_frame(chosen, None if top is None else reports.of(turn.slot, steps, top)), False)

    def _fail(self, turn: Turn) -> None:
        log.error("the state or the logits of a row are not finite; its turn fails")
        with self._changed:
            self._running.remove(turn)
            self._end(turn, internal())
            self._leave(turn)

    def _finish(self, turn: Turn) -> None:
        """Keeps or frees the slot; the result is written elsewhere, while this thread goes on."""
        facts = turn.facts()
        if turn.slot is None:  # it was cancelled before it had one
            row, logits = self._given(turn), None
        else:
            row, logits, is_sound = self._slots.copy(turn.slot)
            if not is_sound:
                return self._fail(turn)
        with self._changed:
            self._running.remove(turn)
            self._forget(turn)
            if turn.slot is not None:
                facts |= self._release(turn)
        self._metrics.turns.labels(turn.finish_reason).inc()
        self._metrics.turn.observe(time.monotonic() - turn.began_at)
        self._room_for_results.acquire()
        self._writers.submit(self._write, turn, facts, row, logits)

    def _write(self, turn: Turn, facts: dict[str, str], row: States, logits: jax.Array | None) -> None:
        request = turn.request
        try:
            arrays = self._model.arrays_of(row) if request.wants_state else {}
            if request.wants_logits and turn.read == len(request.tokens):
                arrays["logits"] = np.asarray(logits)[0]
            turn.deliver(result_frame(self._served, facts, arrays), True)
        except Exception:
            log.exception("a result could not be written")
            turn.deliver(error_frame(internal()), True)
        finally:
            self._room_for_results.release()

    def _begin_anew(self) -> None:
        """After a failed dispatch nothing is known of the donated buffers, so no state in them is gone on with."""
        with self._changed:
            lost = [*self._running, *(turn for turn in self._waiting if turn.request.warm is not None)]
            self._waiting = deque(turn for turn in self._waiting if turn.request.warm is None)
            for turn in [*lost, *self._waiting]:
                turn.slot = None
            for turn in lost:
                self._end(turn, internal())
                self._leave(turn)
            self._running = []
            self._kept.clear()
            self._free = list(range(self._settings.slots))
        self._slots.reset()


def _needs_slot(turn: Turn) -> bool:
    """One that was cancelled and has nothing to read needs none."""
    return turn.slot is None and not turn.has_ended


class Reports:
    """Log-probabilities of one dispatch, fetched from the device once somebody asks."""

    def __init__(self, decoded: Decoded) -> None:
        self._decoded = decoded
        self._fetched: tuple[np.ndarray, ...] | None = None

    def of(self, slot: int, steps: slice, top: int) -> list[tuple[float, list]]:
        """Of a row's tokens in these steps: the log-probability of each, and the likeliest ones."""
        if self._fetched is None:
            decoded = self._decoded
            parts = (decoded.log_probabilities, decoded.top_tokens, decoded.top_log_probabilities)
            self._fetched = tuple(map(np.asarray, parts))
        own, ids, likeliest = (part[steps, slot].tolist() for part in self._fetched)
        return [(own[i], list(map(list, zip(ids[i][:top], likeliest[i][:top], strict=True)))) for i in range(len(own))]
