"""Losses between real-valued predictions and targets of the same shape."""

import math

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Bool, Float, Real

from jaxloss.core import vectors
from jaxloss.core.checks import check_positive, check_unit_interval, require_rank
from jaxloss.core.compiling import compiled
from jaxloss.core.inputs import Scalar, masked, modulus, residual, same_shape, selection
from jaxloss.core.reducing import Reduction, reduce
from jaxloss.core.vectors import norm


@compiled("reduction")
def squared(
    predictions: Real[ArrayLike, "*shape"],
    targets: Real[ArrayLike, "*shape"],
    *,
    where: Bool[ArrayLike, "*#shape"] | None = None,
    weights: Real[ArrayLike, "..."] | None = None,
    reduction: Reduction = "mean",
) -> Float[Array, "..."]:
    r"""Squared error; its minimizer is the mean.

    .. math::
        \ell = (\text{predictions} - \text{targets})^2

    Not halved: half of it is the Gaussian negative log-likelihood of unit variance. The unreduced
    shape is that of ``predictions``.

    Args:
        where, weights, reduction: see :func:`jaxloss.core.reducing.reduce`.

    Example:
        >>> squared(jnp.array([1.0, 3.0]), jnp.array([0.0, 1.0]))
        Array(2.5, dtype=float32)

    Reference:
        Gauss, "Theoria Motus Corporum Coelestium", 1809.
    """
    error = residual("squared", predictions, targets, where)
    return reduce("squared", error * error, where, weights, reduction)


@compiled("reduction")
def absolute(
    predictions: Real[ArrayLike, "*shape"],
    targets: Real[ArrayLike, "*shape"],
    *,
    where: Bool[ArrayLike, "*#shape"] | None = None,
    weights: Real[ArrayLike, "..."] | None = None,
    reduction: Reduction = "mean",
) -> Float[Array, "..."]:
    r"""Absolute error; its minimizer is the median, which outliers do not move.

    .. math::
        \ell = |\text{predictions} - \text{targets}|

    Its gradient is the sign of the error, 0 at 0. The unreduced shape is that of ``predictions``.

    Args:
        where, weights, reduction: see :func:`jaxloss.core.reducing.reduce`.

    Example:
        >>> absolute(jnp.array([1.0, 3.0]), jnp.array([0.0, 1.0]))
        Array(1.5, dtype=float32)

    Reference:
        Boscovich, "De Litteraria Expeditione", 1757.
    """
    error = residual("absolute", predictions, targets, where)
    distance = modulus(error)
    return reduce("absolute", distance, where, weights, reduction)


@compiled("reduction")
def huber(
    predictions: Real[ArrayLike, "*shape"],
    targets: Real[ArrayLike, "*shape"],
    *,
    delta: Scalar = 1.0,
    where: Bool[ArrayLike, "*#shape"] | None = None,
    weights: Real[ArrayLike, "..."] | None = None,
    reduction: Reduction = "mean",
) -> Float[Array, "..."]:
    r"""Squared error that grows only linearly for outliers.

    .. math::
        \ell(e) = \begin{cases}
            e^2 / 2                & |e| \le \delta \\
            \delta (|e| - \delta/2) & |e| > \delta
        \end{cases}
        \qquad e = \text{predictions} - \text{targets}

    Its gradient is the error clipped to ``[-delta, delta]``. As ``delta`` grows it becomes half
    the squared error; divided by ``delta`` as ``delta`` shrinks, the absolute error. The unreduced
    shape is that of ``predictions``.

    Args:
        delta: error at which the loss turns from quadratic to linear; positive.
        where, weights, reduction: see :func:`jaxloss.core.reducing.reduce`.

    Example:
        >>> huber(jnp.array([0.5, 3.0]), jnp.zeros(2), reduction="none")
        Array([0.125, 2.5  ], dtype=float32)

    Reference:
        Huber, "Robust Estimation of a Location Parameter", 1964.
    """
    error = residual("huber", predictions, targets, where)
    delta = check_positive("huber", "delta", delta)
    size = modulus(error)
    inside = size <= delta
    near = jnp.where(inside, error, 0)  # or the gradient at infinity would be 0 * inf
    loss = jnp.where(inside, near * near / 2, delta * (size - delta / 2))
    return reduce("huber", loss, where, weights, reduction)


