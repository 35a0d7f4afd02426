"""What becomes of slots: cancelled turns, clients that go, warm states, full queues, failures."""

import asyncio
import json
import os
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
import tracemalloc
import weakref
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from itertools import pairwise

import httpx
import numpy as np
import pytest
from client import Answer, Client, body, frames, gather, same_state, take
from conftest import ROOT, SETTINGS, free_port, is_up, posting, serving, small_checkpoint, small_model, wait_until

from griffin_origin.__main__ import serve
from griffin_origin.app import create_app
from griffin_origin.batcher import MOST_RESULTS
from griffin_origin.model import Model
from griffin_origin.origin import Origin
from griffin_origin.spelling import StopMatcher

PROMPT = [2, 4, 300, 17]
LONG = 60_000


@contextmanager
def streaming(client: Client, options: dict, tokens=PROMPT, **more):
    """A turn that runs, at its first token: its frames so far, and the rest to come."""
    sent = body(client.model, tokens, options, **more)
    with client.http.stream("POST", "/v1/generate", content=sent) as response:
        assert response.status_code == 200
        rest = frames(response.iter_raw())
        answer = Answer()
        take(answer, *next(rest))
        yield answer, rest


@contextmanager
def every_slot_taken(client: Client):
    """As many turns that run as there are slots."""
    with ExitStack() as turns:
        for _ in range(SETTINGS.slots):
            turns.enter_context(streaming(client, client.options(LONG, stop_tokens=[])))
        yield


def read_on(answer: Answer, rest) -> Answer:
    for kind, payload in rest:
        take(answer, kind, payload)
    return answer


def holds(origin, what: str) -> float:
    origin.batcher.observe()
    return origin.metrics.registry.get_sample_value("griffin_origin_slots", {"holds": what})


def idle(origin) -> bool:
    occupancy = origin.batcher._occupancy
    return not occupancy.turns and len(occupancy.free) + len(occupancy.kept) == origin.settings.slots


def test_a_cancelled_turn_ends_with_what_it_has_and_the_state(client, origin):
    with streaming(client, client.options(LONG, stop_tokens=[], id="turn_1")) as (answer, rest):
        assert client.http.delete("/v1/generate/turn_1").status_code == 204
        read_on(answer, rest)
    assert answer.metadata["finish_reason"] == "cancelled"
    assert 0 < len(answer.tokens) < LONG
    assert answer.state[0] == len(PROMPT) + len(answer.tokens) == int(answer.metadata["computed_tokens"])
    count = len(answer.tokens)
    whole = client.generate(PROMPT, client.options(count, stop_tokens=[]))
    assert whole.tokens == answer.tokens
    same_state(answer.state, whole.state)
    assert client.http.delete("/v1/generate/turn_1").status_code == 404
    wait_until(lambda: idle(origin))


def test_a_turn_that_waits_for_a_slot_is_cancelled_at_once_with_the_state_that_it_came_with(client, origin):
    given = client.prefill(PROMPT).state
    empty = 0, {name: np.zeros_like(array) for name, array in given[1].items()}
    with every_slot_taken(client), ThreadPoolExecutor(1) as pool:
        for state in (given, None):
            options = client.options(LONG, id="waits", keep="ada")
            pending = pool.submit(client.generate, [7, 8], options, state=state)
            wait_until(lambda: len(origin.batcher._occupancy.waiting) == 1)
            assert client.http.delete("/v1/generate/waits").status_code == 204
            answer = pending.result()
            assert (answer.metadata["finish_reason"], answer.metadata["prompt_tokens"]) == ("cancelled", "0")
            assert "fingerprint" not in answer.metadata
            same_state(answer.state, empty if state is None else state)
    wait_until(lambda: idle(origin))


def test_a_turn_that_waits_with_what_was_replied_reads_it_though_it_is_cancelled(client, origin):
    with ThreadPoolExecutor(1) as pool:
        with every_slot_taken(client):
            pending = pool.submit(client.generate, PROMPT, client.options(LONG, id="waits"), replied=[5, 6])
            wait_until(lambda: len(origin.batcher._occupancy.waiting) == 1)
            assert client.http.delete("/v1/generate/waits").status_code == 204
        answer = pending.result()
    assert (answer.metadata["finish_reason"], answer.state[0]) == ("cancelled", len(PROMPT) + 2)


