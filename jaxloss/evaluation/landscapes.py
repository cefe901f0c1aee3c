"""The loss around a point: along a line, or on a plane."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float, PyTree

from jaxloss.core.inputs import at_least_float32
from jaxloss.core.vectors import norm


class Landscape(NamedTuple):
    """A loss along one direction or two, as numpy arrays."""

    at: np.ndarray
    """how far along each direction; 0 is the point itself"""
    losses: np.ndarray
    """of one axis per direction"""


def landscape(
    loss: Callable[[PyTree], Float[Array, ""]],
    params: PyTree,
    directions: Sequence[PyTree],
    *,
    at: Float[ArrayLike, " points"] | None = None,
) -> Landscape:
    """Evaluate ``loss`` around ``params``, along one direction or on the plane of two.

    Compiled once, and evaluated point by point: it takes the memory of two evaluations. Whatever
    the loss has besides, such as the statistics of batch normalization, is held fixed.

    Args:
        loss: of params; as a rule over the whole of a data set, or a large batch that is fixed.
        params: the point itself.
        directions: one or two, shaped like ``params``: from :func:`filter_normalized` to see how
            sharp a minimum is, or the way to another point, ``jax.tree.map(jnp.subtract, b, a)``.
        at: how far to go along each; from -1 to 1 in 25 points by default.

    Example:
        >>> at, direction = jnp.array([-1.0, 2.0]), jnp.array([3.0, 4.0])
        >>> landscape(lambda x: x @ x, jnp.zeros(2), [direction], at=at).losses
        array([ 25., 100.], dtype=float32)

    Reference:
        Li et al., "Visualizing the Loss Landscape of Neural Nets", 2018.
    """
    if len(directions) not in (1, 2):
        raise ValueError(f"landscape: directions must be one or two, got {len(directions)}")
    structure = jax.tree.structure(params)
    for direction in directions:
        if jax.tree.structure(direction) != structure:
            raise ValueError(
                f"landscape: directions must have the structure of params, {structure}, "
                f"got {jax.tree.structure(direction)}"
            )
    at = np.linspace(-1, 1, 25, dtype=np.float32) if at is None else np.asarray(at, np.float32)
    axes = np.meshgrid(*[at] * len(directions), indexing="ij")
    points = np.stack([axis.ravel() for axis in axes], -1)
    losses = _along(loss, params, tuple(directions), jax.device_put(points))
    return Landscape(at, jax.device_get(losses).reshape(axes[0].shape))


def filter_normalized(direction: PyTree, params: PyTree) -> PyTree:
    r"""Scale each filter of a direction to the length of that of ``params``.

    .. math::
        d_f \leftarrow \frac{\lVert \theta_f \rVert}{\lVert d_f \rVert}\, d_f

    Weights that a following layer or a normalization undoes the scale of would otherwise make one
    and the same minimum look as sharp as one likes. A filter is all that leads to one output: a
    slice along the last axis, where JAX has the outputs. Arrays of one axis, such as biases and
    scales, do not move.

    Example:
        >>> kernel = jnp.array([[3.0, 0.0], [4.0, 2.0]])  # columns of length 5 and 2
        >>> filter_normalized({"kernel": jnp.ones((2, 2))}, {"kernel": kernel})["kernel"]
        Array([[3.535534 , 1.4142135],
               [3.535534 , 1.4142135]], dtype=float32)
    """
    return jax.tree.map(_filter_normalized, direction, params)


def random_directions(key: Array, params: PyTree, count: int = 2) -> list[PyTree]:
    """Draw directions at random, filter by filter as long as ``params``.

    In many dimensions any two of them are all but orthogonal.

    Example:
        >>> params = {"kernel": jnp.ones((4, 3)), "bias": jnp.ones(3)}
        >>> (direction,) = random_directions(jax.random.key(0), params, 1)
        >>> jnp.linalg.norm(direction["kernel"], axis=0).round(3), direction["bias"]
        (Array([2., 2., 2.], dtype=float32), Array([0., 0., 0.], dtype=float32))
    """
    leaves, structure = jax.tree.flatten(params)

    def draw(key: Array) -> PyTree:
        keys = jax.random.split(key, max(len(leaves), 1))
        drawn = [_drawn(k, leaf) for k, leaf in zip(keys, leaves, strict=False)]
        return filter_normalized(jax.tree.unflatten(structure, drawn), params)

    return [draw(k) for k in jax.random.split(key, count)]


@partial(jax.jit, static_argnums=0)
def _along(
    loss: Callable[[PyTree], Float[Array, ""]],
    params: PyTree,
    directions: tuple[PyTree, ...],
    points: Float[Array, "points directions"],
) -> Float[Array, " points"]:
    def at(point: Float[Array, " directions"]) -> Float[Array, ""]:
        moved = params
        for k, direction in enumerate(directions):
            moved = jax.tree.map(lambda x, d, k=k: _moved(x, d, point[k]), moved, direction)
        return loss(moved)

    return jax.lax.map(at, points)


def _moved(x: Any, direction: Any, length: Float[Array, ""]) -> Any:
    return x + length.astype(x.dtype) * direction if _is_floating(x) else x


def _drawn(key: Array, x: Any) -> Any:
    return jax.random.normal(key, x.shape, x.dtype) if _is_floating(x) else x


def _filter_normalized(direction: Any, x: Any) -> Any:
    if not _is_floating(x):
        return direction
    if x.ndim < 2:
        return jnp.zeros_like(direction)
    ours, wanted = _filter_lengths(direction), _filter_lengths(x)
    scale = (wanted / jnp.where(ours == 0, 1, ours)).astype(direction.dtype)
    return direction * jnp.broadcast_to(scale, direction.shape)


def _filter_lengths(x: Float[Array, "..."]) -> Float[Array, " filters"]:
    return norm(at_least_float32(x).reshape(-1, x.shape[-1]).T)


def _is_floating(x: Any) -> bool:
    return jnp.issubdtype(jnp.result_type(x), jnp.floating)
