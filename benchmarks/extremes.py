"""Inputs that span the range of float32, made from the names of a loss's arguments."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from tests.inputs import Argument, example, positional


def extreme(loss: Callable[..., Any], points: int, seed: int = 0) -> list[np.ndarray]:
    """Positional arguments for ``loss``, ``points`` along their first axis."""
    generator = np.random.default_rng(seed)
    arguments = positional(loss)
    names = [argument.name for argument in arguments]
    ordinary = example(loss)
    return [
        _make(argument, names, np.asarray(x), points, generator)
        for argument, x in zip(arguments, ordinary, strict=True)
    ]


def _make(
    argument: Argument,
    names: list[str],
    ordinary: np.ndarray,
    points: int,
    generator: np.random.Generator,
) -> np.ndarray:
    if argument.axes[:1] not in (("shape",), ("batch",)):
        return ordinary  # of the whole batch, such as counts of classes
    shape = (points, *ordinary.shape[1:])

    def spread(low: float, high: float) -> np.ndarray:
        return np.exp(generator.uniform(math.log(low), math.log(high), shape))

    def signed(low: float, high: float) -> np.ndarray:
        return generator.choice([-1.0, 1.0], shape) * spread(low, high)

    match argument.name:
        case "predictions" if "scales" in names or "upper" in names:
            x = signed(1e-4, 1e4)
        case "targets" if "scales" in names or "upper" in names or "lower" in names:
            x = signed(1e-4, 1e4)
        case "predictions" | "targets" if "logits" not in names and "probabilities" not in names:
            x = signed(1e-12, 1e12)
        case "logits" | "zero_logits" | "scores":
            x = signed(1e-4, 1e4)
            x[-points // 4 :] = generator.normal(size=x[-points // 4 :].shape)
        case "log_rates" | "log_means":
            x = generator.uniform(-60, 60, shape)
        case "probabilities" if "shape" in argument.axes:
            x = 1 / (1 + np.exp(-signed(1e-3, 60)))
        case "scales" | "concentrations" | "amounts" | "target_amounts":
            x = spread(1e-4, 1e4)
        case "target_counts":
            return np.floor(spread(0.3, 1e5)).astype(np.int32)
        case "labels":
            return generator.integers(0, ordinary.max() + 1, shape).astype(np.int32)
        case "targets" if "shape" in argument.axes:
            x = generator.integers(0, 2, shape)
        case _:
            repeated = np.concatenate([ordinary] * math.ceil(points / len(ordinary)))
            return repeated[:points]
    return np.asarray(x, np.float32)