def test_a_prompt_that_is_being_read_can_be_cancelled(client, origin):
    prompt = [i % 2000 for i in range(300_000)]
    with ThreadPoolExecutor(1) as pool:
        pending = pool.submit(client.prefill, prompt, {"id": "reading"})
        wait_until(lambda: client.http.delete("/v1/generate/reading").status_code == 204)
        answer = pending.result()
    assert answer.metadata["finish_reason"] == "cancelled"
    assert 0 <= int(answer.metadata["prompt_tokens"]) == int(answer.metadata["position"]) < len(prompt)
    assert "logits" not in answer.arrays


def test_what_was_replied_is_read_whole_before_a_cancelled_turn_ends(client):
    replied = [i % 2000 for i in range(500)]
    options = client.options(LONG, stop_tokens=[], id="replied")
    with ThreadPoolExecutor(1) as pool:
        pending = pool.submit(client.generate, PROMPT, options, replied=replied)
        wait_until(lambda: client.http.delete("/v1/generate/replied").status_code == 204)
        answer = pending.result()
    assert answer.metadata["finish_reason"] == "cancelled"
    assert int(answer.metadata["position"]) == len(PROMPT) + len(replied) + len(answer.tokens)


def test_a_client_that_goes_frees_its_slot(client, origin):
    for _ in range(2 * origin.settings.slots):
        with streaming(client, client.options(LONG, stop_tokens=[], keep="gone")):
            pass
    wait_until(lambda: idle(origin))
    assert "gone" not in origin.batcher._occupancy.kept


def test_a_second_turn_of_one_id_breaks_off_the_first(client, origin):
    with streaming(client, client.options(LONG, stop_tokens=[], id="same")) as (answer, rest):
        again = client.generate(PROMPT, client.options(3, stop_tokens=[], id="same"))
        assert len(again.tokens) == 3
        read_on(answer, rest)
    assert answer.metadata is None
    assert answer.error is None
    wait_until(lambda: idle(origin))


def test_decoding_goes_on_while_a_long_prompt_is_read(client):
    with ThreadPoolExecutor(1) as pool, streaming(client, client.options(LONG, stop_tokens=[])) as (answer, rest):
        pending = pool.submit(client.prefill, [1 + i % 2000 for i in range(100_000)], {"id": "long"})
        wait_until(lambda: client.http.get("/metrics").text.count('holds="turn"} 2.0'))
        before = len(answer.tokens)
        while len(answer.tokens) < before + 100:
            take(answer, *next(rest))
        assert not pending.done()
        client.http.delete("/v1/generate/long")
        assert int(pending.result().metadata["prompt_tokens"]) > 0


@contextmanager
def held_decoding(origin):
    """A dispatch has begun, and does not end before the event that is given is set."""
    slots, decode = origin.batcher._slots, origin.batcher._slots.decode
    is_held, may_go_on = threading.Event(), threading.Event()

    def held(*args):
        is_held.set()
        assert may_go_on.wait(60)
        return decode(*args)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(slots, "decode", held)
        assert is_held.wait(60)
        try:
            yield may_go_on
        finally:
            may_go_on.set()


def test_a_turn_that_a_slot_is_there_for_is_taken_however_long_a_step_was():
    with serving(wait_seconds=0.2) as (origin, url), ThreadPoolExecutor(2) as pool:
        client = Client(url)
        kept = client.generate(PROMPT, client.options(2, keep="ada"))
        warm = {"key": "ada", "position": kept.state[0], "fingerprint": kept.metadata["fingerprint"]}
        with streaming(client, client.options(LONG, stop_tokens=[])), held_decoding(origin) as may_go_on:
            pending = [pool.submit(client.generate, [7], client.options(2, warm=given)) for given in (warm, None)]
            wait_until(lambda: len(origin.batcher._occupancy.waiting) == 2)
            time.sleep(2 * origin.settings.wait_seconds)
            may_go_on.set()
            assert [answer.result().error for answer in pending] == [None, None]


