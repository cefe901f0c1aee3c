"""Continuous ranked probability scores of distributions whose parameters a model predicts.

The score is the area between the predicted cumulative distribution and the step at the target,
squared. It is in the unit of the targets, generalizes the absolute error, to which it tends as the
scale shrinks, and forgives an outlier more than a likelihood does. For a forecast that consists of
samples see :mod:`jaxloss.losses.ensemble`, of quantiles :func:`jaxloss.losses.scoring.quantiles`;
distributions with a shape are in :mod:`jaxloss.losses.crps_shapes`, those with limits in
:mod:`jaxloss.losses.crps_limits`.
"""

import functools
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Bool, Float, Real

from jaxloss.core.checks import (
    check_not_negative,
    check_positive,
    require_floating,
    require_rank,
    require_real,
    require_shape,
)
from jaxloss.core.compiling import compiled
from jaxloss.core.exponentials import complement
from jaxloss.core.inputs import masked, promoted, same_shape, selection
from jaxloss.core.ratios import bounded_quotient, magnitude
from jaxloss.core.reducing import Reduction, reduce

ROOT_2, ROOT_PI, ROOT_2_PI = math.sqrt(2), math.sqrt(math.pi), math.sqrt(2 * math.pi)


@compiled("reduction")
def gaussian(
    predictions: Real[ArrayLike, "*shape"],
    scales: Real[ArrayLike, "*shape"],
    targets: Real[ArrayLike, "*shape"],
    *,
    where: Bool[ArrayLike, "*#shape"] | None = None,
    weights: Real[ArrayLike, "..."] | None = None,
    reduction: Reduction = "mean",
) -> Float[Array, "..."]:
    r"""Continuous ranked probability score of a normal distribution.

    .. math::
        \ell = \sigma \Bigl( z\, (2 \Phi(z) - 1) + 2 \varphi(z) - \frac{1}{\sqrt \pi} \Bigr),
        \qquad z = \frac{\text{targets} - \text{predictions}}{\sigma}

    Far from the target the absolute error less :math:`\sigma / \sqrt \pi`, with a gradient that is
    bounded. The unreduced shape is that of ``predictions``.

    Args:
        scales: :math:`\sigma`, standard deviations; positive, as from a softplus.
        where, weights, reduction: see :func:`jaxloss.core.reducing.reduce`.

    Example:
        >>> gaussian(jnp.array([0.0]), jnp.array([1.0]), jnp.array([0.0]))
        Array(0.2336...

    Reference:
        Gneiting et al., "Calibrated Probabilistic Forecasting Using Ensemble Model Output
        Statistics and Minimum CRPS Estimation", 2005.
    """
    error, scale = _error("gaussian", predictions, scales, targets, where)
    loss = _homogeneous(_gaussian_slopes, error, scale)
    return reduce("gaussian", loss, where, weights, reduction)


@compiled("reduction")
def laplace(
    predictions: Real[ArrayLike, "*shape"],
    scales: Real[ArrayLike, "*shape"],
    targets: Real[ArrayLike, "*shape"],
    *,
    where: Bool[ArrayLike, "*#shape"] | None = None,
    weights: Real[ArrayLike, "..."] | None = None,
    reduction: Reduction = "mean",
) -> Float[Array, "..."]:
    r"""Continuous ranked probability score of a Laplace distribution.

    .. math::
        \ell = \sigma \Bigl( |z| + e^{-|z|} - \frac34 \Bigr),
        \qquad z = \frac{\text{targets} - \text{predictions}}{\sigma}

    As :func:`gaussian`, with heavier tails. The unreduced shape is that of ``predictions``.

    Args:
        scales: :math:`\sigma`, mean absolute deviations; positive.
        where, weights, reduction: see :func:`jaxloss.core.reducing.reduce`.

    Example:
        >>> laplace(jnp.array([0.0]), jnp.array([2.0]), jnp.array([0.0]))
        Array(0.5, dtype=float32)

    Reference:
        Jordan, Kruger & Lerch, "Evaluating Probabilistic Forecasts with scoringRules", 2019.
    """
    error, scale = _error("laplace", predictions, scales, targets, where)
    loss = _homogeneous(_laplace_slopes, error, scale)
    return reduce("laplace", loss, where, weights, reduction)


