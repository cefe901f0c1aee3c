"""Proper scoring rules: a model that says what it believes scores best in expectation.

For forecasts that are probabilities of classes, intervals or quantiles. For whole distributions see
:mod:`jaxloss.losses.crps`, for samples of them :mod:`jaxloss.losses.ensemble`.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Bool, Float, Int, Real

from jaxloss.core.checks import (
    check_unit_interval,
    poison_unless_class,
    require_floating,
    require_integer,
    require_rank,
    require_real,
    require_shape,
)
from jaxloss.core.classes import is_label
from jaxloss.core.compiling import compiled
from jaxloss.core.inputs import (
    Labeled,
    Scalar,
    at_least_float32,
    elements,
    masked,
    modulus,
    promoted,
    same_shape,
    selection,
)
from jaxloss.core.reducing import Reduction, reduce
from jaxloss.core.summing import row_sum
from jaxloss.core.vectors import normalized


@compiled("reduction")
def brier(
    probabilities: Float[ArrayLike, "*batch classes"],
    labels: Int[ArrayLike, "*batch"],
    *,
    where: Bool[ArrayLike, "*#batch"] | None = None,
    weights: Real[ArrayLike, "..."] | None = None,
    reduction: Reduction = "mean",
) -> Float[Array, "..."]:
    r"""Squared distance between the probabilities of classes and the class that came true.

    .. math::
        \ell = \sum_c (p_c - [c = y])^2

    From 0 to 2, however sure a mistake is, where a cross-entropy has no bound. The sum over two
    classes is twice :func:`binary_brier`. The unreduced shape is ``*batch``.

    Args:
        where, weights, reduction: see :func:`jaxloss.core.reducing.reduce`.

    Example:
        >>> brier(jnp.array([0.25, 0.75]), jnp.array(1))
        Array(0.125, dtype=float32)

    Reference:
        Brier, "Verification of Forecasts Expressed in Terms of Probability", 1950.
    """
    forecast, labels, poison = _forecast("brier", probabilities, labels, where)
    error = forecast - is_label(forecast, labels).astype(forecast.dtype)
    return reduce("brier", row_sum(error * error) * poison, where, weights, reduction)


@compiled("reduction")
def binary_brier(
    probabilities: Float[ArrayLike, "*shape"],
    targets: Real[ArrayLike, "*shape"],
    *,
    where: Bool[ArrayLike, "*#shape"] | None = None,
    weights: Real[ArrayLike, "..."] | None = None,
    reduction: Reduction = "mean",
) -> Float[Array, "..."]:
    r"""Squared distance between the probability of an event and whether it came true.

    .. math::
        \ell = (p - t)^2

    From 0 to 1; half of :func:`brier` of the two classes. The unreduced shape is that of
    ``probabilities``.

    Args:
        targets: 1 if it came true, 0 if not; soft values are allowed.
        where, weights, reduction: see :func:`jaxloss.core.reducing.reduce`.

    Example:
        >>> binary_brier(jnp.array([0.75, 0.5]), jnp.array([1, 0]))
        Array(0.15625, dtype=float32)

    Reference:
        Brier, "Verification of Forecasts Expressed in Terms of Probability", 1950.
    """
    name = "binary_brier"
    forecast, actual = elements(name, where, probabilities=probabilities, targets=targets)
    forecast = check_unit_interval(name, "probabilities", forecast)
    error = forecast - check_unit_interval(name, "targets", actual)
    return reduce(name, error * error, where, weights, reduction)


@compiled("reduction")
def spherical(
    probabilities: Float[ArrayLike, "*batch classes"],
    labels: Int[ArrayLike, "*batch"],
    *,
    where: Bool[ArrayLike, "*#batch"] | None = None,
    weights: Real[ArrayLike, "..."] | None = None,
    reduction: Reduction = "mean",
) -> Float[Array, "..."]:
    r"""One minus the cosine between the probabilities of classes and the class that came true.

    .. math::
        \ell = 1 - \frac{p_y}{\|p\|}

    From 0 to 1. Proper as :func:`brier` is, and indifferent to the scale of the probabilities,
    which need not add up to one. The unreduced shape is ``*batch``.

    Args:
        where, weights, reduction: see :func:`jaxloss.core.reducing.reduce`.

    Example:
        >>> spherical(jnp.array([0.6, 0.8, 0.0]), jnp.array(1))
        Array(0.2, dtype=float32)

    Reference:
        Good, "Comment on Measuring Information and Uncertainty", 1971.
    """
    forecast, labels, poison = _forecast("spherical", probabilities, labels, where)
    direction = normalized(forecast)
    true = is_label(direction, labels)
    others = row_sum(jnp.where(true, 0, direction * direction))
    # 1 - u_y = (1 - u_y^2) / (1 + u_y), and the squares of all entries add up to one
    loss = others / (1 + row_sum(jnp.where(true, direction, 0)))
    return reduce("spherical", loss * poison, where, weights, reduction)


@compiled("reduction")
def ranked_probability(
    probabilities: Float[ArrayLike, "*batch classes"],
    labels: Int[ArrayLike, "*batch"],
    *,
    where: Bool[ArrayLike, "*#batch"] | None = None,
    weights: Real[ArrayLike, "..."] | None = None,
    reduction: Reduction = "mean",
) -> Float[Array, "..."]:
    r"""Squared distance between cumulative probabilities of ordered classes and the true step.

    .. math::
        \ell = \sum_k \Bigl( \sum_{c \le k} p_c - [y \le k] \Bigr)^2
             = \sum_{k < y} \Bigl( \sum_{c \le k} p_c \Bigr)^2
               + \sum_{k \ge y} \Bigl( \sum_{c > k} p_c \Bigr)^2

    :func:`brier` for classes with an order: a near miss costs less than a far one. The second form,
    equal for probabilities that add up to one, is computed. Some divide by the number of classes
    less one. The unreduced shape is ``*batch``.

    Args:
        where, weights, reduction: see :func:`jaxloss.core.reducing.reduce`.

    Example:
        >>> probabilities = jnp.array([0.5, 0.5, 0.0])
        >>> labels = jnp.arange(3)
        >>> ranked_probability(jnp.stack([probabilities] * 3), labels, reduction="none")
        Array([0.25, 0.25, 1.25], dtype=float32)

    Reference:
        Epstein, "A Scoring System for Probability Forecasts of Ranked Categories", 1969.
    """
    name = "ranked_probability"
    forecast, labels, poison = _forecast(name, probabilities, labels, where)
    forecast *= poison[..., None]  # before the label's own entry, which costs nothing, is left out
    classes = jax.lax.broadcasted_iota(jnp.int32, forecast.shape, forecast.ndim - 1)
    below = jnp.cumsum(jnp.where(classes < labels[..., None], forecast, 0), -1)
    above = jax.lax.cumsum(
        jnp.where(classes > labels[..., None], forecast, 0), forecast.ndim - 1, reverse=True
    )
    wrong = jnp.where(classes < labels[..., None], below, 0)
    wrong = jnp.where(classes > labels[..., None], above, wrong)
    return reduce(name, row_sum(wrong * wrong) * poison, where, weights, reduction)


@compiled("reduction")
def interval(
    lower: Real[ArrayLike, "*shape"],
    upper: Real[ArrayLike, "*shape"],
    targets: Real[ArrayLike, "*shape"],
    *,
    coverage: Scalar = 0.9,
    where: Bool[ArrayLike, "*#shape"] | None = None,
    weights: Real[ArrayLike, "..."] | None = None,
    reduction: Reduction = "mean",
) -> Float[Array, "..."]:
    r"""Width of a central interval, and a penalty for each target outside of it.

    .. math::
        \ell = (u - l) + \frac{2}{1 - c} \max(l - t, 0) + \frac{2}{1 - c} \max(t - u, 0)

    Also known as the Winkler score. Its minimizers are the quantiles :math:`(1 \mp c) / 2`, for
    which it is the sum of two pinball losses, times :math:`2 / (1 - c)`; so it stays positive if
    the ends cross. The unreduced shape is that of ``lower``.

    Args:
        lower, upper: :math:`l` and :math:`u`, the ends of the interval.
        coverage: :math:`c`, the share of targets that should lie inside; in [0, 1), the complement
            of the :math:`\alpha` of others.
        where, weights, reduction: see :func:`jaxloss.core.reducing.reduce`.

    Example:
        >>> targets = jnp.array([0.5, 2.0])
        >>> interval(jnp.zeros(2), jnp.ones(2), targets, coverage=0.5, reduction="none")
        Array([1., 5.], dtype=float32)

    Reference:
        Gneiting & Raftery, "Strictly Proper Scoring Rules, Prediction, and Estimation", 2007.
    """
    name = "interval"
    low, high, actual = same_shape(name, lower=lower, upper=upper, targets=targets)
    selected = selection(name, where, low.shape)
    under, over = masked(low - actual, selected), masked(actual - high, selected)
    inside = check_unit_interval(name, "coverage", jnp.asarray(coverage)).astype(low.dtype)
    loss = _outside(under, inside) + _outside(over, inside)
    return reduce(name, loss, where, weights, reduction)


@compiled("reduction")
def weighted_interval(
    medians: Real[ArrayLike, "*batch"],
    lower: Real[ArrayLike, "*batch intervals"],
    upper: Real[ArrayLike, "*batch intervals"],
    targets: Real[ArrayLike, "*batch"],
    coverages: Real[ArrayLike, " intervals"],
    *,
    where: Bool[ArrayLike, "*#batch"] | None = None,
    weights: Real[ArrayLike, "..."] | None = None,
    reduction: Reduction = "mean",
) -> Float[Array, "..."]:
    r"""Mean of the scores of a median and of several central intervals, a forecast's summary.

    .. math::
        \ell = \frac{1}{K + 1/2} \Bigl( \frac{|t - m|}{2}
            + \sum_{k=1}^K \frac{1 - c_k}{2}\, \text{interval}_{c_k}(l_k, u_k, t) \Bigr)

    In these weights it is :func:`quantiles` of the :math:`2 K + 1` quantiles, and with many
    intervals tends to the continuous ranked probability score. The unreduced shape is ``*batch``.

    Args:
        lower, upper: :math:`l_k` and :math:`u_k`, the ends of the intervals.
        coverages: :math:`c_k`, the share of targets that should lie inside each; in [0, 1].
        where, weights, reduction: see :func:`jaxloss.core.reducing.reduce`.

    Example:
        >>> lower, upper, coverages = -jnp.ones(1), jnp.ones(1), jnp.array([0.5])
        >>> weighted_interval(jnp.array(0.0), lower, upper, jnp.array(3.0), coverages)
        Array(2.6666..., dtype=float32)

    Reference:
        Bracher et al., "Evaluating epidemic forecasts in an interval format", 2021.
    """
    name = "weighted_interval"
    require_real(name, medians=medians, targets=targets, coverages=coverages)
    require_rank(name, 1, wanted="of shape (*batch, intervals)", lower=lower)
    low, high = same_shape(name, lower=lower, upper=upper)
    batch, intervals = low.shape[:-1], low.shape[-1]
    require_shape(name, batch, wanted="one per row of intervals,", medians=medians, targets=targets)
    require_shape(name, (intervals,), wanted="one per interval,", coverages=coverages)
    middle, low, high, actual, inside = promoted(medians, low, high, targets, coverages)
    selected = selection(name, where, batch)
    distance = modulus(masked(actual - middle, selected))
    under = masked(low - actual[..., None], selected)
    over = masked(actual[..., None] - high, selected)
    inside = check_unit_interval(name, "coverages", inside)
    inside = jnp.broadcast_to(inside, low.shape)
    # (1 - c) / 2 of an interval's score, without dividing by 1 - c
    prices = _priced(under, (1 + inside) / 2, (1 - inside) / 2)
    prices += _priced(over, (1 + inside) / 2, (1 - inside) / 2)
    loss = (distance / 2 + row_sum(prices)) / (intervals + 0.5)
    return reduce(name, loss, where, weights, reduction)


@compiled("reduction")
def quantiles(
    predictions: Real[ArrayLike, "*batch quantiles"],
    targets: Real[ArrayLike, "*batch"],
    levels: Real[ArrayLike, " quantiles"],
    *,
    where: Bool[ArrayLike, "*#batch"] | None = None,
    weights: Real[ArrayLike, "..."] | None = None,
    reduction: Reduction = "mean",
) -> Float[Array, "..."]:
    r"""Twice the mean of the pinball losses of several quantiles, a forecast's summary.

    .. math::
        \ell = \frac{2}{Q} \sum_{i=1}^Q \max(q_i\, e_i,\; (q_i - 1)\, e_i),
        \qquad e_i = \text{targets} - \text{predictions}_i

    With many, evenly spread levels it tends to the continuous ranked probability score, the reason
    for the factor 2; for a median and intervals around it, it is :func:`weighted_interval`.
    Predictions may cross. The unreduced shape is ``*batch``.

    Args:
        levels: :math:`q_i`, the share of targets that should lie below each prediction; in [0, 1].
        where, weights, reduction: see :func:`jaxloss.core.reducing.reduce`.

    Example:
        >>> quantiles(jnp.array([0.0, 1.0]), jnp.array(2.0), jnp.array([0.25, 0.75]))
        Array(1.25, dtype=float32)

    Reference:
        Koenker & Bassett, "Regression Quantiles", 1978; Laio & Tamea, "Verification tools for
        probabilistic forecasts of continuous hydrological variables", 2007.
    """
    name = "quantiles"
    require_real(name, predictions=predictions, targets=targets, levels=levels)
    require_rank(name, 1, wanted="of shape (*batch, quantiles)", predictions=predictions)
    *batch, count = jnp.shape(predictions)
    require_shape(name, tuple(batch), wanted="one per row of predictions,", targets=targets)
    require_shape(name, (count,), wanted="one per quantile,", levels=levels)
    predicted, actual, level = promoted(predictions, targets, levels)
    selected = selection(name, where, actual.shape)
    over = masked(predicted - actual[..., None], selected)
    level = jnp.broadcast_to(check_unit_interval(name, "levels", level), over.shape)
    loss = 2 * row_sum(_priced(over, 1 - level, level)) / max(count, 1)
    return reduce(name, loss, where, weights, reduction)


def _forecast(
    name: str,
    probabilities: Float[ArrayLike, "*batch classes"],
    labels: Int[ArrayLike, "*batch"],
    where: Bool[ArrayLike, "*#batch"] | None,
) -> Labeled:
    """Check and clean probabilities and labels, as :func:`jaxloss.core.inputs.labeled` does."""
    require_floating(name, probabilities=probabilities)
    require_integer(name, labels=labels)
    require_rank(name, 1, wanted="one row of classes per label", probabilities=probabilities)
    forecast, truth = at_least_float32(probabilities), jnp.asarray(labels)
    batch, classes = forecast.shape[:-1], forecast.shape[-1]
    require_shape(name, batch, wanted="one class id per row of probabilities,", labels=truth)
    selected = selection(name, where, batch)
    forecast, truth = masked(forecast, selected), masked(truth, selected)
    forecast = check_unit_interval(name, "probabilities", forecast)
    poison = poison_unless_class(name, truth, classes)
    return Labeled(forecast, truth.clip(0, classes - 1).astype(jnp.int32), poison)


def _priced(
    error: Float[Array, "*shape"], over: Float[Array, "*shape"], under: Float[Array, "*shape"]
) -> Float[Array, "*shape"]:
    """``over`` for each unit of a positive ``error``, ``under`` for each of a negative one."""
    return over * jax.nn.relu(error) + under * jax.nn.relu(-error)


def _outside(error: Float[Array, "*shape"], coverage: Float[Array, ""]) -> Float[Array, "*shape"]:
    """What one end of an interval costs: the width up to the target, and the penalty beyond."""
    return (1 + coverage) / (1 - coverage) * jax.nn.relu(error) + jax.nn.relu(-error)