@compiled("reduction")
def log_cosh(
    predictions: Real[ArrayLike, "*shape"],
    targets: Real[ArrayLike, "*shape"],
    *,
    where: Bool[ArrayLike, "*#shape"] | None = None,
    weights: Real[ArrayLike, "..."] | None = None,
    reduction: Reduction = "mean",
) -> Float[Array, "..."]:
    r"""Logarithm of the hyperbolic cosine of the error: squared near zero, absolute far away.

    .. math::
        \ell(e) = \log \cosh e = \log(1 + 2 \sinh^2(e/2)) = |e| - \log 2 + \log(1 + e^{-2|e|})

    A :func:`huber` that is smooth everywhere; its gradient is :math:`\tanh e`. The second form
    keeps its digits near zero, the third does not overflow far away. The unreduced shape is that
    of ``predictions``.

    Args:
        where, weights, reduction: see :func:`jaxloss.core.reducing.reduce`.

    Example:
        >>> log_cosh(jnp.array([0.0, 100.0]), jnp.zeros(2), reduction="none")
        Array([ 0.      , 99.306854], dtype=float32)

    Reference:
        Green, "Bayesian Reconstructions from Emission Tomography Data Using a Modified EM
        Algorithm", 1990.
    """
    error = residual("log_cosh", predictions, targets, where)
    near = jnp.abs(error) < 1
    half_sinh = jnp.sinh(jnp.where(near, error, 0) / 2)
    distance = jnp.abs(jnp.where(near, 1, error))
    far = distance + (jnp.log1p(jnp.exp(-2 * distance)) - math.log(2))
    loss = jnp.where(near, jnp.log1p(2 * half_sinh * half_sinh), far)
    return reduce("log_cosh", loss, where, weights, reduction)


@compiled("reduction")
def quantile(
    predictions: Real[ArrayLike, "*shape"],
    targets: Real[ArrayLike, "*shape"],
    *,
    quantile: Scalar = 0.5,
    where: Bool[ArrayLike, "*#shape"] | None = None,
    weights: Real[ArrayLike, "..."] | None = None,
    reduction: Reduction = "mean",
) -> Float[Array, "..."]:
    r"""Absolute error with its own price for each side; its minimizer is a quantile.

    .. math::
        \ell(e) = \max(q\, e,\; (q - 1)\, e), \qquad e = \text{targets} - \text{predictions}

    Also known as the pinball loss. With ``quantile`` 1/2 it is half the absolute error; 0.9 asks
    for a prediction that 9 of 10 targets stay below. For several quantiles at once, ``jax.vmap``
    over ``quantile``. The unreduced shape is that of ``predictions``.

    Args:
        quantile: :math:`q`, the share of targets that should lie below the prediction; in [0, 1].
        where, weights, reduction: see :func:`jaxloss.core.reducing.reduce`.

    Example:
        >>> quantile(jnp.array([0.0, 2.0]), jnp.ones(2), quantile=0.75, reduction="none")
        Array([0.75, 0.25], dtype=float32)

    Reference:
        Koenker and Bassett, "Regression Quantiles", 1978.
    """
    error = residual("quantile", predictions, targets, where)
    share = check_unit_interval("quantile", "quantile", jnp.asarray(quantile))
    loss = share * jax.nn.relu(-error) + (1 - share) * jax.nn.relu(error)
    return reduce("quantile", loss, where, weights, reduction)


