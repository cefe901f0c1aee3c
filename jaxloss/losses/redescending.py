"""Losses between real-valued predictions and targets for which an outlier hardly counts.

All are half the squared error near zero (in units of ``scale``, or as such). From there they grow
like a logarithm or level off, so that the pull of an error falls as it grows, in the end to 0. The
price is more than one minimum: start from a fit with a loss that is convex, as Huber's.
"""

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Bool, Float, Real

from jaxloss.core import doubled
from jaxloss.core.checks import check_not_negative, check_positive
from jaxloss.core.compiling import compiled
from jaxloss.core.doubled import Doubled
from jaxloss.core.exponentials import exponential_series
from jaxloss.core.inputs import Scalar, exact_residual, residual
from jaxloss.core.powers import Logarithm, log1p, scaled_power
from jaxloss.core.reducing import Reduction, reduce


@compiled("reduction")
def cauchy(
    predictions: Real[ArrayLike, "*shape"],
    targets: Real[ArrayLike, "*shape"],
    *,
    scale: Scalar = 1.0,
    where: Bool[ArrayLike, "*#shape"] | None = None,
    weights: Real[ArrayLike, "..."] | None = None,
    reduction: Reduction = "mean",
) -> Float[Array, "..."]:
    r"""Half the squared error that grows only logarithmically for outliers.

    .. math::
        \ell(e) = \log \Bigl( 1 + \frac{(e / s)^2}{2} \Bigr),
        \qquad e = \text{predictions} - \text{targets}

    Also known as Lorentzian. An outlier pulls the less the farther away it is. The unreduced shape
    is that of ``predictions``.

    Args:
        scale: :math:`s`, size of an error that is still ordinary; positive. The scale of the Cauchy
            distribution whose negative log-density this is, is larger by :math:`\sqrt 2`.
        where, weights, reduction: see :func:`jaxloss.core.reducing.reduce`.

    Example:
        >>> cauchy(jnp.array([0.0, 2.0]), jnp.zeros(2), reduction="none")
        Array([0.       , 1.0986123], dtype=float32)

    Reference:
        Black & Anandan, "The Robust Estimation of Multiple Motions: Parametric and
        Piecewise-Smooth Flow Fields", 1996.
    """
    error = residual("cauchy", predictions, targets, where)
    scale = check_positive("cauchy", "scale", scale)
    far = jnp.abs(error) * float(jnp.finfo(error.dtype).eps) > scale  # the 1 is lost there
    ratio = jnp.where(far, 0, error) / scale
    distance = jnp.where(far, jnp.abs(error), 1)
    logarithm = 2 * (jnp.log(distance) - jnp.log(scale)) - math.log(2)
    loss = jnp.where(far, logarithm, jnp.log1p(ratio * ratio / 2))
    return reduce("cauchy", loss, where, weights, reduction)


@compiled("reduction")
def geman_mcclure(
    predictions: Real[ArrayLike, "*shape"],
    targets: Real[ArrayLike, "*shape"],
    *,
    scale: Scalar = 1.0,
    where: Bool[ArrayLike, "*#shape"] | None = None,
    weights: Real[ArrayLike, "..."] | None = None,
    reduction: Reduction = "mean",
) -> Float[Array, "..."]:
    r"""Half the squared error that levels off at 2, slowly.

    .. math::
        \ell(e) = \frac{2\, (e / s)^2}{(e / s)^2 + 4},
        \qquad e = \text{predictions} - \text{targets}

    The original is :math:`e^2 / (e^2 + \sigma^2)`: half of this with ``scale``
    :math:`\sigma / 2`. The unreduced shape is that of ``predictions``.

    Args:
        scale: :math:`s`, size of an error that is still ordinary; positive.
        where, weights, reduction: see :func:`jaxloss.core.reducing.reduce`.

    Example:
        >>> geman_mcclure(jnp.array([2.0, 1e30]), jnp.zeros(2), reduction="none")
        Array([1., 2.], dtype=float32)

    Reference:
        Geman & McClure, "Bayesian Image Analysis: An Application to Single Photon Emission
        Tomography", 1985.
    """
    error = residual("geman_mcclure", predictions, targets, where)
    ratio = error / check_positive("geman_mcclure", "scale", scale)
    near = jnp.abs(ratio) < 2
    square = jnp.square(jnp.where(near, ratio, 0))
    inverse = 2 / jnp.where(near, 2, ratio)
    loss = jnp.where(near, 2 * square / (square + 4), 2 / (1 + inverse * inverse))
    return reduce("geman_mcclure", loss, where, weights, reduction)


