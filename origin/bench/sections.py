"""The three comparisons: decoding against batch, decoding against history, and prefill.

Contenders of one comparison live together while it is measured, and are gone before the next one.
"""

import importlib.util
import statistics
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from griffin_origin.checkpoint import Checkpoint
from griffin_origin.model import Model

from . import ours
from .bandwidth import Copy
from .bytes import Bytes, step_bytes
from .report import Goal, Section, grouped
from .rounds import Contender, Figure, Share, interleave
from .shapes import Plan

OURS, RECURRENT, TRANSFORMER, COPY = "ours", "Hugging Face's RecurrentGemma", "Hugging Face's Gemma", "copying memory"
UNIT = "tokens/s"
HAS_TORCH = all(importlib.util.find_spec(name) for name in ("torch", "transformers"))
WITHOUT_TORCH = "Hugging Face's rows are left out: torch and transformers are not installed."


def _ours(name: str, kind: ours.Decode | ours.Prefill) -> Contender:
    return Contender(name, UNIT, kind.measure)


@dataclass(frozen=True)
class Run:
    """What all comparisons share."""

    checkpoint: Checkpoint
    plan: Plan
    rounds: int
    exact: bool

    @cached_property
    def model(self) -> Model:
        return ours.random_model(self.checkpoint, exact=self.exact)

    @property
    def bytes(self) -> Bytes:
        return step_bytes(self.checkpoint.config, self.checkpoint.format, self.checkpoint.kv)

    @cached_property
    def peers(self) -> "Peers | None":
        return Peers(self) if HAS_TORCH else None

    @property
    def notes(self) -> tuple[str, ...]:
        return () if HAS_TORCH else (WITHOUT_TORCH,)


class Peers:
    """Hugging Face's models and contenders of them. Quantised formats of ours are compared with their bfloat16."""

    def __init__(self, run: Run) -> None:
        from . import hugging_face

        self.library: Any = hugging_face
        dtype = "f32" if run.checkpoint.format == "f32" else "bf16"
        self.recurrent = hugging_face.recurrent_gemma(run.checkpoint.config, dtype)
        self.transformer = hugging_face.gemma(run.plan.transformer, dtype)
        self.note = (
            f"Parameters: ours and RecurrentGemma {grouped(run.checkpoint.parameters / 1e6)} million,"
            f" Gemma {grouped(hugging_face.parameters(self.transformer) / 1e6)} million, in {dtype}."
        )

    def recurrent_decode(self, name: str, batch: int, history: int, tokens: int) -> Contender:
        return self._contender(name, self.library.Decode.recurrent(self.recurrent, batch, history, tokens))

    def transformer_decode(self, name: str, batch: int, history: int, tokens: int) -> Contender:
        return self._contender(name, self.library.Decode.transformer(self.transformer, batch, history, tokens))

    def prefills(self, batch: int, tokens: int) -> list[Contender]:
        models = {RECURRENT: self.recurrent, TRANSFORMER: self.transformer}
        return [self._contender(name, self.library.Prefill(model, batch, tokens)) for name, model in models.items()]

    def _contender(self, name: str, kind: Any) -> Contender:
        return Contender(name, UNIT, self.library.with_best_threads(kind.measure))


def _measure(run: Run, contenders: Iterable[Contender]) -> dict[str, Figure]:
    figures = {figure.name: figure for figure in interleave(list(contenders), run.rounds)}
    if run.peers:
        run.peers.library.release()
    return figures


def _share(over: Figure, under: Figure, of: str, factor: float = 1) -> Share:
    return Share(of, tuple(factor * a / b for a, b in zip(over.values, under.values, strict=True)))


def _named(figures: Iterable[Figure], prefix: str) -> tuple[Figure, ...]:
    return tuple(replace(figure, name=f"{prefix}: {figure.name}") for figure in figures)


def decode(run: Run) -> Section:
    """Tokens a second against batch, as a share of what memory allows, beside Hugging Face."""
    figures: list[Figure] = []
    of_bound: dict[int, float] = {}
    of_peer: dict[int, float] = {}
    for batch in run.plan.batches:
        found = _measure(run, _decoders(run, batch))
        copied = found.pop(COPY)
        # Bytes a second that decoding must move, over those that a copy moves.
        factor = run.bytes.of(batch) / batch
        for name in (OURS, RECURRENT):
            if name in found:
                share = _share(found[name], copied, "of what memory allows", factor / 1e9)
                found[name] = replace(found[name], shares=(share,))
        of_bound[batch] = statistics.median(found[OURS].shares[0].values)
        for name in (RECURRENT, TRANSFORMER):
            if name in found:
                share = _share(found[OURS], found[name], f"÷ {name}")
                found[OURS] = replace(found[OURS], shares=(*found[OURS].shares, share))
        if RECURRENT in found:
            of_peer[batch] = statistics.median(found[OURS].shares[1].values)
        figures += _named((*found.values(), copied), f"batch {batch}")
    return Section(
        "Decoding, against batch", tuple(figures), (*_facts(run), *run.notes), _decode_goals(of_bound, of_peer)
    )


