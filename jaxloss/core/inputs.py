"""Turn what the caller passed into arrays a loss can trust: checked, at least float32, masked.

Masking the result alone would not do: the gradient of a masked ``NaN`` or ``inf`` is ``0 * inf``.
So the inputs are cleaned before the mathematics, and their gradient is then exactly zero.
"""

import itertools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Bool, Float, Int, Real

from jaxloss.core import doubled
from jaxloss.core.checks import (
    poison_unless_class,
    require_floating,
    require_integer,
    require_rank,
    require_real,
    require_same_shape,
    require_shape,
)
from jaxloss.core.doubled import Doubled
from jaxloss.core.reducing import broadcast_where

Scalar = int | float | Real[Array, ""]
"""A hyper-parameter: a Python number, or a traced one that is scheduled, swept or learnt."""


def at_least_float32(x: ArrayLike) -> Float[Array, "..."]:
    """Promote bfloat16, float16 and integers to float32; leave float32 and float64 alone."""
    x = jnp.asarray(x)
    return x if x.dtype in (jnp.float32, jnp.float64) else x.astype(jnp.float32)


def promoted(*arrays: ArrayLike) -> list[Float[Array, "..."]]:
    """The arrays in one dtype: float64 if any of them is, float32 otherwise."""
    double = any(jnp.result_type(array) == jnp.float64 for array in arrays)
    return [jnp.asarray(array).astype(jnp.float64 if double else jnp.float32) for array in arrays]


def same_shape(name: str, **arrays: ArrayLike) -> list[Float[Array, "*shape"]]:
    """The arrays, promoted; an error unless they are real numbers of one shape."""
    require_real(name, **arrays)
    require_same_shape(name, **arrays)
    return promoted(*arrays.values())


def residual(
    name: str,
    predictions: Real[ArrayLike, "*shape"],
    targets: Real[ArrayLike, "*shape"],
    where: Bool[ArrayLike, "*#shape"] | None,
) -> Float[Array, "*shape"]:
    """``predictions - targets``, zero (and with zero gradient) where ``where`` is false."""
    predicted, actual = same_shape(name, predictions=predictions, targets=targets)
    error = predicted - actual
    return masked(error, selection(name, where, error.shape))


def exact_residual(
    name: str,
    predictions: Real[ArrayLike, "*shape"],
    targets: Real[ArrayLike, "*shape"],
    where: Bool[ArrayLike, "*#shape"] | None,
) -> Doubled:
    """Likewise, with the digits that rounding takes from the difference."""
    predicted, actual = same_shape(name, predictions=predictions, targets=targets)
    selected = selection(name, where, predicted.shape)
    return doubled.difference(masked(predicted, selected), masked(actual, selected))


def modulus(x: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """The absolute value, with slope 0 at 0, where that of ``jnp.abs`` is 1."""
    return jax.nn.relu(x) + jax.nn.relu(-x)


def selection(
    name: str, where: ArrayLike | None, shape: tuple[int, ...]
) -> Bool[Array, "..."] | None:
    """``where`` at ``shape``, ready for :func:`masked`; ``None`` stays ``None``."""
    return None if where is None else broadcast_where(name, where, shape)


def masked(x: Array, selected: Bool[Array, "..."] | None, fill: int | float = 0) -> Array:
    """``x``, but ``fill`` wherever ``selected``, given over the leading axes of ``x``, is false."""
    if selected is None:
        return x
    return jnp.where(selected.reshape(selected.shape + (1,) * (x.ndim - selected.ndim)), x, fill)


class Labeled(NamedTuple):
    """Logits with one label each, as a loss over classes wants them."""

    logits: Float[Array, "*batch classes"]  # in the dtype they came in: what is needed is picked
    labels: Int[Array, "*batch"]  # int32, and in range
    poison: Float[Array, "*batch"]  # a factor for the loss: NaN if the label was out of range


def labeled(
    name: str,
    logits: Float[ArrayLike, "*batch classes"],
    labels: Int[ArrayLike, "*batch"],
    where: Bool[ArrayLike, "*#batch"] | None,
) -> Labeled:
    """Check and clean ``logits`` and ``labels``: zeros where ``where`` is false."""
    logits, labels = jnp.asarray(logits), jnp.asarray(labels)
    require_floating(name, logits=logits)
    require_integer(name, labels=labels)
    require_rank(name, 1, wanted="one row of classes per label", logits=logits)
    require_shape(name, logits.shape[:-1], wanted="one class id per row of logits,", labels=labels)
    selected = selection(name, where, labels.shape)
    logits, labels = masked(logits, selected), masked(labels, selected)
    classes = logits.shape[-1]
    poison = poison_unless_class(name, labels, classes)
    return Labeled(logits, labels.clip(0, classes - 1).astype(jnp.int32), poison)


def elements(
    name: str, where: Bool[ArrayLike, "*#shape"] | None, **arrays: ArrayLike
) -> list[Float[Array, "*shape"]]:
    """Check arrays of one shape, the first floating-point; zero where ``where`` is false."""
    require_floating(name, **dict(itertools.islice(arrays.items(), 1)))
    checked = same_shape(name, **arrays)
    selected = selection(name, where, checked[0].shape)
    return [masked(array, selected) for array in checked]


def rows(
    name: str, where: Bool[ArrayLike, "*#batch"] | None, **arrays: ArrayLike
) -> list[Float[Array, "*batch classes"]]:
    """Likewise, with ``where`` over all axes but the last."""
    first: dict[str, Any] = dict(itertools.islice(arrays.items(), 1))
    require_floating(name, **first)
    require_rank(name, 1, wanted="rows of classes", **first)
    checked = same_shape(name, **arrays)
    selected = selection(name, where, checked[0].shape[:-1])
    return [masked(array, selected) for array in checked]
