"""Probabilities of errors beyond a bound, or between two, as negative logarithms."""

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import log_ndtr, ndtr
from jaxtyping import Array, Float

HALF_LOG_2_PI = math.log(2 * math.pi) / 2
NODES, SHARES = (tuple(map(float, x)) for x in np.polynomial.legendre.leggauss(16))


def log_complement(x: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """``log(1 - e^-x)`` for ``x > 0``."""
    near = x < 0.7
    low = jnp.log(-jnp.expm1(-jnp.where(near, x, 0.5)))
    return jnp.where(near, low, jnp.log1p(-jnp.exp(-jnp.where(near, 1, x))))


def log_complement_of(log_x: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """``log(1 - e^-x)`` from the logarithm of ``x``, which may be tiny or huge."""
    tiny, huge = log_x < -17, log_x > 0
    x = jnp.exp(jnp.where(tiny | huge, 0, log_x))
    some = jnp.log(-jnp.expm1(-x))
    most = jnp.log1p(-jnp.exp(-jnp.exp(jnp.where(huge, jnp.minimum(log_x, 80), 0))))
    return jnp.where(tiny, log_x, jnp.where(huge, most, some))


def log_expm1(x: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """``log(e^x - 1)`` of positive numbers."""
    return x + log_complement_of(jnp.log(x))


def logistic_between(z: Float[Array, "*shape"], width: Float[Array, "*shape"]) -> Array:
    """``-log(F(z + width) - F(z))`` of the logistic distribution."""
    return jax.nn.softplus(z) + jax.nn.softplus(-(z + width)) - log_complement(width)


def normal_between(z: Float[Array, "*shape"], width: Float[Array, "*shape"]) -> Array:
    """``-log(F(z + width) - F(z))`` of the normal distribution.

    Seen from the middle, on the side of the lower tail: by quadrature if the interval is narrow.

    Where it is not, the probability below its start is less than a fiftieth of that below its end.
    """
    middle = z + width / 2
    middle = jnp.where(middle > 0, -middle, middle)
    narrow = width * (1 - middle) < 4
    m, w = jnp.where(narrow, middle, 0), jnp.where(narrow, width, 1)
    steps = [w / 2 * node for node in NODES]
    terms = [c * jnp.exp(-s * (m + s / 2)) for c, s in zip(SHARES, steps, strict=True)]
    near = m * m / 2 + HALF_LOG_2_PI - jnp.log(w / 2) - jnp.log(sum(terms))
    m, w = jnp.where(narrow, -2, middle), jnp.where(narrow, 4, width)
    below, until = normal_before(m - w / 2), normal_before(m + w / 2)
    return jnp.where(narrow, near, until - log_complement(below - until))


@jax.custom_jvp
def normal_before(z: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """``-log F(z)`` of the normal distribution.

    Not by ``log_ndtr`` above 0: up to 5 it takes the logarithm of nearly one.
    """
    low = z < 0
    late = -jnp.log1p(-ndtr(-jnp.where(low, 1, z)))
    return jnp.where(low, -log_ndtr(jnp.where(low, z, -1)), late)


@normal_before.defjvp
def _normal_before_jvp(primals: tuple[Array], tangents: tuple[Any]) -> tuple[Array, Array]:
    return normal_before(*primals), -normal_hazard(*primals) * tangents[0]


@jax.custom_jvp
def normal_hazard(z: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """``f(z) / F(z)`` of the normal distribution: far below 0 nearly ``-z``."""
    return _hazard(z)[0]


@normal_hazard.defjvp
def _normal_hazard_jvp(primals: tuple[Array], tangents: tuple[Any]) -> tuple[Array, Array]:
    hazard, excess = _hazard(*primals)
    return hazard, -hazard * excess * tangents[0]


@jax.custom_jvp
def normal_excess(z: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """By how much :func:`normal_hazard` exceeds ``-z``: far below 0 nearly ``-1 / z``."""
    return _hazard(z)[1]


@normal_excess.defjvp
def _normal_excess_jvp(primals: tuple[Any], tangents: tuple[Any]) -> tuple[Array, Array]:
    excess = normal_excess(*primals)
    return excess, (1 - normal_hazard(*primals) * excess) * tangents[0]


def _hazard(z: Float[Array, "*shape"]) -> tuple[Float[Array, "*shape"], Float[Array, "*shape"]]:
    """``f(z) / F(z)``, and by how much it exceeds ``-z``: below -5 a continued fraction."""
    far = z < -5
    x, excess = jnp.where(far, -z, 5), jnp.zeros_like(z)
    for k in range(20, 0, -1):
        excess = k / (x + excess)
    near = jnp.where(far, 0, z)
    hazard = jnp.exp(-near * near / 2 - HALF_LOG_2_PI) / ndtr(near)
    return jnp.where(far, x + excess, hazard), jnp.where(far, excess, near + hazard)
