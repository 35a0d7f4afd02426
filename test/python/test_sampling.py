"""Checks origin/griffin_origin/sampling.py: known answers, test/vectors/sampling.json, and what no vector can say.

python test/python/test_sampling.py
"""

import json
import unittest

import numpy as np
from make_sampling_vectors import bits, checksum, logits_of, options_of, sampling, target, token_of

f32 = np.float32
vectors = json.loads(target.read_text())


def from_bits(pattern: str) -> np.ndarray:
    return np.array([int(pattern, 16)], np.uint32).view(f32)


class SamplingTest(unittest.TestCase):
    def test_threefry_gives_the_known_answers_of_random123(self):
        for counter, key, words in (
            ((0, 0), (0, 0), (0x6B200159, 0x99BA4EFE)),
            ((0xFFFFFFFF, 0xFFFFFFFF), (0xFFFFFFFF, 0xFFFFFFFF), (0x1CB996FC, 0xBB002BE7)),
            ((0x243F6A88, 0x85A308D3), (0x13198A2E, 0x03707344), (0xC4923A9C, 0x483DF7A0)),
        ):
            self.assertEqual(sampling.threefry2x32(key, counter), words)

    def test_arithmetic_gives_the_bits_of_the_table(self):
        for name in ("exp32", "log32"):
            self.assertGreater(len(vectors[name]), 60)
            for x, y in vectors[name]:
                self.assertEqual(bits(getattr(sampling, name)(from_bits(x))[0]), y, f"{name}({from_bits(x)})")
        for step, expected in vectors["checksums"]["exp32"]:
            self.assertEqual(checksum(sampling.exp32(-step * np.arange(2**16))), expected)
        for step, expected in vectors["checksums"]["log32"]:
            self.assertEqual(checksum(sampling.log32(1 + step * np.arange(2**16))), expected)
        for entry in vectors["sum32"]:
            self.assertEqual(bits(sampling.sum32(logits_of(entry["logits"]))), entry["bits"])
        for seed, position, u in vectors["uniform"]:
            self.assertEqual(float(sampling.uniform_at(int(seed), position)), u)

    def test_log_probabilities_give_the_bits_of_the_table(self):
        for entry in vectors["log_probabilities"]:
            log_p = sampling.log_probabilities(logits_of(entry["logits"]))
            self.assertEqual([bits(x) for x in log_p[:40]], entry["bits"])
            self.assertAlmostEqual(float(np.exp(log_p.astype(np.float64)).sum()), 1, places=5)

    def test_samples_give_the_tokens_of_the_table(self):
        self.assertGreater(len(vectors["samples"]), 100)
        for case in vectors["samples"]:
            with self.subTest(case["name"], position=case["position"]):
                self.assertEqual(token_of(case), case["token"])

    def test_exp32_and_log32_are_close_to_exact(self):
        x = np.linspace(-87, 0, 100_001).astype(f32)
        exact = np.exp(x.astype(np.float64))
        self.assertLess(np.abs(sampling.exp32(x) / exact - 1).max(), 1.2e-7)
        x = np.linspace(1.0001, 300_000, 100_001).astype(f32)
        exact = np.log(x.astype(np.float64))
        self.assertLess(np.abs(sampling.log32(x) / exact - 1).max(), 1.2e-7)

    def test_tokens_are_as_frequent_as_softmax_says(self):
        logits = np.array([0.5, 2, -1, 1.25, 2, -3], f32)
        options = options_of({"options": {"seed": "7", "temperature": 0.7}})
        counts = np.bincount([sampling.sample(logits, options, position) for position in range(5000)], minlength=6)
        weights = np.exp(logits.astype(np.float64) / 0.7)
        expected = 5000 * weights / weights.sum()
        self.assertLess(((counts - expected) ** 2 / expected).sum(), 20.5)  # 5 degrees of freedom, p = 0.001

    def test_logits_that_are_no_numbers_are_refused(self):
        for wrong in (np.nan, np.inf):
            with self.assertRaises(ValueError):
                sampling.sample(np.array([0, wrong, 1], f32), sampling.SamplingOptions(seed=1), 0)
        with self.assertRaises(ValueError):
            sampling.sample(np.full(3, -np.inf, f32), sampling.SamplingOptions(seed=1), 0)


if __name__ == "__main__":
    unittest.main()
