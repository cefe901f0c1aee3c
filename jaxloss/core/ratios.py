"""Ratios of numbers that are not negative, exact in value and derivative at any scale."""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float


def share(part: Float[Array, "*shape"], rest: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """``part / (part + rest)`` of numbers >= 0; zero, with zero gradient, where both are zero.

    Scaled first, since derivatives divide by the square of the sum, which may overflow or vanish.
    And the smaller number is the one divided: with the larger one, the derivatives would be
    differences of nearly equal numbers.
    """
    whole = part + rest
    empty, scale = whole == 0, magnitude(whole)
    part, rest = jnp.where(empty, 0, part / scale), jnp.where(empty, 1, rest / scale)
    whole = part + rest
    return jnp.where(part < rest, part / whole, 1 - rest / whole)


def magnitude(x: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """A power of two near each ``x >= 0``, and 1 for zero: a constant to divide by, exactly.

    Never so large that its reciprocal, by which XLA may multiply instead, is flushed to zero.
    """
    kind = jnp.finfo(x.dtype)
    near = jax.lax.reduce_precision(jax.lax.stop_gradient(x), kind.nexp, 0)
    return jnp.where(near == 0, 1, jnp.minimum(near, 2.0 ** (kind.maxexp - 2)))


@jax.custom_jvp
def quotient(x: Float[Array, "*shape"], scale: Float[Array, "*#shape"]) -> Float[Array, "*shape"]:
    """``x / scale``, with a derivative that does not divide by the square of a small scale."""
    return x / scale


@quotient.defjvp
def _quotient_jvp(primals: tuple[Array, Array], tangents: tuple[Any, Any]) -> tuple[Array, Array]:
    ratio, (_, scale), (dx, dscale) = quotient(*primals), primals, tangents
    return ratio, (dx - ratio * dscale) / scale


def bounded_quotient(
    x: Float[Array, "*shape"], scale: Float[Array, "*shape"], most: float
) -> Float[Array, "*shape"]:
    """``x / scale``, no farther out than ``most``: where squares are finite and slopes constant."""
    ratio = x / scale
    inside = jnp.abs(ratio) < most
    return jnp.where(inside, jnp.where(inside, x, 0) / scale, most * jnp.sign(ratio))
