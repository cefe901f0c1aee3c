"""How far a policy may move from the one that acted."""

import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxloss.core.checks import check_not_negative, check_unit_interval
from jaxloss.core.inputs import Scalar
from jaxloss.core.preconditions import check


def clipped_log_ratio(
    name: str,
    ratio: Float[Array, "*shape"],
    advantage: Float[Array, "*#shape"],
    clip_low: Scalar,
    clip_high: Scalar,
    ratio_cap: Scalar | None = None,
) -> Float[Array, "*shape"]:
    """The logarithm of the ratio that counts, for its advantage.

    ``min(r A, clip(r, 1 - low, 1 + high) A)`` is ``A min(r, 1 + high)`` if A is positive and ``A
    max(r, 1 - low)`` if it is negative. Taken so, in logarithms, what is clipped is a constant, and
    no gradient of zero meets an infinite ratio.
    """
    low = check_unit_interval(name, "clip_low", jnp.asarray(clip_low))
    high = check_not_negative(name, "clip_high", clip_high)
    most, least = (jnp.log1p(x).astype(ratio.dtype) for x in (high, -low))
    rising = jnp.where(ratio < most, ratio, most)
    falling = jnp.where(ratio > least, ratio, least)
    if ratio_cap is not None:
        cap = jnp.asarray(ratio_cap)
        cap = check(cap, cap > 1, f"{name}: ratio_cap must be greater than 1")
        cap = jnp.log(cap).astype(ratio.dtype)
        falling = jnp.where(falling < cap, falling, cap)
    return jnp.where(advantage < 0, falling, rising)
