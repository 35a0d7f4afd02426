"""A reply that is decoded again, from its own tokens, goes on as it would have: in all formats, in any slot."""

import jax
import numpy as np
import pytest
from conftest import SETTINGS, small_model
from reading import known

from griffin_origin.sampling import SamplingOptions
from griffin_origin.slots import Slots

SAMPLING = SamplingOptions(7, temperature=0.9, top_p=0.95, frequency_penalty=0.4, repetition_penalty=1.2)
REPLY = 24


def reply(slots: Slots, slot: int, prompt: list[int], replied: list[int]) -> list[int]:
    """All tokens of a reply, of which the first ones are given."""
    slots.place(slot, slots.empty)
    slots.prepare(slot, SAMPLING, (), np.array(prompt))
    for at in range(0, len(prompt), slots.chunk_tokens):
        slots.read(slot, np.array(prompt[at : at + slots.chunk_tokens], np.int32))
    said: list[int] = []
    while len(said) < REPLY:
        positions, budgets = np.zeros((2, slots.count), np.int32)
        positions[slot], budgets[slot] = len(prompt) + len(said), REPLY - len(said)
        given = slots.no_tokens()
        again = replied[len(said) :][: len(given)]
        given[: len(again), slot] = again
        tokens = np.asarray(slots.decode(positions, budgets, given, False).tokens)[:, slot]
        said += [token for token in tokens.tolist() if token >= 0]
    return said


@pytest.mark.parametrize("name", ["tiny-f32", "small-int8"])
def test_a_reply_that_was_interrupted_anywhere_goes_on_with_the_tokens_it_would_have_had(name, edge_folder, caplog):
    model = small_model() if name == "small-int8" else known(edge_folder / name).model
    slots = Slots(model, SETTINGS.slots, SETTINGS.chunk_tokens, SETTINGS.dispatch_tokens)
    slots.warm_up()
    prompt = [i * i % model.vocabulary for i in range(20)]
    with jax.log_compiles():
        whole = reply(slots, 0, prompt, [])
        slots.restore(1, slots.copy(0))
        slots.wait()
    assert not caplog.records, "a program was compiled while a turn waited for it"
    assert len(set(whole)) > 5
    state = slots.copy(0).states
    for count in np.random.default_rng(11).choice(np.arange(1, REPLY), 4, replace=False):
        assert reply(slots, 2, prompt, whole[:count]) == whole
        row = slots.copy(2).states
        for entry in row:
            assert np.array_equal(np.asarray(row[entry]), np.asarray(state[entry]))
