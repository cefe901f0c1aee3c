"""Log-probabilities of answers, relative to a reference and to each other."""

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Bool, Float

from jaxloss.core.checks import check_positive
from jaxloss.core.classes import times
from jaxloss.core.exponentials import bounded_exp, complement, difference
from jaxloss.core.inputs import Scalar, elements, modulus
from jaxloss.core.preconditions import check


class Ratios(NamedTuple):
    """How much likelier two answers have become, in logarithms, since the reference."""

    chosen: Float[Array, "*batch"]
    rejected: Float[Array, "*batch"]

    @property
    def lead(self) -> Float[Array, "*batch"]:
        """By how much more the chosen one has."""
        return difference(self.chosen, self.rejected)

    def rewards(
        self, scale: Float[Array, ""]
    ) -> tuple[Float[Array, "*batch"], Float[Array, "*batch"]]:
        """What the policy implies that either is worth."""
        return scale * self.chosen, scale * self.rejected


def positive(name: str, scale: Scalar) -> Float[Array, ""]:
    """The scale of the rewards, on the precondition that it is positive."""
    return check_positive(name, "scale", scale)


def check_rate(name: str, flip_rate: Scalar) -> Float[Array, ""]:
    """``flip_rate``, on the precondition that it lies in [0, 1/2)."""
    rate = jnp.asarray(flip_rate)
    valid = (rate >= 0) & (rate < 1 / 2)
    return check(rate, valid, f"{name}: flip_rate must lie in [0, 1/2)")


def log_ratios(
    name: str,
    where: Bool[ArrayLike, "*#batch"] | None,
    chosen_log_probabilities: Float[ArrayLike, "*batch"],
    rejected_log_probabilities: Float[ArrayLike, "*batch"],
    reference_chosen_log_probabilities: Float[ArrayLike, "*batch"],
    reference_rejected_log_probabilities: Float[ArrayLike, "*batch"],
) -> Ratios:
    """Check and mask what the policy and the reference give to two answers."""
    chosen, rejected, reference_chosen, reference_rejected = elements(
        name,
        where,
        chosen_log_probabilities=chosen_log_probabilities,
        rejected_log_probabilities=rejected_log_probabilities,
        reference_chosen_log_probabilities=reference_chosen_log_probabilities,
        reference_rejected_log_probabilities=reference_rejected_log_probabilities,
    )
    return Ratios(difference(chosen, reference_chosen), difference(rejected, reference_rejected))


def bent_difference(
    x: Float[Array, "*batch"], y: Float[Array, "*batch"], bend: Scalar
) -> Float[Array, "*batch"]:
    """``(e^(b x) - e^(b y)) / b``, which is ``x - y`` for a bend of 0; smooth in the bend too.

    Held back short of where it would leave the range of the dtype.
    """
    gap, bend = difference(x, y), jnp.asarray(bend, x.dtype)
    half = times(bend, gap) / 2
    near = modulus(half) < 1

    center = jnp.where(jnp.isfinite(x) & jnp.isfinite(y), (x + y) / 2, 0)
    square = jnp.square(jnp.where(near, half, 0))
    series = jnp.ones_like(square)  # of sinh(half) / half
    for k in range(9, 0, -1):
        series = 1 + square / (2 * k * (2 * k + 1)) * series
    small = bounded_exp(jnp.where(near, bend * center, 0)) * gap * series

    steep, size = 2 * modulus(half), modulus(jnp.where(bend == 0, 1, bend))
    apart = jnp.where(gap < 0, -1, 1) * complement(jnp.where(near, 1, steep)) / size
    larger = jnp.where(near, 0, jnp.maximum(bend * x, bend * y))
    return jnp.where(near, small, bounded_exp(larger) * apart)
