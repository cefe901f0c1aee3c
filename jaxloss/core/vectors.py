"""Lengths, directions and distances of vectors, exact however long or short the vectors are.

Squares overflow from 1e20 on in float32 and vanish below 1e-19. So each vector is first divided by
a power of two near its largest entry, which rounds nothing. Where the direction of a vector is
undefined, at the zero vector, every derivative is zero.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float

from jaxloss.core.inputs import modulus
from jaxloss.core.ratios import magnitude


def norm(
    x: Float[Array, "*batch features"], power: ArrayLike | None = None
) -> Float[Array, "*batch"]:
    """Length of each vector: Euclidean, or the p-norm of a positive ``power``."""
    scale, scaled, length = _measured(x)
    if power is not None:
        length = _power_mean(scaled, jnp.asarray(power).astype(x.dtype))
    return (scale * jnp.where(scaled.any(-1, keepdims=True), length, 0)).squeeze(-1)


def normalized(x: Float[Array, "*batch features"]) -> Float[Array, "*batch features"]:
    """Each vector at length one; the zero vector stays zero."""
    _, scaled, length = _measured(x)
    return jnp.where(scaled.any(-1, keepdims=True), scaled / length, 0)


def leveled(
    x: Float[Array, "*batch features"],
) -> tuple[Float[Array, "*batch features"], Float[Array, "*batch"]]:
    """Each vector over a power of two, which is exact in any dtype, and what makes its length one.

    The factor of a zero vector is zero.
    """
    _, scaled, length = _measured(x)
    return scaled, jnp.where(scaled.any(-1), 1 / length.squeeze(-1), 0)


def distance(
    x: Float[Array, "*batch features"],
    y: Float[Array, "*batch features"],
    power: ArrayLike | None = None,
) -> Float[Array, "*batch"]:
    """Distance between each vector of ``x`` and that of ``y``: the :func:`norm` of what is left."""
    return norm(x - y, power)


def cosine_distance(
    x: Float[Array, "*batch features"], y: Float[Array, "*batch features"]
) -> Float[Array, "*batch"]:
    """One minus the cosine of the angle between each vector of ``x`` and that of ``y``.

    As half the squared chord of two unit vectors, it keeps its digits when they nearly agree. A
    zero vector has no direction: its distance is 1, and its gradient 0.
    """
    one, other = normalized(x), normalized(y)
    chord = one - other
    defined = (one != 0).any(-1) & (other != 0).any(-1)
    return jnp.where(defined, (chord * chord).sum(-1) / 2, 1)


def _power_mean(
    scaled: Float[Array, "*batch features"], power: Float[Array, ""]
) -> Float[Array, "*batch 1"]:
    """The p-norm of vectors whose largest entry is near one; slope 0 in entries that are zero."""
    size = modulus(scaled)
    largest = jax.lax.stop_gradient(size).max(-1, keepdims=True, initial=0)
    largest = jnp.where(largest == 0, 1, largest)
    ratio = jnp.where(size == 0, 1, size) / largest
    total = jnp.where(size == 0, 0, ratio**power).sum(-1, keepdims=True)
    return largest * jnp.where(total == 0, 1, total) ** (1 / power)


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
