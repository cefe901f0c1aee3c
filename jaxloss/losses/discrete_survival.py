"""Losses of survival models over intervals of time, with one logit for each interval.

A label is the interval in which the event happened, or the last one that was seen through without
it, where ``events`` is 0. Hazards need not be proportional: each interval has its own.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Bool, Float, Int, Real

from jaxloss.core.checks import (
    check_positive,
    check_unit_interval,
    require_rank,
    require_real,
    require_same_shape,
)
from jaxloss.core.compiling import compiled
from jaxloss.core.inputs import Scalar, at_least_float32, labeled, masked, selection
from jaxloss.core.intervals import intervals, possible_nll, survivors_excess, with_beyond
from jaxloss.core.preconditions import check
from jaxloss.core.reducing import Reduction, reduce
from jaxloss.core.summing import row_sum


@compiled("reduction")
def logistic_hazard(
    logits: Float[ArrayLike, "*batch classes"],
    labels: Int[ArrayLike, "*batch"],
    events: Bool[ArrayLike, "*batch"] | Real[ArrayLike, "*batch"],
    *,
    where: Bool[ArrayLike, "*#batch"] | None = None,
    weights: Real[ArrayLike, "..."] | None = None,
    reduction: Reduction = "mean",
) -> Float[Array, "..."]:
    r"""Negative log-likelihood of surviving one interval after the other, each by a logit.

    With :math:`d` 1 for an event and 0 without:

    .. math::
        \ell = -\sum_{k < y} \log(1 - h_k) - d \log h_y - (1 - d) \log(1 - h_y),
        \qquad h = \sigma(z)

    As many yes-or-no questions as there are intervals, asked until the answer is yes. The
    unreduced shape is ``*batch``.

    Args:
        labels: :math:`y`, the last interval that was seen.
        events: 1 where the event happened in it, 0 where it was seen through without.
        where, weights, reduction: see :func:`jaxloss.core.reducing.reduce`. A label whose
            ``where`` is false may hold any integer; any other out of range gives NaN.

    Example:
        >>> logistic_hazard(jnp.zeros((1, 5)), jnp.array([2]), jnp.array([1]))  # 3 log 2
        Array(2.0794415, dtype=float32)

    Reference:
        Gensheimer & Narasimhan, "A Scalable Discrete-Time Survival Model for Neural Networks",
        2019.
    """
    name = "logistic_hazard"
    logits, labels, poison = labeled(name, logits, labels, where)
    event = _happened(name, events, labels, where)[..., None]
    interval, last = intervals(logits), labels[..., None]
    answers = jnp.where(event & (interval == last), -1, 1) * at_least_float32(logits)
    loss = row_sum(jax.nn.softplus(jnp.where(interval <= last, answers, -jnp.inf)))
    return reduce(name, loss * poison, where, weights, reduction)


@compiled("reduction")
def pmf(
    logits: Float[ArrayLike, "*batch classes"],
    labels: Int[ArrayLike, "*batch"],
    events: Bool[ArrayLike, "*batch"] | Real[ArrayLike, "*batch"],
    *,
    where: Bool[ArrayLike, "*#batch"] | None = None,
    weights: Real[ArrayLike, "..."] | None = None,
    reduction: Reduction = "mean",
) -> Float[Array, "..."]:
    r"""Negative log-likelihood of when an event happens, by a softmax over intervals.

    .. math::
        \ell = -d \log p_y - (1 - d) \log \sum_{k > y} p_k,
        \qquad p = \operatorname{softmax}(z_0, \dots, z_{K-1}, 0)

    The last probability, of logit 0, is that of outliving all intervals. With
    :func:`deephit_rank` added this is DeepHit. The unreduced shape is ``*batch``.

    Args:
        labels, events: see :func:`logistic_hazard`.
        where, weights, reduction: see :func:`jaxloss.core.reducing.reduce`. A label whose
            ``where`` is false may hold any integer; any other out of range gives NaN.

    Example:
        >>> pmf(jnp.zeros((1, 3)), jnp.array([1]), jnp.array([0]))  # half is beyond
        Array(0.6931472, dtype=float32)

    Reference:
        Kvamme & Borgan, "Continuous and Discrete-Time Survival Prediction with Neural Networks",
        2021.
    """
    name = "pmf"
    logits, labels, poison = labeled(name, logits, labels, where)
    event = _happened(name, events, labels, where)
    loss = _interval_nll(at_least_float32(logits), labels, event)
    return reduce(name, loss * poison, where, weights, reduction)


@compiled("reduction")
def mtlr(
    logits: Float[ArrayLike, "*batch classes"],
    labels: Int[ArrayLike, "*batch"],
    events: Bool[ArrayLike, "*batch"] | Real[ArrayLike, "*batch"],
    *,
    where: Bool[ArrayLike, "*#batch"] | None = None,
    weights: Real[ArrayLike, "..."] | None = None,
    reduction: Reduction = "mean",
) -> Float[Array, "..."]:
    r"""Negative log-likelihood of when an event happens, by one logistic regression per interval.

    .. math::
        \ell = -d \log p_y - (1 - d) \log \sum_{k > y} p_k,
        \qquad p = \operatorname{softmax}(s_0, \dots, s_{K-1}, 0), \quad s_k = \sum_{j \ge k} z_j

    :func:`pmf` of logits summed from the last: each logit is for the event having happened by the
    end of its interval, and neighbors share what they learn. The unreduced shape is ``*batch``.

    Args:
        labels, events: see :func:`logistic_hazard`.
        where, weights, reduction: see :func:`jaxloss.core.reducing.reduce`. A label whose
            ``where`` is false may hold any integer; any other out of range gives NaN.

    Example:
        >>> mtlr(jnp.zeros((1, 3)), jnp.array([1]), jnp.array([1]))  # log 4
        Array(1.3862944, dtype=float32)

    Reference:
        Yu et al., "Learning Patient-Specific Cancer Survival Distributions as a Sequence of
        Dependent Regressors", 2011.
    """
    name = "mtlr"
    logits, labels, poison = labeled(name, logits, labels, where)
    event = _happened(name, events, labels, where)
    summed = jnp.flip(jnp.cumsum(jnp.flip(at_least_float32(logits), -1), -1), -1)
    loss = _interval_nll(summed, labels, event)
    return reduce(name, loss * poison, where, weights, reduction)


@compiled("reduction")
def pc_hazard(
    logits: Float[ArrayLike, "*batch classes"],
    labels: Int[ArrayLike, "*batch"],
    events: Bool[ArrayLike, "*batch"] | Real[ArrayLike, "*batch"],
    fractions: Real[ArrayLike, "*batch"],
    *,
    where: Bool[ArrayLike, "*#batch"] | None = None,
    weights: Real[ArrayLike, "..."] | None = None,
    reduction: Reduction = "mean",
) -> Float[Array, "..."]:
    r"""Negative log-likelihood of a hazard that is constant within each interval.

    .. math::
        \ell = \sum_{k < y} \eta_k + \rho\, \eta_y - d \log \eta_y,
        \qquad \eta = \log(1 + e^z)

    Time is continuous, in units of the interval: as the logarithm of a density the loss may be
    negative. The unreduced shape is ``*batch``.

    Args:
        labels, events: see :func:`logistic_hazard`; here an interval may be seen in part.
        fractions: :math:`\rho`, how much of its last interval each has lived; in [0, 1].
        where, weights, reduction: see :func:`jaxloss.core.reducing.reduce`. A label whose
            ``where`` is false may hold any integer; any other out of range gives NaN.

    Example:
        >>> pc_hazard(jnp.zeros((1, 3)), jnp.array([1]), jnp.array([0]), jnp.array([0.0]))
        Array(0.6931472, dtype=float32)

    Reference:
        Kvamme & Borgan, "Continuous and Discrete-Time Survival Prediction with Neural Networks",
        2021.
    """
    name = "pc_hazard"
    logits, labels, poison = labeled(name, logits, labels, where)
    event = _happened(name, events, labels, where)
    require_real(name, fractions=fractions)
    require_same_shape(name, labels=labels, fractions=fractions)
    fraction = masked(at_least_float32(fractions), selection(name, where, labels.shape))
    fraction = check_unit_interval(name, "fractions", fraction)[..., None]
    interval, last, score = intervals(logits), labels[..., None], at_least_float32(logits)
    # promoted by hand: the two may be of different precision
    lived = jnp.where(interval < last, 1, jnp.where(interval == last, fraction, 0))
    loss = row_sum(lived.astype(score.dtype) * jax.nn.softplus(score))
    final = jnp.take_along_axis(score, last, -1).squeeze(-1)
    loss -= jnp.where(event, _log_softplus(jnp.where(event, final, 0)), 0)
    return reduce(name, loss * poison, where, weights, reduction)


@compiled("reduction")
def deephit_rank(
    logits: Float[ArrayLike, "batch classes"],
    labels: Int[ArrayLike, " batch"],
    events: Bool[ArrayLike, " batch"] | Real[ArrayLike, " batch"],
    *,
    scale: Scalar = 0.1,
    where: Bool[ArrayLike, " #batch"] | None = None,
    weights: Real[ArrayLike, "..."] | None = None,
    reduction: Reduction = "mean",
) -> Float[Array, "..."]:
    r"""Penalty if who had an event early was not given more risk by then than who lived on.

    With :math:`F_i` the cumulative probabilities of :func:`pmf`, of events by each interval:

    .. math::
        \ell_i = \frac{d_i}{n} \sum_{j \text{ outlived } y_i}
            \exp \frac{F_j(y_i) - F_i(y_i)}{\sigma}

    The second part of DeepHit, to be added to :func:`pmf` by :func:`jaxloss.compose.weighted`.
    It factors by intervals, so that no array of pairs is made. An example outlives an interval if
    its own comes later, or is the same one, seen through without an event. The unreduced shape is
    ``batch``.

    Args:
        labels, events: see :func:`logistic_hazard`.
        scale: :math:`\sigma`, a difference of probabilities that matters; positive.
        where: which examples exist, :math:`n` of them; the others are not compared with either.
        weights, reduction: see :func:`jaxloss.core.reducing.reduce`.

    Example:
        >>> deephit_rank(jnp.zeros((2, 3)), jnp.array([0, 1]), jnp.array([1, 0]))
        Array(0.25, dtype=float32)

    Reference:
        Lee et al., "DeepHit: A Deep Learning Approach to Survival Analysis with Competing Risks",
        2018.
    """
    name = "deephit_rank"
    require_rank(name, 2, wanted="of shape (batch, intervals)", exact=True, logits=logits)
    logits, labels, poison = labeled(name, logits, labels, where)
    event = _happened(name, events, labels, where)
    scale = check_positive(name, "scale", scale)
    exists = selection(name, where, labels.shape)
    exists = jnp.ones(labels.shape, bool) if exists is None else exists
    p = jax.nn.softmax(with_beyond(at_least_float32(logits)), -1)
    risk, scale = jnp.cumsum(p, -1)[..., :-1], scale.astype(p.dtype)
    interval, last = intervals(logits), labels[..., None]
    outlived = (interval < last) | ((interval == last) & ~event[..., None])
    outlived &= exists[..., None]
    count = jnp.maximum(exists.sum(), 1).astype(p.dtype)
    loss = survivors_excess(risk, outlived, (labels,), event, scale) / count
    return reduce(name, loss * poison, where, weights, reduction)


def _happened(
    name: str, events: ArrayLike, labels: Int[Array, "*batch"], where: ArrayLike | None
) -> Bool[Array, "*batch"]:
    require_same_shape(name, labels=labels, events=events)
    event = jnp.asarray(events)
    if event.dtype == jnp.bool_:
        event = event.astype(jnp.int32)
    event = masked(event, selection(name, where, labels.shape))
    return check(event, (event == 0) | (event == 1), f"{name}: events must be 0 or 1") != 0


def _interval_nll(
    logits: Float[Array, "*batch classes"],
    labels: Int[Array, "*batch"],
    event: Bool[Array, "*batch"],
) -> Float[Array, "*batch"]:
    """The event in its interval, or beyond it."""
    logits = with_beyond(logits)
    interval, last = intervals(logits), labels[..., None]
    return possible_nll(logits, jnp.where(event[..., None], interval == last, interval > last))


def _log_softplus(x: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """The logarithm of ``log(1 + e^x)``, which far below 0 is ``x``."""
    low = x < -12
    small = jnp.exp(jnp.where(low, x, -12))
    near = x - small / 2 + 5 / 24 * small * small
    return jnp.where(low, near, jnp.log(jax.nn.softplus(jnp.where(low, 0, x))))
