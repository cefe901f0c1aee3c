"""Negative log-likelihoods and deviances of counts, and of other amounts that are not negative.

Models predict the logarithm of the mean. All constants are there. As in Loader's saddle-point
expansion, what is computed is the distance of a target from its mean: a textbook's difference of
log-gammas has no digit left at a million counts.
"""

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Bool, Float, Real

from jaxloss.core import doubled
from jaxloss.core.checks import check_not_negative, check_positive
from jaxloss.core.compiling import compiled
from jaxloss.core.counting import negative_binomial_nll, poisson_nll
from jaxloss.core.doubled import Doubled
from jaxloss.core.exponentials import exponential_series, growth
from jaxloss.core.gamma_functions import stirling_rest
from jaxloss.core.inputs import Scalar, masked, same_shape, selection
from jaxloss.core.reducing import Reduction, reduce


@compiled("reduction")
def poisson(
    log_rates: Real[ArrayLike, "*shape"],
    target_counts: Real[ArrayLike, "*shape"],
    *,
    where: Bool[ArrayLike, "*#shape"] | None = None,
    weights: Real[ArrayLike, "..."] | None = None,
    reduction: Reduction = "mean",
) -> Float[Array, "..."]:
    r"""Negative log-likelihood of a Poisson distribution of counts.

    .. math::
        \ell = \lambda - k \log \lambda + \log k!, \qquad \lambda = e^{\text{log\_rates}}

    For counts of independent events; if they vary more, see :func:`negative_binomial`. The
    gradient is :math:`\lambda - k`. The unreduced shape is that of ``log_rates``.

    Args:
        target_counts: :math:`k`, not negative.
        where, weights, reduction: see :func:`jaxloss.core.reducing.reduce`.

    Example:
        >>> poisson(jnp.log(2.0), 3)
        Array(1.71231...

    Reference:
        Nelder & Wedderburn, "Generalized Linear Models", 1972.
    """
    name = "poisson"
    (log_rate,), count = _inputs(name, where, target_counts, log_rates=log_rates)
    return reduce(name, poisson_nll(log_rate, count), where, weights, reduction)


@compiled("reduction")
def negative_binomial(
    log_rates: Real[ArrayLike, "*shape"],
    concentrations: Real[ArrayLike, "*shape"],
    target_counts: Real[ArrayLike, "*shape"],
    *,
    where: Bool[ArrayLike, "*#shape"] | None = None,
    weights: Real[ArrayLike, "..."] | None = None,
    reduction: Reduction = "mean",
) -> Float[Array, "..."]:
    r"""Negative log-likelihood of a negative binomial distribution of counts.

    .. math::
        \ell = -\log \frac{\Gamma(k + r)}{\Gamma(r)\, k!}
            - r \log \frac{r}{r + \mu} - k \log \frac{\mu}{r + \mu},
        \qquad \mu = e^{\text{log\_rates}}

    Counts with mean :math:`\mu` and variance :math:`\mu + \mu^2 / r`: :func:`poisson`, as :math:`r`
    grows. From torch's ``logits``, ``log_rates`` is ``logits + jnp.log(total_count)``. The
    unreduced shape is that of ``log_rates``.

    Args:
        concentrations: :math:`r`, positive; torch's ``total_count``, inverse of the dispersion.
        target_counts: :math:`k`, not negative.
        where, weights, reduction: see :func:`jaxloss.core.reducing.reduce`.

    Example:
        >>> negative_binomial(jnp.log(2.0), 1.0, 3)
        Array(2.31500...

    Reference:
        Salinas et al., "DeepAR: Probabilistic Forecasting with Autoregressive Recurrent
        Networks", 2020.
    """
    name = "negative_binomial"
    (log_rate, concentration), count = _inputs(
        name, where, target_counts, log_rates=log_rates, concentrations=concentrations
    )
    loss = negative_binomial_nll(log_rate, concentration, count)
    return reduce(name, loss, where, weights, reduction)