@compiled("reduction")
def expectile(
    predictions: Real[ArrayLike, "*shape"],
    targets: Real[ArrayLike, "*shape"],
    *,
    expectile: Scalar = 0.5,
    where: Bool[ArrayLike, "*#shape"] | None = None,
    weights: Real[ArrayLike, "..."] | None = None,
    reduction: Reduction = "mean",
) -> Float[Array, "..."]:
    r"""Squared error with its own price for each side; its minimizer is an expectile.

    .. math::
        \ell(e) = \tau \max(e, 0)^2 + (1 - \tau) \max(-e, 0)^2,
        \qquad e = \text{targets} - \text{predictions}

    The smooth sibling of :func:`quantile`. With ``expectile`` 1/2 it is half the squared error,
    whose minimizer is the mean; towards 1 it tends to the largest target, as in implicit
    Q-learning. The unreduced shape is that of ``predictions``.

    Args:
        expectile: :math:`\tau`, the price of predicting too little; in [0, 1].
        where, weights, reduction: see :func:`jaxloss.core.reducing.reduce`.

    Example:
        >>> expectile(jnp.array([0.0, 4.0]), jnp.full(2, 2.0), expectile=0.75, reduction="none")
        Array([3., 1.], dtype=float32)

    Reference:
        Newey & Powell, "Asymmetric Least Squares Estimation and Testing", 1987.
    """
    error = residual("expectile", predictions, targets, where)
    share = check_unit_interval("expectile", "expectile", jnp.asarray(expectile))
    under, over = jax.nn.relu(-error), jax.nn.relu(error)
    loss = share * under * under + (1 - share) * over * over
    return reduce("expectile", loss, where, weights, reduction)


@compiled("reduction")
def root_mean_squared(
    predictions: Real[ArrayLike, "*batch features"],
    targets: Real[ArrayLike, "*batch features"],
    *,
    where: Bool[ArrayLike, "*#batch #features"] | None = None,
    weights: Real[ArrayLike, "..."] | None = None,
    reduction: Reduction = "mean",
) -> Float[Array, "..."]:
    r"""Root of the mean squared error along the last axis, in the unit of the targets.

    .. math::
        \ell = \sqrt{\frac1n \sum_i (p_i - t_i)^2}

    One number per row; of everything at once it is that of ``predictions.ravel()``. Its gradient
    does not fade as the error does, and is 0 where there is none. The unreduced shape is
    ``*batch``.

    Args:
        where: the elements that exist. A row without any does not count.
        weights, reduction: see :func:`jaxloss.core.reducing.reduce`; they act on rows.

    Example:
        >>> root_mean_squared(jnp.array([3.0, 4.0]), jnp.array([0.0, 0.0]))
        Array(3.5355..., dtype=float32)

    Reference:
        Hyndman & Koehler, "Another look at measures of forecast accuracy", 2006.
    """
    name = "root_mean_squared"
    require_rank(name, 1, wanted="rows of numbers", predictions=predictions)
    error = residual(name, predictions, targets, where)
    selected = selection(name, where, error.shape)
    exists = jnp.ones(error.shape, bool) if selected is None else selected
    count = exists.sum(-1)
    loss = norm(error) / jnp.sqrt(jnp.maximum(count, 1).astype(error.dtype))
    return reduce(name, loss, count > 0, weights, reduction)


@compiled("reduction")
def cosine_distance(
    predictions: Real[ArrayLike, "*batch features"],
    targets: Real[ArrayLike, "*batch features"],
    *,
    where: Bool[ArrayLike, "*#batch"] | None = None,
    weights: Real[ArrayLike, "..."] | None = None,
    reduction: Reduction = "mean",
) -> Float[Array, "..."]:
    r"""One minus the cosine of the angle between two vectors.

    .. math::
        \ell = 1 - \frac{p \cdot t}{\|p\| \|t\|}
             = \frac12 \left\| \frac{p}{\|p\|} - \frac{t}{\|t\|} \right\|^2

    From 0 for the same direction to 2 for the opposite one; lengths do not matter. The second form
    is computed: it is never negative and keeps its digits when the vectors nearly agree. A zero
    vector has no direction: its distance is 1 and its gradient 0. The unreduced shape is
    ``*batch``.

    Args:
        where, weights, reduction: see :func:`jaxloss.core.reducing.reduce`.

    Example:
        >>> cosine_distance(jnp.array([3.0, 0.0]), jnp.array([0.0, 2.0]))
        Array(1., dtype=float32)

    Reference:
        Salton, Wong and Yang, "A Vector Space Model for Automatic Indexing", 1975.
    """
    name = "cosine_distance"
    require_rank(name, 1, wanted="rows of features", predictions=predictions)
    arrays = same_shape(name, predictions=predictions, targets=targets)
    selected = selection(name, where, arrays[0].shape[:-1])
    predicted, actual = (masked(array, selected) for array in arrays)
    loss = vectors.cosine_distance(predicted, actual)
    return reduce(name, loss, where, weights, reduction)
