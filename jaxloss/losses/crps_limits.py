"""Continuous ranked probability scores of normal distributions with limits.

As in :mod:`jaxloss.losses.crps`. What is beyond a limit is either moved there, which gives the
limit itself a probability (censored), or left out altogether (truncated).
"""

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import ndtr
from jaxtyping import Array, ArrayLike, Bool, Float, Real

from jaxloss.core.checks import check_positive
from jaxloss.core.compiling import compiled
from jaxloss.core.inputs import Scalar, masked, modulus, same_shape, selection
from jaxloss.core.preconditions import check
from jaxloss.core.ratios import bounded_quotient
from jaxloss.core.reducing import Reduction, reduce
from jaxloss.core.tails import normal_excess, normal_hazard

ROOT_2, ROOT_PI, ROOT_2_PI = math.sqrt(2), math.sqrt(math.pi), math.sqrt(2 * math.pi)
POINTS, WEIGHTS = np.polynomial.legendre.leggauss(10)
NODES, WEIGHTS = (POINTS + 1) / 2, WEIGHTS / 2
PARTS = np.polynomial.legendre.legint(np.eye(10), lbnd=-1, axis=0)
UNTIL = np.polynomial.legendre.legval(POINTS, PARTS).T / 2  # integrals from 0 to each node
UNTIL = UNTIL @ np.linalg.inv(np.polynomial.legendre.legvander(POINTS, 9))


@compiled("reduction")
def censored_gaussian(
    predictions: Real[ArrayLike, "*shape"],
    scales: Real[ArrayLike, "*shape"],
    targets: Real[ArrayLike, "*shape"],
    *,
    lower: Scalar | None = None,
    upper: Scalar | None = None,
    where: Bool[ArrayLike, "*#shape"] | None = None,
    weights: Real[ArrayLike, "..."] | None = None,
    reduction: Reduction = "mean",
) -> Float[Array, "..."]:
    r"""Continuous ranked probability score of a normal distribution that is cut off at limits.

    .. math::
        \ell = |t - c| + \sigma \bigl( G(z) - G(z_l) + G(-z) - G(-z_u) \bigr), \\
        G(x) = x\, \Phi(x)^2 + 2 \varphi(x) \Phi(x) - \frac{\Phi(\sqrt 2 x)}{\sqrt \pi},
        \qquad z = \frac{c - \mu}{\sigma}

    with :math:`c` the target within the limits, and :math:`z_l`, :math:`z_u` the limits seen as
    :math:`z`. What is beyond a limit happens at it: rain that is often exactly zero, sales up to
    the stock. Without limits ``crps.gaussian``. The unreduced shape is that of ``predictions``.

    Args:
        predictions, scales: :math:`\mu` and :math:`\sigma` of what there would be without limits;
            scales are positive.
        lower, upper: where there is a limit.
        where, weights, reduction: see :func:`jaxloss.core.reducing.reduce`.

    Example:
        >>> censored_gaussian(jnp.zeros(1), jnp.ones(1), jnp.zeros(1), lower=0.0)
        Array(0.1168...

    Reference:
        Thorarinsdottir & Gneiting, "Probabilistic forecasts of wind speed: ensemble model output
        statistics by using heteroscedastic censored regression", 2010.
    """
    name = "censored_gaussian"
    beyond, arrays = _limited(name, predictions, scales, targets, lower, upper, where)
    return reduce(name, beyond + _censored(*arrays), where, weights, reduction)


