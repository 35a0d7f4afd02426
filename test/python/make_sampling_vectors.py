"""Writes test/vectors/sampling.json: what origin/griffin_origin/sampling.py computes for a table of cases.

    python test/python/make_sampling_vectors.py

Logits are given as numbers; as {"vocab", "seed"}: l = (x0 >> 8) * 2**-20 - 8 with x0 = threefry2x32(seed, (id, 0));
or as {"vocab", "head", "rest"}: the first ones are `head`, all others are `rest`.
"""

import json
import sys
from pathlib import Path

import numpy as np

root = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(root / "origin"))
from griffin_origin import sampling  # noqa: E402

f32 = np.float32
target = root / "test/vectors/sampling.json"


def logits_of(logits) -> np.ndarray:
    """The logits that a case names."""
    if isinstance(logits, list):
        return np.array(logits, f32)
    if "head" in logits:
        return np.array(logits["head"] + [logits["rest"]] * (logits["vocab"] - len(logits["head"])), f32)
    words, _ = sampling.threefry2x32((0, logits["seed"]), (np.arange(logits["vocab"]), 0))
    return ((words >> 8) * 2.0**-20 - 8).astype(f32)


def options_of(case) -> sampling.SamplingOptions:
    """The options of a case: JSON has no integers of 64 bits and no integer keys."""
    options = dict(case["options"], seed=int(case["options"]["seed"]))
    if "logit_bias" in options:
        options["logit_bias"] = {int(token): bias for token, bias in options["logit_bias"].items()}
    return sampling.SamplingOptions(**options)


def bits(x) -> str:
    """The bit pattern of an f32."""
    return f"{int(np.asarray(x, f32).view(np.uint32)):08x}"


def checksum(x: np.ndarray) -> int:
    """The sum of the bit patterns, mod 2**32."""
    return int(np.asarray(x, f32).view(np.uint32).sum(dtype=np.uint64)) % 2**32


def token_of(case) -> int:
    """The token of a case."""
    recent = [*case.get("context", []), *case.get("reply", [])][-case["window"] :]
    return sampling.sample(logits_of(case["logits"]), options_of(case), case["position"], case.get("reply", []), recent)


