"""Files of states: the edge's are read, and ours are read by the edge; what is damaged or another model's is refused."""

import hashlib

import jax
import ml_dtypes
import numpy as np
import pytest
from conftest import run_edge
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from reading import MODELS, QUANTIZED, ROWS, alone, known, largest, read, same_bits
from state_file import state_from_bytes, state_to_bytes

from griffin_origin.errors import GriffinError
from griffin_origin.layout import is_ring

properties = settings(max_examples=60, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
FOREIGN = ("tiny-f32", "four_kv_heads_untied-int4", "pocket-int8")


def agree(name: str, actual: np.ndarray, expected: np.ndarray) -> bool:
    return np.array_equal(actual, expected) if name in QUANTIZED else largest(actual, expected) <= 1e-3


@pytest.mark.parametrize("name", MODELS)
def test_goes_on_from_a_state_of_the_edges_as_the_edge_does(name, edge_folder):
    it = known(edge_folder / name)
    row, tokens = state_from_bytes(it.model, it.state_file)
    assert int(row["position"][0]) == it.half
    assert tokens == it.tokens[: it.half][-it.model.window :]
    states = it.model.insert(it.model.empty(ROWS), 1, row)
    logits, _ = read(it.model, [[], it.tokens[it.half :], []], states)
    assert agree(name, logits[1], it.logits[it.half :])


@pytest.mark.parametrize("name", MODELS)
def test_writes_a_state_as_the_edge_does_byte_for_byte(name, edge_folder):
    it = known(edge_folder / name)
    assert state_to_bytes(it.model, *state_from_bytes(it.model, it.state_file)) == it.state_file


@pytest.mark.parametrize("name", FOREIGN)
def test_the_edge_goes_on_from_a_state_of_ours(name, edge_folder, tmp_path):
    it = known(edge_folder / name)
    count = it.half + 3
    _, row = alone(it.model, it.tokens[:count])
    (tmp_path / "ours.state").write_bytes(state_to_bytes(it.model, row, it.tokens[:count][-it.model.window :]))
    run_edge("read", it.folder, tmp_path / "ours.state", tmp_path / "logits.f32")
    logits = np.fromfile(tmp_path / "logits.f32", np.float32).reshape(-1, it.model.vocabulary)
    assert agree(name, logits, it.logits[count:])


@pytest.mark.parametrize("name", FOREIGN[:2])
@properties
@given(st.data())
def test_any_state_comes_back_bit_for_bit(name, edge_folder, data):
    model = known(edge_folder / name).model
    position = data.draw(st.one_of(st.integers(1, 2 * model.window), st.integers(1, 2**31 - 1)))
    random = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    arrays = {}
    for entry, (dtype, shape) in model.layout.items():
        arrays[entry] = (random.normal(0, 1, shape) * 10.0 ** random.integers(-30, 30)).astype(dtype)
        if is_ring(entry):
            arrays[entry][position:] = 0
    count = data.draw(st.integers(1, min(position, model.window)))
    tokens = random.integers(0, model.vocabulary, count).tolist()
    row = model.row_of(arrays, position)
    again, same = state_from_bytes(model, state_to_bytes(model, jax.device_put(row), tokens))
    assert same_bits(row, again)
    assert tokens == same


@properties
@given(at=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7))
def test_a_file_with_another_bit_is_refused_or_says_the_same(edge_folder, at, bit):
    it = known(edge_folder / "tiny-f32")
    damaged = bytearray(it.state_file)
    damaged[int(at * len(damaged))] ^= 1 << bit
    try:
        row, tokens = state_from_bytes(it.model, bytes(damaged))
    except GriffinError:
        return
    expected, same = state_from_bytes(it.model, it.state_file)  # white space of the header was changed
    assert same_bits(row, expected)
    assert tokens == same


@properties
@given(length=st.floats(0, 1, exclude_max=True))
def test_a_file_that_was_cut_off_is_refused(edge_folder, length):
    it = known(edge_folder / "tiny-f32")
    with pytest.raises(GriffinError, match="cannot be used"):
        state_from_bytes(it.model, it.state_file[: int(length * len(it.state_file))])


def test_a_state_of_another_model_is_refused(edge_folder):
    pocket, other = known(edge_folder / "pocket-int8"), known(edge_folder / "pocket-int4")
    with pytest.raises(GriffinError, match="another model") as caught:
        state_from_bytes(pocket.model, other.state_file)
    assert caught.value.code == "checkpoint_mismatch"


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_values_that_no_pass_computes_are_refused(edge_folder, value):
    it = known(edge_folder / "tiny-f32")
    row, tokens = state_from_bytes(it.model, it.state_file)
    for entry in it.model.layout:
        spoilt = {**row, entry: row[entry].copy()}
        spoilt[entry].flat[3] = value
        with pytest.raises(GriffinError, match="not finite"):
            state_from_bytes(it.model, state_to_bytes(it.model, spoilt, tokens))


def test_values_in_slots_that_were_never_written_are_refused(edge_folder):
    it = known(edge_folder / "tiny-f32")
    row, _ = state_from_bytes(it.model, it.state_file)
    early = {**row, "position": np.array([3], np.int32)}
    with pytest.raises(GriffinError, match="behind position 3"):
        state_from_bytes(it.model, state_to_bytes(it.model, early, it.tokens[:3]))


def test_the_hash_is_of_what_the_file_holds(edge_folder):
    it = known(edge_folder / "tiny-f32")
    assert it.model.checkpoint_hash == hashlib.sha256((it.folder / "weights.safetensors").read_bytes()).hexdigest()
    assert it.model.graph_hash == hashlib.sha256((it.folder / "graph.onnx").read_bytes()).hexdigest()
    assert it.model.empty(1)["position"].tolist() == [0]
    assert {str(np.dtype(ml_dtypes.bfloat16))} == {
        str(dtype)
        for name, (dtype, _) in known(edge_folder / "four_kv_heads_untied-int4").model.layout.items()
        if is_ring(name)
    }
