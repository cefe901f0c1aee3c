"""Numbers that neither overflow nor vanish: each a float, and a power of two apart from it.

A sum over paths is a sum of products of thousands of probabilities. Added up as logarithms, these
lose a digit for each that the total has in front of the point: at -1000 a weight has four left.
Kept as a fraction and an exponent, sums and products are as exact as those of any two floats, and
zero is zero, whose derivatives need no care. It is faster, too: no exponentials, no logarithms.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

LOWEST = -1e37  # the exponent of zero: what is added to it in products is lost
LEAST = -1e33  # any other number has a larger one, or is made so
LN2_HIGH, LN2_LOW = 0.693359375, -2.121944400546905827679e-4  # the first times an integer is exact


class Wide(NamedTuple):
    """``fraction * 2 ** exponent``, at least 0; the exponent is an integer, held constant."""

    fraction: Float[Array, "*shape"]
    exponent: Float[Array, "*shape"]


def from_log(x: Float[Array, "*shape"]) -> Wide:
    """``e ** x``, with a fraction near 1."""
    zero = x == -jnp.inf
    x = jnp.where(zero, 0, x)
    exponent = jax.lax.stop_gradient(jnp.maximum(jnp.round(x / math.log(2)), LEAST))
    rest = (x - exponent * LN2_HIGH) - exponent * LN2_LOW
    return where(~zero, Wide(jnp.exp(jnp.clip(rest, -1, 1)), exponent))


def zeros(like: Float[Array, "*shape"]) -> Wide:
    """As many zeros."""
    return Wide(jnp.zeros_like(like), jnp.full_like(like, LOWEST))


def where(kept: Bool[Array, "*#shape"], x: Wide, otherwise: Wide | None = None) -> Wide:
    """``x`` where ``kept``, and zero, or what else is given, elsewhere."""
    fraction, exponent = (0, LOWEST) if otherwise is None else otherwise
    return Wide(jnp.where(kept, x.fraction, fraction), jnp.where(kept, x.exponent, exponent))


def times(x: Wide, y: Wide) -> Wide:
    """The product; its fraction is that of the fractions."""
    return Wide(x.fraction * y.fraction, x.exponent + y.exponent)


def add(*terms: Wide) -> Wide:
    """The sum, with a fraction in [1, 2)."""
    top = terms[0].exponent
    for term in terms[1:]:
        top = jnp.maximum(top, term.exponent)
    return _normalized(sum_of([x.fraction * power_of_two(x.exponent - top) for x in terms]), top)


def sum_of(terms: Sequence[Float[Array, "*shape"]]) -> Float[Array, "*shape"]:
    """The sum of at least one array."""
    total = terms[0]
    for term in terms[1:]:
        total = total + term
    return total


def total(x: Wide, axis: int) -> Wide:
    """The sum along an axis, with a fraction in [1, 2)."""
    top = x.exponent.max(axis, keepdims=True, initial=LOWEST)
    scaled = x.fraction * power_of_two(x.exponent - top)
    return _normalized(scaled.sum(axis), top.squeeze(axis))


def shares(*terms: Wide) -> list[Float[Array, "*shape columns"]]:
    """What part each number is of the sum of all terms along the last axis; 0 if that is zero."""
    tops = [term.exponent.max(-1, keepdims=True) for term in terms]
    top = tops[0]
    for other in tops[1:]:
        top = jnp.maximum(top, other)
    scaled = [x.fraction * power_of_two(x.exponent - top) for x in terms]
    whole = sum_of([x.sum(-1, keepdims=True) for x in scaled])
    return [x / jnp.where(whole == 0, 1, whole) for x in scaled]


def ratio(x: Wide, y: Wide) -> Float[Array, "*shape"]:
    """``x / y`` as a float, and 0 where that is too small or ``y`` is zero."""
    none = y.fraction == 0
    power = power_of_two(jnp.minimum(x.exponent - y.exponent, 100))
    return jnp.where(none, 0, x.fraction / jnp.where(none, 1, y.fraction) * power)


def to_float(x: Wide) -> Float[Array, "*shape"]:
    """The number as a float, for one that is not above 2; 0 where it is too small."""
    return x.fraction * power_of_two(jnp.minimum(x.exponent, 100))


def log(x: Wide) -> Float[Array, "*shape"]:
    """The logarithm; that of zero is minus infinity, and has no slope."""
    zero = x.fraction == 0
    fraction, exponent = jnp.where(zero, 1, x.fraction), jnp.where(zero, 0, x.exponent)
    return jnp.where(zero, -jnp.inf, jnp.log(fraction) + exponent * math.log(2))


def power_of_two(exponent: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """``2 ** exponent`` for an integer below the largest exponent, 0 far below the smallest.

    The sum with a float that has no fractional digits leaves the integer in its last bits.
    """
    kind = jnp.finfo(exponent.dtype)
    bias = kind.maxexp - 1
    lifted = jnp.maximum(exponent, -bias) + (1.5 * 2.0**kind.nmant + bias)
    return _as_float(_bits(lifted) << kind.nmant)


def _normalized(fraction: Float[Array, "*shape"], exponent: Float[Array, "*shape"]) -> Wide:
    kind = jnp.finfo(fraction.dtype)
    bias = kind.maxexp - 1
    excess = _bits(fraction) >> kind.nmant
    scale = _as_float((2 * bias - excess) << kind.nmant)
    return Wide(fraction * scale, exponent + (excess - bias).astype(exponent.dtype))


def _bits(x: Float[Array, "*shape"]) -> Int[Array, "*shape"]:
    kind = jnp.int64 if x.dtype == jnp.float64 else jnp.int32
    return jax.lax.bitcast_convert_type(jax.lax.stop_gradient(x), kind)


def _as_float(bits: Int[Array, "*shape"]) -> Float[Array, "*shape"]:
    kind = jnp.float64 if bits.dtype == jnp.int64 else jnp.float32
    return jax.lax.bitcast_convert_type(bits, kind)
