"""Continuous ranked probability scores of distributions with a shape: heavy tails, and amounts.

As in :mod:`jaxloss.losses.crps`, whose distributions have a center and a scale and no more. Every
parameter may be predicted or learnt: the gradients are exact in the shape too.
"""

import math
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Bool, Float, Real

from jaxloss.core.checks import check_not_negative, check_positive
from jaxloss.core.compiling import compiled
from jaxloss.core.cumulative import (
    gamma_below,
    gamma_density,
    rule_for,
    student_center,
    student_peak,
)
from jaxloss.core.exponentials import complement, expm1_ratio
from jaxloss.core.gamma_functions import gamma_step, gamma_step_slope
from jaxloss.core.inputs import Scalar, masked, same_shape, selection
from jaxloss.core.preconditions import check
from jaxloss.core.ratios import bounded_quotient
from jaxloss.core.reducing import Reduction, reduce
from jaxloss.core.tails import normal_before

ROOT_2, ROOT_PI, ROOT_2_PI = math.sqrt(2), math.sqrt(math.pi), math.sqrt(2 * math.pi)


@compiled("reduction")
def student_t(
    predictions: Real[ArrayLike, "*shape"],
    scales: Real[ArrayLike, "*shape"],
    targets: Real[ArrayLike, "*shape"],
    *,
    df: Scalar = 5.0,
    where: Bool[ArrayLike, "*#shape"] | None = None,
    weights: Real[ArrayLike, "..."] | None = None,
    reduction: Reduction = "mean",
) -> Float[Array, "..."]:
    r"""Continuous ranked probability score of Student's t-distribution.

    .. math::
        \ell = \sigma \Bigl( z\, (2 F_\nu(z) - 1) + 2 f_\nu(z) \frac{\nu + z^2}{\nu - 1}
            - \frac{2 \sqrt \nu}{\nu - 1}
              \frac{B(\frac12, \nu - \frac12)}{B(\frac12, \frac{\nu}{2})^2} \Bigr),
        \qquad z = \frac{\text{targets} - \text{predictions}}{\sigma}

    As ``df`` grows, ``crps.gaussian``. With ``df`` 1, the Cauchy distribution, which has no mean,
    the score is the limit of the formula; it is finite down to 1/2. The unreduced shape is that of
    ``predictions``.

    Args:
        scales: :math:`\sigma`, positive; less than the standard deviation, by the factor
            :math:`\sqrt{1 - 2 / \nu}`.
        df: :math:`\nu`, degrees of freedom; more than 1/2.
        where, weights, reduction: see :func:`jaxloss.core.reducing.reduce`.

    Example:
        >>> student_t(jnp.zeros(1), jnp.ones(1), jnp.zeros(1), df=2.0)
        Array(0.3034...

    Reference:
        Jordan, Kruger & Lerch, "Evaluating Probabilistic Forecasts with scoringRules", 2019.
    """
    name = "student_t"
    predicted, scale, actual = same_shape(
        name, predictions=predictions, scales=scales, targets=targets
    )
    selected = selection(name, where, predicted.shape)
    error = masked(actual - predicted, selected)
    scale = check_positive(name, "scales", masked(scale, selected, fill=1))
    freedom = jnp.asarray(df)
    freedom = check(freedom, freedom > 0.5, f"{name}: df must be more than 1/2")
    loss = _student_t(error, scale, freedom.astype(error.dtype))
    return reduce(name, loss, where, weights, reduction)


@compiled("reduction")
def log_normal(
    predictions: Real[ArrayLike, "*shape"],
    scales: Real[ArrayLike, "*shape"],
    target_amounts: Real[ArrayLike, "*shape"],
    *,
    where: Bool[ArrayLike, "*#shape"] | None = None,
    weights: Real[ArrayLike, "..."] | None = None,
    reduction: Reduction = "mean",
) -> Float[Array, "..."]:
    r"""Continuous ranked probability score of amounts whose logarithm is normally distributed.

    .. math::
        \ell = t\, (2 \Phi(z) - 1) + 2 e^{\mu + \sigma^2 / 2}
            \bigl( \Phi(-\sigma / \sqrt 2) - \Phi(z - \sigma) \bigr),
        \qquad z = \frac{\log t - \mu}{\sigma}

    In the unit of the amounts, unlike ``likelihood.log_normal``, and for an amount of zero too. The
    unreduced shape is that of ``predictions``.

    Args:
        predictions: :math:`\mu`, of the logarithm: their exponential is the predicted median.
        scales: :math:`\sigma`, standard deviations of the logarithm; positive.
        target_amounts: :math:`t`, not negative.
        where, weights, reduction: see :func:`jaxloss.core.reducing.reduce`.

    Example:
        >>> log_normal(jnp.zeros(1), jnp.ones(1), jnp.ones(1))
        Array(0.2674...

    Reference:
        Baran & Lerch, "Log-normal distribution based Ensemble Model Output Statistics models for
        probabilistic wind-speed forecasting", 2015.
    """
    name = "log_normal"
    predicted, scale, amount = same_shape(
        name, predictions=predictions, scales=scales, target_amounts=target_amounts
    )
    selected = selection(name, where, predicted.shape)
    predicted = masked(predicted, selected)
    scale = check_positive(name, "scales", masked(scale, selected, fill=1))
    amount = check_not_negative(name, "target_amounts", masked(amount, selected, fill=1))
    return reduce(name, _log_normal(predicted, scale, amount), where, weights, reduction)


