"""The trainer: from a source and a recipe to a folder in Hugging Face's layout.

    OUT/            config.json, model.safetensors, tokenizer.json, tokenizer_config.json: what `griffin convert` reads
    OUT/run/        checkpoints, losses.jsonl, loss.svg; run.json says what is trained on what; graph/ is the model's graph
                    as the edge has it

A run that was interrupted goes on from its last checkpoint and ends with the weights it would have had anyway.
"""

import json
import math
import shutil
from collections.abc import Callable
from dataclasses import asdict
from itertools import islice
from pathlib import Path
from typing import Any

import jax
import numpy as np
import optax
from tqdm import tqdm

from griffin_origin.model import Model

from . import network
from .checkpoints import Place, has_checkpoints, load_checkpoint, save_checkpoint
from .curve import LossLog
from .documents import Source, texts
from .encoder import Encoder
from .hugging_face import CONFIG_FILE, WEIGHTS_FILE, convert, read_config, to_hugging_face, write_model
from .initial import initial_weights
from .network import Weights
from .optimizer import learning_rate, make_optimizer, open_gates
from .packing import Batch, Stream, pack, rows_of, together
from .recipe import REQUIRED, Recipe
from .tokenizer import CONFIG_FILE as TOKENIZER_CONFIG_FILE
from .tokenizer import FILE as TOKENIZER_FILE
from .tokenizer import write_tokenizer
from .whole import write_whole

#: In OUT/run: what decides a run.
RUN_FILE = "run.json"
TOO_HIGH = "the rate may be too high. The checkpoint before it stays."
#: weights, the optimizer's state, gradients, learning rate -> weights, state
Update = Callable[[Weights, Any, Weights, float], tuple[Weights, Any]]


def train(source: Source, recipe: Recipe, out: Path, *, start: Path | None = None, until: int | None = None) -> None:
    """Trains up to the recipe's last step, or `until` that many are done, and exports.

    `start` is a folder to begin with in Hugging Face's layout: its config, tokenizer and weights, not the recipe's.
    Raises ValueError where the folder has a run of another recipe, other documents or another start, or a model that no
    run made there.
    """
    run = out / "run"
    run.mkdir(parents=True, exist_ok=True)
    _remember(out, source, recipe, start)
    _prepare_tokenizer(source, recipe, out, start)
    encoder = Encoder(out, recipe.user_weight)
    model = _begin(recipe, out, start, encoder)
    optimizer = make_optimizer(recipe)
    place, weights, state = load_checkpoint(run, model.weights, optimizer.init(model.weights)) or (
        Place(0, 0),
        model.weights,
        optimizer.init(model.weights),
    )
    stream = Stream(source.training(encoder, recipe.row_tokens), recipe.row_tokens, place.document)
    held_out = _held_out(source, encoder, recipe)
    update = make_update(optimizer)
    log = LossLog(run, place.step)

    def keep(place: Place) -> None:
        loss = _held_out_loss(model, weights, held_out) if held_out else None
        if not math.isfinite(optax.global_norm(weights) if loss is None else loss):
            raise RuntimeError(f"The weights after step {place.step} are useless: {TOO_HIGH}")
        if loss is not None:
            log.add("held out", place.step, loss)
        log.draw()
        exported = {name: np.asarray(each) for name, each in weights.items()}
        write_model(out, read_config(out), to_hugging_face(exported), recipe.export)
        save_checkpoint(run, place, weights, state)  # the last: what it has done is not done again

    last = recipe.steps if until is None else min(until, recipe.steps)
    with tqdm(total=last, initial=place.step, unit="step", dynamic_ncols=True) as bar:
        for step in range(place.step, last):
            stage, step_of_stage = recipe.stage_at(step)
            if step_of_stage == 0 and stage.open_gates:
                weights = open_gates(weights, stage.open_gates)
            rate = learning_rate(stage, step_of_stage)
            batch, window = stream.batch(recipe.rows), stage.window or model.window
            loss, gradients = network.compiled_gradients(model.checkpoint, weights, batch, window)
            if not math.isfinite(loss):
                raise RuntimeError(f"The loss of step {step + 1} is {loss}: {TOO_HIGH}")
            weights, state = update(weights, state, gradients, rate)
            log.add("training", step + 1, float(loss))
            bar.set_postfix(loss=f"{float(loss):.3f}", rate=f"{rate:.1e}", refresh=False)
            bar.update()
            if (step + 1) % recipe.checkpoint_steps == 0 or step + 1 == last:
                keep(Place(step + 1, stream.number))
    print(f"{out}: after {max(last, place.step)} of {recipe.steps} steps; the curve is {run / 'loss.svg'}")


