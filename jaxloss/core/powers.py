"""Powers of numbers that may be large: where the logarithm has digits before its point.

``exp(c * log(x))`` is off by as many units in the last place as its exponent is large: some 40 for
``x`` of 1e24. So a logarithm is kept as the power of two that is nearest and the rest, of which the
first is multiplied without rounding.
"""

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxloss.core.doubled import Doubled, normalized
from jaxloss.core.wide import power_of_two


class Logarithm(NamedTuple):
    """``log(2) * exponent + rest``, with an exponent that is an integer, held constant."""

    exponent: Float[Array, "*shape"]
    rest: Float[Array, "*shape"]  # between -0.35 and 0.35

    def value(self) -> Float[Array, "*shape"]:
        """As one number."""
        return math.log(2) * self.exponent + self.rest


@jax.custom_jvp
def log1p(x: Float[Array, "*shape"]) -> Logarithm:
    """``log(1 + x)`` for ``x >= 0``, by the series of the inverse hyperbolic tangent."""
    exponent, fraction = normalized(1 + x)
    above = jnp.where(exponent == 0, x, fraction - 1)
    s = above / (2 + above)
    square = s * s
    series = jnp.zeros_like(square)
    for k in range(11 if x.dtype == jnp.float32 else 27, 1, -2):
        series = 2 / k + square * series
    return Logarithm(exponent, 2 * s + s * square * series)


@log1p.defjvp
def _log1p_jvp(primals: tuple[Array], tangents: tuple[Any]) -> tuple[Logarithm, Logarithm]:
    (x,) = primals
    found = log1p(x)
    return found, Logarithm(jnp.zeros_like(x), tangents[0] / (1 + x))


@jax.custom_jvp
def scaled_power(
    factor: Float[Array, "*#shape"], base: Logarithm, exponent: Doubled
) -> Float[Array, "*shape"]:
    """``factor * e ** (base * exponent)``, which may be small or large where the power is not."""
    (high, low), kind = exponent, jnp.finfo(exponent.high.dtype)
    first = jax.lax.reduce_precision(
        high, kind.nexp, kind.nmant // 2
    )  # few enough digits for an exact product
    product, fine = first * base.exponent, high * base.rest
    steep = jnp.abs(high) > 64  # and the power all but 0 or infinite, unless the base is near 1
    limit = 2.0 * (kind.maxexp - 3)
    whole = jnp.round(product + jnp.where(steep, fine / math.log(2), 0)).clip(-limit, limit)
    half = jnp.round(whole / 2)
    rest = math.log(2) * ((product - whole) + (high - first + low) * base.exponent) + fine
    power = jnp.exp(rest.clip(-40, 40)) * power_of_two(whole - half)
    return factor * power_of_two(half) * power


@scaled_power.defjvp
def _scaled_power_jvp(
    primals: tuple[Array, Logarithm, Doubled], tangents: tuple[Any, ...]
) -> tuple[Array, Array]:
    (_, base, exponent), (dfactor, dbase, dexponent) = primals, tangents
    value = scaled_power(*primals)
    tangent = value * (exponent.high * dbase.rest + base.value() * dexponent.high)
    return value, tangent + scaled_power(dfactor, base, exponent)
