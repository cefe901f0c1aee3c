"""How often classes occur, and which of them do."""

import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Bool, Float, Real

from jaxloss.core.checks import check_not_negative, require_real
from jaxloss.core.inputs import at_least_float32


def occurring(
    name: str, counts: Real[ArrayLike, " classes"]
) -> tuple[Bool[Array, " classes"], Float[Array, " classes"]]:
    """Which classes occur, and how often; 1 in place of 0, so that it may be divided by."""
    require_real(name, counts=counts)
    counts = check_not_negative(name, "counts", at_least_float32(counts))
    present = counts > 0
    return present, jnp.where(present, counts, 1)
