"""Losses on classes that have an order: grades, stages, stars.

Of ``C`` classes there are ``C - 1`` thresholds between them; threshold ``k`` asks whether the label
lies above ``k``. :func:`cut_points` makes thresholds in order out of any numbers, and
:func:`soft_labels` targets for any loss that takes a distribution.
"""

from typing import Literal, get_args

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Bool, Float, Int, Real

from jaxloss.core.checks import (
    check_not_negative,
    check_positive,
    check_unit_interval,
    poison_unless_class,
    require_floating,
    require_integer,
    require_option,
    require_rank,
    require_real,
    require_shape,
)
from jaxloss.core.compiling import compiled
from jaxloss.core.inputs import (
    Labeled,
    Scalar,
    at_least_float32,
    masked,
    modulus,
    promoted,
    rows,
    selection,
)
from jaxloss.core.reducing import Reduction, reduce
from jaxloss.core.summing import row_sum
from jaxloss.core.tails import log_complement_of, log_expm1, normal_before, normal_between

Link = Literal["logit", "probit", "cloglog"]


@compiled("reduction")
def coral(
    logits: Float[ArrayLike, "*batch thresholds"],
    labels: Int[ArrayLike, "*batch"],
    *,
    where: Bool[ArrayLike, "*#batch"] | None = None,
    weights: Real[ArrayLike, "..."] | None = None,
    reduction: Reduction = "mean",
) -> Float[Array, "..."]:
    r"""Sum of the binary cross-entropies of whether the label lies above each threshold.

    .. math::
        \ell = -\sum_k [y > k] \log s(z_k) + [y \le k] \log (1 - s(z_k)),
        \qquad s(z) = \frac{1}{1 + e^{-z}}

    In CORAL all logits share their slopes and differ by a bias, so that their probabilities are in
    order. The predicted class is ``(logits > 0).sum(-1)``. The unreduced shape is ``*batch``.

    Args:
        logits: :math:`z_k`, of the label lying above class :math:`k`; one less than classes.
        where, weights, reduction: see :func:`jaxloss.core.reducing.reduce`.

    Example:
        >>> coral(jnp.zeros(2), jnp.array(1))
        Array(1.3862944, dtype=float32)

    Reference:
        Cao, Mirjalili & Raschka, "Rank Consistent Ordinal Regression for Neural Networks with
        Application to Age Estimation", 2020.
    """
    logits, labels, poison = _ranked("coral", logits, labels, where)
    loss = row_sum(jax.nn.softplus(jnp.where(_above(logits, labels), -logits, logits)))
    return reduce("coral", loss * poison, where, weights, reduction)


@compiled("reduction")
def corn(
    logits: Float[ArrayLike, "*batch thresholds"],
    labels: Int[ArrayLike, "*batch"],
    *,
    where: Bool[ArrayLike, "*#batch"] | None = None,
    weights: Real[ArrayLike, "..."] | None = None,
    reduction: Reduction = "mean",
) -> Float[Array, "..."]:
    r"""Negative log-probability of the label, by the chance to pass each threshold once reached.

    .. math::
        \ell = -\sum_{k < y} \log s(z_k) - [y < C - 1] \log (1 - s(z_y)),
        \qquad s(z) = \frac{1}{1 + e^{-z}}

    As :func:`coral`, but conditional: a threshold learns only from labels that reach it, and
    ``jnp.cumprod(jax.nn.sigmoid(logits), -1)`` is in order. The mean is over examples, in the paper
    over all their terms. The unreduced shape is ``*batch``.

    Args:
        logits: :math:`z_k`, of the label lying above class :math:`k`, given that it is not below;
            one less than classes.
        where, weights, reduction: see :func:`jaxloss.core.reducing.reduce`.

    Example:
        >>> corn(jnp.zeros((3, 2)), jnp.array([0, 1, 2]), reduction="none") / jnp.log(2)
        Array([1., 2., 2.], dtype=float32)

    Reference:
        Shi, Cao & Raschka, "Deep Neural Networks for Rank-Consistent Ordinal Regression Based On
        Conditional Probabilities", 2021.
    """
    logits, labels, poison = _ranked("corn", logits, labels, where)
    logits *= poison[..., None]  # before thresholds that are not reached are left out
    threshold = jax.lax.broadcasted_iota(jnp.int32, logits.shape, logits.ndim - 1)
    terms = jax.nn.softplus(jnp.where(_above(logits, labels), -logits, logits))
    loss = row_sum(jnp.where(threshold <= labels[..., None], terms, 0))
    return reduce("corn", loss * poison, where, weights, reduction)


