"""Hugging Face's RecurrentGemma, and its Gemma as the transformer beside it, with the random weights they begin with.

What is timed is the fastest loop that their documentation shows: forward passes and argmax, without `generate`, whose own
work would be on top. Gemma has a StaticCache, and its passes are compiled on a GPU
(https://huggingface.co/docs/transformers/llm_optims). RecurrentGemma cannot have that: the class does not say
`_can_compile_fullgraph`, and `generate` runs it eagerly with a DynamicCache, as it is here.
"""

import os
import time
from collections.abc import Callable
from typing import Any

import torch
from transformers import (
    DynamicCache,
    GemmaConfig,
    GemmaForCausalLM,
    RecurrentGemmaConfig,
    RecurrentGemmaForCausalLM,
    StaticCache,
)

DTYPES = {"f32": torch.float32, "bf16": torch.bfloat16}
#: Keys of config.json that RecurrentGemmaConfig has under the same names.
SAME_KEYS = (
    "vocab_size",
    "hidden_size",
    "intermediate_size",
    "num_hidden_layers",
    "num_attention_heads",
    "num_key_value_heads",
    "lru_width",
    "attention_window_size",
    "rms_norm_eps",
    "partial_rotary_factor",
    "hidden_activation",
    "block_types",
    "tie_word_embeddings",
)

Model = Any


def device() -> torch.device:
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def recurrent_gemma(config: dict[str, Any], dtype: str) -> Model:
    """The model of a config.json of ours."""
    return _random(RecurrentGemmaForCausalLM, _config(config), dtype)


def _config(config: dict[str, Any]) -> RecurrentGemmaConfig:
    cap = float(config["logits_soft_cap"])  # an int is refused
    return RecurrentGemmaConfig(logits_soft_cap=cap, **{key: config[key] for key in SAME_KEYS})


def gemma(keys: dict[str, int], dtype: str) -> Model:
    return _random(GemmaForCausalLM, GemmaConfig(**keys), dtype)


def _random(kind: type, config: Any, dtype: str) -> Model:
    torch.manual_seed(0)
    before = torch.get_default_dtype()
    torch.set_default_dtype(DTYPES[dtype])
    try:
        with torch.device(device()):
            return kind(config).eval()
    finally:
        torch.set_default_dtype(before)


def parameters(model: Model) -> int:
    """Weights that are tied count once."""
    return sum(each.numel() for each in model.parameters())


def _finish() -> None:
    if device().type == "cuda":
        torch.cuda.synchronize()


def with_best_threads(measure: Callable[[], float]) -> Callable[[], float]:
    """Samples with as many of torch's threads as are fastest here: on a CPU that others use, one may be better than all."""
    if device().type == "cuda":
        return measure

    def sample(threads: int) -> float:
        torch.set_num_threads(threads)
        return measure()

    counts = (1, len(os.sched_getaffinity(0)))
    for count in counts:
        sample(count)  # warms up
    best = max(counts, key=sample)
    return lambda: sample(best)


def _noise(model: Model, batch: int, length: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Keys and values of `length` tokens."""
    config = model.config
    shape = (batch, config.num_key_value_heads, length, config.head_dim)
    return tuple(torch.randn(shape, dtype=model.dtype, device=device()) for _ in range(2))


class Decode:
    """Greedy decoding of `batch` rows after `history` tokens, whose keys and values are noise."""

    def __init__(
        self, model: Model, cache: Any, batch: int, tokens: int, *, forward: Callable, rewind: Callable
    ) -> None:
        self._model, self._cache, self._tokens = model, cache, tokens
        self._forward, self._rewind = forward, rewind
        self._begin = torch.ones((batch, 1), dtype=torch.long, device=device())

    @staticmethod
    def recurrent(model: Model, batch: int, history: int, tokens: int) -> "Decode":
        cache = DynamicCache(config=model.config)
        for layer, block in enumerate(model.model.layers):
            if hasattr(block.temporal_block, "k_proj"):
                cache.update(*_noise(model, batch, history), layer)
        # Its window is full: a few tokens more change nothing.
        return Decode(model, cache, batch, tokens, forward=model.forward, rewind=lambda: None)

    @staticmethod
    def transformer(model: Model, batch: int, history: int, tokens: int) -> "Decode":
        filled = max(history, 1)
        cache = StaticCache(config=model.config, max_cache_len=filled + tokens)
        for layer in range(model.config.num_hidden_layers):
            cache.update(*_noise(model, batch, filled), layer)

        def rewind() -> None:
            for layer in cache.layers:
                layer.cumulative_length.fill_(filled)

        forward = model.forward
        if device().type == "cuda":
            forward = torch.compile(model.forward, mode="reduce-overhead", fullgraph=True, dynamic=False)
        return Decode(model, cache, batch, tokens, forward=forward, rewind=rewind)

    @torch.inference_mode()
    def measure(self) -> float:
        """Tokens a second, of all rows."""
        self._rewind()
        last = self._begin
        _finish()
        began = time.perf_counter()
        for _ in range(self._tokens):
            logits = self._forward(input_ids=last, past_key_values=self._cache, use_cache=True).logits
            last = logits[:, -1:].argmax(-1)
        _finish()
        return self._begin.shape[0] * self._tokens / (time.perf_counter() - began)


class Prefill:
    """Reads one prompt for each of `batch` rows, all at once."""

    def __init__(self, model: Model, batch: int, tokens: int) -> None:
        self._model = model
        self._prompts = torch.randint(0, model.config.vocab_size, (batch, tokens), device=device())

    @torch.inference_mode()
    def measure(self) -> float:
        """Tokens a second, of all rows."""
        _finish()
        began = time.perf_counter()
        self._model(input_ids=self._prompts, use_cache=True, logits_to_keep=1)
        _finish()
        return self._prompts.numel() / (time.perf_counter() - began)


def release() -> None:
    """Gives back what compiled programs and caches hold that nobody uses any more."""
    torch.compiler.reset()
    if device().type == "cuda":
        torch.cuda.empty_cache()
