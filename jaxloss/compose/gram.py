"""The gradients of several losses as seen by methods that combine them: lengths and angles.

Whatever such a method does is a weighted sum of the gradients, and its weights follow from their
inner products. So no method ever sees a gradient: of parameters sharded over any number of devices,
no more than the K x K products are exchanged.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.sharding import NamedSharding, PartitionSpec
from jaxtyping import Array, Float, PyTree

from jaxloss.compose.weighting import WeightedSum
from jaxloss.core.inputs import at_least_float32
from jaxloss.core.ratios import magnitude
from jaxloss.core.summing import is_explicitly_sharded


class Gram(NamedTuple):
    """The lengths of some vectors, and the cosines of the angles between them.

    Kept apart, since the products of lengths of 1e-3 and 1e7 have no digits to compare.
    """

    lengths: Float[Array, " losses"]
    cosines: Float[Array, "losses losses"]
    """1 on the diagonal; 0 throughout for a vector of length zero"""


def gram(gradients: PyTree) -> Gram:
    """Measure the gradients that lie along the first axis of every leaf.

    Example:
        >>> gram(jnp.array([[3.0, 4.0], [0.0, 2.0], [0.0, 0.0]]))
        Gram(lengths=Array([5., 2., 0.], dtype=float32), cosines=Array([[1. , 0.8, 0. ],
               [0.8, 1. , 0. ],
               [0. , 0. , 0. ]], dtype=float32))
    """
    leaves = jax.tree.leaves(gradients)
    largest = [at_least_float32(jnp.abs(x).max(tuple(range(1, x.ndim)))) for x in leaves]
    scale = magnitude(jnp.stack(largest).max(0))
    products = jnp.stack([_products(x, scale) for x in leaves]).sum(0)
    return gram_of(products, scale)


def gram_of(
    products: Float[Array, "losses losses"], scale: Float[Array, " losses"] | None = None
) -> Gram:
    """The lengths and angles of vectors, from their inner products.

    Args:
        products: of the vectors, each divided by its ``scale``.
        scale: 1 by default.
    """
    lengths = jnp.sqrt(jnp.diagonal(products))
    there = lengths != 0
    safe = jnp.where(there, lengths, 1)
    cosines = products / safe[:, None] / safe[None]
    same = jnp.eye(len(lengths), dtype=bool)
    cosines = jnp.where(same, there[:, None].astype(cosines.dtype), cosines)
    return Gram(lengths if scale is None else lengths * scale, cosines)


def combined(gradients: PyTree, weights: Float[Array, " losses"]) -> PyTree:
    """The sum of the gradients along the first axis of every leaf, each times its weight.

    Example:
        >>> combined({"x": jnp.array([[1.0, 2.0], [10.0, 20.0]])}, jnp.array([1.0, 0.5]))
        {'x': Array([ 6., 12.], dtype=float32)}
    """

    def combine(x: Array) -> Array:
        weight = weights.astype(at_least_float32(x[:0]).dtype)
        return jnp.tensordot(weight, at_least_float32(x), 1, precision="highest").astype(x.dtype)

    return jax.tree.map(combine, gradients)


def term_gradients(
    objective: Callable[..., WeightedSum], params: PyTree, *args: Any, **kwargs: Any
) -> tuple[Float[Array, " losses"], PyTree]:
    """The terms of a weighted sum, and the gradient of each: one backward pass per term.

    Both include the coefficients. The gradients lie along a new first axis of every leaf, which is
    as many times the memory of ``params``.

    Args:
        objective: from :func:`~jaxloss.compose.weighted`.
        params: what to differentiate with respect to.
        *args, **kwargs: whatever else ``objective`` takes.

    Example:
        >>> from jaxloss.compose import weighted
        >>> objective = weighted({"near": lambda x: (x - 1) ** 2, "small": lambda x: x**2})
        >>> term_gradients(objective, jnp.float32(3.0))
        (Array([4., 9.], dtype=float32), Array([4., 6.], dtype=float32))
    """

    def values(params: PyTree) -> tuple[Array, Array]:
        terms = objective(params, *args, **kwargs)
        each = [terms.coefficients[name] * value for name, value in terms.values().items()]
        return jnp.stack(each), jnp.stack(each)

    gradients, found = jax.jacrev(values, has_aux=True)(params)
    return found, gradients


def _products(x: Array, scale: Float[Array, " losses"]) -> Float[Array, "losses losses"]:
    scaled = at_least_float32(x) / scale.reshape(-1, *[1] * (x.ndim - 1))
    inner = tuple(range(1, x.ndim))
    # flattened, a leaf that is sharded along several axes would have to be gathered first
    replicated = None
    if is_explicitly_sharded(x):
        replicated = NamedSharding(jax.typeof(x).sharding.mesh, PartitionSpec())
    return jax.lax.dot_general(
        scaled,
        scaled,
        ((inner, inner), ((), ())),
        precision="highest",
        out_sharding=replicated,
    )
