"""What an origin does not take: keys, bodies, states and options that are wrong, each with its own code."""

import json
import struct

import numpy as np
import pytest
from client import Client, body
from conftest import posting, serving
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.numpy import save

PROMPT = [2, 4, 300]


def options(**changes) -> dict:
    return {"max_tokens": 4, "sampling": {"seed": "1"}} | changes


def sampling(**changes) -> dict:
    return options(sampling={"seed": "1"} | changes)


WRONG_OPTIONS = [
    {}, {"max_tokens": 4}, {"sampling": {"seed": "1"}}, [], options(more=1), options(max_tokens=-1), options(max_tokens=1.5),
    options(max_tokens="4"), options(max_tokens=True), options(id=""), options(id="a/b"), options(id="a" * 65),
    options(stop=[""]), options(stop=["é" * 2049]), options(stop="x"), options(stop=["x"] * 65), options(stop_tokens=[2048]), options(stop_tokens=[-1]),
    options(top_log_probabilities=101), options(logits=True), options(keep=""), options(keep="k" * 129),
    options(warm={"key": "k"}), options(warm={"key": "k", "position": 0, "fingerprint": ""}), options(return_state=1),
    sampling(seed="18446744073709551616"), sampling(seed=1), sampling(seed="-1"), sampling(seed="01"), sampling(seed="١"),
    sampling(temperature=-0.1), sampling(temperature=float("nan")), sampling(temperature="1"), sampling(top_k=-1),
    sampling(top_k=0.5), sampling(top_p=1.1), sampling(min_p=-1), sampling(frequency_penalty=3), sampling(presence_penalty=-3),
    sampling(repetition_penalty=0), sampling(logit_bias={"2048": 1}), sampling(logit_bias={"x": 1}),
    sampling(logit_bias={"1": 101}), sampling(logit_bias={str(i): 1 for i in range(1025)}), sampling(other=1),
]  # fmt: skip


@pytest.mark.parametrize("wrong", WRONG_OPTIONS, ids=lambda wrong: json.dumps(wrong)[:60])
def test_options_that_are_wrong(client, wrong):
    assert client.refusal("/v1/generate", body(client.model, PROMPT, wrong)) == (400, "invalid_argument")


def test_options_of_the_other_request(client):
    for wrong in ({"max_tokens": 1}, {"sampling": {"seed": "1"}}, {"stop": []}):
        assert client.refusal("/v1/prefill", body(client.model, PROMPT, wrong)) == (400, "invalid_argument")
    assert client.refusal("/v1/prefill", body(client.model, PROMPT, {}, replied=[1])) == (400, "invalid_argument")


def test_messages_name_the_option_and_not_what_it_held(client):
    sent = body(client.model, PROMPT, options(stop=["", "a secret"]) | {"stop": "a secret"})
    message = client.http.post("/v1/generate", content=sent).json()["error"]["message"]
    assert "options.stop" in message
    assert "secret" not in message
    for wrong in (options(secret=1), sampling(secret=1), sampling(logit_bias={"secret": 1})):
        answer = client.http.post("/v1/generate", content=body(client.model, PROMPT, wrong))
        assert "secret" not in answer.text


def test_messages_are_short_whatever_was_sent(client):
    text = json.dumps({"a" * 100_000: {}}).encode()
    assert len(client.http.post("/v1/generate", content=struct.pack("<Q", len(text)) + text).content) < 1000


@pytest.mark.parametrize(
    "wrong",
    [{"format": "griffin_state"}, {"format_version": "2"}, {"position": "1"}, {"other": "x"}, {"options": "{"}],
)
def test_metadata_that_are_wrong(client, wrong):
    assert client.refusal("/v1/generate", body(client.model, PROMPT, options(), metadata=wrong)) == (
        400,
        "invalid_argument",
    )


@pytest.mark.parametrize("tokens", [[], [-1], [2048], [2**31 - 1]])
def test_tokens_that_are_wrong(client, tokens):
    assert client.refusal("/v1/generate", body(client.model, tokens, options())) == (400, "invalid_argument")
    if tokens:
        for name in ("history", "replied"):
            sent = body(client.model, PROMPT, options(), **{name: tokens})
            assert client.refusal("/v1/generate", sent) == (400, "invalid_argument")


@pytest.mark.parametrize("name", ["checkpoint", "graph"])
def test_another_model(client, name):
    sent = body(client.model | {name: "0" * 64}, PROMPT, options())
    assert client.refusal("/v1/generate", sent) == (409, "checkpoint_mismatch")


@pytest.fixture(scope="module")
def state(client):
    return client.prefill(PROMPT, {"logits": False}).state


def first_ring(arrays):
    return next(name for name in arrays if name.endswith(".keys"))


