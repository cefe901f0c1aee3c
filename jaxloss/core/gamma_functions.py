"""What Stirling's formula leaves of the gamma function: small where that is large."""

import math

import jax.numpy as jnp
from jaxtyping import Array, Float


def stirling_rest(x: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    r"""What Stirling's formula leaves of :math:`\log \Gamma(x)`, some :math:`1 / (12 x)`.

    That is :math:`\log \Gamma(x) - (x - \frac12) \log x + x - \frac12 \log 2 \pi`: by its
    asymptotic series from 6 on, below by six steps of the recurrence.
    """
    small = x < 6
    lower = jnp.where(small, x, 1)
    # (n + 1/2) log(1 + 1/n) - 1, of which nothing cancels in the series for n from 1 on.
    steps = [(lower + 0.5) * jnp.log1p(1 / lower) - 1]
    for k in range(1, 6):
        square = 1 / jnp.square(2 * (lower + k) + 1)
        series = jnp.zeros_like(x)
        for n in range(8 if x.dtype == jnp.float32 else 18, 0, -1):
            series = square * (1 / (2 * n + 1) + series)
        steps.append(series)
    start = jnp.where(small, lower + 6, x)
    square = 1 / start / start
    series = -3617 / 122400
    for coefficient in (
        1 / 156, -691 / 360360, 1 / 1188, -1 / 1680, 1 / 1260, -1 / 360, 1 / 12
    ):  # fmt: skip
        series = coefficient + series * square
    return series / start + jnp.where(small, sum(steps), 0)


def gamma_step(x: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    r"""The logarithm of :math:`\Gamma(x + 1/2) / (\Gamma(x) \sqrt x)`, which tends to 0.

    By its asymptotic series from 8 on, below by eight steps of the recurrence: a difference of
    log-gammas would lose all digits, as its terms grow while it shrinks.
    """
    small = x < 8
    lower = jnp.where(small, x, 1)
    product = math.prod(1 + 0.5 / (lower + k) for k in range(8))
    start = jnp.where(small, x + 8, x)
    square = 1 / (start * start)
    series = 691 / 180224
    for coefficient in (-31 / 18432, 17 / 14336, -1 / 640, 1 / 192, -1 / 8):
        series = coefficient + series * square
    shifted = jnp.log(product) - jnp.log1p(8 / lower) / 2
    return series / start - jnp.where(small, shifted, 0)


def gamma_step_slope(x: Float[Array, "*shape"], by: Float[Array, "*shape"]) -> Array:
    r"""The mean slope of :math:`G(x) = \log \Gamma(x + 1/2) / \Gamma(x)` from ``x`` to ``x + by``.

    All terms are differences divided beforehand: nothing cancels, however short the way.
    """
    start, end = 1 / (x + 8), 1 / (x + by + 8)
    square, other = start * start, end * end
    value, slope = jnp.full_like(square, 691 / 180224), jnp.zeros_like(square)
    for coefficient in (-31 / 18432, 17 / 14336, -1 / 640, 1 / 192, -1 / 8):
        slope = slope * other + value
        value = coefficient + value * square
    total = start * _log1p_ratio(by * start) / 2
    total -= start * end * (value + end * (start + end) * slope)
    for k in range(8):
        share = 0.5 / ((x + by + k) * (x + k + 0.5))
        total += share * _log1p_ratio(-by * share)
    return total


def _log1p_ratio(x: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """``log1p(x) / x``, by its series near 0."""
    near = (x < 0.05) & (x > -0.05)
    small, large = jnp.where(near, x, 0), jnp.where(near, 1, x)
    series = jnp.zeros_like(x)
    for k in range(14, 0, -1):
        series = 1 / k - small * series
    return jnp.where(near, series, jnp.log1p(large) / large)
