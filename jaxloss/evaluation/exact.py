"""Weighted means over any number of batches, exact in any order, with honest standard errors.

A row of losses, such as the tokens of a document, is one observation: its elements are alike, and
a standard error that takes them for strangers is far too small. The mean over all elements is then
a ratio of two sums over rows, and its error that of a ratio.
"""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import scipy.special
from jaxtyping import Array, ArrayLike, Bool, Float, Real

from jaxloss.core.doubled import Doubled, add, count, exact, product, total
from jaxloss.core.inputs import at_least_float32
from jaxloss.core.reducing import weighed
from jaxloss.core.summing import total as plain_total


class Summary(NamedTuple):
    """A weighted mean, and how sure it is."""

    mean: float
    """NaN if nothing had a weight"""
    standard_error: float
    """of the mean, over other samples of the same size; NaN for fewer than two clusters"""
    examples: int
    """that had a weight"""
    clusters: int
    """groups of examples that may be alike, which is what the standard error rests on"""
    effective: float
    """how many clusters of equal weight would tell as much"""
    weight: float

    def interval(self, confidence: float = 0.95) -> tuple[float, float]:
        """The confidence interval of the mean, by Student's t."""
        reach = (
            student_quantile((1 + confidence) / 2, float(self.clusters - 1)) * self.standard_error
        )
        return self.mean - reach, self.mean + reach


class ExactMean(NamedTuple):
    """A weighted mean in parts, to be merged with others in any order, on the device."""

    total: Doubled
    """of w * l"""
    weight: Doubled
    """of w"""
    rows: Doubled
    """that had a weight"""
    center: Float[Array, "*shape"]
    """near the mean; the sums below are about it, so that nothing cancels out"""
    squares: Doubled
    """of R * R, where R is the sum of w * (l - center) over a row, and W that of w"""
    products: Doubled
    """of R * W"""
    weight_squares: Doubled
    """of W * W"""

    def merge(self, other: "ExactMean") -> "ExactMean":
        """The mean over the elements of both."""
        center = jnp.where(self.weight.high > 0, self.center, other.center)
        ours, theirs = _centered(self, center), _centered(other, center)
        return ExactMean(
            total=add(self.total, other.total),
            weight=add(self.weight, other.weight),
            rows=add(self.rows, other.rows),
            center=center,
            squares=add(ours.squares, theirs.squares),
            products=add(ours.products, theirs.products),
            weight_squares=add(self.weight_squares, other.weight_squares),
        )

    def value(self) -> Float[Array, "*shape"]:
        """The mean, in the precision of the device; zero if nothing had a weight."""
        weight = self.weight.value()
        return self.total.value() / jnp.where(weight == 0, 1, weight)

    def summary(self) -> Summary:
        """The mean in double precision, with its standard error, on the host."""
        ours = jax.device_get(self)
        weight, rows = _float(ours.weight), round(_float(ours.rows))
        if weight == 0:
            return nothing()
        mean = _float(ours.total) / weight
        shift = mean - float(ours.center)
        squares = (
            _float(ours.squares)
            - 2 * shift * _float(ours.products)
            + shift * shift * _float(ours.weight_squares)
        )
        effective = weight**2 / _float(ours.weight_squares)
        error = math.nan
        if rows > 1 and not math.isnan(squares):
            error = math.sqrt(max(squares, 0.0) * effective / (effective - 1)) / weight
        return Summary(mean, error, rows, rows, effective, weight)


def nothing() -> Summary:
    """The summary of no example."""
    return Summary(math.nan, math.nan, 0, 0, 0.0, 0.0)


def exact_mean(
    losses: Real[ArrayLike, "rows ..."],
    *,
    where: Bool[ArrayLike, "..."] | None = None,
    weights: Real[ArrayLike, "..."] | None = None,
) -> ExactMean:
    r"""The mean of unreduced, unweighted losses, to twice the digits of float32.

    With :math:`S_g` the sum of :math:`w \ell` over row :math:`g` and :math:`W_g` that of :math:`w`,

    .. math::
        \theta = \frac{\sum_g S_g}{\sum_g W_g}, \qquad
        \text{se}^2 = \frac{n}{n - 1} \frac{\sum_g (S_g - \theta W_g)^2}{(\sum_g W_g)^2}, \qquad
        n = \frac{(\sum_g W_g)^2}{\sum_g W_g^2}

    Of float32 losses the mean is right to some 1e-12, over any number of batches, in any order,
    on any number of devices; rows are counted exactly up to 2^46.

    Args:
        losses: the first axis is that of the examples; what follows belongs to one of them.
        where, weights: see :func:`jaxloss.core.reducing.reduce`. What is left out may be NaN.

    Example:
        >>> first = exact_mean(jnp.array([1.0, 2.0, jnp.nan]), where=jnp.array([True, True, False]))
        >>> both = first.merge(exact_mean(jnp.array([6.0])))
        >>> both.summary().mean, both.summary().examples
        (3.0, 3)
    """
    loss, weight = weighed("exact_mean", at_least_float32(losses), where, weights)
    loss = jnp.where(weight > 0, loss, 0)
    inner = tuple(range(1, loss.ndim))
    mass = plain_total(weight)
    center = plain_total(weight * loss) / jnp.where(mass == 0, 1, mass)
    residual = (weight * (loss - center)).sum(inner)
    row_weight = weight.sum(inner)
    rows = (row_weight > 0).sum(dtype=jnp.int32)
    axes = (0, *inner)
    if weights is None:  # then there is nothing to multiply, and counting is faster
        terms, whole = exact(loss), count((weight > 0).sum(dtype=jnp.int32), loss.dtype)
    else:
        terms, whole = product(loss, weight), total(exact(weight), axes)
    return ExactMean(
        total=total(terms, axes),
        weight=whole,
        rows=count(rows, loss.dtype),
        center=center,
        squares=exact(plain_total(residual * residual)),
        products=exact(plain_total(residual * row_weight)),
        weight_squares=exact(plain_total(row_weight * row_weight)),
    )


def student_quantile(probability: float, degrees: float) -> float:
    """Quantile of Student's t; NaN without a degree of freedom."""
    return float(scipy.special.stdtrit(degrees, probability)) if degrees > 0 else math.nan


def _centered(mean: ExactMean, center: Float[Array, "*shape"]) -> ExactMean:
    """The same about another center: R becomes R + shift * W."""
    shift = mean.center - center
    moved = exact(shift * mean.weight_squares.value())
    products = add(mean.products, moved)
    grown = shift * (mean.products.value() + products.value())
    return mean._replace(products=products, squares=add(mean.squares, exact(grown)))


def _float(x: Doubled) -> float:
    return float(x.high) + float(x.low)