def test_prompts_that_are_read_between_two_dispatches_are_together_as_long_as_one_chunk(client, origin, monkeypatch):
    slots, did = origin.batcher._slots, []
    read, decode = slots.read, slots.decode
    monkeypatch.setattr(slots, "read", lambda *args: (did.append("read"), read(*args)))
    monkeypatch.setattr(slots, "decode", lambda *args: (did.append("decode"), decode(*args))[1])
    with (
        ThreadPoolExecutor(3) as pool,
        streaming(client, client.options(LONG, stop_tokens=[])),
        held_decoding(origin) as may_go_on,
    ):
        did.clear()
        pending = [pool.submit(client.prefill, [7]) for _ in range(3)]
        wait_until(lambda: len(origin.batcher._occupancy.waiting) == 3)
        may_go_on.set()
        assert all(answer.result().metadata for answer in pending)
    reads = [i for i, what in enumerate(did) if what == "read"]
    assert len(reads) == 3
    assert all("decode" in did[one:other] for one, other in pairwise(reads))


def test_nothing_is_read_before_the_device_has_read_what_it_was_given(client, origin, monkeypatch):
    slots, was_done = origin.batcher._slots, []
    read = slots.read

    def watched(*args):
        was_done.append(slots._rows.logits.is_ready())
        read(*args)

    monkeypatch.setattr(slots, "read", watched)
    client.prefill([i % 2000 for i in range(20 * SETTINGS.chunk_tokens)])
    assert was_done[1:] == [True] * 19


def test_a_short_prompt_does_not_wait_for_a_long_one(client):
    with ThreadPoolExecutor(1) as pool:
        pending = pool.submit(client.prefill, [1 + i % 2000 for i in range(300_000)], {"id": "long"})
        wait_until(lambda: client.http.get("/metrics").text.count('holds="turn"} 1.0'))
        client.prefill([i % 2000 for i in range(100)])
        assert not pending.done()
        client.http.delete("/v1/generate/long")
        assert pending.result().metadata["finish_reason"] == "cancelled"


def test_a_warm_state_is_gone_on_with(client, origin):
    first = client.generate(PROMPT, client.options(8, stop_tokens=[], keep="ada"))
    warm = {"key": "ada", "position": first.state[0], "fingerprint": first.metadata["fingerprint"]}
    options = client.options(8, stop_tokens=[], warm=warm, return_state=True)
    sent = client.generate([7, 8], client.options(8, stop_tokens=[]), state=first.state)
    resumed = client.generate([7, 8], options)
    assert resumed.tokens == sent.tokens
    assert (resumed.metadata["position"], resumed.metadata["computed_tokens"]) == (str(first.state[0] + 10), "10")
    same_state(resumed.state, sent.state)
    # It was taken, so nothing is there any more.
    assert client.refusal("/v1/generate", body(client.model, [7], options)) == (409, "state_needed")


@pytest.mark.parametrize("wrong", [{"key": "bob"}, {"position": 3}, {"fingerprint": "0" * 32}])
def test_a_warm_state_is_never_guessed(client, wrong):
    first = client.generate(PROMPT, client.options(2, stop_tokens=[], keep="ada"))
    warm = {"key": "ada", "position": first.state[0], "fingerprint": first.metadata["fingerprint"]}
    asked = body(client.model, [7], client.options(warm=warm | wrong))
    assert client.refusal("/v1/generate", asked) == (409, "state_needed")
    assert client.generate([7], client.options(2, warm=warm)).tokens


def test_the_newest_state_of_a_key_is_the_warm_one(client):
    old, new = (client.generate(PROMPT, client.options(2, keep="eve")) for _ in range(2))
    assert old.metadata["fingerprint"] != new.metadata["fingerprint"]
    for answer, expected in ((old, 409), (new, 200)):
        warm = {"key": "eve", "position": answer.state[0], "fingerprint": answer.metadata["fingerprint"]}
        sent = body(client.model, [7], client.options(2, warm=warm))
        assert client.http.post("/v1/generate", content=sent).status_code == expected


def test_warm_states_give_way_least_recently_used_first_and_go_in_time(monkeypatch):
    with serving() as (origin, url):
        client = Client(url)
        kept = {key: client.generate(PROMPT, client.options(2, keep=key)) for key in "abcd"}
        assert list(origin.batcher._occupancy.kept) == [*"abcd"]
        client.generate(PROMPT, client.options(2))
        assert list(origin.batcher._occupancy.kept) == [*"bcd"]
        warm = {"key": "b", "position": kept["b"].state[0], "fingerprint": kept["b"].metadata["fingerprint"]}
        assert client.generate([7], client.options(2, warm=warm, keep="b")).tokens
        monkeypatch.setattr(origin.batcher, "_settings", replace(origin.settings, warm_seconds=0.1))
        wait_until(lambda: not origin.batcher._occupancy.kept)
        assert idle(origin)
        assert holds(origin, "nothing") == 4