@compiled("reduction")
def logistic(
    predictions: Real[ArrayLike, "*shape"],
    scales: Real[ArrayLike, "*shape"],
    targets: Real[ArrayLike, "*shape"],
    *,
    where: Bool[ArrayLike, "*#shape"] | None = None,
    weights: Real[ArrayLike, "..."] | None = None,
    reduction: Reduction = "mean",
) -> Float[Array, "..."]:
    r"""Continuous ranked probability score of a logistic distribution.

    .. math::
        \ell = \sigma \bigl( z + 2 \log(1 + e^{-z}) - 1 \bigr),
        \qquad z = \frac{\text{targets} - \text{predictions}}{\sigma}

    As :func:`gaussian`, with tails between it and :func:`laplace`; its gradient in the prediction
    is a hyperbolic tangent. The unreduced shape is that of ``predictions``.

    Args:
        scales: :math:`\sigma`, positive; the standard deviation is :math:`\pi / \sqrt 3` of it.
        where, weights, reduction: see :func:`jaxloss.core.reducing.reduce`.

    Example:
        >>> logistic(jnp.array([0.0]), jnp.array([1.0]), jnp.array([0.0]))
        Array(0.3862...

    Reference:
        Jordan, Kruger & Lerch, "Evaluating Probabilistic Forecasts with scoringRules", 2019.
    """
    error, scale = _error("logistic", predictions, scales, targets, where)
    loss = _homogeneous(_logistic_slopes, error, scale)
    return reduce("logistic", loss, where, weights, reduction)


@compiled("reduction")
def uniform(
    predictions: Real[ArrayLike, "*shape"],
    scales: Real[ArrayLike, "*shape"],
    targets: Real[ArrayLike, "*shape"],
    *,
    where: Bool[ArrayLike, "*#shape"] | None = None,
    weights: Real[ArrayLike, "..."] | None = None,
    reduction: Reduction = "mean",
) -> Float[Array, "..."]:
    r"""Continuous ranked probability score of a uniform distribution around a center.

    .. math::
        \ell = \sigma \Bigl( |z| - |c| + c^2 + \frac{1}{12} \Bigr),
        \qquad c = \min(\max(z, -\tfrac12), \tfrac12),
        \qquad z = \frac{\text{targets} - \text{predictions}}{\sigma}

    From an interval :math:`[a, b]` it is ``predictions=(a + b) / 2``, ``scales=b - a``. Unlike a
    likelihood it has a gradient outside of the interval too. The unreduced shape is that of
    ``predictions``.

    Args:
        scales: :math:`\sigma`, the widths of the distributions; positive.
        where, weights, reduction: see :func:`jaxloss.core.reducing.reduce`.

    Example:
        >>> uniform(jnp.array([0.5]), jnp.array([1.0]), jnp.array([0.0]))
        Array(0.3333...

    Reference:
        Jordan, Kruger & Lerch, "Evaluating Probabilistic Forecasts with scoringRules", 2019.
    """
    error, scale = _error("uniform", predictions, scales, targets, where)
    loss = _homogeneous(_uniform_slopes, error, scale)
    return reduce("uniform", loss, where, weights, reduction)


