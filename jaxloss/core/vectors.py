"""Lengths, directions and distances of vectors, exact however long or short the vectors are.

Squares overflow from 1e20 on in float32 and vanish below 1e-19. So each vector is first divided by
a power of two near its largest entry, which rounds nothing. Where the direction of a vector is
undefined, at the zero vector, every derivative is zero.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxloss.core.ratios import magnitude


def norm(x: Float[Array, "*batch features"]) -> Float[Array, "*batch"]:
    """Euclidean length of each vector."""
    scale, scaled, length = _measured(x)
    return (scale * jnp.where(scaled.any(-1, keepdims=True), length, 0)).squeeze(-1)


def normalized(x: Float[Array, "*batch features"]) -> Float[Array, "*batch features"]:
    """Each vector at length one; the zero vector stays zero."""
    _, scaled, length = _measured(x)
    return jnp.where(scaled.any(-1, keepdims=True), scaled / length, 0)


def distance(
    x: Float[Array, "*batch features"], y: Float[Array, "*batch features"]
) -> Float[Array, "*batch"]:
    """Euclidean distance between each vector of ``x`` and that of ``y``."""
    return norm(x - y)


def _measured(
    x: Float[Array, "*batch features"],
) -> tuple[Float[Array, "*batch 1"], Float[Array, "*batch features"], Float[Array, "*batch 1"]]:
    """The scale of each vector, the vector divided by it, and the length of that.

    The length of a zero vector is given as one: the square root has no derivative at zero.
    """
    largest = jnp.abs(jax.lax.stop_gradient(x)).max(-1, keepdims=True, initial=0)
    scale = jnp.maximum(magnitude(largest), float(jnp.finfo(x.dtype).tiny))
    scaled = x / scale
    squared = jnp.square(scaled).sum(-1, keepdims=True)
    return scale, scaled, jnp.sqrt(jnp.where(scaled.any(-1, keepdims=True), squared, 1))