def test_a_full_queue_is_busy_and_a_wait_has_an_end(monkeypatch):
    with serving(queue=1, heartbeat_seconds=0.1) as (origin, url):
        client = Client(url)
        sent = body(client.model, PROMPT, client.options())
        with every_slot_taken(client), ThreadPoolExecutor(1) as pool:
            began = time.monotonic()
            waiting = pool.submit(client.http.post, "/v1/generate", content=sent)
            wait_until(lambda: len(origin.batcher._occupancy.waiting) == 1)
            refused = client.http.post("/v1/generate", content=sent)
            assert (refused.status_code, refused.json()["error"]["code"]) == (503, "busy")
            assert int(refused.headers["retry-after"]) >= 1
            with posting(url) as connection:  # its body is not waited for
                assert connection.recv(4096).startswith(b"HTTP/1.1 503")
            assert not waiting.done()
            monkeypatch.setattr(origin.batcher, "_settings", replace(origin.settings, wait_seconds=1))
            kinds = [kind for kind, _ in frames([waiting.result().content])]
            assert kinds == ["waiting"] * (len(kinds) - 1) + ["error"]
            assert len(kinds) > 1
            assert gather([waiting.result().content]).error["code"] == "busy"
            assert time.monotonic() - began > 0.9
        wait_until(lambda: idle(origin))
        assert len(client.generate(PROMPT, client.options(3, stop_tokens=[])).tokens) == 3


def test_bodies_that_come_take_the_room_of_turns():
    with serving(queue=2) as (origin, url), ExitStack() as connections:
        client = Client(url)
        room = SETTINGS.slots + 2
        coming = [connections.enter_context(posting(url)) for _ in range(room)]
        wait_until(lambda: origin.batcher._occupancy.bodies == room)
        sent = body(client.model, PROMPT, client.options())
        assert client.refusal("/v1/generate", sent) == (503, "busy")
        coming[0].close()
        wait_until(lambda: origin.batcher._occupancy.bodies < room)
        assert client.answer("/v1/generate", sent).metadata


def test_a_body_is_held_once(origin):
    text = json.dumps({"tokens": {"dtype": "F32", "shape": [2**20], "data_offsets": [0, 2**22]}}).encode()
    pieces = [struct.pack("<Q", len(text)) + text, *(bytes(2**16) for _ in range(2**6))]

    async def ask() -> None:
        requests = iter({"type": "http.request", "body": piece, "more_body": True} for piece in pieces)

        async def receive():
            return next(requests, {"type": "http.request", "body": b""})

        async def send(message):
            if message["type"] == "http.response.start":
                assert message["status"] == 400

        tracemalloc.start()
        scope = {"type": "http", "method": "POST", "path": "/v1/generate", "headers": [], "query_string": b""}
        await create_app(origin)(scope, receive, send)

    try:
        asyncio.run(ask())
        assert tracemalloc.get_traced_memory()[1] < 1.5 * 2**22
    finally:
        tracemalloc.stop()


def test_a_turn_that_takes_too_long_ends():
    with serving(turn_seconds=0.5) as (origin, url):
        client = Client(url)
        assert client.generate(PROMPT, client.options(LONG, stop_tokens=[])).error["code"] == "timeout"
        wait_until(lambda: idle(origin))


def test_limits_hold_though_a_step_does_not_end(client, origin, monkeypatch):
    with (
        ThreadPoolExecutor(SETTINGS.slots) as pool,
        streaming(client, client.options(LONG, stop_tokens=[])) as (answer, rest),
        held_decoding(origin),
    ):
        monkeypatch.setattr(origin.batcher, "_settings", replace(origin.settings, wait_seconds=0.5, turn_seconds=2))
        pending = [pool.submit(client.generate, PROMPT) for _ in range(SETTINGS.slots)]
        assert sorted(each.result().error["code"] for each in pending) == ["busy", "timeout", "timeout", "timeout"]
        assert read_on(answer, rest).error["code"] == "timeout"
    wait_until(lambda: idle(origin))


