"""A weighted sum of losses whose terms stay apart, for exact accumulation and for reporting."""

import functools
import operator
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float, Real

from jaxloss.core.inputs import Scalar, at_least_float32
from jaxloss.core.reducing import PartialMean

Schedule = Callable[[Any], Any]
"""A weight as a function of the step, as in optax."""


class WeightedSum(NamedTuple):
    """Named terms and what each is multiplied with before they are added."""

    terms: dict[str, PartialMean | Array]
    coefficients: dict[str, Array]

    def value(self) -> Float[Array, ""]:
        """The weighted sum.

        Plain arithmetic: a term that is NaN makes the sum NaN even if its coefficient is 0, as it
        would the gradient. A term that must not be looked at is left out of ``losses``.
        """
        products = [
            self.coefficients[name].astype(value.dtype) * value
            for name, value in self.values().items()
        ]
        return functools.reduce(operator.add, products)

    def values(self) -> dict[str, Float[Array, ""]]:
        """Each term by itself, not multiplied with its coefficient."""
        return {name: term_value(term) for name, term in self.terms.items()}


def weighted(
    losses: Mapping[str, Callable[..., Array | PartialMean]],
    weights: Mapping[str, Scalar | Schedule] | None = None,
) -> Callable[..., WeightedSum]:
    r"""Add several losses of the same arguments, each with its weight.

    .. math::
        L = \sum_k c_k(t)\, \ell_k

    The terms stay apart in the result, so that a train step can report each one and accumulate
    it over micro-batches with the denominator that is its own. To train on the result directly,
    call its ``value()``.

    Args:
        losses: each returns a scalar, or a :class:`~jaxloss.core.reducing.PartialMean`; all are
            called with the same arguments.
        weights: by the names of ``losses``, a number or a schedule, which is called with the
            ``step`` that is then passed beside the arguments. A name left out counts 1.

    Returns:
        ``objective(*args, step=None, **kwargs) -> WeightedSum``.

    Example:
        >>> objective = weighted(
        ...     {"fit": lambda x: (x**2).mean(), "size": lambda x: abs(x).mean()},
        ...     weights={"size": lambda step: 0.1 * step},
        ... )
        >>> both = objective(jnp.array([1.0, -3.0]), step=5)
        >>> both.value(), both.values()["size"]
        (Array(6., dtype=float32), Array(2., dtype=float32))
    """
    given = dict(weights or {})
    if not losses:
        raise ValueError("weighted: losses must not be empty, got {}")
    if unknown := [name for name in given if name not in losses]:
        raise ValueError(f"weighted: weights must name losses {list(losses)}, got {unknown}")

    def objective(*args: Any, step: Scalar | None = None, **kwargs: Any) -> WeightedSum:
        terms = {name: loss(*args, **kwargs) for name, loss in losses.items()}
        for name, term in terms.items():
            require_scalar("weighted", f"losses[{name!r}]", term)
        coefficients = {name: coefficient(name, given.get(name, 1.0), step) for name in losses}
        return WeightedSum(terms, coefficients)

    return objective


def coefficient(name: str, weight: Scalar | Schedule, step: Scalar | None) -> Float[Array, ""]:
    """The weight of term ``name`` at ``step``."""
    if not callable(weight):
        return at_least_float32(weight)
    if step is None:
        raise ValueError(
            f"weighted: step must be given, as the weight of {name!r} is a schedule, got None"
        )
    return at_least_float32(weight(step))


def term_value(term: PartialMean | Real[Array, ""]) -> Float[Array, ""]:
    """What a term is worth: the mean it is part of, or itself."""
    return at_least_float32(term.value() if isinstance(term, PartialMean) else term)


def require_scalar(name: str, argument: str, term: Any) -> None:
    """Raise ``ValueError`` unless ``term`` is one number, or the two of a ``PartialMean``."""
    for part in term if isinstance(term, PartialMean) else (term,):
        if jnp.shape(part) != ():
            raise ValueError(
                f"{name}: {argument} must return a scalar or a PartialMean of two, "
                f"got shape {jnp.shape(part)}"
            )