@compiled("reduction")
def welsch(
    predictions: Real[ArrayLike, "*shape"],
    targets: Real[ArrayLike, "*shape"],
    *,
    scale: Scalar = 1.0,
    where: Bool[ArrayLike, "*#shape"] | None = None,
    weights: Real[ArrayLike, "..."] | None = None,
    reduction: Reduction = "mean",
) -> Float[Array, "..."]:
    r"""Half the squared error that levels off at 1, quickly.

    .. math::
        \ell(e) = 1 - \exp \Bigl( -\frac{(e / s)^2}{2} \Bigr),
        \qquad e = \text{predictions} - \text{targets}

    Also known as Leclerc's, and as correntropy. Beyond some five scales an error has no gradient
    worth the name. The unreduced shape is that of ``predictions``.

    Args:
        scale: :math:`s`, size of an error that is still ordinary; positive.
        where, weights, reduction: see :func:`jaxloss.core.reducing.reduce`.

    Example:
        >>> welsch(jnp.array([1.0, 1e30]), jnp.zeros(2), reduction="none")
        Array([0.39346933, 1.        ], dtype=float32)

    Reference:
        Dennis & Welsch, "Techniques for Nonlinear Least Squares and Robust Regression", 1978.
    """
    error = exact_residual("welsch", predictions, targets, where)
    scale = check_positive("welsch", "scale", scale).astype(error.high.dtype)
    ratio = doubled.clip(doubled.ratio(error, scale), 64.0)  # e^-2048 is zero, as at infinity
    return reduce("welsch", _welsch(ratio), where, weights, reduction)


@compiled("reduction")
def tukey_biweight(
    predictions: Real[ArrayLike, "*shape"],
    targets: Real[ArrayLike, "*shape"],
    *,
    scale: Scalar = 4.685,
    where: Bool[ArrayLike, "*#shape"] | None = None,
    weights: Real[ArrayLike, "..."] | None = None,
    reduction: Reduction = "mean",
) -> Float[Array, "..."]:
    r"""Half the squared error that is constant for outliers: they have no gradient at all.

    .. math::
        \ell(e) = \begin{cases}
            \frac{s^2}{6} \bigl( 1 - (1 - (e / s)^2)^3 \bigr)  & |e| \le s \\
            \frac{s^2}{6}                                      & |e| > s
        \end{cases}
        \qquad e = \text{predictions} - \text{targets}

    For an error whose ordinary size is not 1, but some :math:`\sigma`, take ``scale``
    :math:`4.685\, \sigma`. The unreduced shape is that of ``predictions``.

    Args:
        scale: :math:`s`, error from which on the loss is constant; positive. The default loses 5%
            of efficiency against least squares on Gaussian errors of variance 1.
        where, weights, reduction: see :func:`jaxloss.core.reducing.reduce`.

    Example:
        >>> tukey_biweight(jnp.array([1.0, 5.0]), jnp.zeros(2), scale=2.0, reduction="none")
        Array([0.3854167, 0.6666667], dtype=float32)

    Reference:
        Beaton & Tukey, "The Fitting of Power Series, Meaning Polynomials, Illustrated on
        Band-Spectroscopic Data", 1974.
    """
    error = residual("tukey_biweight", predictions, targets, where)
    scale = check_positive("tukey_biweight", "scale", scale)
    distance = jnp.abs(error)
    inner, outer = distance < scale / 2, distance < scale
    square = jnp.square(jnp.where(inner, distance, 0) / scale)
    low = square * (3 - square * (3 - square))
    gap = (scale - jnp.where(outer & ~inner, distance, scale)) / scale
    high = 1 - (gap * (2 - gap)) ** 3
    loss = scale * scale / 6 * jnp.where(inner, low, high)
    return reduce("tukey_biweight", loss, where, weights, reduction)


