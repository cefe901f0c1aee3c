"""Is the gradient right, does it reach every parameter, and do the terms of a loss agree?"""

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PyTree

from jaxloss.compose.gram import gram, term_gradients
from jaxloss.compose.weighting import WeightedSum
from jaxloss.evaluation.landscapes import landscape
from jaxloss.evaluation.tables import aligned

LEVELS, SHRINK = 10, 1.6
"""Finite differences taken, and by how much each step is smaller than the one before."""
CLOSE = 1e-3
"""Relative difference up to which two derivatives agree in any case."""


class GradientCheck(NamedTuple):
    """The derivative with respect to one array of the params, along a random direction."""

    derivative: float
    """by automatic differentiation"""
    difference: float
    """by finite differences, extrapolated"""
    uncertainty: float
    """of the latter, from rounding and from what the extrapolation has left"""
    agrees: bool


def check_gradient(
    loss: Callable[[PyTree], Float[Array, ""]], params: PyTree, *, seed: int = 0
) -> dict[str, GradientCheck]:
    r"""Compare the gradient with finite differences, array by array.

    Steps of many sizes are taken in both directions and extrapolated to none, by Ridders' method,
    in the precision that ``params`` have: in float32 three digits are as much as can be told, in
    float64 eight. At a kink, such as that of a rectifier, the uncertainty is large.

    Args:
        loss: of params; a fixed batch, and no randomness.
        params: floating-point arrays, and others, which are left alone.
        seed: of the directions.

    Returns:
        By the path of each array.

    Example:
        >>> found = check_gradient(lambda p: jnp.sin(p["x"]).sum(), {"x": jnp.arange(3.0)})
        >>> {path: check.agrees for path, check in found.items()}
        {"['x']": True}
    """
    paths, floats, rebuild = _floating(params)

    def of_floats(floats: list[Array]) -> Float[Array, ""]:
        return loss(rebuild(floats))

    slopes = jax.device_get(jax.jit(jax.grad(of_floats))(floats))
    steps = 0.1 * SHRINK ** -np.arange(LEVELS, dtype=np.float32)
    at, random = np.concatenate([steps, -steps]), np.random.default_rng(seed)
    still = [jnp.zeros_like(x) for x in floats]
    found = {}
    for k, (path, x) in enumerate(zip(paths, floats, strict=True)):
        direction = (random.normal(size=x.shape) * _size(x)).astype(x.dtype)
        ahead = [*still[:k], jnp.asarray(direction), *still[k + 1 :]]
        losses = landscape(of_floats, floats, [ahead], at=at).losses
        derivative = float((slopes[k].astype(float) * direction.astype(float)).sum())
        found[path] = _checked(derivative, losses, steps.astype(float))
    return found


def zero_gradients(
    loss: Callable[[PyTree, PyTree], Float[Array, ""]], params: PyTree, batches: Iterable[PyTree]
) -> dict[str, float]:
    """The share of each array of the params whose gradient is exactly zero on every batch.

    An array at 1 is not used, or stands behind a ``stop_gradient`` or a unit that never fires.

    Args:
        loss: ``(params, batch)`` to a scalar.
        params: floating-point arrays, and others, which are left out.
        batches: a handful will do.

    Returns:
        By the path of each array.

    Example:
        >>> def loss(params, batch):
        ...     return (params["used"] * batch).sum()
        >>> params = {"used": jnp.ones(2), "unused": jnp.ones(3)}
        >>> zero_gradients(loss, params, [jnp.array([1.0, 0.0])])
        {"['unused']": 1.0, "['used']": 0.5}
    """
    paths, floats, rebuild = _floating(params)

    @jax.jit
    def update(reached: list[Array], batch: PyTree) -> list[Array]:
        slopes = jax.grad(lambda floats: loss(rebuild(floats), batch))(floats)
        return [before | (slope != 0) for before, slope in zip(reached, slopes, strict=True)]

    reached = [jnp.zeros(x.shape, bool) for x in floats]
    for batch in batches:
        reached = update(reached, jax.device_put(batch))
    return {
        path: 1 - float(np.mean(jax.device_get(each)))
        for path, each in zip(paths, reached, strict=True)
    }