@compiled("reduction")
def exponential(
    scales: Real[ArrayLike, "*shape"],
    target_amounts: Real[ArrayLike, "*shape"],
    *,
    where: Bool[ArrayLike, "*#shape"] | None = None,
    weights: Real[ArrayLike, "..."] | None = None,
    reduction: Reduction = "mean",
) -> Float[Array, "..."]:
    r"""Continuous ranked probability score of an exponential distribution of amounts.

    .. math::
        \ell = t - 2 \sigma \bigl( 1 - e^{-t / \sigma} \bigr) + \frac{\sigma}{2}

    For waiting times and other amounts without a typical size. The unreduced shape is that of
    ``scales``.

    Args:
        scales: :math:`\sigma`, the means of the distributions; positive.
        target_amounts: :math:`t`, not negative.
        where, weights, reduction: see :func:`jaxloss.core.reducing.reduce`.

    Example:
        >>> exponential(jnp.array([2.0]), jnp.array([0.0]))
        Array(1., dtype=float32)

    Reference:
        Jordan, Kruger & Lerch, "Evaluating Probabilistic Forecasts with scoringRules", 2019.
    """
    name = "exponential"
    scale, amount = same_shape(name, scales=scales, target_amounts=target_amounts)
    selected = selection(name, where, scale.shape)
    scale = check_positive(name, "scales", masked(scale, selected, fill=1))
    amount = check_not_negative(name, "target_amounts", masked(amount, selected))
    loss = _homogeneous(_exponential_slopes, amount, scale)
    return reduce(name, loss, where, weights, reduction)


@compiled("reduction")
def gaussian_mixture(
    component_logits: Float[ArrayLike, "*batch classes"],
    predictions: Real[ArrayLike, "*batch classes"],
    scales: Real[ArrayLike, "*batch classes"],
    targets: Real[ArrayLike, "*batch"],
    *,
    where: Bool[ArrayLike, "*#batch"] | None = None,
    weights: Real[ArrayLike, "..."] | None = None,
    reduction: Reduction = "mean",
) -> Float[Array, "..."]:
    r"""Continuous ranked probability score of a mixture of normal distributions.

    .. math::
        \ell = \frac12 \sum_{ij} \pi_i \pi_j \bigl( A(t - \mu_i, \sigma_i) + A(t - \mu_j, \sigma_j)
            - A(\mu_i - \mu_j, \sqrt{\sigma_i^2 + \sigma_j^2}) \bigr), \\
        A(e, \sigma) = e\, (2 \Phi(e / \sigma) - 1) + 2 \sigma \varphi(e / \sigma),
        \qquad \pi = \operatorname{softmax}(\text{component\_logits})

    With one component :func:`gaussian`. Memory and time grow with the square of the number of
    components. The unreduced shape is ``*batch``.

    Args:
        component_logits: of :math:`\pi`, how likely each component is.
        predictions, scales: :math:`\mu` and :math:`\sigma` of the components; scales are positive.
        where, weights, reduction: see :func:`jaxloss.core.reducing.reduce`.

    Example:
        >>> logits, centers, scales = jnp.zeros(2), jnp.array([-1.0, 1.0]), jnp.full(2, 1e-3)
        >>> gaussian_mixture(logits, centers, scales, jnp.array(1.0))
        Array(0.5001...

    Reference:
        Grimit et al., "The Continuous Ranked Probability Score for Circular Variables and its
        Application to Mesoscale Forecast Ensemble Verification", 2006.
    """
    name = "gaussian_mixture"
    require_floating(name, component_logits=component_logits)
    require_real(name, targets=targets)
    require_rank(name, 1, wanted="rows of components", component_logits=component_logits)
    arrays = same_shape(
        name, component_logits=component_logits, predictions=predictions, scales=scales
    )
    batch = arrays[0].shape[:-1]
    require_shape(name, batch, wanted="one per row of components,", targets=targets)
    logit, center, scale, actual = promoted(*arrays, targets)
    selected = selection(name, where, batch)
    share = jax.nn.softmax(masked(logit, selected))
    center, actual = masked(center, selected), masked(actual, selected)
    scale = check_positive(name, "scales", masked(scale, selected, fill=1))
    near = _homogeneous(_mean_distance_slopes, actual[..., None] - center, scale)
    one, other = scale[..., :, None], scale[..., None, :]
    unit = magnitude(jnp.maximum(one, other))  # lest squares overflow or vanish
    both = unit * jnp.sqrt(jnp.square(one / unit) + jnp.square(other / unit))
    apart = center[..., :, None] - center[..., None, :]
    # By the triangle inequality no term is negative, so that nothing cancels between them. Where
    # rounding makes one negative, its value alone is wrong, not its slope.
    excess = near[..., :, None] + near[..., None, :]
    excess -= _homogeneous(_mean_distance_slopes, apart, both)
    excess += jax.lax.stop_gradient(jax.nn.relu(-excess))
    loss = (share[..., :, None] * share[..., None, :] * excess).sum((-2, -1)) / 2
    return reduce(name, loss, where, weights, reduction)


