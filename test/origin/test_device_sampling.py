"""Sampling on the device against test/vectors/sampling.json, which holds the edge and sampling.py to the same numbers."""

import json
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from griffin_origin import device_sampling, float32, sampling, threefry
from griffin_origin.device_sampling import SamplingRows, log_probabilities, sample

ROOT = Path(__file__).parents[2]
sys.path.append(str(ROOT / "test/python"))
from make_sampling_vectors import bits, checksum, logits_of, options_of, target  # noqa: E402

VECTORS = json.loads(target.read_text())


#: Vocabularies are filled up with impossible tokens to one of these sizes, so that two programs draw all cases.
SMALL, LARGE = 2048, 256_000


def size_of(case) -> int:
    return SMALL if len(logits_of(case["logits"])) <= SMALL else LARGE


def filled(case) -> np.ndarray:
    logits = logits_of(case["logits"])
    return np.pad(logits, (0, size_of(case) - len(logits)), constant_values=-np.inf)


def held(zero):
    return float32.hold_with(zero)


def rows_of(cases) -> SamplingRows:
    """One row for each case; their windows differ, which drawing does not look at."""
    each = [
        SamplingRows.one(
            options_of(case), case.get("context", []), case.get("reply", []), size_of(case), case["window"]
        )
        for case in cases
    ]
    no_ring = np.zeros((1, 1), np.int32)
    return jax.tree.map(lambda *parts: np.concatenate(parts), *(row._replace(ring=no_ring) for row in each))


def draw(cases) -> list[int]:
    logits = np.stack([filled(case) for case in cases])
    positions = np.array([case["position"] for case in cases], np.uint32)
    return np.asarray(jax.jit(sample)(logits, rows_of(cases), positions, np.ones(len(cases), bool))).tolist()


@pytest.mark.parametrize("size", [SMALL, LARGE])
def test_draws_the_tokens_of_the_table_all_cases_beside_each_other(size):
    cases = [case for case in VECTORS["samples"] if size_of(case) == size]
    assert len(cases) > 5
    assert draw(cases) == [case["token"] for case in cases]


def test_looks_further_where_the_first_ranks_do_not_decide(monkeypatch):
    monkeypatch.setattr(device_sampling, "FIRST_RANKS", (7, 100))
    cases = [case for case in VECTORS["samples"] if size_of(case) == SMALL]
    assert len(cases) > 40
    assert draw(cases) == [case["token"] for case in cases]


def test_random_options_draw_what_sampling_py_draws():
    random = np.random.default_rng(3)
    vocabulary, window, count = 300, 16, 200
    logits = random.normal(0, 3, (count, vocabulary)).round(1).astype(np.float32)
    options = [
        sampling.SamplingOptions(
            seed=int(random.integers(2**63)),
            temperature=float(random.choice([0, 0.3, 1, 1.7, 100])),
            top_k=int(random.choice([0, 1, 5, 299, 1000])),
            top_p=float(random.choice([0, 0.3, 0.9, 0.999, 1])),
            min_p=float(random.choice([0, 0.05, 0.5, 1])),
            frequency_penalty=float(random.choice([0, 0.37, -1.3])),
            presence_penalty=float(random.choice([0, 0.61])),
            repetition_penalty=float(random.choice([1, 1.3, 0.7])),
            logit_bias={int(random.integers(vocabulary)): float(random.normal(0, 5))},
        )
        for _ in range(count)
    ]
    past = random.integers(0, vocabulary, (count, 30))
    reply = random.integers(0, 20, (count, 9))
    each = [SamplingRows.one(*of, vocabulary, window) for of in zip(options, past, reply, strict=True)]
    rows = jax.tree.map(lambda *parts: np.concatenate(parts), *each)
    positions = random.integers(0, 2**31, count).astype(np.int32)
    drawn = np.asarray(jax.jit(sample)(logits, rows, positions, np.ones(count, bool))).tolist()
    for i, token in enumerate(drawn):
        recent = [*past[i], *reply[i]][-window:]
        assert token == sampling.sample(logits[i], options[i], int(positions[i]), reply[i], recent), options[i]