@compiled("reduction")
def truncated_gaussian(
    predictions: Real[ArrayLike, "*shape"],
    scales: Real[ArrayLike, "*shape"],
    targets: Real[ArrayLike, "*shape"],
    *,
    lower: Scalar | None = None,
    upper: Scalar | None = None,
    where: Bool[ArrayLike, "*#shape"] | None = None,
    weights: Real[ArrayLike, "..."] | None = None,
    reduction: Reduction = "mean",
) -> Float[Array, "..."]:
    r"""Continuous ranked probability score of a normal distribution without what is beyond limits.

    .. math::
        \ell = |t - c| + \sigma \Bigl( z\, (2 F - 1) + \frac{2 \varphi(z)}{Z}
            - \frac{\Phi(\sqrt 2 z_u) - \Phi(\sqrt 2 z_l)}{\sqrt \pi\, Z^2} \Bigr), \\
        Z = \Phi(z_u) - \Phi(z_l), \qquad F = \frac{\Phi(z) - \Phi(z_l)}{Z},
        \qquad z = \frac{c - \mu}{\sigma}

    with :math:`c` the target within the limits, and :math:`z_l`, :math:`z_u` the limits seen as
    :math:`z`. For what cannot be beyond a limit and is hardly ever at it, such as wind speed.
    Without limits ``crps.gaussian``; between limits far closer than the scale ``crps.uniform``. The
    unreduced shape is that of ``predictions``.

    Args:
        predictions, scales: :math:`\mu` and :math:`\sigma` of what there would be without limits;
            scales are positive.
        lower, upper: where there is a limit.
        where, weights, reduction: see :func:`jaxloss.core.reducing.reduce`.

    Example:
        >>> truncated_gaussian(jnp.zeros(1), jnp.ones(1), jnp.zeros(1), lower=0.0)
        Array(0.4673...

    Reference:
        Thorarinsdottir & Gneiting, "Probabilistic forecasts of wind speed: ensemble model output
        statistics by using heteroscedastic censored regression", 2010.
    """
    name = "truncated_gaussian"
    beyond, arrays = _limited(name, predictions, scales, targets, lower, upper, where)
    return reduce(name, beyond + _truncated(*arrays), where, weights, reduction)


Limited = tuple[Float[Array, "*shape"], ...]  # error within the limits, scale, and both limits


def _limited(
    name: str,
    predictions: Real[ArrayLike, "*shape"],
    scales: Real[ArrayLike, "*shape"],
    targets: Real[ArrayLike, "*shape"],
    lower: Scalar | None,
    upper: Scalar | None,
    where: Bool[ArrayLike, "*#shape"] | None,
) -> tuple[Float[Array, "*shape"], Limited]:
    """How far targets are beyond the limits, and all that is within, as seen from the prediction.

    Without a limit it is 40 scales away.
    """
    predicted, scale, actual = same_shape(
        name, predictions=predictions, scales=scales, targets=targets
    )
    selected = selection(name, where, predicted.shape)
    predicted, actual = masked(predicted, selected), masked(actual, selected)
    scale = check_positive(name, "scales", masked(scale, selected, fill=1))
    beyond = jnp.zeros_like(actual)
    ends: list[Array | None] = []
    for limit, sign in ((lower, -1), (upper, 1)):
        if limit is None:
            ends.append(None)
            continue
        end = jnp.asarray(limit).astype(actual.dtype)
        if lower is not None and upper is not None:
            ordered = jnp.asarray(lower) < jnp.asarray(upper)
            end = check(end, ordered, f"{name}: lower must be less than upper")
        end = jnp.broadcast_to(end, actual.shape)
        outside = sign * (actual - end) > 0
        beyond += jnp.where(outside, sign * (actual - end), 0)
        actual = jnp.where(outside, end, actual)
        ends.append(end)
    error, far = actual - predicted, 40 * scale
    low, high = (None if end is None else end - predicted for end in ends)
    low = jnp.minimum(error, 0) - far if low is None else low
    high = jnp.maximum(error, 0) + far if high is None else high
    return beyond, (error, scale, low, high)


@jax.custom_jvp
def _censored(
    error: Float[Array, "*shape"],
    scale: Float[Array, "*shape"],
    low: Float[Array, "*shape"],
    high: Float[Array, "*shape"],
) -> Float[Array, "*shape"]:
    """What is linear in the error first, exactly: far from the limits the rest is constant."""
    z, lowest, highest = (bounded_quotient(x, scale, 1e4) for x in (error, low, high))
    linear = jax.nn.relu(error) - jax.nn.relu(low) + jax.nn.relu(-error) - jax.nn.relu(-high)
    rest = _area(z) - _area(lowest) + _area(-z) - _area(-highest)
    return linear + scale * rest


@_censored.defjvp
def _censored_jvp(primals: tuple[Any, ...], tangents: tuple[Any, ...]) -> tuple[Array, Array]:
    error, scale, low, high = primals
    z, lowest, highest = (bounded_quotient(x, scale, 1e4) for x in (error, low, high))
    scale_slope = 2 * _density(z) - 1 / ROOT_PI - _area_slope(lowest) - _area_slope(-highest)
    tangent = jax.lax.erf(z / ROOT_2) * tangents[0] + scale_slope * tangents[1]
    tangent += jnp.square(ndtr(-highest)) * tangents[3] - jnp.square(ndtr(lowest)) * tangents[2]
    return _censored(*primals), tangent