def test_an_origin_whose_device_hangs_is_not_healthy_and_holds_no_turns(client, origin, monkeypatch, caplog):
    with (
        ThreadPoolExecutor(1) as pool,
        streaming(client, client.options(LONG, stop_tokens=[])) as (answer, rest),
        held_decoding(origin),
    ):
        pending = pool.submit(client.generate, PROMPT)
        wait_until(lambda: len(origin.batcher._occupancy.waiting) == 1)
        assert client.http.get("/health").status_code == 200
        with monkeypatch.context() as patch:
            patch.setattr(origin.batcher, "_settings", replace(origin.settings, step_seconds=0.1))
            assert pending.result().error["code"] == "busy"
            assert read_on(answer, rest).error["code"] == "busy"
            assert client.http.get("/health").status_code == 503
            assert client.refusal("/v1/generate", body(client.model, PROMPT, client.options())) == (503, "busy")
    assert "GRIFFIN_STEP_SECONDS" in caplog.text
    assert client.http.get("/health").status_code == 200
    assert client.generate(PROMPT).metadata


HANGS = """
import threading
from griffin_origin.__main__ import main
from griffin_origin.slots import Slots

warm_up = Slots.warm_up
def warm_up_and_hang(slots):
    warm_up(slots)
    slots.decode = lambda *_: threading.Event().wait()
Slots.warm_up = warm_up_and_hang
main()
"""


def test_a_process_whose_device_hangs_ends_when_it_is_told_to():
    port = free_port()
    environment = os.environ | {
        "PYTHONPATH": str(ROOT / "origin"), "GRIFFIN_CHECKPOINT": str(small_checkpoint()),
        "GRIFFIN_SLOTS": "4", "GRIFFIN_CHUNK_TOKENS": "16", "GRIFFIN_STEP_SECONDS": "1",
    }  # fmt: skip
    process = subprocess.Popen([sys.executable, "-c", HANGS, "--port", str(port)], env=environment)
    try:
        wait_until(lambda: process.poll() is not None or is_up(port), 300)
        client = Client(f"http://127.0.0.1:{port}")
        assert client.generate(PROMPT).error["code"] == "busy"
        process.send_signal(signal.SIGTERM)
        process.wait(60)
    finally:
        process.kill()


def test_results_that_are_in_the_making_are_few(client, origin, monkeypatch):
    may_go_on, arrays_of = threading.Event(), Model.arrays_of
    monkeypatch.setattr(Model, "arrays_of", lambda *args: (may_go_on.wait(20), arrays_of(*args))[1])
    with ThreadPoolExecutor(12) as pool:
        pending = [pool.submit(client.prefill, PROMPT) for _ in range(12)]
        wait_until(lambda: origin.batcher._room_for_results._value == 0)
        time.sleep(0.2)
        assert origin.batcher._writers._work_queue.qsize() <= MOST_RESULTS
        may_go_on.set()
        assert all(answer.result().metadata for answer in pending)


def test_a_turn_that_runs_holds_no_body(client, origin):
    state = client.prefill(PROMPT).state
    with streaming(client, client.options(LONG, stop_tokens=[]), state=state):
        (turn,) = origin.batcher._occupancy.running
        assert turn.request.state is None
        assert turn.request.tokens.base is None


def test_a_long_answer_is_sent_in_pieces(origin, client):
    """To a client that takes nothing before all is there, so that its frames gather."""
    sent = body(client.model, PROMPT, client.options(400, stop_tokens=[], top_log_probabilities=100))
    scope = {"type": "http", "method": "POST", "path": "/v1/generate", "headers": [], "query_string": b""}
    pieces = []

    async def ask() -> None:
        requests = iter([{"type": "http.request", "body": sent}])

        async def receive():
            return next(requests, None) or await asyncio.Future()

        async def send(message):
            if message["type"] == "http.response.body":
                pieces.append(message["body"])
                while not idle(origin):
                    await asyncio.sleep(0.01)

        await create_app(origin)(scope, receive, send)

    asyncio.run(ask())
    assert max(map(len, pieces)) == 64 * 1024
    assert len(gather(pieces).tokens) == 400


def test_what_was_replied_is_looked_through_outside_the_loop(client, monkeypatch):
    push, in_loop = StopMatcher.push, []

    def watched(*args):
        in_loop.append(asyncio._get_running_loop() is not None)
        return push(*args)

    monkeypatch.setattr(StopMatcher, "push", watched)
    client.generate(PROMPT, client.options(3, stop=["never said"]), replied=[5, 6, 7])
    assert in_loop
    assert not any(in_loop)


