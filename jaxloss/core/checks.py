"""What a loss refuses: wrong shapes and dtypes while tracing, wrong values under ``checkify``.

Every message has one form: ``<function>: <argument> must ..., got ...``.
"""

from typing import Any

import jax.numpy as jnp
from jax.experimental import checkify
from jaxtyping import Array, ArrayLike, Bool, Float, Int


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


def check(name: str, valid: Bool[Array, "..."], must: str, value: Array) -> None:
    """State a precondition on values; it costs nothing unless run under ``checkify.checkify``.

    Args:
        valid: true where the precondition holds.
        must: the argument and what it must be, as in ``"labels must lie in [0, 10)"``.
        value: what came; the message shows the first offender.
    """
    flat = jnp.broadcast_to(valid, jnp.shape(value)).reshape(-1)
    if flat.size:
        offender = value.reshape(-1)[jnp.argmin(flat)]
        checkify.debug_check(flat.all(), f"{name}: {must}, got {{got}}", got=offender)


def check_unit_interval(name: str, argument: str, value: Float[Array, "..."]) -> None:
    """State that every ``value`` is a probability."""
    check(name, (value >= 0) & (value <= 1), f"{argument} must lie in [0, 1]", value)


def check_positive(name: str, argument: str, value: ArrayLike) -> None:
    """State that ``value`` is positive."""
    value = jnp.asarray(value)
    check(name, value > 0, f"{argument} must be positive", value)


def poison_unless_class(
    name: str, labels: Int[Array, "*batch"], classes: int
) -> Float[Array, "*batch"]:
    """One for a label in [0, ``classes``), NaN for any other: a factor for the loss.

    As a factor it makes the value *and* the gradient of that row NaN. An index out of range would
    otherwise be clamped, or wrap around from the end, and train on silently.
    """
    valid = (labels >= 0) & (labels < classes)
    check(name, valid, f"labels must lie in [0, {classes})", labels)
    return jnp.where(valid, 1.0, jnp.nan)
