"""Functions of the exponential that keep their digits near zero, in value and in slope."""

import math
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxloss.core.inputs import Scalar


def complement(x: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """``1 - e^-x`` for ``x >= 0``: how far a probability ``e^-x`` is from one.

    Far from 0 not by ``expm1``, whose derivative in JAX is the value plus one: 1 - 1.
    """
    near = x < 1
    far = 1 - jnp.exp(-jnp.where(near, 1, x))
    return jnp.where(near, -jnp.expm1(-jnp.where(near, x, 0)), far)


def exponential_series(order: int, x: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    r"""The rest of the exponential series, :math:`\sum_k x^k / (k + o)!`, for ``abs(x) < 1``."""
    total = jnp.ones_like(x)
    for k in range(11 if x.dtype == jnp.float32 else 18, 0, -1):
        total = 1 + x / (k + order) * total
    return total / math.factorial(order)


def expm1_ratio(x: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """``expm1(x) / x``, by its series near 0."""
    return growth(x, 1.0)


def log1p_ratio(x: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """``log1p(x) / x``, by its series near 0."""
    near = (x < 0.1) & (x > -0.1)
    small, large = jnp.where(near, x, 0), jnp.where(near, 1, x)
    series = jnp.zeros_like(x)
    for k in range(18, 0, -1):
        series = 1 / k - small * series
    return jnp.where(near, series, jnp.log1p(large) / large)


@jax.custom_jvp
def growth(rate: Float[Array, "*#shape"], x: Scalar | Array) -> Float[Array, "*shape"]:
    """``expm1(rate * x) / rate``, which for a rate of 0 is ``x``."""
    power = rate * x
    near = jnp.abs(power) < 1
    small, divisor = jnp.where(near, power, 0), jnp.where(near, 1, rate)
    return jnp.where(near, x * exponential_series(1, small), jnp.expm1(power) / divisor)


@growth.defjvp
def _growth_jvp(primals: tuple[Any, Any], tangents: tuple[Any, Any]) -> tuple[Array, Array]:
    """With the slope ``e^(rate * x)`` in ``x``, not ``expm1(rate * x) + 1``."""
    (rate, x), (drate, dx), value = primals, tangents, growth(*primals)
    power = rate * x
    near = jnp.abs(power) < 1
    small, divisor = jnp.where(near, power, 0), jnp.where(near, 1, rate)
    slope = jnp.exp(power)
    series = jax.jvp(lambda y: exponential_series(1, y), (small,), (jnp.ones_like(small),))[1]
    bend = jnp.where(near, x * x * series, (x * slope - value) / divisor)
    return value, slope * dx + bend * drate


def bounded_exp(x: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """``e^x``, held back short of where it would leave the range of the dtype."""
    return jnp.exp(jnp.minimum(x, math.log(float(jnp.finfo(x.dtype).max)) - 8))


def softplus(x: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """``log(1 + e^x)``, on each side of zero in the form whose derivatives keep their digits."""
    positive = x > 0
    return jnp.log1p(jnp.exp(jnp.where(positive, -x, x))) + jnp.where(positive, x, 0)


def sigmoid(x: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """``1 / (1 + e^-x)``, the slope of :func:`softplus`, likewise."""
    negative = x < 0
    odds = jnp.exp(jnp.where(negative, x, -x))
    return jnp.where(negative, odds, 1) / (1 + odds)


def difference(x: Float[Array, "*#shape"], y: Float[Array, "*#shape"]) -> Float[Array, "*shape"]:
    """``x - y``, but 0, and not NaN, between equal infinities."""
    equal = jnp.isinf(x) & (x == y)
    return jnp.where(equal, 0, x) - jnp.where(equal, 0, y)


def discounted(nll: Float[Array, "*shape"], rate: Scalar) -> Float[Array, "*shape"]:
    r""":math:`\int_0^n e^{-r u} du = (1 - e^{-r n}) / r`, which is :math:`n` at rate 0."""
    endless, constant = jnp.isinf(nll), rate == 0
    limit = jnp.where(constant, nll, 1 / jnp.where(constant, 1, rate))
    return jnp.where(endless, limit, growth(-rate, jnp.where(endless, 0, nll)))
