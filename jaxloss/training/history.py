"""A whole run in a few block means, and the slope of its end.

However long the run, the memory stays the same: once all blocks are full, neighbors are merged
and every block covers twice as many observations.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from jaxloss.core.inputs import Scalar


class BlockHistory(NamedTuple):
    """The means of successive blocks of observations, all of one length."""

    means: Float[Array, " capacity"]
    blocks: Int[Array, ""]
    """how many of ``means`` are full"""
    length: Int[Array, ""]
    """observations per block"""
    open_mean: Float[Array, ""]
    open_length: Int[Array, ""]
    seen: Int[Array, ""]
    """observations so far"""


class Trend(NamedTuple):
    """A straight line through the last half of a history."""

    slope: Float[Array, ""]
    """change per observation"""
    lowest_slope: Float[Array, ""]
    """the least that the change may confidently be"""
    level: Float[Array, ""]
    """the line at the last block"""
    blocks: Int[Array, ""]
    """how many blocks the line goes through"""


def empty(capacity: int) -> BlockHistory:
    """A history of no observations; ``capacity`` is even."""
    zero = jnp.int32(0)
    means = jnp.zeros(capacity, jnp.float32)
    return BlockHistory(means, zero, jnp.int32(1), jnp.float32(0), zero, zero)


def push(history: BlockHistory, value: Float[Array, ""]) -> tuple[BlockHistory, Bool[Array, ""]]:
    """Add an observation, and tell whether it was the last of a block."""
    capacity = history.means.size
    open_length = history.open_length + 1
    share = 1 / open_length.astype(jnp.float32)
    open_mean = history.open_mean + (value - history.open_mean) * share
    seen = history.seen + 1
    closed = open_length == history.length

    def close() -> BlockHistory:
        means = history.means.at[history.blocks].set(open_mean)
        blocks = history.blocks + 1
        full = blocks == capacity
        merged = jnp.zeros_like(means).at[: capacity // 2].set(means.reshape(-1, 2).mean(1))
        return BlockHistory(
            means=jnp.where(full, merged, means),
            blocks=jnp.where(full, capacity // 2, blocks),
            length=jnp.where(full, 2 * history.length, history.length),
            open_mean=jnp.float32(0),
            open_length=jnp.int32(0),
            seen=seen,
        )

    def leave_open() -> BlockHistory:
        return history._replace(open_mean=open_mean, open_length=open_length, seen=seen)

    return jax.lax.cond(closed, close, leave_open), closed


def trend(history: BlockHistory, confidence: Scalar) -> Trend:
    r"""Fit a line through the last half of the blocks by least squares.

    With :math:`\rho` the correlation of successive residuals, its small-sample bias of about
    :math:`2/n` put back, the standard error is :math:`\sqrt{(1 + \rho) / (1 - \rho)}` times the
    usual one: neighboring losses of a run are alike, and count for less than as many strangers.
    """
    used = (history.blocks + 1) // 2
    n = used.astype(jnp.float32)
    at = jnp.arange(history.means.size, dtype=jnp.int32)
    inside = ((at >= history.blocks - used) & (at < history.blocks)).astype(jnp.float32)
    x = at.astype(jnp.float32)
    x = inside * (x - (inside * x).sum() / n)
    mean = (inside * history.means).sum() / n
    y = inside * (history.means - mean)

    spread = jnp.maximum((x * x).sum(), 0.5)  # that of two points, for the histories with fewer
    slope = (x * y).sum() / spread
    residual = inside * (y - slope * x)
    variance = (residual**2).sum() / jnp.maximum(n - 2, 1) / spread
    error = jnp.sqrt(variance * inflation(residual, 2 / n))

    length = history.length.astype(jnp.float32)
    quantile = student_quantile(confidence, jnp.maximum(n - 2, 1))
    return Trend(
        slope=slope / length,
        lowest_slope=(slope - quantile * error) / length,
        level=mean + slope * x[jnp.maximum(history.blocks - 1, 0)],
        blocks=used,
    )


def robust_trend(history: BlockHistory, confidence: Scalar) -> Trend:
    r"""The median of the slopes between any two of the last half of the blocks.

    Its bound is the slope that as many pairs lie below as Kendall's statistic, normal and widened
    like the standard error of :func:`trend`, makes likely if there were no slope.

    Reference:
        Hamed and Rao, "A modified Mann-Kendall trend test for autocorrelated data", 1998.
    """
    half = history.means.size // 2
    used = (history.blocks + 1) // 2
    n = used.astype(jnp.float32)
    at = jnp.arange(half, dtype=jnp.int32)
    inside = at >= half - used
    y = history.means[jnp.maximum(history.blocks - half + at, 0)]
    x = at.astype(jnp.float32)
    i, j = jnp.triu_indices(half, 1)
    between = (y[j] - y[i]) / (x[j] - x[i])
    slopes = jnp.sort(jnp.where(inside[i] & inside[j], between, jnp.inf))
    pairs = used * (used - 1) // 2
    slope = (slopes[(pairs - 1) // 2] + slopes[pairs // 2]) / 2

    last = x - (half - 1)
    level = jnp.nanmedian(jnp.where(inside, y - slope * last, jnp.nan))
    residual = jnp.where(inside, y - slope * last - level, 0)
    scale = 1.4826 * jnp.nanmedian(jnp.where(inside, jnp.abs(residual), jnp.nan))
    clipped = jnp.clip(residual, -3 * scale, 3 * scale)
    variance = n * (n - 1) * (2 * n + 5) / 18 * inflation(clipped, 2 / n)
    z = jax.scipy.special.ndtri(jnp.float32(confidence))
    below = jnp.floor((pairs.astype(jnp.float32) - z * jnp.sqrt(variance)) / 2).astype(jnp.int32)
    lowest = slopes[jnp.clip(below, 0, slopes.size - 1)]

    length = history.length.astype(jnp.float32)
    return Trend(slope / length, lowest / length, level, used)


def inflation(residual: Float[Array, " blocks"], bias: Float[Array, ""]) -> Float[Array, ""]:
    r"""By how much the correlation of successive residuals widens the variance of a mean."""
    squares = (residual**2).sum()
    successive = (residual[1:] * residual[:-1]).sum() / jnp.where(squares == 0, 1, squares)
    rho = jnp.clip(successive + bias, 0, 0.9)
    return (1 + rho) / (1 - rho)


def student_quantile(probability: Scalar, degrees: Float[Array, ""]) -> Float[Array, ""]:
    """Quantile of Student's t, by two terms of its Cornish-Fisher series.

    Relative error below 1 % from 5 degrees of freedom up, below 0.05 % from 14.

    Reference:
        Abramowitz and Stegun, "Handbook of Mathematical Functions", 26.7.5, 1964.
    """
    z = jax.scipy.special.ndtri(jnp.float32(probability))
    first = (z**3 + z) / 4
    second = (5 * z**5 + 16 * z**3 + 3 * z) / 96
    return z + first / degrees + second / degrees**2
