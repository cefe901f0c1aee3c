"""What a loss refuses: wrong shapes and dtypes while tracing, wrong values under ``checkify``.

Every message has one form: ``<function>: <argument> must ..., got ...``.
"""

from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float, Int

from jaxloss.core.preconditions import check


def require_real(name: str, **arrays: ArrayLike) -> None:
    """Raise ``TypeError`` unless every array holds integers or floating-point numbers."""
    for argument, array in arrays.items():
        dtype = jnp.result_type(array)
        if not (jnp.issubdtype(dtype, jnp.floating) or jnp.issubdtype(dtype, jnp.integer)):
            raise TypeError(f"{name}: {argument} must be real numbers, got {dtype}")


def require_floating(name: str, **arrays: ArrayLike) -> None:
    """Raise ``TypeError`` unless every array holds floating-point numbers."""
    for argument, array in arrays.items():
        dtype = jnp.result_type(array)
        if not jnp.issubdtype(dtype, jnp.floating):
            raise TypeError(f"{name}: {argument} must be floating-point, got {dtype}")


def require_integer(name: str, **arrays: ArrayLike) -> None:
    """Raise ``TypeError`` unless every array holds integers."""
    for argument, array in arrays.items():
        dtype = jnp.result_type(array)
        if not jnp.issubdtype(dtype, jnp.integer):
            raise TypeError(f"{name}: {argument} must be integers, got {dtype}")


def require_same_shape(name: str, **arrays: ArrayLike) -> None:
    """Raise ``ValueError`` unless every array has the same shape: nothing broadcasts silently."""
    shapes = {argument: jnp.shape(array) for argument, array in arrays.items()}
    if len(set(shapes.values())) > 1:
        listed = ", ".join(f"{argument} {shape}" for argument, shape in shapes.items())
        raise ValueError(f"{name}: shapes must be equal, got {listed}")


def require_rank(name: str, rank: int, *, wanted: str, exact: bool = False, **arrays: Any) -> None:
    """Raise ``ValueError`` unless every array has ``rank`` axes, or more if not ``exact``."""
    for argument, array in arrays.items():
        found = len(jnp.shape(array))
        if found < rank or (exact and found > rank):
            raise ValueError(f"{name}: {argument} must be {wanted}, got shape {jnp.shape(array)}")


def require_shape(name: str, shape: tuple[int, ...], *, wanted: str, **arrays: ArrayLike) -> None:
    """Raise ``ValueError`` unless every array has exactly ``shape``; ``wanted`` says why."""
    for argument, array in arrays.items():
        if jnp.shape(array) != shape:
            raise ValueError(f"{name}: {argument} must be {wanted} {shape}, got {jnp.shape(array)}")


def require_option(name: str, argument: str, value: object, options: tuple[str, ...]) -> None:
    """Raise ``ValueError`` unless ``value`` is one of the ``options``."""
    if value not in options:
        listed = ", ".join(repr(option) for option in options[:-1]) + f" or {options[-1]!r}"
        raise ValueError(f"{name}: {argument} must be {listed}, got {value!r}")


def check_unit_interval(
    name: str, argument: str, value: Float[Array, "*shape"]
) -> Float[Array, "*shape"]:
    """``value``, on the precondition that it lies in [0, 1]."""
    return check(value, (value >= 0) & (value <= 1), f"{name}: {argument} must lie in [0, 1]")


def check_positive(name: str, argument: str, value: ArrayLike) -> Array:
    """``value``, on the precondition that it is positive."""
    value = jnp.asarray(value)
    return check(value, value > 0, f"{name}: {argument} must be positive")


def check_not_negative(name: str, argument: str, value: ArrayLike) -> Array:
    """``value``, on the precondition that it is not negative."""
    value = jnp.asarray(value)
    return check(value, value >= 0, f"{name}: {argument} must not be negative")


def poison_unless_class(
    name: str, labels: Int[Array, "*batch"], classes: int
) -> Float[Array, "*batch"]:
    """One for a label in [0, ``classes``), NaN for any other: a factor for the loss.

    As a factor it makes the value *and* the gradient of that row NaN. An index out of range would
    otherwise be clamped, or wrap around from the end, and train on silently.
    """
    valid = (labels >= 0) & (labels < classes)
    labels = check(labels, valid, f"{name}: labels must lie in [0, {classes})")
    return jnp.where((labels >= 0) & (labels < classes), 1.0, jnp.nan)
