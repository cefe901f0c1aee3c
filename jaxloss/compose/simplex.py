"""Convex problems in a handful of variables, solved on the device in single precision."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

STAGES, STEPS, GROWTH = 28, 4, 2.2
"""Of the path to the minimum; its last point is as close as single precision can tell."""
RIDGE = 1e-7
"""Relative curvature added, so that directions in which nothing changes do no harm."""


def minimum(
    slope_and_curvature: Callable[[Array], tuple[Array, Array]],
    costs: Float[Array, " n"],
    free: Bool[Array, " n"],
) -> Float[Array, " n"]:
    r"""Minimize a convex function of :math:`y \ge 0` with :math:`\sum_k c_k y_k = 1`.

    An interior-point method: Newton's, for :math:`t f(y) - \sum_k \log y_k` with ever larger
    :math:`t`. Steps are measured in shares of :math:`y`, in which it does not matter whether the
    variables, or their costs, are of very different sizes.

    Args:
        slope_and_curvature: the gradient and the Hessian of the function.
        costs: not negative; of a variable that is not constrained, zero.
        free: which variables there are; all others stay at zero.
    """
    costs = jnp.where(free, costs, 0)
    paid = costs > 0
    eye = jnp.eye(costs.size, dtype=costs.dtype)

    def newton(y: Array, t: Array) -> Array:
        slope, curvature = slope_and_curvature(y)
        scaled = y[:, None] * curvature * y[None]
        scaled = scaled + jnp.diag(RIDGE * jnp.abs(jnp.diagonal(scaled)))
        price = costs * y
        # The square of the constraint changes no step along it, but keeps the matrix regular for
        # functions that are linear in the direction of y itself.
        matrix = t * (scaled + price[:, None] * price[None]) + eye
        force = jnp.where(free, 1 - t * y * slope, 0)
        force = force - price * ((price @ force) / jnp.maximum(price @ price, 1e-30))
        step, along = jnp.linalg.solve(matrix, jnp.stack([force, price], 1)).T
        step = step - along * ((price @ step) / jnp.maximum(price @ along, 1e-30))
        length = jnp.sqrt((step * step).sum())
        moved = y * (1 + step / jnp.maximum(1, 1.05 * length))
        whole = costs @ moved
        moved = jnp.where(paid, moved / jnp.where(whole > 0, whole, 1), moved)
        return jnp.where(jnp.isfinite(moved).all() & (moved >= 0).all(), moved, y)

    def stage(k: Array, y: Array) -> Array:
        t = GROWTH ** k.astype(y.dtype)
        return jax.lax.fori_loop(0, STEPS, lambda _, y: newton(y, t), y)

    equal = 1 / jnp.where(paid, costs * paid.sum().astype(costs.dtype), 1)
    return jax.lax.fori_loop(0, STAGES, stage, jnp.where(free, equal, 0))
