r"""Losses on the area under the ROC curve: the chance that a yes scores higher than a no.

Each row is a sample of yeses and noes that are compared with each other, and gives one number; a
row without either does not count. A batch of shape (items,) is one such row. The share of pairs in
the wrong order itself, smoothed, is ``pairwise_ranking.soft_zero_one`` with targets for relevance.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Bool, Float, Real

from jaxloss.core.checks import (
    check_unit_interval,
    require_real,
    require_shape,
)
from jaxloss.core.compiling import compiled
from jaxloss.core.inputs import Scalar, masked, promoted, rows, selection
from jaxloss.core.lists import order
from jaxloss.core.reducing import Reduction, reduce


@compiled("reduction")
def squared_hinge(
    logits: Float[ArrayLike, "*batch items"],
    targets: Real[ArrayLike, "*batch items"],
    *,
    margin: Scalar = 1.0,
    where: Bool[ArrayLike, "*#batch #items"] | None = None,
    weights: Real[ArrayLike, "..."] | None = None,
    reduction: Reduction = "mean",
) -> Float[Array, "..."]:
    r"""Squared amount by which a yes fails to lead a no by a margin, in the mean over all pairs.

    .. math::
        \ell = \frac{1}{n_+ n_-} \sum_{t_i = 1} \sum_{t_j = 0} \max(0,\; m - (z_i - z_j))^2

    Consistent with the area under the ROC curve, however rare the yeses are. All pairs are compared
    in :math:`O(n \log n)` time and :math:`O(n)` memory: sorted by score, the sum over pairs is a
    scan whose terms are never negative. The unreduced shape is ``*batch``.

    Args:
        targets: 0 or 1.
        margin: :math:`m`, by how much a yes shall lead.
        where: which items exist.
        weights, reduction: see :func:`jaxloss.core.reducing.reduce`; they act on rows.

    Example:
        >>> squared_hinge(jnp.array([0.0, 2.0, 0.0]), jnp.array([1, 1, 0]))  # (1 + 0) / 2
        Array(0.5, dtype=float32)

    Reference:
        Gao & Zhou, "On the Consistency of AUC Pairwise Optimization", 2015.
    """
    score, yes, no = _sides("squared_hinge", logits, targets, where)
    margin = jnp.asarray(margin).astype(score.dtype)
    total = _squared_excess(yes, no, jnp.where(no, score + margin, score))
    pairs = (yes.sum(-1) * no.sum(-1)).astype(score.dtype)
    loss = total / jnp.maximum(pairs, 1)
    return reduce("squared_hinge", loss, pairs > 0, weights, reduction)


@compiled("reduction")
def minimax(
    probabilities: Float[ArrayLike, "*batch items"],
    targets: Real[ArrayLike, "*batch items"],
    saddle: Real[ArrayLike, " saddle"],
    *,
    margin: Scalar = 1.0,
    where: Bool[ArrayLike, "*#batch #items"] | None = None,
    weights: Real[ArrayLike, "..."] | None = None,
    reduction: Reduction = "mean",
) -> Float[Array, "..."]:
    r"""Area under the curve as a game, so that a batch need not hold any pairs.

    .. math::
        \ell = \overline{(p_+ - a)^2} + \overline{(p_- - b)^2}
            + 2 \alpha (m + \overline{p_-} - \overline{p_+}) - \alpha^2

    with means over the yeses, :math:`p_+`, and the noes, :math:`p_-`. Minimized over the model,
    :math:`a` and :math:`b`, and maximized over :math:`\alpha \ge 0`, it is the variances of both
    and the squared shortfall of their distance from the margin. Steps of the optimizer must ascend
    in :math:`\alpha`: multiply the gradient in ``saddle`` by ``jnp.array([1.0, 1.0, -1.0])``, and
    clip :math:`\alpha` at 0. It may be negative. The unreduced shape is ``*batch``.

    Args:
        targets: 0 or 1.
        saddle: :math:`(a, b, \alpha)`, trained with the model; zeros to start with.
        margin: :math:`m`, by how much the means shall differ.
        where: which items exist.
        weights, reduction: see :func:`jaxloss.core.reducing.reduce`; they act on rows.

    Example:
        >>> p, t = jnp.array([0.75, 0.25]), jnp.array([1, 0])
        >>> minimax(p, t, jnp.array([0.75, 0.25, 0.5]))  # (1 - 1/2)^2
        Array(0.25, dtype=float32)

    Reference:
        Yuan et al., "Large-scale Robust Deep AUC Maximization: A New Surrogate Loss and Empirical
        Studies on Medical Image Classification", 2021.
    """
    require_real("minimax", saddle=saddle)
    require_shape("minimax", (3,), wanted="of shape", saddle=saddle)
    score, yes, no = _sides("minimax", probabilities, targets, where, argument="probabilities")
    score, point = promoted(score, saddle)
    a, b, multiplier = point[0], point[1], point[2]
    spread = _mean(jnp.square(score - a), yes) + _mean(jnp.square(score - b), no)
    shortfall = jnp.asarray(margin).astype(score.dtype) + _mean(score, no) - _mean(score, yes)
    loss = spread + 2 * multiplier * shortfall - multiplier * multiplier
    return reduce("minimax", loss, yes.any(-1) & no.any(-1), weights, reduction)


def _sides(
    name: str,
    scores: Float[ArrayLike, "*batch items"],
    targets: Real[ArrayLike, "*batch items"],
    where: Bool[ArrayLike, "*#batch #items"] | None,
    argument: str = "logits",
) -> tuple[Float[Array, "*batch items"], Bool[Array, "*batch items"], Bool[Array, "*batch items"]]:
    """The scores, which of them are of a yes, and which of a no."""
    score, actual = rows(name, None, **{argument: scores}, targets=targets)
    selected = selection(name, where, score.shape)
    score, actual = masked(score, selected), masked(actual, selected)
    actual = check_unit_interval(name, "targets", actual)
    exists = jnp.ones(score.shape, bool) if selected is None else selected
    yes = actual > 0.5
    return score, exists & yes, exists & ~yes


def _mean(x: Float[Array, "*batch items"], of: Bool[Array, "*batch items"]) -> Array:
    return jnp.where(of, x, 0).sum(-1) / jnp.maximum(of.sum(-1), 1).astype(x.dtype)


class _Run(NamedTuple):
    """A stretch of sorted items: its length, how many count, and their distances from its end."""

    length: Float[Array, "*batch items"]
    counted: Float[Array, "*batch items"]
    distances: Float[Array, "*batch items"]
    squares: Float[Array, "*batch items"]

    def then(self, other: "_Run") -> "_Run":
        """Both stretches as one."""
        step = other.length
        shifted = self.counted * step
        return _Run(
            self.length + step,
            self.counted + other.counted,
            self.distances + shifted + other.distances,
            self.squares + (2 * self.distances + shifted) * step + other.squares,
        )


@jax.custom_jvp
def _squared_excess(
    yes: Bool[Array, "*batch items"],
    no: Bool[Array, "*batch items"],
    value: Float[Array, "*batch items"],
) -> Float[Array, "*batch"]:
    """Sum of the squares of by how much the value of a no exceeds that of a yes."""
    sorting = order(~(yes | no), value)
    yes, no, value = (jnp.take_along_axis(x, sorting, -1) for x in (yes, no, value))
    gap, endless = _gaps(yes, no, value)
    total = jnp.where(no, _until(gap, yes).squares, 0).sum(-1)
    return jnp.where(endless, jnp.inf, total)


@_squared_excess.defjvp
def _squared_excess_jvp(primals: tuple[Any, ...], tangents: tuple[Any, ...]) -> tuple[Array, Array]:
    """Each slope is a sum of distances: through the gaps it would be a difference of two sums."""
    yes, no, value = primals
    sorting = order(~(yes | no), value)
    yes, no, value = (jnp.take_along_axis(x, sorting, -1) for x in primals)
    gap, _ = _gaps(yes, no, value)
    over = _until(gap, yes).distances
    after = jnp.flip(jnp.concatenate([gap[..., 1:], jnp.zeros_like(gap[..., :1])], -1), -1)
    under = jnp.flip(_until(after, jnp.flip(no, -1)).distances, -1)
    slope = 2 * jnp.where(no, over, jnp.where(yes, -under, 0))
    slope = jnp.take_along_axis(slope, order(sorting), -1)
    return _squared_excess(*primals), (slope * tangents[2]).sum(-1)


def _gaps(
    yes: Bool[Array, "*batch items"],
    no: Bool[Array, "*batch items"],
    value: Float[Array, "*batch items"],
) -> tuple[Float[Array, "*batch items"], Bool[Array, "*batch"]]:
    """How far each item is from the one before it, if a pair spans that; and if one is endless."""
    last = value.ndim - 1
    yeses, noes = yes.astype(jnp.int32), no.astype(jnp.int32)
    spanned = jax.lax.cumsum(yeses, last) > yeses
    spanned &= jax.lax.cumsum(noes, last, reverse=True) > 0
    left = jnp.concatenate([value[..., :1], value[..., :-1]], -1)
    spanned &= ~((left == value) & jnp.isinf(value))
    gap = jnp.where(spanned, value, 0) - jnp.where(spanned, left, 0)
    endless = jnp.isinf(gap)
    return jnp.where(endless, 0, gap), endless.any(-1)


def _until(gap: Float[Array, "*batch items"], counted: Bool[Array, "*batch items"]) -> _Run:
    """What there is before each item: those that count, seen from there."""
    zeros = jnp.zeros_like(gap)
    each = _Run(gap, counted.astype(gap.dtype), zeros, zeros)
    return jax.lax.associative_scan(_Run.then, each, axis=gap.ndim - 1)