def _area(x: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """The area below the square of the distribution up to ``x``, less ``x`` where positive."""
    near = jnp.abs(x)
    below = ndtr(-near)
    small = 2 * _density(x) * below - near * below * below - ndtr(-ROOT_2 * near) / ROOT_PI
    return jnp.where(x < 0, small, 2 * (_density(x) - near * below) - 1 / ROOT_PI - small)


def _area_slope(x: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    return 2 * _density(x) * ndtr(x) - ndtr(ROOT_2 * x) / ROOT_PI


def _density(x: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    return jnp.exp(-x * x / 2) / ROOT_2_PI


def _truncated(
    error: Float[Array, "*shape"],
    scale: Float[Array, "*shape"],
    low: Float[Array, "*shape"],
    high: Float[Array, "*shape"],
) -> Float[Array, "*shape"]:
    """Seen from the side of the lower tail, in three forms, each where nothing in it cancels."""
    flipped = low + high > 0
    error, low, high = (
        jnp.where(flipped, -x, y) for x, y in ((error, error), (high, low), (low, high))
    )
    width = (high - low) / scale
    narrow = width * (1 + jnp.abs(low + high) / scale / 2) < 2
    tail = (high < 0) & ~narrow
    plain = ~(narrow | tail)
    loss = jnp.where(narrow, _between(error, scale, low, high, narrow), 0)
    z, lowest, highest = (bounded_quotient(x, scale, 1e9) for x in (error, low, high))

    def at(selected: Array, x: Array, other: int) -> Array:
        return jnp.where(selected, x, other)

    a, b, c = at(plain, z, 0), at(plain, lowest, -1), at(plain, highest, 1)
    mass = ndtr(c) - ndtr(b)
    core = 2 * a * (ndtr(a) - ndtr(b)) / mass - a - modulus(a) + 2 * _density(a) / mass
    core -= (ndtr(ROOT_2 * c) - ndtr(ROOT_2 * b)) / (ROOT_PI * mass * mass)
    loss += jnp.where(plain, modulus(error) + scale * core, 0)

    a, b, c = at(tail, z, -2), at(tail, lowest, -3), at(tail, highest, -1)
    near = jnp.where(tail, (high - error) / scale, 1)
    wide = jnp.where(tail, (high - low) / scale, 2)
    within = jnp.exp(near * (c + a) / 2) * normal_hazard(c) / normal_hazard(a)
    before = jnp.exp(wide * (c + b) / 2) * normal_hazard(c) / normal_hazard(b)
    left = 1 - before
    rest = 2 * within * normal_excess(a) * left - _tail_excess(c)
    rest += before * before * _tail_excess(b)
    linear = (high - error) + before * before * (error - low)
    return loss + jnp.where(tail, (linear + scale * rest) / (left * left), 0)


def _tail_excess(x: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """By how much half the mean distance of two below ``x < 0`` is short of ``x``, in the mean."""
    one, two = normal_excess(x), normal_excess(ROOT_2 * x)
    return ((2 * one - two / ROOT_2) * -x + one * one) / (two / ROOT_2 - x)


def _between(
    error: Float[Array, "*shape"],
    scale: Float[Array, "*shape"],
    low: Float[Array, "*shape"],
    high: Float[Array, "*shape"],
    narrow: Bool[Array, "*shape"],
) -> Float[Array, "*shape"]:
    """Integrated, where the density hardly changes: twice the mean distance not yet covered."""
    middle = jnp.where(narrow, (low + high) / scale / 2, 0)
    lengths = jnp.where(narrow, error - low, 1), jnp.where(narrow, high - error, 1)
    unit = jnp.where(narrow, scale, 1)
    start = jnp.where(narrow, (low - high) / unit / 2, -0.5)
    column = (-1,) + (1,) * error.ndim
    nodes, shares = (jnp.asarray(x.reshape(column), error.dtype) for x in (NODES, WEIGHTS))
    areas, sides = [], []
    for length, sign in zip(lengths, (1, -1), strict=True):
        places = sign * (start[None] + nodes * (length / unit)[None])
        densities = jnp.exp(-places * (middle[None] + places / 2))
        areas.append(length * (shares * densities).sum(0))
        so_far = jnp.tensordot(jnp.asarray(UNTIL, error.dtype), densities, 1, precision="highest")
        side = (shares * (1 - nodes) * densities * so_far).sum(0)
        sides.append(2 * length * length * length * side)
    mass = areas[0] + areas[1]
    return (sides[0] + sides[1]) / (mass * mass)
