r"""Families of divergences, each along an order that may be scheduled, swept or learnt.

Orders at which the formula is 0/0 and a logarithm takes over are no exception: value and all
derivatives, in the order too, are exact there. Distributions are given as log-probabilities,
positive quantities that need not sum to one by their logarithms.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Bool, Float, Real

from jaxloss.core.checks import check_positive
from jaxloss.core.compiling import compiled
from jaxloss.core.exponentials import exponential_series, log1p_ratio
from jaxloss.core.inputs import Scalar, elements, rows
from jaxloss.core.reducing import Reduction, reduce


@compiled("reduction")
def alpha(
    log_probabilities: Float[ArrayLike, "*batch classes"],
    target_log_probabilities: Float[ArrayLike, "*batch classes"],
    *,
    order: Scalar = 0.5,
    where: Bool[ArrayLike, "*#batch"] | None = None,
    weights: Real[ArrayLike, "..."] | None = None,
    reduction: Reduction = "mean",
) -> Float[Array, "..."]:
    r"""Bridge between the forward and the reverse Kullback-Leibler divergence.

    .. math::
        \ell = \frac{\sum_c t_c^\alpha q_c^{1 - \alpha} - 1}{\alpha (\alpha - 1)}

    At order 1 it is the forward divergence, at 0 the reverse one, exactly and in all
    derivatives; times its order it is the Tsallis divergence. High orders ask for coverage of the
    target, low ones for staying within. The unreduced shape is ``*batch``.

    Args:
        order: :math:`\alpha`, any number.
        where, weights, reduction: see :func:`jaxloss.core.reducing.reduce`.

    Example:
        >>> q, t = jnp.array([0.5, 0.5]), jnp.array([0.8, 0.2])
        >>> alpha(jnp.log(q), jnp.log(t), order=2.0)
        Array(0.18...

    Reference:
        Amari, "Differential-Geometrical Methods in Statistics", 1985.
    """
    predicted, actual = rows(
        "alpha",
        where,
        log_probabilities=log_probabilities,
        target_log_probabilities=target_log_probabilities,
    )
    loss = _alphas(predicted, actual, order).sum(-1)
    return reduce("alpha", loss, where, weights, reduction)


@compiled("reduction")
def renyi(
    log_probabilities: Float[ArrayLike, "*batch classes"],
    target_log_probabilities: Float[ArrayLike, "*batch classes"],
    *,
    order: Scalar = 2.0,
    where: Bool[ArrayLike, "*#batch"] | None = None,
    weights: Real[ArrayLike, "..."] | None = None,
    reduction: Reduction = "mean",
) -> Float[Array, "..."]:
    r"""Kullback-Leibler divergence with another mean of the logarithms.

    .. math::
        \ell = \frac{1}{\alpha - 1} \log \sum_c t_c^\alpha q_c^{1 - \alpha}

    Grows with its order, from :math:`-2 \log \sum \sqrt{t q}` at 1/2 over the Kullback-Leibler
    divergence at 1 to the logarithm of the largest :math:`t/q`. The unreduced shape is
    ``*batch``.

    Args:
        order: :math:`\alpha`, positive.
        where, weights, reduction: see :func:`jaxloss.core.reducing.reduce`.

    Example:
        >>> q, t = jnp.array([0.5, 0.5]), jnp.array([0.8, 0.2])
        >>> renyi(jnp.log(q), jnp.log(t), order=2.0)  # log 1.36
        Array(0.3074...

    Reference:
        Rényi, "On Measures of Entropy and Information", 1961.
    """
    predicted, actual = rows(
        "renyi",
        where,
        log_probabilities=log_probabilities,
        target_log_probabilities=target_log_probabilities,
    )
    order = check_positive("renyi", "order", order)
    total = order * _alphas(predicted, actual, order).sum(-1)
    surplus = (order - 1) * jnp.where(jnp.isinf(total), 0, total)
    near = jnp.isfinite(total) & (jnp.abs(surplus) < 0.5)
    small = jnp.where(near, surplus, 0)
    far = _log_overlap(predicted, actual, order) / jnp.where(order == 1, 1, order - 1)
    loss = jnp.where(near, total * log1p_ratio(small), far)
    return reduce("renyi", loss, where, weights, reduction)


@compiled("reduction")
def generalized_kl(
    log_predictions: Float[ArrayLike, "*shape"],
    log_targets: Float[ArrayLike, "*shape"],
    *,
    where: Bool[ArrayLike, "*#shape"] | None = None,
    weights: Real[ArrayLike, "..."] | None = None,
    reduction: Reduction = "mean",
) -> Float[Array, "..."]:
    r"""Kullback-Leibler divergence of positive quantities that need not sum to one.

    .. math::
        \ell = t \log \frac{t}{p} - t + p

    :func:`beta` at order 1; the Poisson deviance is twice as much. A target of zero costs
    :math:`p`. The unreduced shape is that of ``log_predictions``.

    Args:
        log_predictions, log_targets: logarithms of :math:`p` and :math:`t`, such as counts,
            intensities or power spectra. A target may be ``-inf``.
        where, weights, reduction: see :func:`jaxloss.core.reducing.reduce`.

    Example:
        >>> generalized_kl(jnp.log(jnp.array([2.0, 2.0])), jnp.log(jnp.array([1.0, 0.0])))
        Array(1.153426..., dtype=float32)

    Reference:
        Csiszár, "Why Least Squares and Maximum Entropy?", 1991.
    """
    predicted, actual = elements(
        "generalized_kl", where, log_predictions=log_predictions, log_targets=log_targets
    )
    loss = _powers(predicted, actual, actual - predicted, actual, 1.0)
    return reduce("generalized_kl", loss, where, weights, reduction)


@compiled("reduction")
def itakura_saito(
    log_predictions: Float[ArrayLike, "*shape"],
    log_targets: Float[ArrayLike, "*shape"],
    *,
    where: Bool[ArrayLike, "*#shape"] | None = None,
    weights: Real[ArrayLike, "..."] | None = None,
    reduction: Reduction = "mean",
) -> Float[Array, "..."]:
    r"""Divergence of positive quantities in which only their ratio counts.

    .. math::
        \ell = \frac{t}{p} - \log \frac{t}{p} - 1

    :func:`beta` at order 0: quiet parts of a spectrum matter as much as loud ones. The likelihood
    of an exponential or gamma variable, but for a constant. The unreduced shape is that of
    ``log_predictions``.

    Args:
        log_predictions, log_targets: logarithms of :math:`p` and :math:`t`, such as counts,
            intensities or power spectra.
        where, weights, reduction: see :func:`jaxloss.core.reducing.reduce`.

    Example:
        >>> itakura_saito(jnp.log(jnp.array([2.0, 200.0])), jnp.log(jnp.array([1.0, 100.0])))
        Array(0.193147..., dtype=float32)

    Reference:
        Itakura and Saito, "Analysis Synthesis Telephony Based on the Maximum Likelihood Method",
        1968.
    """
    predicted, actual = elements(
        "itakura_saito", where, log_predictions=log_predictions, log_targets=log_targets
    )
    ratio = actual - predicted
    one = jnp.zeros_like(ratio)
    loss = _powers(one, ratio, ratio, one, 0.0)
    return reduce("itakura_saito", loss, where, weights, reduction)


@compiled("reduction")
def beta(
    log_predictions: Float[ArrayLike, "*shape"],
    log_targets: Float[ArrayLike, "*shape"],
    *,
    order: Scalar = 0.5,
    where: Bool[ArrayLike, "*#shape"] | None = None,
    weights: Real[ArrayLike, "..."] | None = None,
    reduction: Reduction = "mean",
) -> Float[Array, "..."]:
    r"""Bridge from the Itakura-Saito divergence over Kullback and Leibler's to the squared error.

    .. math::
        \ell = \frac{t^\beta + (\beta - 1)\, p^\beta - \beta\, t\, p^{\beta - 1}}
                    {\beta (\beta - 1)}

    At order 0 it is :func:`itakura_saito`, at 1 :func:`generalized_kl`, at 2 half the squared
    error. The lower the order, the less the scale counts. The unreduced shape is that of
    ``log_predictions``.

    Args:
        log_predictions, log_targets: logarithms of :math:`p` and :math:`t`, such as counts,
            intensities or power spectra.
        order: :math:`\beta`, any number.
        where, weights, reduction: see :func:`jaxloss.core.reducing.reduce`.

    Example:
        >>> beta(jnp.log(jnp.array([3.0])), jnp.log(jnp.array([1.0])), order=2.0)
        Array(2..., dtype=float32)

    Reference:
        Févotte and Idier, "Algorithms for Nonnegative Matrix Factorization with the
        Beta-Divergence", 2011.
    """
    predicted, actual = elements(
        "beta", where, log_predictions=log_predictions, log_targets=log_targets
    )
    ratio, scale = actual - predicted, order * predicted
    mixed = order * jnp.where(jnp.isneginf(actual), 0, actual)
    loss = _powers(scale, scale + ratio, ratio, mixed, order)
    return reduce("beta", loss, where, weights, reduction)


def _alphas(
    predicted: Float[Array, "*shape"], actual: Float[Array, "*shape"], order: Scalar
) -> Float[Array, "*shape"]:
    """The terms of the alpha divergence."""
    mixed = _mixed(predicted, actual, order)
    return _powers(predicted, actual, actual - predicted, mixed, order)


def _mixed(
    predicted: Float[Array, "*shape"], actual: Float[Array, "*shape"], order: Scalar
) -> Float[Array, "*shape"]:
    """``log(t^a q^(1-a))``, and 0 where either is 0."""
    common = jnp.isfinite(predicted) & jnp.isfinite(actual)
    log_q, log_t = jnp.where(common, predicted, 0), jnp.where(common, actual, 0)
    return order * log_t + (1 - order) * log_q


def _powers(
    predicted: Float[Array, "*shape"],
    actual: Float[Array, "*shape"],
    ratio: Float[Array, "*shape"],
    mixed: Float[Array, "*shape"],
    order: Scalar,
) -> Float[Array, "*shape"]:
    """``(t^a q^(1-a) - a t - (1-a) q) / (a (a-1))``: not negative, and smooth in the order a.

    Given the logarithms of q and t, of t/q to all its digits, and of t^a q^(1-a).
    """
    without_t, without_q = jnp.isneginf(actual), jnp.isneginf(predicted)
    common = ~(without_t | without_q)
    ratio = jnp.where(common, ratio, 0)
    near = jnp.maximum(jnp.abs(ratio), jnp.abs(order * ratio)) < 1
    x = jnp.where(near, ratio, 0)
    series, term, coefficient = jnp.zeros_like(x), x * x / 2, 1.0  # 1 + a + ... + a^(n-2)
    for n in range(2, 22):
        series += coefficient * term
        coefficient, term = 1 + order * coefficient, term * (x / (n + 1))
    q, t, blend = jnp.exp(predicted), jnp.exp(actual), jnp.exp(mixed)
    far = _span(t, blend, ratio, order - 1) - _span(q, blend, ratio, order)
    far = jnp.where(jnp.isinf(blend), blend, far)
    only_q = jnp.where(order > 0, q / jnp.where(order > 0, order, 1), jnp.inf)
    only_t = jnp.where(order < 1, t / jnp.where(order < 1, 1 - order, 1), jnp.inf)
    alone = jnp.where(without_q, jnp.where(without_t, 0, only_t), only_q)
    return jnp.where(common, jnp.where(near, q * series, far), alone)


def _span(
    w: Float[Array, "*shape"],
    end: Float[Array, "*shape"],
    ratio: Float[Array, "*shape"],
    rate: Scalar,
) -> Float[Array, "*shape"]:
    """``(end - w) / rate`` for ``end = w e^(rate * ratio)``, which is ``w * ratio`` at rate 0."""
    near = jnp.abs(rate * ratio) < 1
    series = w * ratio * exponential_series(1, jnp.where(near, rate * ratio, 0))
    return jnp.where(near, series, (end - w) / jnp.where(near, 1, rate))


def _log_overlap(
    predicted: Float[Array, "*batch classes"],
    actual: Float[Array, "*batch classes"],
    order: Scalar,
) -> Float[Array, "*batch"]:
    """``log sum t^a q^(1-a)`` for a positive order a, finite in slope where it is infinite."""
    common = jnp.isfinite(predicted) & jnp.isfinite(actual)
    some = common.any(-1, keepdims=True)
    mixed = jnp.where(common, _mixed(predicted, actual, order), jnp.where(some, -jnp.inf, 0))
    total = jnp.where(some.squeeze(-1), jax.nn.logsumexp(mixed, -1), -jnp.inf)
    unforeseen = (jnp.isfinite(actual) & ~jnp.isfinite(predicted)).any(-1) & (order >= 1)
    return jnp.where(unforeseen, jnp.inf, total)
