"""Recipes: the network in training, against the origin's own model and against automatic differentiation."""

from itertools import islice, pairwise

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import ROOT
from jax import lax

from griffin_origin.kernels import numerics
from griffin_origin.kernels.recurrence import STEEPEST_ROOT, recurrence, root
from griffin_origin.model import Model
from recipes import network
from recipes.documents import Encoded, texts
from recipes.hugging_face import convert, write_model
from recipes.initial import initial_weights
from recipes.optimizer import decays, learning_rate, open_gates
from recipes.packing import Batch, pack, together
from recipes.pocket.dialogues import Dialogues
from recipes.recipe import Stage, read_recipe
from recipes.tokenizer import write_tokenizer

RECIPE = read_recipe(ROOT / "origin/recipes/tiny.json")
#: Documents of a row: longer than the window of 16, shorter than the convolution, and in between.
LENGTHS = (30, 2, 18, 1, 13)


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Model:
    folder = tmp_path_factory.mktemp("model")
    write_tokenizer(
        texts(islice(Dialogues().sample(), RECIPE.tokenizer_documents)), RECIPE.config["vocab_size"], folder
    )
    write_model(folder, RECIPE.config, initial_weights(RECIPE.config, seed=1), "float32")
    return Model.load(convert(folder, folder / "converted"))


@pytest.fixture(scope="module")
def documents() -> list[np.ndarray]:
    random = np.random.default_rng(1)
    return [random.integers(6, RECIPE.config["vocab_size"], length, np.int32) for length in LENGTHS]


@pytest.fixture(scope="module")
def logits(model):
    def of(documents: list[np.ndarray]) -> np.ndarray:
        """After each token of a row."""
        batch = batch_of(documents)
        return np.asarray(network.compiled_logits(model.checkpoint, model.weights, batch, model.window))[0]

    return of


def batch_of(documents: list[np.ndarray]) -> Batch:
    """A row of documents, and rows of nothing: programs of this size are those of the smoke run."""
    encoded = [Encoded(tokens, np.ones(len(tokens), np.float32)) for tokens in documents]
    return together([pack(encoded, RECIPE.row_tokens), *[pack([], RECIPE.row_tokens)] * (RECIPE.rows - 1)])


def test_packed_documents_have_the_logits_that_each_has_alone(documents, logits):
    packed = logits(documents)
    start = 0
    for tokens in documents:
        alone = logits([tokens])[: len(tokens)]
        assert np.abs(packed[start : start + len(tokens)] - alone).max() <= 1e-5
        start += len(tokens)
    assert np.abs(packed).max() > 1


def test_no_document_sees_another(documents, logits):
    packed = logits(documents)
    changed = logits([documents[0][::-1], *documents[1:]])
    assert (changed[LENGTHS[0] :] == packed[LENGTHS[0] :]).all()
    assert np.abs(changed[: LENGTHS[0]] - packed[: LENGTHS[0]]).max() > 0.1


def test_weights_have_the_gradient_of_the_mean_loss(model, documents):
    batch = batch_of(documents)

    def computed(weights):
        return network.compiled_gradients(model.checkpoint, weights, batch, model.window)

    for name, gradient in computed(model.weights)[1].items():
        length = np.linalg.norm(gradient)
        there, back = (
            float(computed(model.weights | {name: model.weights[name] + step * gradient / length})[0])
            for step in (0.02, -0.02)
        )
        assert (there - back) / 0.04 == pytest.approx(length, rel=0.01), name

    # And in a direction that is not the gradient's own: no part of it is missing.
    random = np.random.default_rng(4)
    loss, gradients = computed(model.weights)
    direction = {name: random.normal(0, np.std(each), each.shape) for name, each in model.weights.items()}
    there, back = (
        float(computed({name: each + step * direction[name] for name, each in model.weights.items()})[0])
        for step in (0.01, -0.01)
    )
    slope = sum(float(np.sum(gradients[name] * direction[name])) for name in direction)
    assert (there - back) / 0.02 == pytest.approx(slope, rel=0.02, abs=1e-3 * float(loss))


