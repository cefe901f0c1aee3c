"""Example inputs for any loss, made from the names and the shapes of its arguments."""

import inspect
import math
import typing
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

SIZES = {
    "shape": (8, 4),
    "batch": (8,),
    "space": (2, 4),
    "classes": (4,),
    "features": (4,),
    "negatives": (5,),
    "items": (5,),
    "coordinates": (4,),
    "quantiles": (3,),
    "intervals": (2,),
    "members": (5,),
    "thresholds": (3,),
    "risks": (2,),
    "time": (7,),
    "target_time": (5,),
    "labels": (3,),
    "positions": (4,),  # one more than labels
    "tokens": (6,),
    "depths": (3,),
    "experts": (4,),
    "choices": (2,),
    "kept": (3,),
    "teacher_classes": (6,),
    "teacher_features": (5,),
    "channels": (4,),
    "later_channels": (2,),
    "teacher_channels": (5,),
    "views": (3,),
    "nodes": (5,),
    "saddle": (3,),
    "rank": (2,),
}
PAIRED = {"distances", "other_embeddings", "other_scores"}  # with targets that say yes or no


class Argument(NamedTuple):
    """One array argument: its name and the names of its axes, as its annotation has them."""

    name: str
    axes: tuple[str, ...]

    @property
    def shape(self) -> tuple[int, ...]:
        """Its shape in the tests."""
        return tuple(size for axis in self.axes for size in SIZES[axis])


def positional(loss: Callable[..., Any]) -> list[Argument]:
    """The arrays a loss takes by position."""
    parameters = inspect.signature(loss).parameters.values()
    return [
        Argument(p.name, _axes(p.annotation))
        for p in parameters
        if p.kind is p.POSITIONAL_OR_KEYWORD
    ]


def where_of(loss: Callable[..., Any]) -> Argument:
    """The mask a loss takes."""
    return Argument("where", _axes(inspect.signature(loss).parameters["where"].annotation))


def _axes(annotation: Any) -> tuple[str, ...]:
    """``Float[ArrayLike, "*batch classes"] | None`` -> ``("batch", "classes")``."""
    hint = next((h for h in typing.get_args(annotation) if hasattr(h, "dim_str")), annotation)
    hint = hint if hasattr(hint, "dim_str") else typing.get_args(hint)[0]
    return tuple(axis.strip("*#") for axis in hint.dim_str.split())


def example(loss: Callable[..., Any], seed: int = 0) -> list[Array]:
    """Positional arguments for ``loss``: different for every seed, and nowhere near a kink."""
    arguments = positional(loss)
    names = [argument.name for argument in arguments]
    keys = jax.random.split(jax.random.key(seed), len(arguments))
    return [_make(argument, names, key) for argument, key in zip(arguments, keys, strict=True)]


def _make(argument: Argument, names: list[str], key: Array) -> Array:
    name, shape = argument.name, argument.shape
    match name:
        case _ if name.endswith("log_probabilities") and argument.axes[-1] in (
            "batch",
            "tokens",
            "shape",
        ):
            return -jax.random.uniform(key, shape, minval=0.5, maxval=4.0)
        case "labels" if "kept" in argument.axes:  # different classes
            return jnp.argsort(jax.random.normal(key, (*shape[:-1], SIZES["classes"][0])))[..., :3]
        case "labels" if "embeddings" in names:  # two or three of each group
            return jax.random.permutation(key, jnp.arange(math.prod(shape)) % 2)
        case "labels" if "labels" in argument.axes:  # a text, without the blank
            return jax.random.randint(key, shape, 1, SIZES["classes"][0])
        case "labels":
            return jax.random.randint(key, shape, 0, SIZES["classes"][0])
        case "counts":
            return jax.random.randint(key, shape, 1, 100)
        case "relevance":
            return jax.random.randint(key, shape, 0, 4).at[..., 0].set(2)
        case "probabilities" if "shape" in argument.axes:  # of independent answers
            return jax.random.uniform(key, shape, minval=0.05, maxval=0.95)
        case "probabilities" | "running_probabilities":
            return jax.nn.softmax(jax.random.normal(key, shape))
        case "log_probabilities":
            return jax.nn.log_softmax(jax.random.normal(key, shape))
        case "targets" if "classes" in argument.axes:  # a distribution over the classes
            return jax.nn.softmax(2 * jax.random.normal(key, shape))
        case "targets" if {"logits", "probabilities", "log_probabilities", *PAIRED} & set(names):
            return jax.random.bernoulli(key, 0.4, shape).astype(jnp.float32)
        case "boxes" | "target_boxes":
            corner, size = jax.random.uniform(key, (2, *shape[:-1], shape[-1] // 2))
            return jnp.concatenate([corner, corner + 0.5 + size], -1)
        case "times":
            return jax.random.uniform(key, shape, minval=0.5, maxval=5.0)
        case "lower_times":
            return jax.random.uniform(key, shape, minval=0.5, maxval=2.0)
        case "upper_times":
            return jax.random.uniform(key, shape, minval=2.5, maxval=5.0)
        case "fractions" | "target_shares":
            return jax.random.uniform(key, shape, minval=0.1, maxval=0.9)
        case "events":
            return jax.random.bernoulli(key, 0.7, shape).astype(jnp.int32).at[..., 0].set(1)
        case "causes":  # of two, or none
            return jax.random.randint(key, shape, 0, 3)
        case "lower":
            return -jax.random.uniform(key, shape, minval=0.1, maxval=1.0)
        case "upper":
            return jax.random.uniform(key, shape, minval=0.1, maxval=1.0)
        case "levels" | "coverages":
            return jax.random.uniform(key, shape, minval=0.1, maxval=0.9)
        case "cut_points":  # in order
            return jnp.cumsum(jax.random.uniform(key, shape, minval=0.5, maxval=1.5)) - 2
        case "transitions":
            return jax.nn.softmax(jax.random.normal(key, shape))
        case "target_counts":
            return jax.random.randint(key, shape, 0, 6)
        case "factors":  # of a covariance
            return jnp.tril(jax.random.uniform(key, shape, minval=0.7, maxval=2.0))
        case "scales" | "concentrations" | "distances" | "gradient_ratios":
            return jax.random.uniform(key, shape, minval=0.7, maxval=3.0)
        case "amounts" | "target_amounts":
            return jax.random.uniform(key, shape, minval=0.7, maxval=3.0)
        case "pseudo_counts" | "rates" | "evidence" | "cumulative_hazards":
            return jax.random.uniform(key, shape, minval=0.7, maxval=3.0)
        case "target_log_probabilities":
            return jax.nn.log_softmax(jax.random.normal(key, shape))
        case "teacher_log_probabilities":  # of some classes
            return jax.nn.log_softmax(jax.random.normal(key, (*shape[:-1], 6)))[..., : shape[-1]]
        case _:
            return jax.random.normal(key, shape)