def test_accepted_tokens_leave_the_rows_that_knowing_them_from_the_start_makes():
    random = np.random.default_rng(4)
    vocabulary, window = 20, 5
    options = sampling.SamplingOptions(seed=9, repetition_penalty=2)
    rows = jax.tree.map(
        lambda *parts: jnp.concatenate(parts),
        SamplingRows.one(options, [3, 4, 5], [], vocabulary, window),
        SamplingRows.one(options, range(12), [7], vocabulary, window),
    )
    told = [([3, 4, 5], []), (list(range(12)), [7])]
    for step in range(30):
        tokens = random.integers(0, vocabulary, 2).astype(np.int32)
        active = np.array([step % 3 != 0, step % 4 != 0])
        rows = jax.jit(SamplingRows.accept)(rows, tokens, active)
        for i in range(2):
            if active[i]:
                told[i][1].append(int(tokens[i]))
            expected = SamplingRows.one(options, *told[i], vocabulary, window)
            assert np.array_equal(rows.replied[i], expected.replied[0])
            assert np.array_equal(rows.recent[i], expected.recent[0])


def test_an_empty_row_is_greedy():
    rows = SamplingRows.empty(3, 5, 4)
    logits = np.array([[0, 2, 1, 2, 0], [5, 1, 1, 1, 6], [-1, -2, -3, -4, -5]], np.float32)
    assert jax.jit(sample)(logits, rows, np.zeros(3, np.int32), np.ones(3, bool)).tolist() == [1, 4, 0]


def test_only_active_rows_have_it_look_further(monkeypatch):
    """The rows: a greedy one, one that 2 ranks decide, one that needs more, and one that needs nearly all."""
    looked = []
    for name in ("_likeliest", "_ranked"):
        rank = getattr(device_sampling, name)

        def noted(*args, rank=rank):
            ranked = rank(*args)
            jax.debug.callback(lambda: looked.append(ranked.shape[1]))
            return ranked

        monkeypatch.setattr(device_sampling, name, noted)
    monkeypatch.setattr(device_sampling, "FIRST_RANKS", (2, 10))
    each = [SamplingRows.one(sampling.SamplingOptions(1, temperature=t), (), (), 50, 4) for t in (0, 0.01, 5, 1)]
    rows = jax.tree.map(lambda *parts: np.concatenate(parts), *each)
    logits = np.outer([0, 1, 1, 0], np.arange(50)).astype(np.float32)
    draws = jax.jit(sample)
    for active, expected in (("1000", []), ("1100", [2]), ("1110", [2, 10]), ("1111", [2, 10, 50])):
        looked.clear()
        draws(logits, rows, np.full(4, 5, np.int32), np.array([each == "1" for each in active]))
        jax.effects_barrier()
        assert looked == expected


def test_arithmetic_has_the_bits_of_the_table_also_where_compilers_fuse():
    zero = np.int32(0)
    for name in ("exp32", "log32"):
        function = jax.jit(lambda x, zero, name=name: getattr(float32, name)(x, held(zero)))
        x = np.array([int(x, 16) for x, _ in VECTORS[name]], np.uint32).view(np.float32)
        assert [bits(y) for y in np.asarray(function(x, zero))] == [y for _, y in VECTORS[name]]
        for step, expected in VECTORS["checksums"][name]:
            steps = np.arange(2**16)
            x = (-step * steps if name == "exp32" else 1 + step * steps).astype(np.float32)
            assert checksum(np.asarray(function(x, zero))) == expected
    for entry in VECTORS["sum32"]:
        assert bits(float32.sum32(logits_of(entry["logits"])[None])[0]) == entry["bits"]


def test_running_sums_add_one_after_the_other():
    x = np.random.default_rng(1).random((3, 1000)).astype(np.float32)
    assert np.array_equal(float32.running_sum32(x), np.add.accumulate(x, axis=1, dtype=np.float32))


def test_uniform_numbers_are_those_of_the_table():
    seeds = [int(seed) for seed, _, _ in VECTORS["uniform"]]
    keys = np.array([[seed >> 32, seed & 0xFFFFFFFF] for seed in seeds], np.uint32)
    positions = np.array([position for _, position, _ in VECTORS["uniform"]], np.uint32)
    assert threefry.uniform_at(keys, positions).tolist() == [u for _, _, u in VECTORS["uniform"]]


def test_log_probabilities_have_the_bits_of_the_table():
    for entry in VECTORS["log_probabilities"]:
        log_p = jax.jit(log_probabilities)(logits_of(entry["logits"])[None])
        assert [bits(x) for x in np.asarray(log_p)[0, :40]] == entry["bits"]
