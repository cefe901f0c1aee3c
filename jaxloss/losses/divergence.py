r"""Divergences between two distributions, both given as log-probabilities.

The prediction is :math:`q`, the target :math:`t`; :func:`jaxloss.losses.classification.kl` is their
forward Kullback-Leibler divergence, and :mod:`jaxloss.losses.power_divergence` has whole families
of them. Every loss here is a sum of non-negative terms in the logarithm of :math:`t/q`, so that it
keeps its digits where the two nearly agree. An event that both exclude, at ``-inf``, costs nothing.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Bool, Float, Int, Real

from jaxloss.core.checks import (
    check_not_negative,
    check_unit_interval,
    require_floating,
    require_rank,
)
from jaxloss.core.classes import class_nll, label_nll, times
from jaxloss.core.compiling import compiled
from jaxloss.core.exponentials import complement
from jaxloss.core.inputs import Scalar, at_least_float32, labeled, masked, rows, selection
from jaxloss.core.reducing import Reduction, reduce


@compiled("reduction")
def forward_kl(
    log_probabilities: Float[ArrayLike, "*batch classes"],
    target_log_probabilities: Float[ArrayLike, "*batch classes"],
    *,
    where: Bool[ArrayLike, "*#batch"] | None = None,
    weights: Real[ArrayLike, "..."] | None = None,
    reduction: Reduction = "mean",
) -> Float[Array, "..."]:
    r"""Kullback-Leibler divergence of the prediction from the target, given by its logarithm.

    .. math::
        \ell = \sum_c t_c \log \frac{t_c}{q_c}

    :func:`jaxloss.losses.classification.kl` for targets that are log-probabilities, as another
    model's. Infinite if the prediction excludes what the target does not. The unreduced shape is
    ``*batch``.

    Args:
        where, weights, reduction: see :func:`jaxloss.core.reducing.reduce`.

    Example:
        >>> q, t = jnp.array([0.8, 0.2]), jnp.array([0.5, 0.5])
        >>> forward_kl(jnp.log(q), jnp.log(t))  # log(5/4)
        Array(0.2231435...

    Reference:
        Kullback and Leibler, "On Information and Sufficiency", 1951.
    """
    predicted, actual = rows(
        "forward_kl",
        where,
        log_probabilities=log_probabilities,
        target_log_probabilities=target_log_probabilities,
    )
    loss = _relative(actual, predicted, -_log_ratio(predicted, actual)).sum(-1)
    return reduce("forward_kl", loss, where, weights, reduction)


@compiled("reduction")
def reverse_kl(
    log_probabilities: Float[ArrayLike, "*batch classes"],
    target_log_probabilities: Float[ArrayLike, "*batch classes"],
    *,
    where: Bool[ArrayLike, "*#batch"] | None = None,
    weights: Real[ArrayLike, "..."] | None = None,
    reduction: Reduction = "mean",
) -> Float[Array, "..."]:
    r"""Kullback-Leibler divergence of the target from the prediction.

    .. math::
        \ell = \sum_c q_c \log \frac{q_c}{t_c}

    Where the forward divergence asks the prediction to cover all of the target, this one asks it to
    stay within: it picks a mode. Infinite if the prediction allows what the target excludes. The
    unreduced shape is ``*batch``.

    Args:
        where, weights, reduction: see :func:`jaxloss.core.reducing.reduce`.

    Example:
        >>> q, t = jnp.array([0.5, 0.5]), jnp.array([0.8, 0.2])
        >>> reverse_kl(jnp.log(q), jnp.log(t))  # log(5/4)
        Array(0.2231435...

    Reference:
        Kullback and Leibler, "On Information and Sufficiency", 1951.
    """
    predicted, actual = rows(
        "reverse_kl",
        where,
        log_probabilities=log_probabilities,
        target_log_probabilities=target_log_probabilities,
    )
    loss = _relative(predicted, actual, _log_ratio(predicted, actual)).sum(-1)
    return reduce("reverse_kl", loss, where, weights, reduction)


@compiled("reduction")
def jensen_shannon(
    log_probabilities: Float[ArrayLike, "*batch classes"],
    target_log_probabilities: Float[ArrayLike, "*batch classes"],
    *,
    target_share: Scalar = 0.5,
    where: Bool[ArrayLike, "*#batch"] | None = None,
    weights: Real[ArrayLike, "..."] | None = None,
    reduction: Reduction = "mean",
) -> Float[Array, "..."]:
    r"""How far two distributions are, in the mean, from their mixture.

    .. math::
        \ell = \pi \operatorname{KL}(t \,\|\, m) + (1 - \pi) \operatorname{KL}(q \,\|\, m),
        \qquad m = \pi t + (1 - \pi) q

    Symmetric at 1/2, and at most the entropy of :math:`(\pi, 1 - \pi)`: an excluded event costs
    little. Divided by :math:`\pi` it becomes the forward divergence for small :math:`\pi`; divided
    by :math:`1 - \pi`, the reverse one as :math:`\pi` nears 1. The unreduced shape is
    ``*batch``.

    Args:
        target_share: :math:`\pi`, the share of the target in the mixture; between 0 and 1.
        where, weights, reduction: see :func:`jaxloss.core.reducing.reduce`.

    Example:
        >>> q, t = jnp.array([0.5, 0.5]), jnp.array([0.8, 0.2])
        >>> jensen_shannon(jnp.log(q), jnp.log(t))
        Array(0.0506...

    Reference:
        Lin, "Divergence Measures Based on the Shannon Entropy", 1991.
    """
    name = "jensen_shannon"
    predicted, actual = rows(
        name,
        where,
        log_probabilities=log_probabilities,
        target_log_probabilities=target_log_probabilities,
    )
    share = check_unit_interval(name, "target_share", jnp.asarray(target_share))
    likelier, gap = _apart(predicted, actual)
    # The logarithm of the mixture, as a drop from that of the likelier of the two.
    drop = jnp.log1p(jnp.where(likelier, share - 1, -share) * complement(gap))
    mixture = jnp.where(likelier, actual, predicted) + drop
    over_target, over_predicted = jnp.where(likelier, 0, gap), jnp.where(likelier, gap, 0)
    loss = share * _relative(actual, mixture, drop + over_target)
    loss += (1 - share) * _relative(predicted, mixture, drop + over_predicted)
    return reduce(name, loss.sum(-1), where, weights, reduction)


@compiled("reduction")
def total_variation(
    log_probabilities: Float[ArrayLike, "*batch classes"],
    target_log_probabilities: Float[ArrayLike, "*batch classes"],
    *,
    where: Bool[ArrayLike, "*#batch"] | None = None,
    weights: Real[ArrayLike, "..."] | None = None,
    reduction: Reduction = "mean",
) -> Float[Array, "..."]:
    r"""Largest difference between the probabilities that two distributions give to any event.

    .. math::
        \ell = \frac12 \sum_c |t_c - q_c|

    Between 0 and 1. Its gradient does not fade as the two approach, except for classes on which
    they agree, where it is 0. The unreduced shape is ``*batch``.

    Args:
        where, weights, reduction: see :func:`jaxloss.core.reducing.reduce`.

    Example:
        >>> q, t = jnp.array([0.5, 0.5]), jnp.array([0.8, 0.2])
        >>> total_variation(jnp.log(q), jnp.log(t))
        Array(0.3...

    Reference:
        Levin, Peres and Wilmer, "Markov Chains and Mixing Times", 2009.
    """
    name = "total_variation"
    predicted, actual = rows(
        name,
        where,
        log_probabilities=log_probabilities,
        target_log_probabilities=target_log_probabilities,
    )
    likelier, gap = _apart(predicted, actual)
    distance = jnp.exp(jnp.where(likelier, actual, predicted)) * complement(gap)
    loss = jnp.where(gap == 0, 0, distance).sum(-1) / 2
    return reduce(name, loss, where, weights, reduction)


@compiled("reduction")
def hellinger(
    log_probabilities: Float[ArrayLike, "*batch classes"],
    target_log_probabilities: Float[ArrayLike, "*batch classes"],
    *,
    where: Bool[ArrayLike, "*#batch"] | None = None,
    weights: Real[ArrayLike, "..."] | None = None,
    reduction: Reduction = "mean",
) -> Float[Array, "..."]:
    r"""Half the squared distance between the square roots of two distributions.

    .. math::
        \ell = \frac12 \sum_c \left( \sqrt{t_c} - \sqrt{q_c} \right)^2 = 1 - \sum_c \sqrt{t_c q_c}

    Between 0 and 1; its root is a metric. A quarter of the alpha divergence at order 1/2. The
    unreduced shape is ``*batch``.

    Args:
        where, weights, reduction: see :func:`jaxloss.core.reducing.reduce`.

    Example:
        >>> q, t = jnp.array([0.5, 0.5]), jnp.array([0.8, 0.2])
        >>> hellinger(jnp.log(q), jnp.log(t))
        Array(0.0513...

    Reference:
        Hellinger, "Neue Begründung der Theorie quadratischer Formen von unendlichvielen
        Veränderlichen", 1909.
    """
    predicted, actual = rows(
        "hellinger",
        where,
        log_probabilities=log_probabilities,
        target_log_probabilities=target_log_probabilities,
    )
    likelier, gap = _apart(predicted, actual)
    scale = jnp.exp(jnp.where(likelier, actual, predicted))
    loss = (scale * jnp.square(complement(gap / 2))).sum(-1) / 2
    return reduce("hellinger", loss, where, weights, reduction)


@compiled("reduction")
def chi_squared(
    log_probabilities: Float[ArrayLike, "*batch classes"],
    target_log_probabilities: Float[ArrayLike, "*batch classes"],
    *,
    where: Bool[ArrayLike, "*#batch"] | None = None,
    weights: Real[ArrayLike, "..."] | None = None,
    reduction: Reduction = "mean",
) -> Float[Array, "..."]:
    r"""Squared difference of two distributions, relative to the prediction.

    .. math::
        \ell = \sum_c \frac{(t_c - q_c)^2}{q_c}

    Twice the alpha divergence at order 2, and the variance of the weights :math:`t/q` of
    importance sampling. Infinite if the prediction excludes what the target does not. The
    unreduced shape is ``*batch``.

    Args:
        where, weights, reduction: see :func:`jaxloss.core.reducing.reduce`.

    Example:
        >>> q, t = jnp.array([0.5, 0.5]), jnp.array([0.8, 0.2])
        >>> chi_squared(jnp.log(q), jnp.log(t))
        Array(0.36...

    Reference:
        Pearson, "On the Criterion That a Given System of Deviations from the Probable ... Can Be
        Reasonably Supposed to Have Arisen from Random Sampling", 1900.
    """
    predicted, actual = rows(
        "chi_squared",
        where,
        log_probabilities=log_probabilities,
        target_log_probabilities=target_log_probabilities,
    )
    likelier, gap = _apart(predicted, actual)
    scale = jnp.exp(jnp.where(likelier, actual + gap, predicted))
    loss = (scale * jnp.square(complement(gap))).sum(-1)
    return reduce("chi_squared", loss, where, weights, reduction)


@compiled("reduction")
def augmix(
    logits: Float[ArrayLike, "*batch views classes"],
    labels: Int[ArrayLike, "*batch"],
    *,
    scale: Scalar = 12.0,
    where: Bool[ArrayLike, "*#batch"] | None = None,
    weights: Real[ArrayLike, "..."] | None = None,
    reduction: Reduction = "mean",
) -> Float[Array, "..."]:
    r"""Cross-entropy of the first of several views, plus how far their predictions are apart.

    .. math::
        \ell = -\log p^1_y + \frac{\lambda}{K} \sum_k \operatorname{KL}(p^k \,\|\, m),
        \qquad m = \frac1K \sum_k p^k

    The views are one image, unchanged first and then augmented; the second term is the
    Jensen-Shannon divergence of all :math:`K`. The unreduced shape is ``*batch``.

    Args:
        scale: :math:`\lambda`, how much consistency counts; not negative.
        where, weights, reduction: see :func:`jaxloss.core.reducing.reduce`. A label whose
            ``where`` is false may hold any integer; any other label outside [0, C) gives NaN.

    Example:
        >>> logits = jnp.array([[0.0, 0.0], [100.0, 0.0], [0.0, 100.0]])
        >>> augmix(logits, jnp.array(0), scale=3.0)  # log 2 + 2 log 2
        Array(2.0794415, dtype=float32)

    Reference:
        Hendrycks et al., "AugMix: A Simple Data Processing Method to Improve Robustness and
        Uncertainty", 2020.
    """
    require_floating("augmix", logits=logits)
    require_rank("augmix", 2, wanted="of shape (*batch, views, classes)", logits=logits)
    views = at_least_float32(logits)
    first, labels, poison = labeled("augmix", views[..., 0, :], labels, where)
    views = masked(views, selection("augmix", where, labels.shape))
    predicted = -class_nll(views)
    likeliest = jax.lax.stop_gradient(predicted.max(-2, keepdims=True))
    absent = jnp.isneginf(likeliest)
    gap = jnp.where(absent, 0, likeliest) - jnp.where(absent, 0, predicted)
    # The logarithm of the mixture, as a drop from that of the likeliest of the views.
    drop = jnp.log1p(-complement(gap).mean(-2, keepdims=True))
    mixture = jnp.broadcast_to(likeliest + drop, predicted.shape)
    apart = _relative(predicted, mixture, drop + gap).mean(-2).sum(-1)
    loss = label_nll(first, labels) + check_not_negative("augmix", "scale", scale) * apart
    return reduce("augmix", loss * poison, where, weights, reduction)


def _log_ratio(
    predicted: Float[Array, "*shape"], actual: Float[Array, "*shape"]
) -> Float[Array, "*shape"]:
    """``log(t / q)``, and 0 where both exclude the event."""
    absent = jnp.isneginf(predicted) & jnp.isneginf(actual)
    return jnp.where(absent, 0, actual) - jnp.where(absent, 0, predicted)


def _apart(
    predicted: Float[Array, "*shape"], actual: Float[Array, "*shape"]
) -> tuple[Bool[Array, "*shape"], Float[Array, "*shape"]]:
    """Whether the target gives an event the higher probability, and ``abs(log(t / q))``."""
    ratio = _log_ratio(predicted, actual)
    return ratio >= 0, jnp.where(ratio >= 0, ratio, -ratio)


def _relative(
    log_w: Float[Array, "*shape"], log_v: Float[Array, "*shape"], ratio: Float[Array, "*shape"]
) -> Float[Array, "*shape"]:
    """``w log(w / v) - w + v``, not negative, given ``log(v / w)`` to all its digits."""
    near = jnp.abs(ratio) < 1
    x = jnp.where(near, ratio, 0)
    w, v = jnp.exp(log_w), jnp.exp(log_v)
    series = jnp.ones_like(x)
    for k in range(18, 0, -1):
        series = 1 + x / (k + 2) * series
    far = v - w - times(w, jnp.where(near, 0, ratio))
    return jnp.where(near, w * x * x / 2 * series, far)