def _decoders(run: Run, batch: int) -> Iterable[Contender]:
    plan = run.plan
    window = run.checkpoint.config["attention_window_size"]
    yield _ours(OURS, ours.Decode(run.model, batch, window, plan.decode_tokens))
    if run.peers:
        yield run.peers.recurrent_decode(RECURRENT, batch, window, plan.decode_tokens)
        yield run.peers.transformer_decode(TRANSFORMER, batch, window, plan.decode_tokens)
    copy = Copy()
    yield Contender(COPY, "GB/s", lambda: copy.measure() / 1e9)


def _facts(run: Run) -> tuple[str, ...]:
    moved = run.bytes
    counted = (
        f"Bytes of a step: weights {grouped(moved.weights / 1e6)} MB; for each row a state of"
        f" {grouped(moved.state_read / 1e6)} MB read, {grouped(moved.state_written / 1e6)} MB of it written,"
        f" and logits of {grouped(moved.logits / 1e6)} MB. All have a full window behind them."
    )
    return (counted, run.peers.note) if run.peers else (counted,)


def _decode_goals(of_bound: dict[int, float], of_peer: dict[int, float]) -> tuple[Goal, ...]:
    def best(found: dict[int, float]) -> str:
        batch = max(found, key=lambda each: found[each])
        return f"{grouped(found[batch])} at batch {batch}"

    goals = [Goal("decoding ÷ what memory allows, the best batch", "0.6", best(of_bound))]
    if of_peer:
        goals.append(Goal(f"decoding ÷ {RECURRENT}, the best batch", "10", best(of_peer)))
    return tuple(goals)


def history(run: Run) -> Section:
    """Tokens a second against the number of tokens before, for ours and for a transformer whose cache holds them."""
    plan, batch = run.plan, run.plan.history_batch
    found = _measure(run, _decoders_after(run))
    first, compared, longest = plan.histories
    for name in (OURS, TRANSFORMER) if run.peers else (OURS,):
        under = found[_after(name, compared)]
        for at in (first, longest):
            over = found[_after(name, at)]
            share = _share(over, under, f"of that after {grouped(compared)}")
            found[over.name] = replace(over, shares=(share,))
    kept = statistics.median(found[_after(OURS, longest)].shares[0].values)
    goal = Goal(f"decoding after {grouped(longest)} tokens ÷ after {grouped(compared)}", "0.95 to 1.05", grouped(kept))
    return Section(f"Decoding at batch {batch}, against history", tuple(found.values()), run.notes, (goal,))


def _after(name: str, history: int) -> str:
    return f"{name} after {grouped(history)}"


def _decoders_after(run: Run) -> Iterable[Contender]:
    plan, batch = run.plan, run.plan.history_batch
    for at in plan.histories:
        yield _ours(_after(OURS, at), ours.Decode(run.model, batch, at, plan.decode_tokens))
    if run.peers:
        for at in plan.histories:
            yield run.peers.transformer_decode(_after(TRANSFORMER, at), batch, at, plan.decode_tokens)


def prefill(run: Run) -> Section:
    """Tokens a second of reading prompts."""
    plan = run.plan
    figures: list[Figure] = []
    for batch in plan.prompt_batches:
        found = _measure(run, _readers(run, batch))
        shares = tuple(
            _share(found[OURS], found[name], f"÷ {name}") for name in (RECURRENT, TRANSFORMER) if name in found
        )
        found[OURS] = replace(found[OURS], shares=shares)
        figures += _named(found.values(), f"{batch} prompt{'s' if batch > 1 else ''}")
    chunks = f"Ours reads one prompt after another, in passes of at most {grouped(plan.chunk_tokens)} tokens."
    title = f"Prompts of {grouped(plan.prompt_tokens)} tokens"
    return Section(title, tuple(figures), (chunks, *run.notes))


def _readers(run: Run, batch: int) -> Iterable[Contender]:
    plan = run.plan
    yield _ours(OURS, ours.Prefill(run.model, batch, plan.prompt_tokens, plan.chunk_tokens))
    if run.peers:
        yield from run.peers.prefills(batch, plan.prompt_tokens)
