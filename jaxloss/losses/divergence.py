r"""Divergences between two distributions, both given as log-probabilities.

The prediction is :math:`q`, the target :math:`t`; :func:`jaxloss.losses.classification.kl` is their
forward Kullback-Leibler divergence, and :mod:`jaxloss.losses.power_divergence` has whole families
of them. Every loss here is a sum of non-negative terms in the logarithm of :math:`t/q`, so that it
keeps its digits where the two nearly agree. An event that both exclude, at ``-inf``, costs nothing.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Bool, Float, Int, Real

from jaxloss.core import distributions
from jaxloss.core.checks import (
    check_not_negative,
    check_unit_interval,
    require_floating,
    require_rank,
)
from jaxloss.core.classes import label_nll, log_softmax
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
    pair = _pair("forward_kl", log_probabilities, target_log_probabilities, where)
    return reduce("forward_kl", distributions.forward_kl(pair), where, weights, reduction)


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
    pair = _pair("reverse_kl", log_probabilities, target_log_probabilities, where)
    return reduce("reverse_kl", distributions.reverse_kl(pair), where, weights, reduction)


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
    pair = _pair(name, log_probabilities, target_log_probabilities, where)
    share = check_unit_interval(name, "target_share", jnp.asarray(target_share))
    from_target, from_predicted = distributions.to_mixture(pair, share)
    loss = share * from_target + (1 - share) * from_predicted
    return reduce(name, loss, where, weights, reduction)


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
    pair = _pair(name, log_probabilities, target_log_probabilities, where)
    return reduce(name, distributions.distances(pair).sum(-1) / 2, where, weights, reduction)


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
    pair = _pair("hellinger", log_probabilities, target_log_probabilities, where)
    likelier, gap = distributions.apart(pair.log_ratio)
    scale = jnp.exp(jnp.where(likelier, pair.log_t, pair.log_q))
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
    pair = _pair("chi_squared", log_probabilities, target_log_probabilities, where)
    likelier, gap = distributions.apart(pair.log_ratio)
    scale = jnp.exp(jnp.where(likelier, pair.log_t + gap, pair.log_q))
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
    predicted = log_softmax(views)
    likeliest = jax.lax.stop_gradient(predicted.max(-2, keepdims=True))
    absent = jnp.isneginf(likeliest)
    gap = jnp.where(absent, 0, likeliest) - jnp.where(absent, 0, predicted)
    # The logarithm of the mixture, as a drop from that of the likeliest of the views.
    drop = jnp.log1p(-complement(gap).mean(-2, keepdims=True))
    mixture = jnp.broadcast_to(likeliest + drop, predicted.shape)
    apart = distributions.relative(predicted, mixture, drop + gap).mean(-2).sum(-1)
    loss = label_nll(first, labels) + check_not_negative("augmix", "scale", scale) * apart
    return reduce("augmix", loss * poison, where, weights, reduction)


def _pair(
    name: str,
    log_probabilities: Float[ArrayLike, "*batch classes"],
    target_log_probabilities: Float[ArrayLike, "*batch classes"],
    where: Bool[ArrayLike, "*#batch"] | None,
) -> distributions.Pair:
    """The two distributions, checked and masked."""
    predicted, actual = rows(
        name,
        where,
        log_probabilities=log_probabilities,
        target_log_probabilities=target_log_probabilities,
    )
    return distributions.pair_of(predicted, actual)