def first_recurrent(arrays):
    return next(name for name in arrays if name.endswith(".rg_lru"))


def test_states_that_no_pass_computes(client, state):
    position, arrays = state
    ring, recurrent = first_ring(arrays), first_recurrent(arrays)
    used_too_far = arrays[ring].copy()
    used_too_far[position] = 1
    not_finite = arrays[recurrent].copy()
    not_finite.flat[-1] = np.nan
    wrong = [
        {name: array for name, array in arrays.items() if name != ring},
        arrays | {"layers.99.keys": arrays[ring]},
        arrays | {recurrent: arrays[recurrent][:-1]},
        arrays | {recurrent: arrays[recurrent].view(np.int32)},
        arrays | {recurrent: arrays[recurrent].reshape(1, *arrays[recurrent].shape)},
        arrays | {ring: used_too_far},
        arrays | {recurrent: not_finite},
    ]
    for each in wrong:
        assert client.refusal("/v1/generate", body(client.model, [7], options(), (position, each))) == (
            400,
            "invalid_state",
        )
    assert client.generate([7], options(), state=state).tokens


@pytest.mark.parametrize("path", ["/v1/prefill", "/v1/generate"])
def test_a_turn_whose_state_becomes_no_numbers_fails_and_leaves_nothing(client, origin, state, path):
    position, arrays = state
    broken = arrays | {first_recurrent(arrays): np.full_like(arrays[first_recurrent(arrays)], 3e38)}
    asked = {"keep": "broken"} if path == "/v1/prefill" else options(max_tokens=0, keep="broken")
    answer = client.answer(path, body(client.model, [7], asked, (position, broken)))
    assert answer.error["code"] == "internal"
    assert "broken" not in origin.batcher._occupancy.kept
    assert client.prefill([7], state=state).metadata


@pytest.mark.parametrize("position", ["0", "-1", "x", "", "2147483648", "1.0", "٣"])
def test_positions_that_are_wrong(client, state, position):
    sent = body(client.model, [7], options(), state, metadata={"position": position})
    assert client.refusal("/v1/generate", sent) == (400, "invalid_argument")


def test_a_turn_must_end_before_the_last_position(client, state):
    full = {name: np.zeros_like(array) for name, array in state[1].items()}
    sent = body(client.model, [7], options(max_tokens=4), (2**31 - 5, full))
    assert client.refusal("/v1/generate", sent) == (400, "invalid_argument")


def test_a_state_and_a_warm_one(client, state):
    warm = {"key": "k", "position": 3, "fingerprint": "f"}
    assert client.refusal("/v1/generate", body(client.model, [7], options(warm=warm), state)) == (
        400,
        "invalid_argument",
    )


def test_too_much():
    with serving(prompt_tokens=100, max_tokens=10) as (_, url):
        client = Client(url)
        limits = client.model["limits"]
        assert (limits["prompt_tokens"], limits["max_tokens"]) == (100, 10)
        assert client.refusal("/v1/generate", body(client.model, [1] * 101, options())) == (413, "too_large")
        assert client.refusal("/v1/generate", body(client.model, [1], options(max_tokens=11))) == (413, "too_large")
        assert client.generate([1] * 100, options(max_tokens=10)).metadata
        over = b"\0" * (limits["body_bytes"] + 1)
        assert client.refusal("/v1/generate", over) == (413, "too_large")
        pieces = (over[i : i + 65_536] for i in range(0, len(over), 65_536))  # no content-length
        assert client.refusal("/v1/generate", pieces) == (413, "too_large")


def test_a_key_is_asked_for():
    with serving(origin_key="a secret") as (_, url):
        client = Client(url, authorization="Bearer a secret")
        assert client.generate(PROMPT, options()).metadata
        for wrong in (
            {},
            {"authorization": "Bearer a secre"},
            {"authorization": "a secret"},
            {"authorization": "Bearer"},
        ):
            for method, path in (
                ("POST", "/v1/generate"),
                ("DELETE", "/v1/generate/x"),
                ("GET", "/v1/models"),
                ("GET", "/x"),
            ):
                client.http.headers.pop("authorization", None)
                answer = client.http.request(method, path, headers=wrong)
                assert (answer.status_code, answer.json()["error"]["code"]) == (401, "unauthorized")
        assert client.http.get("/metrics").status_code == 401
        assert client.http.get("/health").json() == {"status": "ok"}


def test_a_body_is_not_read_before_its_key():
    with serving(origin_key="k") as (_, url), posting(url) as connection:
        assert connection.recv(4096).startswith(b"HTTP/1.1 401")


