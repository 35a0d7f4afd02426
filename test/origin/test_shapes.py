"""Ten models of random shapes, options, formats and lengths of text: the origin computes what the edge does, and goes on
from the edge's state as the edge goes on from the origin's."""

import numpy as np
import pytest
from conftest import run_edge
from reading import ROWS, Known, known, largest, read
from state_file import state_from_bytes, state_to_bytes


@pytest.fixture(params=range(10))
def shape(request, edge_folder) -> Known:
    return known(edge_folder / f"shape_{request.param}")


def agree(it: Known, actual: np.ndarray, expected: np.ndarray) -> bool:
    """In int8 and int4 the same bits; else within 1e-3, and 1e-4 in f32."""
    if it.model.format in ("int8", "int4"):
        return np.array_equal(actual, expected)
    return largest(actual, expected) <= (1e-3 if it.model.format == "bf16" else 1e-4)


def test_any_shape_computes_what_the_edge_does_wherever_it_begins(shape, tmp_path):
    model, tokens, half = shape.model, shape.tokens, shape.half
    row, _ = state_from_bytes(model, shape.state_file)
    states = model.insert(model.empty(ROWS), 1, row)
    logits, after = read(model, [tokens, tokens[half:], tokens[: half + 1]], states)
    assert agree(shape, logits[0], shape.logits)
    assert agree(shape, logits[1], shape.logits[half:])

    ours, count = model.row(after, 2), half + 1
    (tmp_path / "ours.state").write_bytes(state_to_bytes(model, ours, tokens[:count][-model.window :]))
    run_edge("read", shape.folder, tmp_path / "ours.state", tmp_path / "logits.f32")
    back = np.fromfile(tmp_path / "logits.f32", np.float32).reshape(-1, model.vocabulary)
    assert agree(shape, back, shape.logits[count:])


def test_shapes_differ_in_all_that_a_config_says(edge_folder):
    models = [known(edge_folder / f"shape_{i}") for i in range(10)]
    assert {each.model.format for each in models} == {"f32", "bf16", "int8", "int4"}
    for key in (
        "hidden_size",
        "lru_width",
        "num_attention_heads",
        "head_dim",
        "attention_window_size",
        "hidden_activation",
    ):
        assert len({each.model.config[key] for each in models}) > 1, key
    assert any(len(each.tokens) < each.model.window for each in models)
    assert any(len(each.tokens) > 2 * each.model.window for each in models)