@compiled("link", "reduction")
def cumulative_link(
    predictions: Real[ArrayLike, "*batch"],
    labels: Int[ArrayLike, "*batch"],
    cut_points: Real[ArrayLike, " thresholds"],
    *,
    link: Link = "logit",
    where: Bool[ArrayLike, "*#batch"] | None = None,
    weights: Real[ArrayLike, "..."] | None = None,
    reduction: Reduction = "mean",
) -> Float[Array, "..."]:
    r"""Negative log-probability that a noisy prediction falls between the label's cut points.

    .. math::
        \ell = -\log \bigl( F(c_y - f) - F(c_{y-1} - f) \bigr),
        \qquad c_{-1} = -\infty, \quad c_{C-1} = \infty

    One number :math:`f` per example, and cut points that all share. With the logit link
    :math:`F(x) = 1 / (1 + e^{-x})`, the proportional odds model; with the probit link
    :math:`F = \Phi`, normal noise; with the complementary log-log link
    :math:`F(x) = 1 - e^{-e^x}`, proportional hazards. The unreduced shape is ``*batch``.

    Args:
        cut_points: :math:`c_k`, strictly increasing, as from :func:`cut_points`; one less than
            classes.
        link: ``"logit"``, ``"probit"`` or ``"cloglog"``.
        where, weights, reduction: see :func:`jaxloss.core.reducing.reduce`.

    Example:
        >>> cuts = jnp.array([-1.0, 1.0])
        >>> jnp.exp(-cumulative_link(jnp.zeros(3), jnp.arange(3), cuts, reduction="none"))
        Array([0.26894..., 0.46211..., 0.26894...], dtype=float32)

    Reference:
        McCullagh, "Regression Models for Ordinal Data", 1980.
    """
    name = "cumulative_link"
    require_option(name, "link", link, get_args(Link))
    predicted, labels, cuts, poison = _placed(name, predictions, labels, cut_points, where)
    last = cuts.shape[-1]
    if last == 0:
        return reduce(name, predicted * 0 * poison, where, weights, reduction)
    gaps = check_positive(name, "steps between cut_points", jnp.diff(cuts))
    lowest, highest = labels == 0, labels == last
    high = jnp.where(highest, 0, cuts[labels.clip(0, last - 1)] - predicted)
    low = jnp.where(lowest, 0, cuts[(labels - 1).clip(0, last - 1)] - predicted)
    inner = ~(lowest | highest)
    gap = jnp.ones_like(predicted)
    if last > 1:  # not a difference of differences from the prediction
        gap = jnp.where(inner, gaps[(labels - 1).clip(0, last - 2)], 1)
    if link == "logit":
        # s(a) - s(b) = s(a) s(-b) (1 - e^(b - a))
        loss = jnp.where(highest, 0, jax.nn.softplus(-high))
        loss += jnp.where(lowest, 0, jax.nn.softplus(low))
        loss -= jnp.where(inner, log_complement_of(jnp.log(gap)), 0)
    elif link == "probit":
        between = normal_between(jnp.where(inner, low, 0), gap)
        beyond = normal_before(jnp.where(lowest, high, -low))
        loss = jnp.where(inner, between, beyond)
    else:
        # e^(-e^b) - e^(-e^a) = e^(-e^b) (1 - e^(-(e^a - e^b)))
        rise = jnp.where(lowest, high, low + log_expm1(gap))
        loss = jnp.where(lowest, 0, jnp.exp(low))
        loss -= jnp.where(highest, 0, log_complement_of(jnp.where(highest, 0, rise)))
    return reduce(name, loss * poison, where, weights, reduction)


@compiled("reduction")
def all_thresholds(
    predictions: Real[ArrayLike, "*batch"],
    labels: Int[ArrayLike, "*batch"],
    cut_points: Real[ArrayLike, " thresholds"],
    *,
    margin: Scalar = 1.0,
    where: Bool[ArrayLike, "*#batch"] | None = None,
    weights: Real[ArrayLike, "..."] | None = None,
    reduction: Reduction = "mean",
) -> Float[Array, "..."]:
    r"""Sum of the hinges by which a prediction is on the wrong side of cut points.

    .. math::
        \ell = \sum_{k < y} \max(m - (f - c_k), 0) + \sum_{k \ge y} \max(m - (c_k - f), 0)

    Every threshold crossed costs; bounds the absolute error. The unreduced shape is ``*batch``.

    Args:
        cut_points: :math:`c_k`, increasing, as from :func:`cut_points`; one less than classes.
        margin: :math:`m`, how far from each cut point a prediction shall be.
        where, weights, reduction: see :func:`jaxloss.core.reducing.reduce`.

    Example:
        >>> all_thresholds(jnp.array(0.0), jnp.array(2), jnp.array([-2.0, 0.5]))
        Array(1.5, dtype=float32)

    Reference:
        Rennie & Srebro, "Loss Functions for Preference Levels: Regression with Discrete Ordered
        Labels", 2005.
    """
    name = "all_thresholds"
    hinges, labels, poison = _hinges(name, predictions, labels, cut_points, margin, where)
    return reduce(name, row_sum(hinges) * poison, where, weights, reduction)