@pytest.mark.parametrize("tokens", [1, 17])
def test_the_recurrence_has_the_gradient_of_its_loop(tokens):
    random = np.random.default_rng(tokens)
    a = random.uniform(0, 1, (2, tokens, 5)).astype(np.float32)
    a[0, tokens // 2] = 0  # where a document begins
    x, weights = random.standard_normal((2, 2, tokens, 5)).astype(np.float32)
    state = random.standard_normal((2, 5)).astype(np.float32)

    def loop(a, x, state):
        def step(h, inputs):
            h = inputs[0] * h + inputs[1]
            return h, h

        return jnp.moveaxis(lax.scan(step, state, (jnp.moveaxis(a, 1, 0), jnp.moveaxis(x, 1, 0)))[1], 0, 1)

    ours, expected = (
        jax.jit(jax.value_and_grad(lambda *inputs, each=each: (each(*inputs) * weights).sum(), (0, 1, 2)))(a, x, state)
        for each in (recurrence, loop)
    )
    for found, wanted in zip(jax.tree.leaves(ours), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-5)


def test_the_root_has_its_own_gradient_and_a_bound_at_0():
    slope = jax.grad(root)
    assert slope(0.25) == pytest.approx(1)
    assert slope(0.0) == pytest.approx(STEEPEST_ROOT)
    assert root(jnp.float32(2)) == np.sqrt(np.float32(2))


def test_products_of_bfloat16_have_gradients_in_f32(monkeypatch):
    random = np.random.default_rng(0)
    x, w = random.standard_normal((2, 3, 8)).astype(np.float32), random.standard_normal((5, 8)).astype(np.float32)

    def gradient():
        return jax.grad(lambda w: (numerics.product("btk,mk->btm", x, w, "train") ** 2).sum())(w)

    exact = gradient()
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    narrow = gradient()
    assert narrow.dtype == jnp.float32
    assert 0 < np.abs(narrow - exact).max() < 0.05 * np.abs(exact).max()


# Weights, the schedule and what decays


def test_decays_begin_between_fast_and_slow():
    config = read_recipe(ROOT / "origin/recipes/pocket/recipe.json").config
    weights = initial_weights(config, seed=1)
    a = np.exp(-np.log1p(np.exp(weights["model.layers.0.temporal_block.rg_lru.recurrent_param"])))
    assert 0.9 <= a.min() < 0.91
    assert 0.995 < a.max() <= 0.999
    assert sum(each.size for each in weights.values()) == 3_140_544
    assert weights["model.layers.0.temporal_block.conv_1d.weight"].shape == (192, 1, 4)


def test_gates_are_opened_for_the_slow_half(model):
    opened = open_gates(model.weights, 3.0)
    changed = [name for name in opened if not np.array_equal(opened[name], model.weights[name])]
    assert len(changed) == 1
    for name in changed:
        assert name.endswith("rg_lru.recurrent_gate_bias")
        lowered = (np.asarray(model.weights[name]) - np.asarray(opened[name])).ravel()
        param = np.asarray(model.weights[name.replace("recurrent_gate_bias", "recurrent_param")])
        assert (np.isclose(lowered, 3, atol=1e-5) == (param < np.median(param))).all()
        assert np.isclose(lowered, 3, atol=1e-5).sum() == 24


def test_the_rate_warms_up_and_falls():
    stage = Stage(steps=101, rate=1.0, last_rate=0.1, warmup_steps=10)
    rates = [learning_rate(stage, step) for step in range(101)]
    assert rates[0] == pytest.approx(0.1)
    assert max(rates) == rates[9]
    assert rates[100] == pytest.approx(0.1)
    assert rates[50] == pytest.approx(0.55)
    assert all(later < sooner for sooner, later in pairwise(rates[9:]))


def test_matrices_decay_and_nothing_else(model):
    kept = {name.split(".", 2)[-1] for name in model.weights if not decays(name)}
    assert all(
        "bias" in name or "norm" in name or "conv" in name or "recurrent_param" in name or name == "weight"
        for name in kept
    )
    assert decays("embed_tokens.weight")
    assert not decays("final_norm.weight")
    assert decays("layers.0.temporal_block.rg_lru.input_gate_weight")


def test_stages_follow_one_another():
    recipe = read_recipe(ROOT / "origin/recipes/pocket/recipe.json")
    at = [recipe.stage_at(step) for step in (0, 499, 500, 1000, recipe.steps - 1)]
    assert [(stage.window, stage.open_gates, step) for stage, step in at] == [
        (128, 0, 0),
        (128, 0, 499),
        (None, 0, 0),
        (None, 3, 0),
        (None, 3, 1249),
    ]