@compiled("reduction")
def zero_inflated_poisson(
    log_rates: Real[ArrayLike, "*shape"],
    zero_logits: Real[ArrayLike, "*shape"],
    target_counts: Real[ArrayLike, "*shape"],
    *,
    where: Bool[ArrayLike, "*#shape"] | None = None,
    weights: Real[ArrayLike, "..."] | None = None,
    reduction: Reduction = "mean",
) -> Float[Array, "..."]:
    r"""Negative log-likelihood of counts that are zero or from a Poisson distribution.

    .. math::
        P(k) = \pi\, [k = 0] + (1 - \pi)\, \text{Poisson}(k; e^{\text{log\_rates}}),
        \qquad \ell = -\log P(k)

    For more zeros than :func:`poisson` explains. The unreduced shape is that of ``log_rates``.

    Args:
        zero_logits: of :math:`\pi`, the probability that there is nothing to count.
        target_counts: :math:`k`, not negative.
        where, weights, reduction: see :func:`jaxloss.core.reducing.reduce`.

    Example:
        >>> zero_inflated_poisson(jnp.log(2.0), 0.0, 0)
        Array(0.56621...

    Reference:
        Lambert, "Zero-Inflated Poisson Regression, with an Application to Defects in
        Manufacturing", 1992.
    """
    name = "zero_inflated_poisson"
    (log_rate, zero_logit), count = _inputs(
        name, where, target_counts, log_rates=log_rates, zero_logits=zero_logits
    )
    loss = _zero_inflated(zero_logit, poisson_nll(log_rate, count), count)
    return reduce(name, loss, where, weights, reduction)


@compiled("reduction")
def zero_inflated_negative_binomial(
    log_rates: Real[ArrayLike, "*shape"],
    concentrations: Real[ArrayLike, "*shape"],
    zero_logits: Real[ArrayLike, "*shape"],
    target_counts: Real[ArrayLike, "*shape"],
    *,
    where: Bool[ArrayLike, "*#shape"] | None = None,
    weights: Real[ArrayLike, "..."] | None = None,
    reduction: Reduction = "mean",
) -> Float[Array, "..."]:
    r"""Negative log-likelihood of counts that are zero or from a negative binomial distribution.

    .. math::
        P(k) = \pi\, [k = 0] + (1 - \pi)\, \text{NB}(k; e^{\text{log\_rates}}, r),
        \qquad \ell = -\log P(k)

    As :func:`zero_inflated_poisson`, over :func:`negative_binomial`; usual for gene expression.
    The unreduced shape is that of ``log_rates``.

    Args:
        concentrations: :math:`r`, positive.
        zero_logits, target_counts: see :func:`zero_inflated_poisson`.
        where, weights, reduction: see :func:`jaxloss.core.reducing.reduce`.

    Example:
        >>> zero_inflated_negative_binomial(jnp.log(2.0), 1.0, 0.0, 0)
        Array(0.40546...

    Reference:
        Lopez et al., "Deep Generative Modeling for Single-Cell Transcriptomics", 2018.
    """
    name = "zero_inflated_negative_binomial"
    parameters = {"log_rates": log_rates, "concentrations": concentrations}
    (log_rate, concentration, zero_logit), count = _inputs(
        name, where, target_counts, **parameters, zero_logits=zero_logits
    )
    loss = _zero_inflated(zero_logit, negative_binomial_nll(log_rate, concentration, count), count)
    return reduce(name, loss, where, weights, reduction)


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
    r"""Negative log-likelihood of a gamma distribution of positive amounts.

    .. math::
        \ell = k \frac{t}{\mu} - k \log \frac{k}{\mu} - (k - 1) \log t + \log \Gamma(k),
        \qquad \mu = e^{\text{log\_means}}

    Amounts that vary in proportion to their mean, by the fraction :math:`1 / \sqrt k`; with
    ``concentrations`` 1 the exponential distribution. The unreduced shape is that of ``log_means``.

    Args:
        concentrations: :math:`k`, positive; also known as shape.
        target_amounts: :math:`t`, positive.
        where, weights, reduction: see :func:`jaxloss.core.reducing.reduce`.

    Example:
        >>> gamma(jnp.log(2.0), 1.0, 2.0)
        Array(1.69314...

    Reference:
        McCullagh & Nelder, "Generalized Linear Models", 2nd ed., 1989.
    """
    name = "gamma"
    log_mean, concentration, amount = same_shape(
        name, log_means=log_means, concentrations=concentrations, target_amounts=target_amounts
    )
    selected = selection(name, where, log_mean.shape)
    log_mean = masked(log_mean, selected)
    concentration = check_positive(name, "concentrations", masked(concentration, selected, fill=1))
    amount = check_positive(name, "target_amounts", masked(amount, selected, fill=1))
    log_amount = doubled.log(amount)
    surprise = doubled.add(log_amount, doubled.exact(-log_mean))
    near = jnp.abs(surprise.high) < 1
    small = jnp.where(near, surprise.high, 0)
    series = small * small * exponential_series(2, small)
    excess = jnp.where(near, series, doubled.exp(surprise) - 1 - surprise.high)
    loss = concentration * excess + log_amount.high
    loss += stirling_rest(concentration) + jnp.log(2 * math.pi / concentration) / 2
    return reduce(name, loss, where, weights, reduction)