def test_of_several_faults_the_first_is_said(client, state):
    position, arrays = state
    wrong_state = position, {name: array for name, array in arrays.items() if name != first_ring(arrays)}
    other = client.model | {"graph": "0" * 64}
    warm = {"key": "not here", "position": 3, "fingerprint": "f"}
    for sent, expected in (
        (body(other, PROMPT, options(max_tokens=-1), wrong_state), (400, "invalid_argument")),
        (body(other, PROMPT, options(max_tokens=2**17), wrong_state), (413, "too_large")),
        (body(other, PROMPT, options(max_tokens=4), (2**31 - 5, wrong_state[1])), (400, "invalid_argument")),
        (body(other, PROMPT, options(), wrong_state), (409, "checkpoint_mismatch")),
        (body(other, PROMPT, options(warm=warm)), (409, "checkpoint_mismatch")),
        (body(client.model, PROMPT, options(), wrong_state), (400, "invalid_state")),
        (body(client.model, PROMPT, options(warm=warm)), (409, "state_needed")),
    ):
        assert client.refusal("/v1/generate", sent) == expected


def test_paths_and_methods_that_are_not_there(client):
    for method, path in (
        ("GET", "/v2"),
        ("GET", "/v1/generate"),
        ("POST", "/v1/models"),
        ("DELETE", "/v1/generate/none"),
        ("POST", "/v1/generate/"),
        ("GET", "/health/"),
    ):
        answer = client.http.request(method, path)
        assert (answer.status_code, answer.json()["error"]["code"]) == (404, "not_found")


def test_a_body_that_does_not_come():
    with serving(body_seconds=0.3) as (_, url), posting(url) as connection:
        assert connection.recv(4096).startswith(b"HTTP/1.1 408")


def test_metrics_say_what_ran(client):
    client.generate(PROMPT, options(max_tokens=3, stop_tokens=[]))
    text = client.http.get("/metrics").text
    for name in (
        'turns_total{ended="length"}',
        "generated_tokens_total",
        "first_token_seconds_count",
        'slots{holds="nothing"}',
    ):
        assert f"griffin_origin_{name}" in text


quick = settings(max_examples=60, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))


@quick
@given(st.binary(max_size=400))
def test_any_bytes_are_refused(client, data):
    assert client.refusal("/v1/generate", data) == (400, "invalid_argument")


@quick
@given(cut=st.integers(0, 10_000))
def test_any_cut_is_refused(client, state, cut):
    whole = body(client.model, PROMPT, options(), state)
    assert client.refusal("/v1/generate", whole[: cut * (len(whole) - 1) // 10_000]) == (400, "invalid_argument")


def test_a_tensor_without_elements_that_claims_long_sides_is_refused(client):
    entry = {"dtype": "I32", "shape": [0, 2**52, 2**52], "data_offsets": [0, 0]}
    text = json.dumps({"tokens": entry}).encode()
    sent = struct.pack("<Q", len(text)) + text
    assert client.refusal("/v1/generate", sent) == (400, "invalid_argument")


entry = st.fixed_dictionaries(
    {
        "dtype": st.sampled_from(["F32", "I32", "BF16", "F64", "", 3]),
        "shape": st.lists(st.integers(-1, 2**62), max_size=9),
        "data_offsets": st.lists(st.integers(-1, 2**62), max_size=3),
    }
)


@quick
@given(
    header=st.dictionaries(st.sampled_from(["tokens", "history", "x", "__metadata__"]), entry | st.none() | st.text())
)
def test_any_header_is_refused(client, header):
    text = json.dumps(header).encode()
    sent = struct.pack("<Q", len(text)) + text + b"\0" * 16
    assert client.refusal("/v1/generate", sent) == (400, "invalid_argument")


def test_a_body_may_have_its_tensors_in_any_order(client, state):
    sent = body(client.model, [7], options(), state)
    (length,) = struct.unpack_from("<Q", sent)
    header = json.loads(sent[8 : 8 + length])
    metadata = header.pop("__metadata__")
    arrays = {name: np.ascontiguousarray(array) for name, array in state[1].items()} | {
        "tokens": np.array([7], np.int32)
    }
    data, turned = b"", {}
    for name in reversed(arrays):
        raw = arrays[name].tobytes()
        turned[name] = header[name] | {"data_offsets": [len(data), len(data) + len(raw)]}
        data += raw
    text = json.dumps({**turned, "__metadata__": metadata}).encode()
    other = struct.pack("<Q", len(text)) + text + data
    assert client.answer("/v1/generate", other).tokens == client.answer("/v1/generate", sent).tokens


def test_a_safetensors_file_without_metadata(client):
    assert client.refusal("/v1/generate", save({"tokens": np.zeros(1, np.int32)})) == (400, "invalid_argument")


def test_a_refusal_takes_no_slot(client, origin):
    for _ in range(2 * origin.settings.slots):
        client.refusal("/v1/generate", b"nothing")
    assert client.generate(PROMPT, options()).tokens  # and does not wait for one in vain