@compiled("reduction")
def immediate_thresholds(
    predictions: Real[ArrayLike, "*batch"],
    labels: Int[ArrayLike, "*batch"],
    cut_points: Real[ArrayLike, " thresholds"],
    *,
    margin: Scalar = 1.0,
    where: Bool[ArrayLike, "*#batch"] | None = None,
    weights: Real[ArrayLike, "..."] | None = None,
    reduction: Reduction = "mean",
) -> Float[Array, "..."]:
    r"""Hinges by which a prediction is outside of the two cut points around its label.

    .. math::
        \ell = \max(m - (f - c_{y-1}), 0) + \max(m - (c_y - f), 0),
        \qquad c_{-1} = -\infty, \quad c_{C-1} = \infty

    As :func:`all_thresholds`, with only the label's own. The unreduced shape is ``*batch``.

    Args:
        cut_points, margin: see :func:`all_thresholds`.
        where, weights, reduction: see :func:`jaxloss.core.reducing.reduce`.

    Example:
        >>> immediate_thresholds(jnp.array(0.0), jnp.array(2), jnp.array([-0.5, 0.5]))
        Array(1.5, dtype=float32)

    Reference:
        Rennie & Srebro, "Loss Functions for Preference Levels: Regression with Discrete Ordered
        Labels", 2005.
    """
    name = "immediate_thresholds"
    hinges, labels, poison = _hinges(name, predictions, labels, cut_points, margin, where)
    threshold = jax.lax.broadcasted_iota(jnp.int32, hinges.shape, hinges.ndim - 1)
    label = labels[..., None]
    own = (threshold == label) | (threshold == label - 1)
    return reduce(name, row_sum(jnp.where(own, hinges, 0)) * poison, where, weights, reduction)


@compiled("reduction")
def earth_mover(
    probabilities: Float[ArrayLike, "*batch classes"],
    targets: Real[ArrayLike, "*batch classes"],
    *,
    power: Scalar = 2.0,
    where: Bool[ArrayLike, "*#batch"] | None = None,
    weights: Real[ArrayLike, "..."] | None = None,
    reduction: Reduction = "mean",
) -> Float[Array, "..."]:
    r"""How much probability must move between ordered classes, and how far.

    .. math::
        \ell = \sum_{k < C} \Bigl| \sum_{c \le k} (p_c - t_c) \Bigr|^r

    With ``power`` 1 the earth mover's distance itself, with 2 the squared one, which is easier to
    minimize; if one class is certain, that is the ranked probability score. The unreduced shape
    is ``*batch``.

    Args:
        targets: a distribution over the classes, as from :func:`soft_labels`.
        power: :math:`r`, positive; the slope at no difference is taken as zero.
        where, weights, reduction: see :func:`jaxloss.core.reducing.reduce`.

    Example:
        >>> earth_mover(jnp.array([0.0, 0.0, 1.0]), jnp.array([0.5, 0.5, 0.0]), power=1.0)
        Array(1.5, dtype=float32)

    Reference:
        Hou, Yu & Samaras, "Squared Earth Mover's Distance-based Loss for Training Deep Neural
        Networks", 2016.
    """
    name = "earth_mover"
    forecast, actual = rows(name, where, probabilities=probabilities, targets=targets)
    forecast = check_unit_interval(name, "probabilities", forecast)
    actual = check_not_negative(name, "targets", actual)
    power = check_positive(name, "power", power).astype(forecast.dtype)
    moved = modulus(jnp.cumsum(forecast - actual, -1)[..., :-1])  # the last is but rounding
    some = moved > 0
    terms = jnp.where(some, jnp.where(some, moved, 1) ** power, 0)
    return reduce(name, row_sum(terms), where, weights, reduction)


def cut_points(free: Real[ArrayLike, "*batch thresholds"]) -> Float[Array, "*batch thresholds"]:
    r"""Increasing cut points from any numbers, such as parameters to learn.

    The first is taken as it is, each other one adds its softplus to the one before.

    Example:
        >>> cut_points(jnp.array([1.0, 0.0, 0.0]))
        Array([1.       , 1.6931..., 2.3862...], dtype=float32)
    """
    require_rank("cut_points", 1, wanted="rows of thresholds", free=free)
    steps = at_least_float32(free)
    later = jax.nn.softplus(steps[..., 1:])
    return jnp.cumsum(jnp.concatenate([steps[..., :1], later], -1), -1)


