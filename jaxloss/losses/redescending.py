"""Losses between real-valued predictions and targets for which an outlier hardly counts.

All are half the squared error near zero (in units of ``scale``, or as such). From there they grow
like a logarithm or level off, so that the pull of an error falls as it grows, in the end to 0. The
price is more than one minimum: start from a fit with a loss that is convex, as Huber's.
"""

import math

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Bool, Float, Real

from jaxloss.core.checks import check_not_negative, check_positive
from jaxloss.core.compiling import compiled
from jaxloss.core.inputs import Scalar, residual
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
    error = residual("welsch", predictions, targets, where)
    ratio = error / check_positive("welsch", "scale", scale)
    ratio = jnp.clip(ratio, -64, 64)  # e^-2048 is zero, and infinity has its gradient
    near, half_square = jnp.abs(ratio) < 1, ratio * ratio / 2
    # Far away not expm1: its derivative, expm1 + 1, would have no digits.
    low = -jnp.expm1(-jnp.where(near, half_square, 0))
    high = 1 - jnp.exp(-jnp.where(near, 1, half_square))
    return reduce("welsch", jnp.where(near, low, high), where, weights, reduction)


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
    loss = _barron(ratio * ratio / 2, jnp.asarray(shape).astype(ratio.dtype) - 2)
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
    signed = check_not_negative(name, "shape", shape).astype(error.dtype) - 2
    loss = _barron(ratio * ratio / 2, signed) + jnp.log(scale) + _log_partition(signed)
    return reduce(name, loss, where, weights, reduction)


def _log_partition(signed: Float[Array, ""]) -> Float[Array, ""]:
    """The logarithm of the integral of ``exp(-loss)``, by double-exponential quadrature."""
    step = 1 / 32
    t = np.arange(1, 122) * step  # up to where the error is 2^50
    x = np.sinh(np.pi / 2 * np.sinh(t))
    stretch = np.pi / 2 * np.cosh(t) * np.cosh(np.pi / 2 * np.sinh(t))
    half_square, share = (jnp.asarray(y, signed.dtype) for y in (x * x / 2, 2 * step * stretch))
    return jnp.log(math.pi / 2 * step + (share * jnp.exp(-_barron(half_square, signed))).sum())


def _barron(
    half_square: Float[Array, "*shape"], signed: Float[Array, ""]
) -> Float[Array, "*shape"]:
    r"""The general loss, with ``signed`` :math:`\alpha - 2` and :math:`b` its absolute value.

    With :math:`T = \frac b2 \log(1 + e^2 / b)`, which is half the square for infinite :math:`b`,
    and :math:`\kappa = \alpha / b`, it is :math:`(e^{\kappa T} - 1) / \kappa`, or :math:`T` if
    :math:`\kappa` is 0. That is for :math:`b \ge 1`. Otherwise, with :math:`E = e^{\pm T}`, it is
    :math:`(e^2 E + b (E - 1)) / \alpha`, which holds at :math:`b = 0`.
    """
    eps = float(jnp.finfo(half_square.dtype).eps)
    width = jnp.abs(signed)
    wide = width >= 1
    square, broad = jnp.where(wide, half_square, 0), jnp.where(wide, width, 1)
    ratio = square / broad * 2
    straight = ratio < eps
    bent = jnp.where(straight, 1, broad) / 2 * jnp.log1p(jnp.where(straight, 0, ratio))
    grown = jnp.where(straight, square * (1 - ratio / 2), bent)
    far = _exponential(jnp.sign(signed) + 2 / broad, grown)

    square, narrow = jnp.where(wide, 0, half_square), jnp.where(wide, 0, signed)
    width = jnp.abs(narrow)
    exponent = narrow / 2 * jnp.log1p(square / jnp.maximum(width, eps) * 2)
    near = (2 * square * jnp.exp(exponent) + width * jnp.expm1(exponent)) / (2 + narrow)
    return jnp.where(wide, far, near)


def _exponential(rate: Float[Array, ""], x: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """``expm1(rate * x) / rate``, which for a rate of 0 is ``x``, with all its derivatives."""
    small = jnp.abs(rate * x) < 0.25
    power = jnp.where(small, rate * x, 0)
    series = 1 + power / 12
    for n in range(11, 1, -1):
        series = 1 + power / n * series
    # Not expm1: its derivative, expm1 + 1, would have no digits where it is small.
    rate, distance = jnp.where(small, 1, rate), jnp.where(small, 0, x)
    return jnp.where(small, x * series, (jnp.exp(rate * distance) - 1) / rate)
