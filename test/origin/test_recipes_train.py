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
from recipes.checkpoints import Place, load_checkpoint, save_checkpoint
from recipes.documents import Encoded
from recipes.encoder import Encoder
from recipes.evaluate import perplexity
from recipes.hugging_face import convert, griffin, read_config, write_model
from recipes.optimizer import make_optimizer
from recipes.packing import pack, together
from recipes.pocket.card import BEGIN, CARD, END, weights_hash, with_figures
from recipes.pocket.dialogues import Dialogues
from recipes.recipe import Stage, read_recipe
from recipes.train import make_update, train

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


def test_a_run_whose_weights_become_useless_keeps_none_of_them(trained, tmp_path):
    wild = Stage(steps=3, rate=1e30, last_rate=1e30)
    with pytest.raises(RuntimeError, match="weights after step 1 are useless"):
        train(Dialogues(), replace(RECIPE, stages=(wild,), checkpoint_steps=1), tmp_path / "out", start=trained)
    assert not list((tmp_path / "out/run").glob("step-*"))
    assert losses(tmp_path / "out", "held out") == []


def test_a_stage_has_its_window_and_opens_gates_once(trained, tmp_path, monkeypatch):
    seen = []

    def still(_, weights, batch, window):
        bias = weights["layers.0.temporal_block.rg_lru.recurrent_gate_bias"]
        seen.append((window, float(np.asarray(bias).sum()), batch["weights"]))
        return np.float32(1), {name: np.zeros_like(each) for name, each in weights.items()}

    monkeypatch.setattr(network, "compiled_gradients", still)
    stages = (Stage(steps=2, rate=1e-9, last_rate=1e-9, window=8), Stage(2, 1e-9, 1e-9, open_gates=3))
    train(Dialogues(), replace(RECIPE, stages=stages), tmp_path / "out", start=trained)
    assert [window for window, _, _ in seen] == [8, 8, 16, 16]
    before, still_before, opened, still_opened = (bias for _, bias, _ in seen)
    assert (before, opened) == (pytest.approx(still_before), pytest.approx(still_opened))
    assert before - opened == pytest.approx(3 * RECIPE.config["lru_width"] / 2)
    counts = np.concatenate([weights.ravel() for _, _, weights in seen])
    np.testing.assert_allclose(np.unique(counts[counts > 0]), [RECIPE.user_weight, 1], rtol=1e-6)


def test_a_step_is_adamw_on_clipped_gradients():
    names = ["layers.0.mlp_block.up_proj.weight", "layers.0.mlp_block.up_proj.bias"]
    random = np.random.default_rng(1)
    weights, first, second = ({name: random.standard_normal(5).astype(np.float32) for name in names} for _ in range(3))
    optimizer = make_optimizer(RECIPE)
    ours, state = dict(weights), optimizer.init(weights)
    expected, m, v = weights, dict.fromkeys(names, 0.0), dict.fromkeys(names, 0.0)
    for step, (gradients, rate) in enumerate([(first, 0.1), (second, 0.01)], 1):
        ours, state = make_update(optimizer)(ours, state, gradients, rate)
        norm = np.sqrt(sum((each**2).sum() for each in gradients.values()))
        assert norm > RECIPE.clip_norm
        for name in names:
            gradient = gradients[name] * RECIPE.clip_norm / norm
            m[name] = 0.9 * m[name] + 0.1 * gradient
            v[name] = RECIPE.beta2 * v[name] + (1 - RECIPE.beta2) * gradient**2
            change = m[name] / (1 - 0.9**step) / (np.sqrt(v[name] / (1 - RECIPE.beta2**step)) + 1e-8)
            decay = RECIPE.weight_decay * expected[name] if name.endswith("weight") else 0
            expected = expected | {name: expected[name] - rate * (change + decay)}
    for name in names:
        np.testing.assert_allclose(ours[name], expected[name], rtol=1e-5)


def test_perplexity_is_of_what_the_model_has_to_say(trained, converted, monkeypatch):
    seen = []

    def measured(_, __, batch, ___):
        seen.append(batch)
        return 0.01 * (batch["pos"] + 1) + 5 * (batch["weights"] < 1)

    monkeypatch.setattr(network, "measure", measured)
    encoder = Encoder(trained, user_weight=0.5)
    found = perplexity(converted, encoder, Dialogues(), RECIPE.row_tokens)
    positions = np.concatenate([batch["pos"][batch["weights"] == 1] for batch in seen])
    window = RECIPE.config["attention_window_size"]
    assert found.tokens == len(positions) > 100
    for part, chosen in [
        (found.all, positions),
        (found.in_first_window, positions[positions < window]),
        (found.behind, positions[positions >= window]),
    ]:
        assert part == pytest.approx(np.exp(0.01 * (chosen.mean() + 1)))


def test_a_run_without_a_checkpoint_begins_anew_as_it_is_told(trained, tmp_path):
    large = replace(RECIPE, config=RECIPE.config | {"vocab_size": 60_000})
    with pytest.raises(ValueError, match="No vocabulary of 60000 pieces"):
        train(Dialogues(), large, tmp_path / "out")
    train(Dialogues(), RECIPE, tmp_path / "out", until=1)
    with pytest.raises(ValueError, match="began with other config"):
        train(Dialogues(), large, tmp_path / "out")


def test_a_model_of_no_run_is_not_written_over(trained, tmp_path):
    (tmp_path / "tokenizer.json").write_bytes((trained / "tokenizer.json").read_bytes())
    with pytest.raises(ValueError, match=r"has a tokenizer\.json of no run"):
        train(Dialogues(), RECIPE, tmp_path)
    assert [each.name for each in tmp_path.iterdir() if each.is_file()] == ["tokenizer.json"]


def test_damaged_checkpoints_are_told_of_and_give_way_to_sound_ones(tmp_path):
    weights = {"weight": np.arange(3, dtype=np.float32)}
    for step in (1, 2, 3):
        save_checkpoint(tmp_path, Place(step, step), weights, ())
    files = sorted(tmp_path.glob("step-*"))
    assert [file.name for file in files] == ["step-00000002.safetensors", "step-00000003.safetensors"]
    files[1].write_bytes(b"half")
    assert load_checkpoint(tmp_path, weights, ())[0] == Place(2, 2)
    files[0].write_bytes(b"half")
    with pytest.raises(ValueError, match="No checkpoint in"):
        load_checkpoint(tmp_path, weights, ())
    save_checkpoint(tmp_path, Place(1, 1), weights, ())
    assert [file.name for file in tmp_path.glob("step-*")] == ["step-00000001.safetensors"]


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
        for i in range(500)
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


def test_the_cards_figures_are_of_the_shipped_weights():
    assert f"begins with {weights_hash()}." in CARD.read_text()


def test_figures_are_written_between_the_cards_markers():
    card = CARD.read_text()
    changed = with_figures(card, "NEW")
    assert "NEW" in changed
    assert with_figures(changed, "OTHER").count("OTHER") == 1
    assert changed.split(BEGIN)[0] == card.split(BEGIN)[0]
    assert changed.split(END)[1] == card.split(END)[1]
    with pytest.raises(ValueError, match="needs the lines"):
        with_figures("no card", "NEW")