def soft_labels(
    labels: Int[ArrayLike, "*batch"],
    classes: int,
    *,
    scale: Scalar = 1.0,
    power: Scalar = 1.0,
) -> Float[Array, "*batch {classes}"]:
    r"""A distribution over ordered classes that favors those near the label.

    It is the softmax of :math:`-s\, |c - y|^p`, to be used as targets, for example of
    ``classification.soft_cross_entropy``. A label out of range gives NaN.

    Args:
        scale: :math:`s`, how fast it decays; as it grows, the rest vanishes.
        power: :math:`p`, positive.

    Example:
        >>> soft_labels(jnp.array(1), 3, scale=jnp.log(2.0))
        Array([0.25, 0.5 , 0.25], dtype=float32)

    Reference:
        Diaz & Marathe, "Soft Labels for Ordinal Regression", 2019.
    """
    require_integer("soft_labels", labels=labels)
    truth = jnp.asarray(labels)
    poison = poison_unless_class("soft_labels", truth, classes)
    grades = jax.lax.broadcasted_iota(jnp.int32, (*truth.shape, classes), truth.ndim)
    steps = jnp.abs(grades - truth.astype(jnp.int32)[..., None]).astype(jnp.float32)
    distance = steps ** jnp.asarray(power).astype(jnp.float32)
    decay = -jnp.asarray(scale).astype(jnp.float32) * distance
    return jax.nn.softmax(decay, -1) * poison[..., None]


def _ranked(
    name: str,
    logits: Float[ArrayLike, "*batch thresholds"],
    labels: Int[ArrayLike, "*batch"],
    where: Bool[ArrayLike, "*#batch"] | None,
) -> Labeled:
    """Check and clean logits of thresholds, and labels of one class more than those."""
    require_floating(name, logits=logits)
    require_integer(name, labels=labels)
    require_rank(name, 1, wanted="one row of thresholds per label", logits=logits)
    scored, truth = at_least_float32(logits), jnp.asarray(labels)
    batch, thresholds = scored.shape[:-1], scored.shape[-1]
    require_shape(name, batch, wanted="one class id per row of logits,", labels=truth)
    selected = selection(name, where, batch)
    scored, truth = masked(scored, selected), masked(truth, selected)
    poison = poison_unless_class(name, truth, thresholds + 1)
    return Labeled(scored, truth.clip(0, thresholds).astype(jnp.int32), poison)


def _above(
    logits: Float[Array, "*batch thresholds"], labels: Int[Array, "*batch"]
) -> Bool[Array, "*batch thresholds"]:
    """Whether each label lies above each threshold."""
    return labels[..., None] > jax.lax.broadcasted_iota(jnp.int32, logits.shape, logits.ndim - 1)


def _placed(
    name: str,
    predictions: Real[ArrayLike, "*batch"],
    labels: Int[ArrayLike, "*batch"],
    cut_points: Real[ArrayLike, " thresholds"],
    where: Bool[ArrayLike, "*#batch"] | None,
) -> tuple[Array, Array, Array, Array]:
    """Check and clean predictions and labels, and the cut points they share; and the poison."""
    require_real(name, predictions=predictions, cut_points=cut_points)
    require_integer(name, labels=labels)
    require_rank(name, 1, wanted="one row of thresholds", exact=True, cut_points=cut_points)
    require_shape(
        name, jnp.shape(predictions), wanted="one class id per prediction,", labels=labels
    )
    predicted, cuts = promoted(predictions, cut_points)
    truth, last = jnp.asarray(labels), cuts.shape[0]
    selected = selection(name, where, predicted.shape)
    predicted, truth = masked(predicted, selected), masked(truth, selected)
    poison = poison_unless_class(name, truth, last + 1)
    return predicted * poison, truth.clip(0, last).astype(jnp.int32), cuts, poison


def _hinges(
    name: str,
    predictions: Real[ArrayLike, "*batch"],
    labels: Int[ArrayLike, "*batch"],
    cut_points: Real[ArrayLike, " thresholds"],
    margin: Scalar,
    where: Bool[ArrayLike, "*#batch"] | None,
) -> tuple[Array, Array, Array]:
    """The hinge of each prediction at each threshold, the labels, and the poison."""
    predicted, truth, cuts, poison = _placed(name, predictions, labels, cut_points, where)
    ahead = predicted[..., None] - jnp.broadcast_to(cuts, (*predicted.shape, *cuts.shape))
    signed = jnp.where(_above(ahead, truth), ahead, -ahead)
    return jax.nn.relu(margin - signed), truth, poison
