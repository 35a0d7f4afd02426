"""Turns over HTTP: what is generated, when it ends, and that neighbours do not matter."""

import json
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from client import GREEDY, same_state
from conftest import SETTINGS

PROMPT = [2, 4, 300, 17, 900, 5, 33]
SEEDED = {"seed": "18446744073709551615", "temperature": 0.9, "top_p": 0.95, "frequency_penalty": 0.3}


def test_a_reply_streams_and_ends_with_the_state(client):
    answer = client.generate(PROMPT, client.options(20, stop_tokens=[]))
    assert len(answer.tokens) == 20
    expected = {"finish_reason": "length", "prompt_tokens": "7", "completion_tokens": "20", "computed_tokens": "27"}
    assert answer.metadata.items() >= (expected | {"position": "27", "format": "griffin_result"}).items()
    assert answer.metadata["checkpoint"] == client.model["checkpoint"]
    assert sum(array.nbytes for array in answer.state[1].values()) == client.model["state_bytes"]


def test_a_result_holds_the_state_as_one_aligned_piece(client, origin):
    payload = client.prefill(PROMPT).payload
    begin = 8 + int.from_bytes(payload[:8], "little")
    assert begin % 8 == 0
    places = {
        name: entry["data_offsets"] for name, entry in json.loads(payload[8:begin]).items() if name != "__metadata__"
    }
    assert list(places) == [*origin.served.layout, "logits"]
    assert list(places.values()) == sorted(places.values())
    assert len(payload) == begin + client.model["state_bytes"] + 4 * client.model["vocabulary"]


@pytest.mark.parametrize("sampling", [GREEDY, SEEDED])
def test_ragged_rows_of_a_batch_are_what_they_are_alone(client, sampling):
    prompts = [[(7 * i + j * j) % 2048 for j in range(1 + 23 * i % 150)] for i in range(12)]
    stop = [[], ["never said"]]
    options = [client.options(5 + 3 * i, sampling, stop_tokens=[], stop=stop[i % 2]) for i in range(12)]
    alone = [client.generate(prompt, option) for prompt, option in zip(prompts, options, strict=False)]
    with ThreadPoolExecutor(12) as pool:
        together = list(pool.map(client.generate, prompts, options))
    for one, other in zip(alone, together, strict=False):
        assert one.tokens == other.tokens
        same_state(one.state, other.state)


@pytest.mark.parametrize("sampling", [GREEDY, SEEDED])
def test_a_turn_may_be_split_anywhere(client, sampling):
    whole = client.generate(PROMPT, client.options(12, sampling, stop_tokens=[]))
    first = client.prefill(PROMPT[:3])
    rest = client.generate(PROMPT[3:], client.options(12, sampling, stop_tokens=[]), state=first.state)
    assert rest.tokens == whole.tokens
    assert rest.metadata["computed_tokens"] == "16"
    same_state(rest.state, whole.state)


@pytest.mark.parametrize("stop", [[], ["never said"]])
@pytest.mark.parametrize("count", [1, 5, 8, 19])
def test_a_reply_goes_on_from_what_was_replied_as_if_it_had_not_been_interrupted(client, count, stop):
    options = client.options(20, SEEDED, stop_tokens=[], stop=stop, top_log_probabilities=1)
    whole = client.generate(PROMPT, options)
    again = client.generate(PROMPT, options, replied=whole.tokens[:count])
    assert again.tokens == whole.tokens[count:]
    assert again.log_probabilities == whole.log_probabilities[count:]
    assert (again.metadata["completion_tokens"], again.metadata["prompt_tokens"]) == ("20", "7")
    same_state(again.state, whole.state)


def test_what_was_replied_is_read_also_behind_a_stop_token(client):
    replied = [5, 1, 7]
    again = client.generate(PROMPT, client.options(6, stop_tokens=[1]), replied=replied)
    assert again.state[0] == len(PROMPT) + len(replied) + len(again.tokens)
    assert again.tokens


def test_what_was_replied_whole_is_only_read(client):
    whole = client.generate(PROMPT, client.options(6, stop_tokens=[]))
    read = client.generate(PROMPT, client.options(6, stop_tokens=[]), replied=whole.tokens)
    assert (read.tokens, read.metadata["finish_reason"]) == ([], "length")
    same_state(read.state, whole.state)
    stopped = client.generate(PROMPT, client.options(99, stop_tokens=[whole.tokens[-1]]), replied=whole.tokens)
    assert (stopped.tokens, stopped.metadata["finish_reason"]) == ([], "stop")


