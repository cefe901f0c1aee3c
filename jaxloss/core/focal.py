"""What focal losses share: how wrong an answer is, and a loss that fades as it becomes right."""

import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxloss.core.inputs import Scalar


def sides(
    scores: Float[Array, "*shape"], actual: Float[Array, "*shape"]
) -> tuple[Float[Array, "*shape"], Float[Array, "*shape"]]:
    """How far each logit is from 0, and how wrong the side is that it is on: 0 to 1.

    One analytic branch on each side: all derivatives are right at 0, where ``abs`` has none.
    """
    negative = scores < 0
    return jnp.where(negative, -scores, scores), jnp.where(negative, actual, 1 - actual)


def focused(nll: Float[Array, "*shape"], gamma: Scalar) -> Float[Array, "*shape"]:
    """``(1 - p)**gamma * nll`` with p = e^-nll, finite in value and slope from 0 to infinity.

    Beyond 100 the factor is 1 in any dtype, and its derivative would be 0 times infinity.
    """
    hopeless = nll > 100
    doubtful = jnp.where(hopeless, 1, nll)
    return jnp.where(hopeless, nll, faded(-jnp.expm1(-doubtful), gamma) * doubtful)


def faded(wrong: Float[Array, "*shape"], gamma: Scalar) -> Float[Array, "*shape"]:
    """``wrong**gamma``; constant at 0, where the slope may be infinite but meets a loss of 0."""
    at_certainty = jnp.where(gamma == 0, 1.0, 0.0)
    return jnp.where(wrong > 0, jnp.where(wrong > 0, wrong, 1) ** gamma, at_certainty)