@compiled("reduction")
def gamma(
    log_means: Real[ArrayLike, "*shape"],
    concentrations: Real[ArrayLike, "*shape"],
    target_amounts: Real[ArrayLike, "*shape"],
    *,
    where: Bool[ArrayLike, "*#shape"] | None = None,
    weights: Real[ArrayLike, "..."] | None = None,
    reduction: Reduction = "mean",
) -> Float[Array, "..."]:
    r"""Continuous ranked probability score of a gamma distribution of amounts.

    .. math::
        \ell = t\, (2 F_k(t) - 1) - \mu\, (2 F_{k+1}(t) - 1) - \frac{\mu}{k\, B(\frac12, k)},
        \qquad \mu = e^{\text{log\_means}}

    with :math:`F_k` the cumulative distribution of shape :math:`k` and scale :math:`\mu / k`. With
    ``concentrations`` 1 it is ``crps.exponential``. The unreduced shape is that of ``log_means``.

    Args:
        concentrations: :math:`k`, positive; also known as shape.
        target_amounts: :math:`t`, not negative.
        where, weights, reduction: see :func:`jaxloss.core.reducing.reduce`.

    Example:
        >>> round(float(gamma(jnp.log(2.0), 1.0, 0.0)), 4)
        1.0

    Reference:
        Scheuerer & Moeller, "Probabilistic Wind Speed Forecasting on a Grid Based on Ensemble
        Model Output Statistics", 2015.
    """
    name = "gamma"
    log_mean, concentration, amount = same_shape(
        name, log_means=log_means, concentrations=concentrations, target_amounts=target_amounts
    )
    selected = selection(name, where, log_mean.shape)
    log_mean = masked(log_mean, selected)
    concentration = check_positive(name, "concentrations", masked(concentration, selected, fill=1))
    amount = check_not_negative(name, "target_amounts", masked(amount, selected, fill=1))
    loss = _gamma(jnp.exp(log_mean), concentration, amount)
    return reduce(name, loss, where, weights, reduction)


@jax.custom_jvp
def _student_t(
    error: Float[Array, "*shape"], scale: Float[Array, "*shape"], df: Float[Array, ""]
) -> Float[Array, "*shape"]:
    """By Euler's theorem the sum of error and scale times the slopes in them."""
    error_slope, scale_slope = _student_slopes(bounded_quotient(error, scale, 1e18), df)
    return error * error_slope + scale * scale_slope


@_student_t.defjvp
def _student_t_jvp(primals: tuple[Any, ...], tangents: tuple[Any, ...]) -> tuple[Array, Array]:
    error, scale, df = primals
    z = bounded_quotient(error, scale, 1e18)
    slopes, along_df = jax.jvp(lambda df: _student_slopes(z, df), (df,), (tangents[2],))
    tangent = slopes[0] * tangents[0] + slopes[1] * tangents[1]
    tangent += error * along_df[0] + scale * along_df[1]
    return _student_t(*primals), tangent


def _student_slopes(z: Float[Array, "*shape"], df: Float[Array, ""]) -> tuple[Array, Array]:
    """The second is the score at the center, less how much the density's own term has shrunk.

    Both divided by the degrees of freedom less one before anything is subtracted.
    """
    half, peak, above = df / 2, student_peak(df), (df - 1) / 2
    rate = gamma_step_slope(half, above)
    center = rate * expm1_ratio(-above * rate)
    tail = jnp.log1p(z * z / df)
    return student_center(z, df), df * peak * (center - tail * expm1_ratio(-above * tail))