def test_a_stop_token_ends_the_reply_and_is_in_the_state(client):
    free = client.generate(PROMPT, client.options(20, stop_tokens=[]))
    stop = free.tokens[10]
    answer = client.generate(PROMPT, client.options(20, stop_tokens=[stop]))
    assert answer.tokens == free.tokens[: free.tokens.index(stop) + 1]
    assert (answer.metadata["finish_reason"], answer.metadata["stopped_by"]) == ("stop", str(stop))
    same_state(answer.state, client.generate(PROMPT, client.options(len(answer.tokens), stop_tokens=[])).state)


def test_a_stop_string_ends_the_reply_behind_the_token_that_completes_it(client, origin):
    free = client.generate(PROMPT, client.options(20, SEEDED, stop_tokens=[]))
    ends, text = [], b""
    for token in free.tokens:
        text += origin.spelling.bytes_of(token)
        ends.append(len(text.decode("utf-8", "replace")))
    text = text.decode("utf-8", "replace")
    # Each begins in one token and ends inside another, anywhere in what one dispatch decodes.
    for first in range(9):
        stop = text[ends[first] - 1 : ends[first + 2] - 1]
        at = text.index(stop) + len(stop)
        count = next(i for i, end in enumerate(ends) if end >= at) + 1
        answer = client.generate(PROMPT, client.options(20, SEEDED, stop_tokens=[], stop=["never said", stop]))
        assert answer.tokens == free.tokens[:count]
        assert (answer.metadata["finish_reason"], json.loads(answer.metadata["stopped_by"])) == ("stop", stop)
        assert answer.metadata["computed_tokens"] == str(len(PROMPT) + count)
        no_more = client.generate(PROMPT, client.options(count, SEEDED, stop_tokens=[]))
        same_state(answer.state, no_more.state)


def test_stop_strings_do_not_slow_a_reply_down(client, origin):
    def dispatches() -> float:
        return origin.metrics.registry.get_sample_value("griffin_origin_dispatch_seconds_count")

    before = dispatches()
    client.generate(PROMPT, client.options(5 * SETTINGS.dispatch_tokens, stop_tokens=[], stop=["never said"]))
    assert dispatches() - before == 5


def test_no_tokens_only_reads(client):
    answer = client.generate(PROMPT, client.options(0))
    assert (answer.tokens, answer.metadata["finish_reason"], answer.state[0]) == ([], "length", 7)
    read = client.prefill(PROMPT)
    same_state(answer.state, read.state)
    assert read.arrays["logits"].shape == (client.model["vocabulary"],)
    assert int(read.arrays["logits"].argmax()) == client.generate(PROMPT, client.options(1)).tokens[0]


def test_log_probabilities_come_where_they_are_asked_for(client):
    answer = client.generate(PROMPT, client.options(10, stop_tokens=[], top_log_probabilities=3))
    logits = client.prefill(PROMPT).arrays["logits"].astype(np.float64)
    expected = logits - logits.max() - np.log(np.exp(logits - logits.max()).sum())
    assert len(answer.log_probabilities) == len(answer.top) == 10
    assert [token for token, _ in answer.top[0]] == np.argsort(-expected, kind="stable")[:3].tolist()
    np.testing.assert_allclose([p for _, p in answer.top[0]], np.sort(expected)[::-1][:3], atol=1e-5)
    assert answer.log_probabilities[0] == answer.top[0][0][1]
    assert client.generate(PROMPT, client.options(3, top_log_probabilities=0)).top[0] == []
    assert client.generate(PROMPT).top == []


def test_what_is_not_wanted_is_not_sent(client):
    assert client.generate(PROMPT, client.options(return_state=False)).arrays == {}
    assert list(client.prefill(PROMPT, {"return_state": False}).arrays) == ["logits"]
    assert "logits" not in client.prefill(PROMPT, {"logits": False}).arrays


def test_a_hundred_streams_at_once_complete(client):
    def turn(i: int):
        return client.generate([2, 4, i, 3 * i + 1], client.options(16, {"seed": str(i)}, stop_tokens=[]))

    with ThreadPoolExecutor(100) as pool:
        answers = list(pool.map(turn, range(100)))
    assert all(len(answer.tokens) == 16 and answer.state[0] == 20 for answer in answers)
    assert len({tuple(answer.tokens) for answer in answers}) > 50
    assert answers[41].tokens == turn(41).tokens


def test_the_repetition_penalty_looks_at_the_history(client):
    sampling = {"seed": "3", "temperature": 0, "repetition_penalty": 1.3}
    options = client.options(12, sampling, stop_tokens=[])
    free = client.generate(PROMPT, client.options(12, stop_tokens=[])).tokens
    past = [2, *free, *PROMPT]
    whole = client.generate([*past, 9], options)
    before = client.prefill(past)
    assert client.generate([9], options, state=before.state, history=past).tokens == whole.tokens
    assert client.generate([9], options, state=before.state).tokens != whole.tokens