@compiled("reduction")
def general_robust(
    predictions: Real[ArrayLike, "*shape"],
    targets: Real[ArrayLike, "*shape"],
    *,
    shape: Scalar = 1.0,
    scale: Scalar = 1.0,
    where: Bool[ArrayLike, "*#shape"] | None = None,
    weights: Real[ArrayLike, "..."] | None = None,
    reduction: Reduction = "mean",
) -> Float[Array, "..."]:
    r"""Barron's general loss: half the squared error, and how robust it is as a number.

    .. math::
        \ell(e) = \frac{|\alpha - 2|}{\alpha} \left(
            \Bigl( \frac{(e / s)^2}{|\alpha - 2|} + 1 \Bigr)^{\alpha / 2} - 1 \right),
        \qquad e = \text{predictions} - \text{targets}

    With ``shape`` 2 it is half the squared error, with 1 the pseudo-Huber loss, with 0
    :func:`cauchy`, with -2 :func:`geman_mcclure` and with ``-jnp.inf`` :func:`welsch`; at 0, 2 and
    infinity it is the limit, exactly. An error beyond 2^50 scales
    counts as one of that size, without gradient. The unreduced shape is that of ``predictions``.

    Args:
        shape: :math:`\alpha`, any number; the lower, the less outliers matter. It can be annealed
            or learnt (not by this loss alone, which is least at :math:`-\infty`); the slope in it,
            infinite at 2, is there taken from beside it.
        scale: :math:`s`, error at which the loss stops being quadratic; positive.
        where, weights, reduction: see :func:`jaxloss.core.reducing.reduce`.

    Example:
        >>> sweep = jax.vmap(lambda shape: general_robust(3.0, 0.0, shape=shape))
        >>> sweep(jnp.array([2.0, 1.0, 0.0, -2.0, -jnp.inf]))
        Array([4.5      , 2.1622777, 1.7047482, 1.3846154, 0.988891 ], dtype=float32)

    Reference:
        Barron, "A General and Adaptive Robust Loss Function", 2019.
    """
    error = residual("general_robust", predictions, targets, where)
    ratio = error / check_positive("general_robust", "scale", scale)
    ratio = jnp.clip(ratio, -(2.0**50), 2.0**50)
    loss = _barron(ratio, _signed(jnp.asarray(shape).astype(ratio.dtype)))
    return reduce("general_robust", loss, where, weights, reduction)


@compiled("reduction")
def general_robust_nll(
    predictions: Real[ArrayLike, "*shape"],
    targets: Real[ArrayLike, "*shape"],
    *,
    shape: Scalar = 1.0,
    scale: Scalar = 1.0,
    where: Bool[ArrayLike, "*#shape"] | None = None,
    weights: Real[ArrayLike, "..."] | None = None,
    reduction: Reduction = "mean",
) -> Float[Array, "..."]:
    r"""Barron's general loss as a likelihood, so that robustness and scale are learnt from data.

    .. math::
        \ell(e) = \rho_\alpha(e / s) + \log s
            + \log \int_{-\infty}^\infty e^{-\rho_\alpha(x)}\, dx

    with :math:`\rho_\alpha` the :func:`general_robust` loss. The more outliers its shape expects,
    the more the loss of all others costs. With ``shape`` 2 the normal distribution, with 0 that of
    Cauchy with its scale times the root of 2. As the logarithm of a density it may be negative.
    The unreduced shape is that of ``predictions``.

    Args:
        shape: :math:`\alpha`, not negative; below 0 no distribution has such tails.
        scale: :math:`s`, positive.
        where, weights, reduction: see :func:`jaxloss.core.reducing.reduce`.

    Example:
        >>> general_robust_nll(jnp.zeros(1), jnp.zeros(1), shape=2.0)  # log(2 pi) / 2
        Array(0.9189..., dtype=float32)

    Reference:
        Barron, "A General and Adaptive Robust Loss Function", 2019.
    """
    name = "general_robust_nll"
    error = residual(name, predictions, targets, where)
    scale = check_positive(name, "scale", scale).astype(error.dtype)
    ratio = jnp.clip(error / scale, -(2.0**50), 2.0**50)
    signed = _signed(check_not_negative(name, "shape", shape).astype(error.dtype))
    loss = _barron(ratio, signed) + jnp.log(scale) + _log_partition(signed)
    return reduce(name, loss, where, weights, reduction)


@jax.custom_jvp
def _welsch(ratio: Doubled) -> Float[Array, "*shape"]:
    half_square = ratio.high * ratio.high / 2
    near = half_square < 0.5
    low = half_square * exponential_series(1, -jnp.where(near, half_square, 0))
    return jnp.where(near, low, 1 - jnp.exp(-half_square))