@compiled("reduction")
def tweedie(
    log_means: Real[ArrayLike, "*shape"],
    target_amounts: Real[ArrayLike, "*shape"],
    *,
    power: Scalar = 1.5,
    where: Bool[ArrayLike, "*#shape"] | None = None,
    weights: Real[ArrayLike, "..."] | None = None,
    reduction: Reduction = "mean",
) -> Float[Array, "..."]:
    r"""Deviance of amounts whose variance is a power of their mean.

    .. math::
        \ell = 2 \left( \frac{t^{2 - p}}{(1 - p)(2 - p)} - \frac{t\, \mu^{1 - p}}{1 - p}
            + \frac{\mu^{2 - p}}{2 - p} \right), \qquad \mu = e^{\text{log\_means}}

    With ``power`` 0 the squared error, 1 twice :func:`poisson`, 2 twice :func:`gamma` of
    concentration 1, up to terms without :math:`\mu`; at 1 and 2 the limit, exactly. Between them
    amounts may be zero, as rainfall and claims. The unreduced shape is that of ``log_means``.

    Args:
        target_amounts: :math:`t`, not negative; with ``power`` 2 or more, positive.
        power: :math:`p`, to which the variance grows with the mean.
        where, weights, reduction: see :func:`jaxloss.core.reducing.reduce`.

    Example:
        >>> tweedie(jnp.zeros(2), jnp.array([0.0, 4.0]), power=1.5, reduction="none")
        Array([4., 4.], dtype=float32)

    Reference:
        Jorgensen, "Exponential Dispersion Models", 1987.
    """
    name = "tweedie"
    log_mean, amount = same_shape(name, log_means=log_means, target_amounts=target_amounts)
    selected = selection(name, where, log_mean.shape)
    log_mean = masked(log_mean, selected)
    amount = check_not_negative(name, "target_amounts", masked(amount, selected, fill=1))
    none, power = amount == 0, jnp.asarray(power).astype(amount.dtype)
    rest = doubled.difference(jnp.full_like(power, 2), power)
    some = _half_deviance(rest, log_mean, doubled.log(jnp.where(none, 1, amount)))
    missed = _exponential(rest, doubled.exact(log_mean)) / jnp.where(rest.high > 0, rest.high, 1)
    loss = 2 * jnp.where(none, jnp.where(rest.high > 0, missed, jnp.inf), some)
    return reduce(name, loss, where, weights, reduction)


def _inputs(
    name: str,
    where: Bool[ArrayLike, "*#shape"] | None,
    target_counts: Real[ArrayLike, "*shape"],
    **parameters: Real[ArrayLike, "*shape"],
) -> tuple[list[Float[Array, "*shape"]], Float[Array, "*shape"]]:
    """The parameters and the counts, harmless where ``where`` is false."""
    *predicted, count = same_shape(name, **parameters, target_counts=target_counts)
    selected = selection(name, where, count.shape)
    predicted = [masked(x, selected, fill=1) for x in predicted]
    if "concentrations" in parameters:
        predicted[1] = check_positive(name, "concentrations", predicted[1])
    return predicted, check_not_negative(name, "target_counts", masked(count, selected))


def _zero_inflated(
    zero_logit: Float[Array, "*shape"],
    loss: Float[Array, "*shape"],
    count: Float[Array, "*shape"],
) -> Float[Array, "*shape"]:
    """What ``loss`` becomes if counts may also be zero for another reason."""
    none = count == 0
    nothing = jnp.where(none, loss, 0)
    excess = jnp.expm1(-nothing) * jax.nn.sigmoid(-zero_logit)
    near = excess > -0.5
    low = -jnp.log1p(jnp.where(near, excess, 0))
    high = jax.nn.softplus(zero_logit) - jnp.logaddexp(zero_logit, -nothing)
    return jnp.where(none, jnp.where(near, low, high), jax.nn.softplus(zero_logit) + loss)


@jax.custom_jvp
def _half_deviance(
    rest: Doubled, log_mean: Float[Array, "*shape"], log_amount: Doubled
) -> Float[Array, "*shape"]:
    """Half of Tweedie's deviance; slopes taken through the scaling would be small differences."""
    size, gaps = _scaled(rest, log_mean, log_amount)
    return size * _deviance(rest, gaps)