def _error(
    name: str,
    predictions: Real[ArrayLike, "*shape"],
    scales: Real[ArrayLike, "*shape"],
    targets: Real[ArrayLike, "*shape"],
    where: Bool[ArrayLike, "*#shape"] | None,
) -> tuple[Float[Array, "*shape"], Float[Array, "*shape"]]:
    """How far the target is above the prediction, and the scale; harmless where not selected."""
    predicted, scale, actual = same_shape(
        name, predictions=predictions, scales=scales, targets=targets
    )
    selected = selection(name, where, predicted.shape)
    error = masked(actual - predicted, selected)
    return error, check_positive(name, "scales", masked(scale, selected, fill=1))


Slopes = Callable[[Float[Array, "*shape"]], tuple[Float[Array, "*shape"], Float[Array, "*shape"]]]


@functools.partial(jax.custom_jvp, nondiff_argnums=(0,))
def _homogeneous(
    slopes: Slopes, error: Float[Array, "*shape"], scale: Float[Array, "*shape"]
) -> Float[Array, "*shape"]:
    """A score that doubles if error and scale do, from its slopes in both as functions of z.

    By Euler's theorem it is the sum of both times their slopes. Given so, neither the value at a
    large z nor the slope in the scale is a small difference of large numbers.
    """
    error_slope, scale_slope = slopes(bounded_quotient(error, scale, 1e4))
    return error * error_slope + scale * scale_slope


@_homogeneous.defjvp
def _homogeneous_jvp(
    slopes: Slopes, primals: tuple[Any, ...], tangents: tuple[Any, ...]
) -> tuple[Array, Array]:
    error_slope, scale_slope = slopes(bounded_quotient(primals[0], primals[1], 1e4))
    return _homogeneous(slopes, *primals), error_slope * tangents[0] + scale_slope * tangents[1]


def _gaussian_slopes(z: Float[Array, "*shape"]) -> tuple[Array, Array]:
    error_slope, scale_slope = _mean_distance_slopes(z)
    return error_slope, scale_slope - 1 / ROOT_PI


def _mean_distance_slopes(z: Float[Array, "*shape"]) -> tuple[Array, Array]:
    """Of the mean distance of a point from a normal variable."""
    return jax.lax.erf(z / ROOT_2), 2 / ROOT_2_PI * jnp.exp(-z * z / 2)


def _laplace_slopes(z: Float[Array, "*shape"]) -> tuple[Array, Array]:
    distance = jnp.abs(z)
    sign = jnp.where(z < 0, -1.0, 1.0).astype(z.dtype)
    return sign * complement(distance), (1 + distance) * jnp.exp(-distance) - 3 / 4


def _logistic_slopes(z: Float[Array, "*shape"]) -> tuple[Array, Array]:
    distance = jnp.abs(z)
    rest = distance * jax.nn.sigmoid(-distance) + jax.nn.softplus(-distance)
    return jnp.tanh(z / 2), 2 * rest - 1


def _uniform_slopes(z: Float[Array, "*shape"]) -> tuple[Array, Array]:
    inside = jnp.clip(z, -1 / 2, 1 / 2)
    return 2 * inside, 1 / 12 - inside * inside


def _exponential_slopes(z: Float[Array, "*shape"]) -> tuple[Array, Array]:
    beyond = jnp.exp(-z)
    return 1 - 2 * beyond, 2 * (1 + z) * beyond - 3 / 2
