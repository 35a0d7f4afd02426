"""The benchmark: that it counts the bytes of real arrays, and that a run says all that it should."""

import json
import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import jax.numpy as jnp
import pytest
from conftest import ROOT
from reading import MODELS

from bench import ours
from bench.bandwidth import Copy
from bench.bytes import step_bytes
from bench.report import MARKERS, write_results
from bench.rounds import Contender, interleave
from bench.sections import HAS_TORCH, OURS, RECURRENT, TRANSFORMER
from bench.shapes import PLANS, griffin
from griffin_origin.checkpoint import read_checkpoint
from griffin_origin.model import POSITION, Model

TABLE = "embed_tokens.weight"


@pytest.mark.parametrize("name", MODELS)
def test_counts_the_bytes_of_the_arrays(name, edge_folder):
    model = Model.load(edge_folder / name)
    counted = step_bytes(model.config, model.format, model.checkpoint.kv)
    # A table that is not the head is not read as a whole.
    is_tied = model.config["tie_word_embeddings"]
    weights = sum(each.nbytes for key, each in model.weights.items() if is_tied or not key.startswith(TABLE))
    state = {key: each for key, each in model.empty(1).items() if key != POSITION}
    read = sum(each.nbytes for each in state.values())
    rings = sum(each.nbytes for key, each in state.items() if key.endswith((".keys", ".values")))
    written = read - rings + rings // model.window
    assert counted.weights == weights
    assert (counted.state_read, counted.state_written) == (read, written)
    assert counted.logits == 4 * model.vocabulary
    assert counted.of(7) == weights + 7 * (read + written + counted.logits)


@pytest.mark.parametrize("name", ["pocket-int4", "pocket-int8", "wide-bf16"])
def test_random_weights_are_of_the_types_and_shapes_of_a_checkpoint(name, edge_folder):
    made = ours.random_model(read_checkpoint(edge_folder / name), exact=False).weights
    real = Model.load(edge_folder / name).weights
    assert {key: (each.shape, each.dtype) for key, each in made.items()} == {
        key: (each.shape, each.dtype) for key, each in real.items()
    }


def test_a_sample_that_decodes_less_than_it_counts_fails():
    model = ours.random_model(griffin("tiny", "f32"), exact=False)
    norm = "final_norm.weight"
    broken = replace(model, weights={**model.weights, norm: model.weights[norm] * jnp.nan})
    with pytest.raises(RuntimeError, match="has not decoded"):
        ours.Decode(broken, 1, 0, 8)


def test_contenders_take_turns_and_the_first_sample_is_not_counted():
    order = []

    def taking(name: str):
        return lambda: order.append(name) or len(order)

    figures = interleave([Contender(name, "tokens/s", taking(name)) for name in "abc"], 2)
    assert "".join(order) == "abc" + "abc" + "bca"
    assert [figure.values for figure in figures] == [(4, 9), (5, 7), (6, 8)]


def test_copying_is_counted_in_bytes_a_second():
    assert 1e8 < Copy().measure() < 1e12


def test_results_replace_those_between_the_markers(tmp_path):
    file = tmp_path / "README.md"
    file.write_text(f"before\n{MARKERS[0]}\nold\n{MARKERS[1]}\nafter\n")
    write_results(file, "new")
    assert file.read_text() == f"before\n{MARKERS[0]}\n\nnew\n\n{MARKERS[1]}\nafter\n"


def test_a_run_reports_every_contender_at_every_size(tmp_path):
    report = tmp_path / "report.json"
    command = [sys.executable, "-B", "-m", "bench", "--shapes", "tiny", "--rounds", "1", "--json", report]
    done = subprocess.run(command, cwd=ROOT / "origin", check=True, capture_output=True, text=True, env=os.environ)
    plan = PLANS["tiny"]
    decode, history, prefill = expected_rows(plan)
    sections = json.loads(Path(report).read_text())["sections"]
    assert [[figure["name"] for figure in section["figures"]] for section in sections] == [decode, history, prefill]
    for section in sections:
        for figure in section["figures"]:
            assert len(figure["values"]) == 1
            assert figure["values"][0] > 0
            assert f"| {figure['name']} | " in done.stdout
    shares = [share["of"] for share in sections[0]["figures"][0]["shares"]]
    assert shares[0] == "of what memory allows"
    assert len(shares) == (3 if HAS_TORCH else 1)
    assert len(re.findall(r"^\| decoding ", done.stdout, re.M)) == (3 if HAS_TORCH else 2)
    assert ("are not installed" in done.stdout) != HAS_TORCH


def expected_rows(plan) -> tuple[list[str], list[str], list[str]]:
    peers = [RECURRENT, TRANSFORMER] if HAS_TORCH else []
    return (
        [f"batch {batch}: {name}" for batch in plan.batches for name in (OURS, *peers, "copying memory")],
        [f"{name} after {at}" for name in (OURS, *peers[1:]) for at in plan.histories],
        [f"1 prompt: {name}" for name in (OURS, *peers)],
    )