@_half_deviance.defjvp
def _half_deviance_jvp(primals: tuple[Any, ...], tangents: tuple[Any, ...]) -> tuple[Array, Array]:
    rest, log_mean, log_amount = primals
    drest, dlog_mean, dlog_amount = tangents
    size, gaps = _scaled(*primals)

    def at(rest: Doubled) -> Float[Array, "*shape"]:
        return _deviance(rest, _gaps(rest, gaps.surprise))

    deviance, bend = jax.jvp(at, (rest,), (drest,))
    unit = jnp.where(gaps.ahead, log_amount.high, log_mean)
    rate = jnp.where(gaps.ahead, 1 - rest.high, rest.high - 1)
    far = jnp.where(gaps.ahead, 1, gaps.amount) * growth(rate, gaps.surprise.high)
    small = jnp.where(gaps.near, gaps.surprise.high, 0)
    excess = jnp.where(gaps.near, small * exponential_series(1, small), gaps.amount - gaps.mean)
    tangent = size * (bend + unit * drest.high * deviance)
    tangent += size * (far * dlog_amount.high - excess * dlog_mean)
    return size * deviance, tangent


class _Gaps(NamedTuple):
    """An amount and its mean, in units of either, as they enter the deviance."""

    surprise: Doubled  # the logarithm of the amount over the mean
    near: Bool[Array, "*shape"]
    ahead: Bool[Array, "*shape"]  # whether the unit is the amount to the power, not the mean
    mean: Float[Array, "*shape"]  # 1 in units of the mean
    amount: Float[Array, "*shape"]
    power: Float[Array, "*shape"]  # the amount to the power


def _scaled(
    rest: Doubled, log_mean: Float[Array, "*shape"], log_amount: Doubled
) -> tuple[Float[Array, "*shape"], _Gaps]:
    """The unit, and the others in it: the larger of the two, where it has the larger power."""
    gaps = _gaps(rest, doubled.add(log_amount, doubled.exact(-log_mean)))
    unit = Doubled(
        *(jnp.where(gaps.ahead, x, y) for x, y in zip(log_amount, (log_mean, 0), strict=True))
    )
    return _exponential(rest, unit), gaps


def _gaps(rest: Doubled, surprise: Doubled) -> _Gaps:
    ahead = (surprise.high >= 0.8) & (rest.high > 1)
    one = jnp.ones_like(surprise.high)
    less = Doubled(1 - rest.high, -rest.low)

    def exponential(x: Doubled, y: Doubled) -> Float[Array, "*shape"]:
        return _exponential(
            Doubled(*(jnp.where(ahead, p, q) for p, q in zip(x, y, strict=True))), surprise
        )

    first = exponential(Doubled(-rest.high, -rest.low), doubled.exact(jnp.ones_like(rest.high)))
    second = exponential(less, rest)
    return _Gaps(
        surprise,
        jnp.abs(surprise.high) < 0.8,
        ahead,
        mean=jnp.where(ahead, first, one),
        amount=jnp.where(ahead, second, first),
        power=jnp.where(ahead, one, second),
    )


def _deviance(rest: Doubled, gaps: _Gaps) -> Float[Array, "*shape"]:
    r"""Half of Tweedie's deviance; ``rest`` is :math:`b = 2 - p`.

    Of :math:`e^x` from a mean of 1 it is :math:`\int_0^x e^u (e^{(b - 1) u} - 1) / (b - 1)\, du`,
    near zero by its series, which is positive and knows no limits, far away by closed forms for
    either side of ``power`` 1.5.
    """
    b, x = rest.high, gaps.surprise.high
    inner = jnp.where(gaps.near, x, 0)
    series, term, coefficient = jnp.zeros_like(x), inner, jnp.zeros_like(b)
    for n in range(2, 18):
        term, coefficient = term * inner / n, 1 + b * coefficient
        series += coefficient * term
    low = b < 0.5
    start, rate = jnp.where(low, gaps.mean, gaps.amount), jnp.where(low, b, b - 1)
    small = jnp.abs(rate * x) < 1
    chord = start * x * exponential_series(1, jnp.where(small, rate * x, 0))
    chord = jnp.where(small, chord, (gaps.power - start) / jnp.where(small, 1, rate))
    rise = gaps.amount - gaps.mean
    far = jnp.where(low, rise - chord, chord - rise) / jnp.where(low, 1 - b, b)
    return jnp.where(gaps.near, series, far)


def _exponential(rate: Doubled, x: Doubled) -> Float[Array, "*shape"]:
    """``exp(rate * x)``, as exact where that is large."""
    product = doubled.times(rate.high, x)
    return doubled.exp(Doubled(product.high, product.low + rate.low * x.high))