class Conflict(NamedTuple):
    """How the gradients of the terms of a loss lie to each other."""

    names: tuple[str, ...]
    values: np.ndarray
    """of the terms, times their coefficients"""
    lengths: np.ndarray
    """of their gradients"""
    cosines: np.ndarray
    """of the angles between them: below 0, what helps one term harms the other"""

    def table(self) -> str:
        """As text, a line for each term."""
        rows = [["term", "value", "gradient", *(f"cos {name}" for name in self.names)]]
        for k, name in enumerate(self.names):
            cosines = [f"{cosine:+.2f}" for cosine in self.cosines[k]]
            rows.append([name, f"{self.values[k]:.4g}", f"{self.lengths[k]:.3g}", *cosines])
        return aligned(rows)


def gradient_conflict(
    objective: Callable[..., WeightedSum], params: PyTree, *args: Any, **kwargs: Any
) -> Conflict:
    """Measure the gradient of each term of a weighted sum, and the angles between them.

    Args:
        objective: from :func:`jaxloss.compose.weighted`.
        params: what to differentiate with respect to.
        *args, **kwargs: whatever else ``objective`` takes, such as a batch.

    Example:
        >>> from jaxloss.compose import weighted
        >>> objective = weighted({"up": lambda x: x.sum(), "down": lambda x: -2 * x[0]})
        >>> print(gradient_conflict(objective, jnp.array([3.0, 1.0])).table())
        term  value  gradient  cos up  cos down
        up        4      1.41   +1.00     -0.71
        down     -6         2   -0.71     +1.00
    """
    names: list[str] = []

    def named(*args: Any, **kwargs: Any) -> WeightedSum:
        terms = objective(*args, **kwargs)
        names[:] = terms.terms
        return terms

    @jax.jit
    def measured(params: PyTree, args: Any, kwargs: Any) -> tuple[Array, Any]:
        values, gradients = term_gradients(named, params, *args, **kwargs)
        return values, gram(gradients)

    values, (lengths, cosines) = jax.device_get(measured(params, args, kwargs))
    return Conflict(tuple(names), values, lengths, cosines)


def _floating(
    params: PyTree,
) -> tuple[list[str], list[Array], Callable[[list[Array]], PyTree]]:
    """The floating-point leaves and their paths, and how to put them back."""
    leaves, structure = jax.tree_util.tree_flatten_with_path(params)
    moving = [
        k for k, (_, x) in enumerate(leaves) if jnp.issubdtype(jnp.result_type(x), jnp.floating)
    ]

    def rebuild(floats: list[Array]) -> PyTree:
        whole = [x for _, x in leaves]
        for k, x in zip(moving, floats, strict=True):
            whole[k] = x
        return jax.tree.unflatten(structure, whole)

    paths = [jax.tree_util.keystr(leaves[k][0]) for k in moving]
    return paths, [jnp.asarray(leaves[k][1]) for k in moving], rebuild


def _size(x: Array) -> float:
    """A typical size of the elements of ``x``, and 1 if they are all zero."""
    return float(np.sqrt(np.mean(np.square(np.asarray(x, np.float64))))) or 1.0


def _checked(derivative: float, losses: np.ndarray, steps: np.ndarray) -> GradientCheck:
    """Extrapolate central differences to a step of zero, by Ridders' method."""
    ahead, behind = losses.astype(float).reshape(2, -1)
    rounding = float(np.finfo(losses.dtype).eps) * np.abs(losses).max() / steps
    table = [(ahead - behind) / (2 * steps)]
    best, uncertainty = table[0][0], np.inf
    for level in range(1, len(steps)):
        last = table[-1]
        factor = SHRINK ** (2 * level)
        table.append((factor * last[1:] - last[:-1]) / (factor - 1))
        errors = np.maximum(np.abs(table[-1] - last[1:]), np.abs(table[-1] - last[:-1]))
        errors = errors + rounding[level:]
        k = int(np.argmin(errors))
        if errors[k] < uncertainty:
            best, uncertainty = float(table[-1][k]), float(errors[k])
    allowed = max(CLOSE * max(abs(best), abs(derivative)), 3 * uncertainty)
    agrees = bool(abs(best - derivative) <= allowed)
    return GradientCheck(derivative, float(best), uncertainty, agrees)
