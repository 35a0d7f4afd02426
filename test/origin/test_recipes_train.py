"""Recipes: the smoke run, from dialogues to a model that the edge runs."""

import json
import sys
from dataclasses import replace
from xml.etree import ElementTree

import ml_dtypes
import numpy as np
import pytest
from conftest import ROOT
from safetensors.numpy import load_file

from griffin_origin.model import Model
from recipes import __main__ as program
from recipes import network
from recipes.checkpoints import load_checkpoint
from recipes.documents import Encoded
from recipes.encoder import Encoder
from recipes.hugging_face import convert, griffin, read_config, write_model
from recipes.packing import pack, together
from recipes.pocket.card import BEGIN, CARD, END, with_figures
from recipes.pocket.dialogues import Dialogues
from recipes.recipe import read_recipe
from recipes.train import train

RECIPE = read_recipe(ROOT / "origin/recipes/tiny.json")


def run(*arguments) -> None:
    """The command, in this process."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["recipes", *map(str, arguments)])
        program.main()


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    out = tmp_path_factory.mktemp("trained")
    run("train", out, "--data", "pocket", "--tiny")
    return out


@pytest.fixture(scope="module")
def converted(trained):
    return convert(trained, trained / "converted")


def losses(out, kind: str) -> list[float]:
    lines = map(json.loads, (out / "run/losses.jsonl").read_text().splitlines())
    return [line["loss"] for line in lines if line["kind"] == kind]


def test_it_learns_and_draws_how(trained):
    training = losses(trained, "training")
    assert len(training) == RECIPE.steps
    assert np.mean(training[-5:]) < 0.7 * training[0]
    first, second, last = losses(trained, "held out")
    assert last < second < first < training[0]
    picture = ElementTree.parse(trained / "run/loss.svg").getroot()
    lines = [each.get("points").split() for each in picture if each.tag.endswith("polyline")]
    assert [len(points) for points in lines] == [RECIPE.steps, 3]


def test_a_run_that_goes_on_ends_as_one_that_was_not_interrupted(trained, tmp_path):
    """It died in its second stage, while it wrote a checkpoint, and goes on from the step at which gates are opened."""
    assert RECIPE.checkpoint_steps == RECIPE.stages[0].steps
    assert RECIPE.stages[1].open_gates
    until = RECIPE.checkpoint_steps + 3
    train(Dialogues(), RECIPE, tmp_path, until=until)
    damaged = tmp_path / f"run/step-{until:08}.safetensors"
    damaged.write_bytes(damaged.read_bytes()[:-100])
    with (tmp_path / "run/losses.jsonl").open("a") as half:
        half.write('{"kind": "trai')
    train(Dialogues(), RECIPE, tmp_path)
    expected, found = (load_file(out / "model.safetensors") for out in (trained, tmp_path))
    assert expected.keys() == found.keys()
    assert all((expected[name] == found[name]).all() for name in expected)
    assert losses(tmp_path, "training") == losses(trained, "training")


@pytest.mark.parametrize(
    ("recipe", "source", "changed"),
    [
        (replace(RECIPE, rows=RECIPE.rows + 1), Dialogues(), "other rows;"),
        (RECIPE, Dialogues(1), "other data;"),
        (replace(RECIPE, config=RECIPE.config | {"lru_width": 96}), Dialogues(), "other config;"),
    ],
)
def test_a_folder_does_not_go_on_with_another_run(trained, recipe, source, changed):
    before = (trained / "model.safetensors").read_bytes()
    with pytest.raises(ValueError, match=changed):
        train(source, recipe, trained)
    assert (trained / "model.safetensors").read_bytes() == before


def test_a_run_whose_loss_is_no_number_ends_and_keeps_none_of_it(trained, tmp_path, monkeypatch):
    monkeypatch.setattr(network, "compiled_gradients", lambda *_: (np.float32("nan"), {}))
    with pytest.raises(RuntimeError, match="loss of step 1 is nan"):
        train(Dialogues(), RECIPE, tmp_path / "out", start=trained)
    assert not list((tmp_path / "out/run").glob("step-*"))


def test_an_export_in_bfloat16_is_the_trainers_weights_rounded(trained, tmp_path):
    exported = load_file(trained / "model.safetensors")
    write_model(tmp_path, read_config(trained), exported, "bfloat16")
    rounded = load_file(tmp_path / "model.safetensors")
    assert read_config(tmp_path)["torch_dtype"] == "bfloat16"
    assert all((rounded[name] == exported[name].astype(ml_dtypes.bfloat16)).all() for name in exported)


def test_the_edge_computes_the_trainers_logits(trained, converted, tmp_path):
    encoder = Encoder(trained, RECIPE.user_weight)
    tokens = encoder(next(Dialogues(9).sample())).tokens[:60]
    graph = Model.load(trained / "run/graph")
    stored = load_file(sorted((trained / "run").glob("step-*.safetensors"))[-1])
    weights = {name: stored[f"[0]['{name}']"] for name in graph.weights}
    row = pack([Encoded(tokens, np.ones(len(tokens), np.float32))], RECIPE.row_tokens)
    batch = together([row] * RECIPE.rows)
    trainers = np.asarray(network.compiled_logits(graph.checkpoint, weights, batch, graph.window))[0, : len(tokens)]
    (tmp_path / "tokens.json").write_text(json.dumps(tokens.tolist()))
    griffin("logits", converted, "--tokens", tmp_path / "tokens.json", "--out", tmp_path / "logits.safetensors")
    edges = load_file(tmp_path / "logits.safetensors")["logits"]
    assert np.abs(trainers).max() > 1
    assert np.abs(edges - trainers).max() <= 1e-4


def test_griffin_run_answers(converted):
    assert griffin("run", converted, "--prompt", "Hello!", "--max-tokens", "20").strip()


def test_a_model_of_ones_own_chats_goes_on_from_another(trained, tmp_path, capsys):
    chats = [
        {
            "messages": [
                {"role": "user", "content": f"What is {i}?"},
                {"role": "assistant", "content": f"{i} is a number."},
            ]
        }
        for i in range(150)
    ]
    data = tmp_path / "chats.jsonl"
    data.write_text("\n".join(map(json.dumps, chats)))
    run("train", tmp_path / "own", "--data", data, "--tiny", "--start", trained, "--until", "8")
    own = losses(tmp_path / "own", "training")
    assert own[0] < losses(trained, "training")[0]
    assert own[-1] < own[0]
    assert (tmp_path / "own/tokenizer.json").read_bytes() == (trained / "tokenizer.json").read_bytes()
    capsys.readouterr()
    run("evaluate", tmp_path / "own", "--data", data)
    assert float(capsys.readouterr().out.splitlines()[0].split()[-1]) < 512


def test_another_model_does_not_go_on_with_a_run(trained):
    with pytest.raises(ValueError, match="of another model"):
        load_checkpoint(trained / "run", {"weight": np.zeros(3)}, ())
    assert load_checkpoint(trained, {}, ()) is None


def test_figures_are_written_between_the_cards_markers():
    card = CARD.read_text()
    changed = with_figures(card, "NEW")
    assert "NEW" in changed
    assert with_figures(changed, "OTHER").count("OTHER") == 1
    assert changed.split(BEGIN)[0] == card.split(BEGIN)[0]
    assert changed.split(END)[1] == card.split(END)[1]
    with pytest.raises(ValueError, match="needs the lines"):
        with_figures("no card", "NEW")