@jax.custom_jvp
def _log_normal(
    predicted: Float[Array, "*shape"],
    scale: Float[Array, "*shape"],
    amount: Float[Array, "*shape"],
) -> Float[Array, "*shape"]:
    """The sum of the slopes times what they are in; if narrow, with the small differences first."""
    amount_slope, log_slope, _ = _log_normal_slopes(predicted, scale, amount)
    narrow = scale < 0.5
    s = jnp.where(narrow, scale, 0.25)
    gap = _logarithm(amount) - predicted
    z, ahead = jnp.clip(gap / s, -40, 40), gap - s * s / 2
    mean = jnp.exp(predicted + s * s / 2)
    near = jnp.abs(ahead) < 1
    lead = jnp.where(near, mean * jnp.expm1(jnp.where(near, ahead, 0)), amount - mean)
    nodes, shares, _ = rule_for(s)
    density = jnp.exp(-jnp.square(z[None] - nodes * s[None]) / 2) / ROOT_2_PI
    spread = 2 * s * (shares * density).sum(0) - jax.lax.erf(s / 2)
    close = lead * amount_slope + mean * spread
    return jnp.where(narrow, close, amount * amount_slope + log_slope)


@_log_normal.defjvp
def _log_normal_jvp(primals: tuple[Any, ...], tangents: tuple[Any, ...]) -> tuple[Array, Array]:
    amount_slope, log_slope, scale_slope = _log_normal_slopes(*primals)
    tangent = log_slope * tangents[0] + scale_slope * tangents[1] + amount_slope * tangents[2]
    return _log_normal(*primals), tangent


def _log_normal_slopes(
    predicted: Float[Array, "*shape"],
    scale: Float[Array, "*shape"],
    amount: Float[Array, "*shape"],
) -> tuple[Array, Array, Array]:
    """In the amount, in the logarithm of the median, and in the scale."""
    z = bounded_quotient(_logarithm(amount) - predicted, scale, 1e4)
    log_mean = predicted + scale * scale / 2
    least = jnp.exp(log_mean - normal_before(-scale / ROOT_2))
    log_slope = 2 * (least - jnp.exp(log_mean - normal_before(z - scale)))
    density = 2 * amount * jnp.exp(-z * z / 2) / ROOT_2_PI
    scale_slope = scale * log_slope + density - jnp.exp(predicted + scale * scale / 4) / ROOT_PI
    return jax.lax.erf(z / ROOT_2), log_slope, scale_slope


def _logarithm(amount: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """The logarithm, of 0 as of the smallest normal number."""
    return jnp.log(jnp.maximum(amount, float(jnp.finfo(amount.dtype).tiny)))


@jax.custom_jvp
def _gamma(
    mean: Float[Array, "*shape"],
    concentration: Float[Array, "*shape"],
    amount: Float[Array, "*shape"],
) -> Float[Array, "*shape"]:
    return _gamma_parts(mean, concentration, amount)[0]


@_gamma.defjvp
def _gamma_jvp(primals: tuple[Any, ...], tangents: tuple[Any, ...]) -> tuple[Array, Array]:
    mean, concentration, amount = primals
    parts, along_shape = jax.jvp(
        lambda concentration: _gamma_parts(mean, concentration, amount),
        (concentration,),
        (tangents[1],),
    )
    _, mean_slope, amount_slope = parts
    tangent = mean_slope * tangents[0] + amount_slope * tangents[2] + along_shape[0]
    return _gamma(*primals), tangent


def _gamma_parts(
    mean: Float[Array, "*shape"],
    concentration: Float[Array, "*shape"],
    amount: Float[Array, "*shape"],
) -> tuple[Array, Array, Array]:
    """The score, and its slopes in the mean and in the amount.

    Of less than 8 the cumulative distribution is that of 8 more, and eight terms.
    """
    few, positive = concentration < 8, amount > 0
    k = jnp.where(few, concentration, 1)
    ratio = jnp.clip(amount / mean, float(jnp.finfo(mean.dtype).tiny), 1e5)
    excess = jnp.where(few, 0, jnp.clip((amount - mean) / mean, -0.99, 1e5))
    surprise = jnp.where(few, jnp.log(ratio), jnp.log1p(excess))
    density = jnp.where(positive, gamma_density(surprise, concentration), 0)
    total = jnp.where(few, k + 8, concentration)
    below = gamma_below(surprise + jnp.where(few, jnp.log(k / (k + 8)), 0), total)

    x, term, later = ratio * k, density, jnp.zeros_like(density)
    for step in range(1, 8):
        term = term * jnp.where(few & (density > 0), x / (k + step), 0)
        later += term
    next_below = later + below
    below = jnp.where(few, density + next_below, below)
    center = 2 * below - 1
    spread = 2 * density - jnp.exp(gamma_step(concentration)) / jnp.sqrt(math.pi * concentration)
    missing = complement(k * gamma_step_slope(jnp.full_like(k, 0.5), k))
    # Each where its terms are small: of few, what is next to nothing, of many, near the mean.
    mean_slope = jnp.where(concentration < 1, missing - 2 * next_below, spread - center)
    loss = jnp.where(
        concentration < 1,
        amount * center + mean * mean_slope,
        (amount - mean) * center + mean * spread,
    )
    return loss, mean_slope, center