def main() -> None:
    small = [1.5, -0.25, 3.0, 0.0, 2.75, -4.0, 3.0, 1.0]
    generated = {"vocab": 2048, "seed": 7}
    cases = []

    def add(name, logits=small, positions=(0, 1, 2, 9), seed=1, context=(), reply=(), window=8, **options):
        for position in positions:
            case = {"name": name, "logits": logits, "window": window, "position": position}
            case |= {"context": list(context)} if context else {}
            case |= {"reply": list(reply)} if reply else {}
            cases.append(case | {"options": {"seed": str(seed)} | options})

    add("greedy: the lowest id of equal logits", temperature=0, positions=[0])
    add("greedy among many", generated, temperature=0, positions=[5])
    add("plain")
    add("plain among many", generated, positions=[0, 1, 2, 3, 1000, 2**31 - 1, 2**32 - 1])
    add("seed of 64 bits", seed=0xFEDCBA9876543210)
    add("seed whose low word alone differs", seed=0xFEDCBA9800000001)
    add("largest seed", generated, seed=2**64 - 1)
    add("cold", generated, temperature=0.25)
    add("hot", generated, temperature=2)
    add("so cold that every other weight is 0", [0.0, 1.0, 0.9375], temperature=1e-30)
    add("so hot that all are equal", generated, temperature=100)
    add("one token", [-7.0])
    add("all equal", [0.5] * 300)
    add("ties across the top-k border", [1.0, 2.0, 2.0, 2.0, 2.0], top_k=2, positions=range(6))
    add("top-k 1 is greedy", generated, top_k=1)
    add("top-k", generated, top_k=40)
    add("top-k above the vocabulary", top_k=100)
    add("top-p", top_p=0.6, positions=range(6))
    add("top-p among many", generated, top_p=0.9)
    add("top-p 0 is greedy", top_p=0)
    add("top-p met exactly", [0.0, 0.0, 0.0, 0.0], top_p=0.5, positions=range(6))
    add("min-p", min_p=0.3, positions=range(6))
    add("min-p 1 keeps the likeliest and its equals", min_p=1, positions=range(6))
    add("min-p among many", generated, min_p=0.02)
    add("all filters", generated, temperature=1.5, top_k=200, top_p=0.8, min_p=0.05, positions=range(6))
    add("bias forces", logit_bias={"5": 100})
    add("bias forbids", logit_bias={"2": -100, "6": -100, "4": -100})
    add("bias moves", generated, logit_bias={"0": 7.3, "2047": 6.9, "77": -2.2})
    add("frequency penalty", reply=[2, 2, 6, 2], frequency_penalty=0.7)
    add("presence penalty", reply=[2, 2, 6, 2], presence_penalty=1.3)
    add("negative penalties", reply=[5, 5, 5], frequency_penalty=-2, presence_penalty=-2)
    add("penalties heed the reply alone", context=[2, 6, 4], frequency_penalty=2, presence_penalty=2)
    add("repetition penalty, prompt and reply", context=[2, 5], reply=[6], repetition_penalty=1.7)
    add(
        "repetition penalty forgets what left the window",
        context=[2, 6, 4, 1, 1],
        reply=[3],
        window=3,
        repetition_penalty=3,
    )
    add(
        "repetition penalty heeds a token that is in the window twice",
        context=[2, 1, 2],
        reply=[6, 6],
        window=4,
        repetition_penalty=3,
    )
    add("repetition penalty below 1", context=[0, 7], repetition_penalty=0.5)
    add(
        "everything", generated, temperature=0.8, top_k=50, top_p=0.95, min_p=0.01, frequency_penalty=0.4, presence_penalty=0.3,
        repetition_penalty=1.2, logit_bias={"11": 3.1, "12": -3.3}, context=range(40), reply=[11, 12, 11, 700], window=32, positions=range(8),
    )  # fmt: skip
    add(
        "repetition penalty lowers logits below 0 too",
        [-2.0, -2.5, -5.0],
        temperature=0,
        context=[0],
        repetition_penalty=1.5,
        positions=[0],
    )
    # Border cases of rounding, found by search; each draws another token when one rounding is left out or doubled.
    add(
        "a running sum that equals u times the sum does not exceed it",
        {"vocab": 131072, "head": [0.5], "rest": 0.5},
        positions=[116, 142],
    )
    add(
        "rounding leaves none: the last that weighs more than 0",
        {"vocab": 65536, "head": [0.0, -200.0], "rest": -17.35},
        positions=[901, 2155],
    )
    add("p is an f32", [0.5] * 25, top_p=0.6, positions=range(12))
    add("the temperature is an f32", [0.0, -1.0], temperature=0.85, min_p=0.30836519598960876, positions=range(8))
    add("the temperature is an f32", [0.0, -0.5], temperature=0.91, min_p=0.5772669315338135, positions=range(8))
    add("a vocabulary of 256 000", {"vocab": 256000, "seed": 3}, temperature=1.1, positions=[0, 17])

    for case in cases:
        case["token"] = token_of(case)

    random = np.random.default_rng(5)
    negative = np.concatenate([[0, -1e-30, -87, -87.5, -200, -np.log(2) / 2], -87 * random.random(120) ** 3]).astype(
        f32
    )
    positive = np.concatenate([[1, 2, 0.7071068, 256000, 3e38, 1.2e-38], 1 + 300 * random.random(60) ** 4]).astype(f32)
    vectors = {
        "exp32": [[bits(x), bits(sampling.exp32(x))] for x in negative],
        "log32": [[bits(x), bits(sampling.log32(x))] for x in positive],
        "sum32": [
            {"logits": logits, "bits": bits(sampling.sum32(logits_of(logits)))}
            for logits in (small, generated, {"vocab": 1000, "seed": 9})
        ],
        # The sum of all bit patterns, mod 2**32: one result with another last bit shows.
        "checksums": {
            "exp32": [
                [step, checksum(sampling.exp32(-step * np.arange(2**16)))] for step in (2**-17, 2**-9.0 * 0.6875)
            ],
            "log32": [[step, checksum(sampling.log32(1 + step * np.arange(2**16)))] for step in (2**-16, 2**-8)],
        },
        "log_probabilities": [
            {"logits": logits, "bits": [bits(x) for x in sampling.log_probabilities(logits_of(logits))[:40]]}
            for logits in (
                small,
                generated,
                [0.0, 1.0],
                [0.1, -0.3, 0.2],
                {"vocab": 50, "seed": 1},
                {"vocab": 200, "seed": 2},
            )
        ],
        "uniform": [
            [str(seed), position, float(sampling.uniform_at(seed, position))]
            for seed in (0, 1, 2**32 - 1, 2**32, 0xFEDCBA9876543210, 2**64 - 1)
            for position in (0, 1, 100000, 2**32 - 1)
        ],
        "samples": cases,
    }
    target.write_text(pretty(vectors))


def pretty(vectors) -> str:
    """JSON with one line a case."""

    def value(entry) -> str:
        if isinstance(entry, list):
            return "[\n    " + ",\n    ".join(json.dumps(item) for item in entry) + "\n  ]"
        return json.dumps(entry)

    return "{\n" + ",\n".join(f'  "{name}": {value(entry)}' for name, entry in vectors.items()) + "\n}\n"


if __name__ == "__main__":
    main()