def _remember(out: Path, source: Source, recipe: Recipe, start: Path | None) -> None:
    """Writes down what decides the run, or compares it with what was written when it began. A run that has no checkpoint
    yet has not begun: what was made for it goes.
    """
    file = out / "run" / RUN_FILE
    made = [out / name for name in (CONFIG_FILE, WEIGHTS_FILE, TOKENIZER_CONFIG_FILE, TOKENIZER_FILE)]
    wanted = {
        "recipe": asdict(recipe),
        "data": source.fingerprint,
        "start": None if start is None else str(start.resolve()),
    }
    wanted = json.loads(json.dumps(wanted))
    if file.exists():
        begun = json.loads(file.read_text())
        changed = [name for name in wanted["recipe"] if begun["recipe"].get(name) != wanted["recipe"][name]]
        changed += [name for name in ("data", "start") if begun[name] != wanted[name]]
        if not changed:
            return
        if has_checkpoints(file.parent):
            raise ValueError(f"{file.parent} began with other {', '.join(changed)}; give this run a folder of its own.")
        shutil.rmtree(file.parent / "graph", ignore_errors=True)
        for each in made:
            each.unlink(missing_ok=True)
    elif there := [each.name for each in made if each.exists()]:
        raise ValueError(f"{out} has a {there[0]} of no run; give this run a folder of its own.")
    write_whole(file, json.dumps(wanted, indent=2) + "\n")


def _prepare_tokenizer(source: Source, recipe: Recipe, out: Path, start: Path | None) -> None:
    if (out / TOKENIZER_FILE).exists():
        return
    if start is None:
        sample = islice(source.sample(), recipe.tokenizer_documents)
        write_tokenizer(texts(sample), recipe.config["vocab_size"], out)
    else:
        for name in (TOKENIZER_CONFIG_FILE, TOKENIZER_FILE):  # the last one says that all are there
            write_whole(out / name, (start / name).read_bytes())


def _begin(recipe: Recipe, out: Path, start: Path | None, encoder: Encoder) -> Model:
    """The model before its first step, made by the edge's converter."""
    graph = out / "run/graph"
    if not (graph / "model.json").exists():
        config = recipe.config if start is None else read_config(start)
        if any(config.get(name) != size for name, size in recipe.config.items() if name in REQUIRED):
            print(f"The model has the sizes of {start}, not the recipe's.")
        write_whole(out / CONFIG_FILE, json.dumps(config, indent=2) + "\n")
        if start is None:
            write_model(out, config, initial_weights(config, recipe.seed), "float32")
        convert(out if start is None else start, graph)
    model = Model.load(graph)
    if encoder.size > model.vocabulary:
        raise ValueError(f"The tokenizer has {encoder.size} tokens, the config {model.vocabulary}.")
    return model


def make_update(optimizer: Any) -> Update:
    """One step of the optimizer, compiled."""

    def update(weights: Weights, state: Any, gradients: Weights, rate: float) -> tuple[Weights, Any]:
        updates, state = optimizer.update(gradients, state, weights)
        return {name: weights[name] + rate * updates[name] for name in weights}, state

    return jax.jit(update, donate_argnums=(0, 1))


def _held_out(source: Source, encoder: Encoder, recipe: Recipe) -> list[Batch]:
    """Batches of as many rows as training has; the last one is filled up with rows that count nothing. None where nothing
    counts.
    """
    held_out = source.held_out(encoder, recipe.row_tokens)
    rows = list(islice(rows_of(held_out, recipe.row_tokens), recipe.held_out_rows))
    rows += [pack([], recipe.row_tokens)] * (-len(rows) % recipe.rows)
    batches = [together(rows[start : start + recipe.rows]) for start in range(0, len(rows), recipe.rows)]
    return batches if any(batch["weights"].any() for batch in batches) else []


def _held_out_loss(model: Model, weights: Weights, batches: list[Batch]) -> float:
    """The weighted mean of the losses."""
    losses = [network.measure(model.checkpoint, weights, batch, model.window) for batch in batches]
    return float(np.average(losses, weights=[batch["weights"] for batch in batches]))