def test_a_failed_dispatch_ends_its_turns_and_the_next_ones_run(monkeypatch, caplog):
    caplog.set_level("CRITICAL")  # what is logged would be kept, and with it the rows
    with serving() as (origin, url):
        client = Client(url)
        expected = client.generate(PROMPT, client.options(5, stop_tokens=[], keep="warm")).tokens
        slots, empty, are_gone = origin.batcher._slots, Model.empty, []

        def failing(*_):
            rows = slots._rows  # as a program holds them while it runs
            monkeypatch.setattr(Model, "empty", lambda *args: (are_gone.append(logits() is None), empty(*args))[1])
            logits = weakref.ref(rows.logits)
            return 1 / 0

        monkeypatch.setattr(slots, "decode", failing)
        assert client.generate(PROMPT, client.options(5)).error == {
            "code": "internal",
            "message": "The origin failed to run this turn.",
        }
        wait_until(lambda: idle(origin) and are_gone)
        assert are_gone == [True]  # before there are new ones
        monkeypatch.undo()
        assert client.generate(PROMPT, client.options(5, stop_tokens=[])).tokens == expected
        assert not origin.batcher._occupancy.kept
        assert origin.batcher.is_healthy


def test_stopping_tells_those_that_run():
    with serving() as (origin, url):
        client = Client(url)
        with streaming(client, client.options(LONG, stop_tokens=[])) as (answer, rest):
            threading.Thread(target=origin.close).start()
            assert read_on(answer, rest).error["code"] == "busy"
        assert client.http.get("/health").status_code == 503
        assert client.refusal("/v1/generate", body(client.model, PROMPT, client.options())) == (503, "busy")
        origin.batcher.join()
        assert origin.batcher.ended_well


def test_a_client_that_closes_while_it_waits_leaves_the_queue():
    with serving() as (origin, url):
        client = Client(url)
        with every_slot_taken(client):
            sent = body(client.model, PROMPT, client.options(0))
            with pytest.raises(httpx.ReadTimeout):
                client.http.post("/v1/generate", content=sent, timeout=httpx.Timeout(60, read=0.3))
            wait_until(lambda: not origin.batcher._occupancy.waiting)
            assert len(origin.batcher._occupancy.running) == SETTINGS.slots


def test_a_connection_over_which_nothing_comes_is_kept_longer_than_clients_keep_it(served):
    host, port = served[1].removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=60) as connection:
        for idle_seconds in (0, 6):  # workerd and many others close theirs after 5
            time.sleep(idle_seconds)
            connection.sendall(b"GET /health HTTP/1.1\r\nhost: x\r\n\r\n")
            assert b'{"status":"ok"}' in read_until(connection, b"}")


def read_until(connection: socket.socket, end: bytes) -> bytes:
    held = b""
    while not held.endswith(end) and (piece := connection.recv(4096)):
        held += piece
    return held


def test_a_client_that_takes_nothing_is_gone():
    with serving(body_seconds=0.5) as (origin, url):
        client = Client(url)
        options = client.options(60_000, stop_tokens=[], top_log_probabilities=100)
        with streaming(client, options):
            wait_until(lambda: origin.batcher._occupancy.running)
            wait_until(lambda: idle(origin))


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_an_origin_whose_thread_dies_says_so_to_everybody(monkeypatch):
    with serving() as (origin, url):
        client = Client(url)
        monkeypatch.setattr(origin.batcher, "_step", lambda *_: 1 / 0)
        monkeypatch.setattr(origin.batcher, "_begin_anew", lambda *_: 1 / 0)
        assert client.generate(PROMPT).error["code"] == "busy"
        assert client.http.get("/health").status_code == 503
        assert client.refusal("/v1/generate", body(client.model, PROMPT, client.options())) == (503, "busy")


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_process_whose_origin_can_run_no_more_turns_ends_and_says_that_it_failed(monkeypatch):
    origin, port = Origin(replace(SETTINGS, checkpoint=str(small_checkpoint())), small_model()), free_port()
    with ThreadPoolExecutor(1) as pool:
        status = pool.submit(serve, origin, "127.0.0.1", port)
        wait_until(lambda: socket.socket().connect_ex(("127.0.0.1", port)) == 0)
        monkeypatch.setattr(origin.batcher, "_step", lambda *_: 1 / 0)
        monkeypatch.setattr(origin.batcher, "_begin_anew", lambda *_: 1 / 0)
        client = Client(f"http://127.0.0.1:{port}")
        client.generate(PROMPT)
        assert status.result() is False
