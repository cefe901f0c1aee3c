"""How a loss per element becomes the number that is minimized."""

from typing import Literal, NamedTuple, get_args

import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Bool, Float, Real

from jaxloss.core.checks import check_not_negative, require_option, require_real
from jaxloss.core.summing import total

Reduction = Literal["mean", "sum", "none"]


class PartialMean(NamedTuple):
    """A mean still in two parts, so that micro-batches and devices can be merged exactly.

    The mean over everything is a ratio of sums, never a mean of means. Both parts add up: over
    micro-batches with ``merge``, over devices with ``jax.lax.psum(partial, axis)``.
    """

    total: Float[Array, ""]
    weight: Float[Array, ""]

    def merge(self, other: "PartialMean") -> "PartialMean":
        """The mean over the elements of both."""
        return PartialMean(self.total + other.total, self.weight + other.weight)

    def value(self) -> Float[Array, ""]:
        """The mean itself; zero if nothing had a weight."""
        return self.total / jnp.where(self.weight == 0, 1, self.weight)


def partial_mean(
    losses: Float[Array, "*shape"],
    *,
    where: Bool[ArrayLike, "*#shape"] | None = None,
    weights: Real[ArrayLike, "*#shape"] | None = None,
) -> PartialMean:
    """The mean of unreduced, unweighted ``losses``, in two parts: sum(w * l) and sum(w).

    Args:
        where, weights: as in :func:`reduce`.
    """
    return _partial_mean("partial_mean", losses, where, weights)


def _partial_mean(
    name: str,
    loss: Float[Array, "*shape"],
    where: Bool[ArrayLike, "*#shape"] | None,
    weights: Real[ArrayLike, "*#shape"] | None,
) -> PartialMean:
    loss, weight = weighed(name, loss, where, weights)
    constant = where is None and weights is None  # its sum is folded, also if it is huge
    return PartialMean(total(weight * loss), weight.sum() if constant else total(weight))


def reduce(
    name: str,
    loss: Float[Array, "*shape"],
    where: Bool[ArrayLike, "*#shape"] | None,
    weights: Real[ArrayLike, "*#shape"] | None,
    reduction: Reduction,
) -> Float[Array, "..."]:
    r"""Weigh, mask and reduce ``loss``.

    With :math:`w_i` the weight of element :math:`i`, zero where ``where`` is false:

    .. math::
        \text{none}_i = w_i \ell_i \qquad
        \text{sum} = \sum_i w_i \ell_i \qquad
        \text{mean} = \sum_i w_i \ell_i \Big/ \sum_i w_i

    ``where`` and ``weights`` broadcast to the shape of ``loss`` and never enlarge it. Should every
    weight be zero, so is the mean.

    Args:
        name: of the loss, for error messages.
        where: what exists. An element left out touches neither value nor gradient, provided that
            the loss cleaned its inputs (see :mod:`jaxloss.core.inputs`).
        weights: how much each element counts; non-negative.
        reduction: ``"mean"``, ``"sum"`` or ``"none"``.
    """
    require_option(name, "reduction", reduction, get_args(Reduction))
    if reduction == "mean":
        return _partial_mean(name, loss, where, weights).value()
    loss, weight = weighed(name, loss, where, weights)
    return weight * loss if reduction == "none" else total(weight * loss)


def weighed(
    name: str,
    loss: Float[Array, "*shape"],
    where: Bool[ArrayLike, "*#shape"] | None,
    weights: Real[ArrayLike, "*#shape"] | None,
) -> tuple[Float[Array, "*shape"], Float[Array, "*shape"]]:
    """``loss`` with zeros where ``where`` is false, and the weight of each of its elements.

    Without weights these are ones, which XLA folds into a constant: nothing is multiplied, and
    their sum is exact beyond the 2^24 elements at which counting in float32 would stall.
    """
    if weights is None:
        weight = jnp.ones_like(loss)
    else:
        require_real(name, weights=weights)
        weights = check_not_negative(name, "weights", weights)
        weight = broadcast(name, "weights", weights, loss.shape).astype(loss.dtype)
    if where is None:
        return loss, weight
    selected = broadcast_where(name, where, loss.shape)
    return jnp.where(selected, loss, 0), jnp.where(selected, weight, 0)


def mean_of_existing(
    x: Float[Array, "*batch tokens"], exists: Bool[Array, "*batch tokens"] | None
) -> tuple[Float[Array, "*batch"], Bool[Array, "*batch"] | None]:
    """The mean over the last axis of what exists, 0 if nothing does, and whether anything does."""
    if exists is None:
        return x.mean(-1), None
    count = exists.sum(-1, dtype=x.dtype)
    return jnp.where(exists, x, 0).sum(-1) / jnp.where(count == 0, 1, count), count > 0


def broadcast_where(
    name: str, where: ArrayLike, shape: tuple[int, ...], argument: str = "where"
) -> Bool[Array, "..."]:
    """``where`` at ``shape``; an error unless it is boolean and no larger than that."""
    dtype = jnp.result_type(where)
    if dtype != jnp.bool_:
        raise TypeError(f"{name}: {argument} must be boolean, got {dtype}")
    return broadcast(name, argument, where, shape)


def broadcast(name: str, argument: str, value: ArrayLike, shape: tuple[int, ...]) -> Array:
    """``value`` at ``shape``, or ``ValueError`` naming the argument that does not fit."""
    try:
        return jnp.broadcast_to(value, shape)
    except ValueError as error:
        found = jnp.shape(value)
        raise ValueError(f"{name}: {argument} must broadcast to {shape}, got {found}") from error