@_welsch.defjvp
def _welsch_jvp(primals: tuple[Doubled], tangents: tuple[Any]) -> tuple[Array, Array]:
    """In the slope the rounding of the exponent would show, times the exponent."""
    square = doubled.square(primals[0])
    decay = doubled.exp(Doubled(-square.high / 2, -square.low / 2))
    return _welsch(*primals), primals[0].high * decay * tangents[0].high


def _log_partition(signed: Doubled) -> Float[Array, ""]:
    """The logarithm of the integral of ``exp(-loss)``, by double-exponential quadrature."""
    step = 1 / 32
    t = np.arange(1, 122) * step  # up to where the error is 2^50
    errors = np.sinh(np.pi / 2 * np.sinh(t))
    stretch = np.pi / 2 * np.cosh(t) * np.cosh(np.pi / 2 * np.sinh(t))
    nodes, share = (jnp.asarray(x, signed.high.dtype) for x in (errors, 2 * step * stretch))
    return jnp.log(math.pi / 2 * step + (share * jnp.exp(-_barron(nodes, signed))).sum())


@jax.custom_jvp
def _barron(ratio: Float[Array, "*shape"], signed: Doubled) -> Float[Array, "*shape"]:
    """The general loss of errors in units of the scale, with ``signed`` its shape minus 2."""
    return _general(ratio, signed)


@_barron.defjvp
def _barron_jvp(primals: tuple[Any, Any], tangents: tuple[Any, Any]) -> tuple[Array, Array]:
    """With the slope of the formula; what is computed would have a difference as derivative."""
    (ratio, signed), (dratio, dsigned) = primals, tangents
    value, bend = jax.jvp(lambda signed: _general(ratio, signed), (signed,), (dsigned,))
    slope = scaled_power(ratio, _base(ratio, signed), _half(signed))
    return value, bend + slope * dratio


def _general(ratio: Float[Array, "*shape"], signed: Doubled) -> Float[Array, "*shape"]:
    r"""With :math:`b = |\alpha - 2|`, :math:`\kappa = \alpha / b` and :math:`B = 1 + e^2 / b`.

    For :math:`b \ge 1` it is :math:`(B^{\alpha / 2} - 1) / \kappa`, or with
    :math:`T = \frac b2 \log B` also :math:`(e^{\kappa T} - 1) / \kappa`, which holds at
    :math:`\kappa = 0` and is used around it. Otherwise it is
    :math:`(e^2 P + b (P - 1)) / \alpha` with :math:`P = B^{(\alpha - 2) / 2}`, which holds at
    :math:`b = 0`.
    """
    base, square = _base(ratio, signed), ratio * ratio
    sign, width = jnp.sign(signed.high), jnp.abs(signed.high)
    wide, shape = width >= 1, 2 + signed.high + signed.low
    broad = jnp.where(wide, width, 1)
    excess = square / broad
    straight = excess < float(jnp.finfo(square.dtype).eps)  # and may vanish
    bent = width / 2 * base.value()
    distance = jnp.where(straight, square / 2 * (1 - excess / 2), bent)
    rate = jnp.where(width > 4, sign + 2 / broad, shape / broad)
    exponent = jnp.where(wide, rate * distance, sign * bent)
    small = jnp.abs(exponent) < 1
    series = exponential_series(1, jnp.where(small, exponent, 0))
    half = Doubled(jnp.where(wide, shape, signed.high) / 2, jnp.where(wide, 0, signed.low) / 2)
    power = scaled_power(jnp.ones_like(square), base, half)
    rise = jnp.where(small, exponent * series, power - 1)
    narrow = (square * power + width * rise) / jnp.where(wide, 1, shape)
    steep = (power - 1) / jnp.where(wide & (jnp.abs(rate) > 0.01), rate, 1)  # else all are small
    return jnp.where(wide, jnp.where(small, distance * series, steep), narrow)


def _base(ratio: Float[Array, "*shape"], signed: Doubled) -> Logarithm:
    r"""The logarithm of :math:`1 + e^2 / b`."""
    width = jnp.abs(signed.high)
    return log1p(ratio * ratio / jnp.maximum(width, float(jnp.finfo(width.dtype).eps)))


def _half(x: Doubled) -> Doubled:
    return Doubled(x.high / 2, x.low / 2)


def _signed(shape: Float[Array, ""]) -> Doubled:
    """The shape minus 2, all its digits; as good as infinite, but not."""
    limit = 2.0 ** (jnp.finfo(shape.dtype).nmant + 17)
    return doubled.clip(doubled.difference(shape, jnp.full_like(shape, 2)), limit)
