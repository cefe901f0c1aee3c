"""Cumulative probabilities that can be differentiated in the shape of their distribution too.

By Gauss-Legendre quadrature from where the density is largest to where they are wanted, in a
variable in which it falls off evenly: a fixed number of terms, all positive, that has derivatives
of any order. In the variable itself the derivative is the density, as it should be.
"""

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jaxloss.core.gamma_functions import gamma_step, stirling_rest

ROOT_2_PI = math.sqrt(2 * math.pi)


class Rule(NamedTuple):
    """Nodes and weights on [0, 1] along a leading axis, and orders a density falls to nothing."""

    nodes: Float[Array, "nodes ..."]
    weights: Float[Array, "nodes ..."]
    orders: float


def rule_for(x: Float[Array, "*shape"]) -> Rule:
    """As many nodes as the digits of ``x`` deserve. XLA fuses the sum over them: none is stored."""
    single = x.dtype == jnp.float32
    nodes, weights = np.polynomial.legendre.leggauss(20 if single else 40)
    column = (-1,) + (1,) * x.ndim
    places, shares = ((nodes + 1) / 2).reshape(column), (weights / 2).reshape(column)
    orders = 20.0 if single else 40.0
    return Rule(jnp.asarray(places, x.dtype), jnp.asarray(shares, x.dtype), orders)


@jax.custom_jvp
def student_center(z: Float[Array, "*shape"], df: Float[Array, ""]) -> Float[Array, "*shape"]:
    """How much more of Student's t-distribution is below ``z`` than above, for ``df > 1/2``."""
    return _student_center(z, df)


@student_center.defjvp
def _student_center_jvp(primals: tuple[Any, ...], tangents: tuple[Any, ...]) -> tuple[Array, Array]:
    z, df = primals
    along_df = jax.jvp(lambda df: _student_center(z, df), (df,), (tangents[1],))[1]
    peak, tail = student_peak(df), jnp.log1p(z * z / df)
    slope = 2 * peak * jnp.exp(-(df + 1) / 2 * tail)
    return student_center(z, df), slope * tangents[0] + along_df


def _student_center(z: Float[Array, "*shape"], df: Float[Array, ""]) -> Float[Array, "*shape"]:
    """With ``u = sqrt(df) sinh s`` the density of ``s`` is a power of ``1 / cosh s``.

    Of what is far out the rest, of which the derivative in ``df`` is as small as itself.
    """
    nodes, shares, orders = rule_for(z)
    fall, end = orders / df, jnp.arcsinh(z / jnp.sqrt(df))
    farthest = fall + jnp.log1p(jnp.sqrt(-jnp.expm1(-2 * fall)))
    far = df / 2 * jnp.log1p(z * z / df) > 1
    start, step = jnp.where(far, end, 0), jnp.where(far, jnp.sign(z) * farthest, end)
    places = start[None] + nodes * step[None]
    total = (shares * jnp.exp(-df * _log_cosh(places))).sum(0)
    part = 2 * student_peak(df) * jnp.sqrt(df) * step * total
    return jnp.where(far, jnp.sign(z) - part, part)


def _log_cosh(x: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    near = jnp.abs(x) < 1
    close = jnp.log1p(jnp.square(jnp.sinh(jnp.where(near, x, 0)))) / 2
    x = jnp.abs(jnp.where(near, 1, x))
    return jnp.where(near, close, x + jnp.log1p(jnp.exp(-2 * x)) - math.log(2))


def student_peak(df: Float[Array, ""]) -> Float[Array, ""]:
    """The density of Student's t-distribution at its center."""
    return jnp.exp(gamma_step(df / 2)) / ROOT_2_PI


@jax.custom_jvp
def gamma_below(
    surprise: Float[Array, "*shape"], concentration: Float[Array, "*shape"]
) -> Float[Array, "*shape"]:
    """The probability below ``exp(surprise)`` means of a gamma distribution, no smaller than 8."""
    return _gamma_below(surprise, concentration)


@gamma_below.defjvp
def _gamma_below_jvp(primals: tuple[Any, ...], tangents: tuple[Any, ...]) -> tuple[Array, Array]:
    surprise, concentration = primals
    along_shape = jax.jvp(
        lambda concentration: _gamma_below(surprise, concentration),
        (concentration,),
        (tangents[1],),
    )[1]
    slope = concentration * gamma_density(surprise, concentration)
    return gamma_below(surprise, concentration), slope * tangents[0] + along_shape


def _gamma_below(
    surprise: Float[Array, "*shape"], concentration: Float[Array, "*shape"]
) -> Float[Array, "*shape"]:
    """On each side of the mean from there to the nearer end."""
    nodes, shares, orders = rule_for(surprise)
    fall = orders / concentration
    after, before = jnp.sqrt(2 * fall), fall + jnp.sqrt(2 * fall)
    low, end = surprise < 0, jnp.clip(surprise, -before, after)
    length = jnp.where(low, end + before, after - end)
    step = jnp.where(low, -length, length)
    places = end[None] + nodes * step[None]
    total = (shares * jnp.exp(-concentration[None] * exp_excess(places))).sum(0)
    scale = jnp.sqrt(concentration) / ROOT_2_PI * jnp.exp(-stirling_rest(concentration))
    part = scale * length * total
    return jnp.where(low, part, 1 - part)


def gamma_density(
    surprise: Float[Array, "*shape"], concentration: Float[Array, "*shape"]
) -> Float[Array, "*shape"]:
    """The density, times the amount and over ``concentration``, at ``exp(surprise)`` means."""
    exponent = concentration * exp_excess(surprise) + stirling_rest(concentration)
    return jnp.exp(-exponent) / (ROOT_2_PI * jnp.sqrt(concentration))


def exp_excess(x: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """``e^x - 1 - x``, by its series near 0."""
    near = (x < 0.3) & (x > -0.3)
    small, large = jnp.where(near, x, 0), jnp.where(near, 1, x)
    series = jnp.ones_like(x)
    for k in range(12, 2, -1):
        series = 1 + small / k * series
    return jnp.where(near, small * small / 2 * series, jnp.expm1(large) - large)
