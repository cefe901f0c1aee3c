"""Losses between real-valued predictions and targets: absolute error here, squared error there.

All but one are relatives of the Huber loss: the kink of the absolute error is rounded off, so that
a fit settles, and its straight sides are kept, so that outliers pull no more than others do.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Bool, Float, Real

from jaxloss.core.checks import check_not_negative, check_positive
from jaxloss.core.compiling import compiled
from jaxloss.core.inputs import Scalar, modulus, residual
from jaxloss.core.reducing import Reduction, reduce
from jaxloss.core.vectors import norm


@compiled("reduction")
def smooth_l1(
    predictions: Real[ArrayLike, "*shape"],
    targets: Real[ArrayLike, "*shape"],
    *,
    delta: Scalar = 1.0,
    where: Bool[ArrayLike, "*#shape"] | None = None,
    weights: Real[ArrayLike, "..."] | None = None,
    reduction: Reduction = "mean",
) -> Float[Array, "..."]:
    r"""Absolute error with its kink rounded off.

    .. math::
        \ell(e) = \begin{cases}
            e^2 / (2 \delta)   & |e| < \delta \\
            |e| - \delta / 2   & |e| \ge \delta
        \end{cases}
        \qquad e = \text{predictions} - \text{targets}

    The Huber loss divided by ``delta``: its slope far away stays 1, and with ``delta`` 0 it is the
    absolute error. Usual for the coordinates of boxes. The unreduced shape is that of
    ``predictions``.

    Args:
        delta: error at which the loss turns from quadratic to linear; not negative.
        where, weights, reduction: see :func:`jaxloss.core.reducing.reduce`.

    Example:
        >>> smooth_l1(jnp.array([0.25, 3.0]), jnp.zeros(2), delta=0.5, reduction="none")
        Array([0.0625, 2.75  ], dtype=float32)

    Reference:
        Girshick, "Fast R-CNN", 2015.
    """
    error = residual("smooth_l1", predictions, targets, where)
    delta = check_not_negative("smooth_l1", "delta", delta)
    distance = modulus(error)
    near = distance < delta
    inside = jnp.where(near, error, 0)
    quadratic = inside * (inside / jnp.where(delta == 0, 1, delta)) / 2
    loss = jnp.where(near, quadratic, distance - delta / 2)
    return reduce("smooth_l1", loss, where, weights, reduction)


@compiled("reduction")
def charbonnier(
    predictions: Real[ArrayLike, "*shape"],
    targets: Real[ArrayLike, "*shape"],
    *,
    scale: Scalar = 1e-3,
    where: Bool[ArrayLike, "*#shape"] | None = None,
    weights: Real[ArrayLike, "..."] | None = None,
    reduction: Reduction = "mean",
) -> Float[Array, "..."]:
    r"""Absolute error made smooth, as in image restoration.

    .. math::
        \ell(e) = \sqrt{e^2 + s^2}, \qquad e = \text{predictions} - \text{targets}

    Its least value is ``scale``, not 0; :func:`pseudo_huber` is the same curve, moved and
    stretched to start from 0 as half the squared error. The unreduced shape is that of
    ``predictions``.

    Args:
        scale: :math:`s`, error below which the loss is quadratic; positive.
        where, weights, reduction: see :func:`jaxloss.core.reducing.reduce`.

    Example:
        >>> charbonnier(jnp.array([3.0, 0.0]), jnp.zeros(2), scale=4.0, reduction="none")
        Array([5., 4.], dtype=float32)

    Reference:
        Charbonnier et al., "Two Deterministic Half-Quadratic Regularization Algorithms for
        Computed Imaging", 1994.
    """
    error = residual("charbonnier", predictions, targets, where)
    scale = check_positive("charbonnier", "scale", scale)
    far = _is_far(error, scale)
    near = jnp.where(far, 0, error)
    length = norm(jnp.stack([near, jnp.broadcast_to(scale, near.shape).astype(near.dtype)], -1))
    loss = jnp.where(far, modulus(error), length)
    return reduce("charbonnier", loss, where, weights, reduction)


@compiled("reduction")
def pseudo_huber(
    predictions: Real[ArrayLike, "*shape"],
    targets: Real[ArrayLike, "*shape"],
    *,
    delta: Scalar = 1.0,
    where: Bool[ArrayLike, "*#shape"] | None = None,
    weights: Real[ArrayLike, "..."] | None = None,
    reduction: Reduction = "mean",
) -> Float[Array, "..."]:
    r"""Half the squared error that grows only linearly for outliers, smooth everywhere.

    .. math::
        \ell(e) = \delta^2 \Bigl( \sqrt{1 + (e / \delta)^2} - 1 \Bigr)
                = \frac{e^2}{1 + \sqrt{1 + (e / \delta)^2}},
        \qquad e = \text{predictions} - \text{targets}

    The second form, which is computed, keeps its digits near zero. The Huber loss without its jump
    in curvature; far away it is ``delta`` times the absolute error. The unreduced shape is that of
    ``predictions``.

    Args:
        delta: error around which the loss turns from quadratic to linear; positive.
        where, weights, reduction: see :func:`jaxloss.core.reducing.reduce`.

    Example:
        >>> pseudo_huber(0.75, 0.0)
        Array(0.25, dtype=float32)

    Reference:
        Hartley & Zisserman, "Multiple View Geometry in Computer Vision", 2nd ed., 2003.
    """
    error = residual("pseudo_huber", predictions, targets, where)
    delta = check_positive("pseudo_huber", "delta", delta)
    far = _is_far(error, delta)
    near = jnp.where(far, 0, error)
    ratio = near / delta
    curved = near * (near / (1 + jnp.sqrt(1 + ratio * ratio)))
    loss = jnp.where(far, delta * (modulus(error) - delta), curved)
    return reduce("pseudo_huber", loss, where, weights, reduction)


@compiled("reduction")
def epsilon_insensitive(
    predictions: Real[ArrayLike, "*shape"],
    targets: Real[ArrayLike, "*shape"],
    *,
    tolerance: Scalar = 0.1,
    where: Bool[ArrayLike, "*#shape"] | None = None,
    weights: Real[ArrayLike, "..."] | None = None,
    reduction: Reduction = "mean",
) -> Float[Array, "..."]:
    r"""Absolute error beyond a tolerance; smaller errors are free.

    .. math::
        \ell(e) = \max(|e| - \epsilon,\; 0), \qquad e = \text{predictions} - \text{targets}

    The loss of support vector regression. Within the tolerance, limits included, the gradient is
    0. The unreduced shape is that of ``predictions``.

    Args:
        tolerance: :math:`\epsilon`, the largest error that costs nothing; not negative.
        where, weights, reduction: see :func:`jaxloss.core.reducing.reduce`.

    Example:
        >>> epsilon_insensitive(jnp.array([0.5, -3.0]), jnp.zeros(2), tolerance=1.0)
        Array(1., dtype=float32)

    Reference:
        Vapnik, "The Nature of Statistical Learning Theory", 1995.
    """
    error = residual("epsilon_insensitive", predictions, targets, where)
    tolerance = check_not_negative("epsilon_insensitive", "tolerance", tolerance)
    excess = jax.nn.relu(modulus(error) - tolerance)
    return reduce("epsilon_insensitive", excess, where, weights, reduction)


@compiled("reduction")
def berhu(
    predictions: Real[ArrayLike, "*shape"],
    targets: Real[ArrayLike, "*shape"],
    *,
    delta: Scalar = 1.0,
    where: Bool[ArrayLike, "*#shape"] | None = None,
    weights: Real[ArrayLike, "..."] | None = None,
    reduction: Reduction = "mean",
) -> Float[Array, "..."]:
    r"""Reverse Huber: absolute error for small errors, squared for large ones.

    .. math::
        \ell(e) = \begin{cases}
            |e|                                & |e| \le \delta \\
            (e^2 + \delta^2) / (2 \delta)      & |e| > \delta
        \end{cases}
        \qquad e = \text{predictions} - \text{targets}

    The opposite of robust: large errors pull more, while small ones still pull with slope 1. Used
    for depth maps, with ``delta`` a fifth of the batch's largest error. The unreduced shape is
    that of ``predictions``.

    Args:
        delta: error at which the loss turns from linear to quadratic; positive.
        where, weights, reduction: see :func:`jaxloss.core.reducing.reduce`.

    Example:
        >>> predictions, targets = jnp.array([0.5, 5.0]), jnp.zeros(2)
        >>> delta = 0.2 * jax.lax.stop_gradient(jnp.abs(predictions - targets).max())
        >>> berhu(predictions, targets, delta=delta, reduction="none")
        Array([ 0.5, 13. ], dtype=float32)

    Reference:
        Owen, "A robust hybrid of lasso and ridge regression", 2007; for depth Laina et al.,
        "Deeper Depth Prediction with Fully Convolutional Residual Networks", 2016.
    """
    error = residual("berhu", predictions, targets, where)
    delta = check_positive("berhu", "delta", delta)
    distance = modulus(error)
    excess = jax.nn.relu(distance - delta)
    return reduce("berhu", distance + excess * (excess / delta) / 2, where, weights, reduction)


def _is_far(error: Float[Array, "*shape"], scale: Array) -> Bool[Array, "*shape"]:
    """Whether ``1 + (scale / error)**2`` is 1 to rounding: there the asymptote is exact."""
    return jnp.abs(error) * float(jnp.finfo(error.dtype).eps) > scale
