"""AdamW on a learning rate of stages, and the one thing a stage does to weights by itself."""

import math

import numpy as np
import optax

from .network import Weights
from .recipe import Recipe, Stage

BETA1 = 0.9


def learning_rate(stage: Stage, step: int) -> float:
    """The rate of a stage's own step."""
    progress = step / max(1, stage.steps - 1)
    falling = stage.last_rate + (stage.rate - stage.last_rate) * 0.5 * (1 + math.cos(math.pi * progress))
    return falling * min(1.0, (step + 1) / max(1, stage.warmup_steps))


def make_optimizer(recipe: Recipe) -> optax.GradientTransformation:
    """AdamW on clipped gradients. Matrices decay; norms, biases, decays of the recurrence and convolutions do not. Updates
    are of rate 1: a step multiplies them by its own. All weights are one vector to Adam, which compiles sooner.
    """
    adam = optax.chain(optax.clip_by_global_norm(recipe.clip_norm), optax.scale_by_adam(b1=BETA1, b2=recipe.beta2))
    return optax.chain(
        optax.flatten(adam),
        optax.add_decayed_weights(recipe.weight_decay, mask=lambda weights: {name: decays(name) for name in weights}),
        optax.scale(-1.0),
    )


def decays(name: str) -> bool:
    """Whether weight decay pulls at this weight."""
    is_matrix = name.endswith((".weight", "gate_weight"))
    return is_matrix and "norm" not in name and "conv_1d" not in name


def open_gates(weights: Weights, by: float) -> Weights:
    """Lowers the bias of the recurrence gates in the slow half of every layer's channels, which then forget less."""
    opened = dict(weights)
    for name, param in weights.items():
        if name.endswith(".recurrent_param"):
            bias = name.replace("recurrent_param", "recurrent_gate_bias")
            is_slow = (np.asarray(param) < np.median(param)).reshape(weights[bias].shape)
            opened[bias] = weights[bias] - by * is_slow
    return opened
