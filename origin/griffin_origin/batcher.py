"""Continuous batching: a thread that owns the device. Over and over it gives free slots to waiting turns, reads at most one
chunk's worth of prompts, and decodes all rows that reply by one dispatch. So a long prompt delays a reply's next tokens by
one chunk at most, and a turn may come and go while others run; a row never sees its neighbours.

A device may hang, and with it that thread. So a second one looks at the clock: it ends what takes too long. Who has which
slot is occupancy.py's business.

`submit`, `cancel` and `drop` may be called from any thread.
"""

import logging
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import jax
import numpy as np

from .errors import GriffinError
from .metrics import Metrics
from .model import Model, States
from .occupancy import Occupancy
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


class Batcher:
    def __init__(self, model: Model, served: Served, settings: Settings, metrics: Metrics) -> None:
        self._model = model
        self._served = served
        self._settings = settings
        self._metrics = metrics
        self._slots = Slots(model, settings.slots, settings.chunk_tokens, settings.dispatch_tokens)
        self._slots.warm_up()
        self._changed = threading.Condition()
        # Both are guarded by _changed; turns themselves belong to the thread once they run.
        self._occupancy = Occupancy(settings.slots, settings.queue, metrics)
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
            self._check_health()
            self._occupancy.check_room()
            self._occupancy.bodies += 1
        try:
            yield
        finally:
            with self._changed:
                self._occupancy.bodies -= 1

    def submit(self, turn: Turn) -> None:
        """Takes a turn, inside `reading_body`. Fails with `state_needed`, or with `busy` where no turns run."""
        with self._changed:
            self._check_health()
            self._occupancy.enter(turn)
            self._changed.notify()

    def cancel(self, turn_id: str) -> bool:
        """Ends a turn after the dispatch that runs; False where none has this id."""
        with self._changed:
            turn = self._occupancy.find(turn_id)
            if turn is not None:
                turn.is_cancelled = True
            return turn is not None

    def drop(self, turn: Turn) -> None:
        """The client is gone: the slot is free after the dispatch that runs. Nothing happens where the turn has ended."""
        with self._changed:
            turn.drop()

    def observe(self) -> None:
        """Brings the metrics of what is the case now up to date."""
        with self._changed:
            self._occupancy.observe()

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

    def _end_all(self) -> None:
        for turn in self._occupancy.turns:
            turn.fail(away())

    # -- the clock's thread

    def _watch(self) -> None:
        while not self._closing.wait(WATCH_SECONDS):
            with self._changed:
                self._occupancy.expire(self._settings.warm_seconds)
                self._occupancy.give_slots()  # who can have one does not wait for it, however long the step is
                if self._hangs and any(turn.given_up is None for turn in self._occupancy.turns):
                    log.error(
                        "a step took longer than GRIFFIN_STEP_SECONDS, %g s: all turns end", self._settings.step_seconds
                    )
                    self._end_all()
                for turn in self._occupancy.turns:
                    self._end_late(turn)

    def _end_late(self, turn: Turn) -> None:
        seconds, limit = time.monotonic() - turn.began_at, self._settings.turn_seconds
        if turn.needs_slot and seconds > self._settings.wait_seconds:
            turn.fail(GriffinError("busy", "No slot came in time."))
        elif seconds > limit:
            turn.fail(GriffinError("timeout", f"The turn took longer than {limit:g} s."))

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
                self._changed.wait_for(lambda: self._closing.is_set() or self._occupancy.turns)
                if self._closing.is_set():
                    return
                admitted = self._occupancy.admit()
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
        replying = [turn for turn in self._occupancy.running if not turn.is_reading and not turn.has_ended]
        if replying:
            self._decode(replying)
        else:  # nobody else keeps the host from telling the device more than it can do
            self._slots.wait()
        for turn in [turn for turn in self._occupancy.running if turn.has_ended]:
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
        for turn in [turn for turn in self._occupancy.running if turn.is_reading]:
            chunk = turn.request.tokens[turn.read : turn.read + self._slots.chunk_tokens]
            budget -= self._slots.padded(len(chunk))
            if budget < 0:
                break
            self._slots.read(turn.slot, chunk)
            turn.read += len(chunk)
            self._metrics.read.inc(len(chunk))
            if turn.is_reading:  # behind the others
                with self._changed:
                    self._occupancy.running.remove(turn)
                    self._occupancy.running.append(turn)

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
            self._occupancy.fail(turn)

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
            facts |= self._occupancy.finish(turn)
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
            self._occupancy.lose_states()
        self._slots.reset()


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
