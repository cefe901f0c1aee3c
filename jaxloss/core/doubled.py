"""Sums to twice the digits of their dtype: as good as float64 where there is only float32.

A number is kept as the unevaluated sum of two, the second of which is what the first has lost by
rounding. The sum of a million losses, or of a million such sums, then has an error below 1e-12,
where float32 has 1e-4 and stalls at 2^24 equal ones.

Neither an optimizing compiler nor a fused multiply-add harms the operations below: what they round
is added up first, and every product they form is exact.

The functions from :func:`difference` on are for losses that are steep in their inputs, such as
``exp(-x * x)``, where the rounding of ``x`` alone would cost two digits. Each has the derivatives
of its plain counterpart; the low part is held constant.
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from jaxloss.core.ratios import quotient

LN2 = 0.693359375, -2.121944400546905827679e-4  # of which the first times an integer is exact


class Doubled(NamedTuple):
    """A number as the sum of two floating-point numbers, the second far smaller."""

    high: Float[Array, "*shape"]
    low: Float[Array, "*shape"]

    def value(self) -> Float[Array, "*shape"]:
        """The nearest number that a single one can hold."""
        return self.high + self.low


def exact(x: Float[Array, "*shape"]) -> Doubled:
    """A number that nothing has been lost of."""
    return Doubled(x, jnp.zeros_like(x))


def count(x: Int[Array, "*shape"], dtype: jnp.dtype) -> Doubled:
    """An integer, every digit of it."""
    high = x.astype(dtype)
    return Doubled(high, (x - high.astype(x.dtype)).astype(dtype))


def add(x: Doubled, y: Doubled) -> Doubled:
    """The sum of two numbers; of integers exact up to 2^46."""
    total = _two_sum(x.high, y.high)
    return _two_sum(total.high, total.low + (x.low + y.low))


def product(x: Float[Array, "*shape"], y: Float[Array, "*shape"]) -> Doubled:
    """The product of two numbers, without rounding.

    Each is cut in two halves of its digits, whose products need no more digits than there are.
    """
    (x_high, x_low), (y_high, y_low) = _halves(x), _halves(y)
    cross = _two_sum(x_high * y_low, x_low * y_high)
    total = add(exact(x_high * y_high), add(cross, exact(x_low * y_low)))
    plain = x * y
    fits = jnp.isfinite(plain)
    return Doubled(jnp.where(fits, total.high, plain), jnp.where(fits, total.low, 0))


def sloped(plain: Callable[..., Array]) -> Callable[..., Any]:
    """Give a function of doubled numbers the derivatives of ``plain`` at their high parts."""

    def high(x: Any) -> Array:
        return x.high if isinstance(x, Doubled) else x

    def decorate(function: Callable[..., Doubled]) -> Callable[..., Any]:
        differentiable = jax.custom_jvp(function)

        @differentiable.defjvp
        def jvp(primals: tuple[Any, ...], tangents: tuple[Any, ...]) -> tuple[Doubled, Doubled]:
            _, tangent = jax.jvp(plain, tuple(map(high, primals)), tuple(map(high, tangents)))
            return differentiable(*primals), exact(tangent)

        return differentiable

    return decorate


@sloped(jnp.subtract)
def difference(x: Float[Array, "*shape"], y: Float[Array, "*shape"]) -> Doubled:
    """``x - y``, every digit of it."""
    return _two_sum(x, -y)


@sloped(quotient)
def ratio(x: Doubled, scale: Float[Array, "*#shape"]) -> Doubled:
    """``x / scale``."""
    high = x.high / scale
    (first, second), (scale_first, scale_second) = _split(high), _split(scale)
    rest = ((x.high - first * scale_first) - first * scale_second) - second * scale + x.low
    low = rest * (1 / scale)
    return Doubled(high, jnp.where(jnp.isfinite(low), low, 0))


@sloped(jnp.square)
def square(x: Doubled) -> Doubled:
    """``x * x``, within the range of the dtype."""
    high, low = _split(x.high)
    return _two_sum(high * high, 2 * high * low + (low * low + 2 * x.high * x.low))


@sloped(jnp.multiply)
def times(factor: Float[Array, "*#shape"], x: Doubled) -> Doubled:
    """``factor * x``, within the range of the dtype."""
    (first, second), (high, low) = _split(factor), _split(x.high)
    return _two_sum(first * high, (first * low + second * high) + (second * low + factor * x.low))


def clip(x: Doubled, bound: float) -> Doubled:
    """``x`` between plus and minus ``bound``; beyond, it is constant."""
    inside = jnp.abs(x.high) <= bound
    return Doubled(jnp.clip(x.high, -bound, bound), jnp.where(inside, x.low, 0))


@sloped(jnp.log)
def log(x: Float[Array, "*shape"]) -> Doubled:
    """The logarithm of a normal number > 0, to a fiftieth of its last place."""
    exponent, fraction = normalized(x)
    return _log(exponent, fraction - 1, jnp.zeros_like(x))


def exp(x: Doubled) -> Float[Array, "*shape"]:
    """The exponential, where it is finite."""
    power = jnp.exp(x.high)
    return power + power * x.low


def total(x: Doubled, axes: tuple[int, ...]) -> Doubled:
    """The sum over some axes, whichever way they are sharded."""
    zero = jnp.zeros((), x.high.dtype)
    terms = jax.lax.optimization_barrier(tuple(x))  # or XLA would take minutes to fold constants
    return Doubled(*jax.lax.reduce(terms, (zero, zero), _add_pairs, axes))


def _add_pairs(x: tuple[Array, Array], y: tuple[Array, Array]) -> Doubled:
    return add(Doubled(*x), Doubled(*y))


def _two_sum(x: Float[Array, "*shape"], y: Float[Array, "*shape"]) -> Doubled:
    """The rounded sum, and exactly what it was rounded by.

    A constant comes second: ``(1 + y) - 1`` some versions of XLA take for ``y``.
    """
    high = x + y
    part = high - x
    low = (x - (high - part)) + (y - part)
    return Doubled(high, jnp.where(jnp.isfinite(high), jax.lax.stop_gradient(low), 0))


def _split(x: Float[Array, "*shape"]) -> tuple[Float[Array, "*shape"], Float[Array, "*shape"]]:
    """Two halves of its digits, within the range of the dtype."""
    kind = jnp.finfo(x.dtype)
    high = jax.lax.reduce_precision(x, kind.nexp, kind.nmant // 2)
    return high, x - high


def _halves(x: Float[Array, "*shape"]) -> tuple[Float[Array, "*shape"], Float[Array, "*shape"]]:
    kind = jnp.finfo(x.dtype)
    high = jax.lax.reduce_precision(x, kind.nexp, kind.nmant // 2)
    whole = jnp.isfinite(high)
    return jnp.where(whole, high, x), jnp.where(whole, x - jnp.where(whole, high, 0), 0)


def normalized(
    x: Float[Array, "*shape"],
) -> tuple[Float[Array, "*shape"], Float[Array, "*shape"]]:
    """A power of two, as its exponent, and the fraction that it is to be multiplied by, near 1."""
    kind = jnp.finfo(x.dtype)
    integer = jnp.int64 if x.dtype == jnp.float64 else jnp.int32
    bits = jax.lax.bitcast_convert_type(x, integer)
    root = jax.lax.bitcast_convert_type(jnp.asarray(math.sqrt(0.5), x.dtype), integer)
    exponent = (bits - root) >> kind.nmant
    fraction = jax.lax.bitcast_convert_type(bits - (exponent << kind.nmant), x.dtype)
    return exponent.astype(x.dtype), fraction


def _log(
    exponent: Float[Array, "*shape"], above: Float[Array, "*shape"], low: Float[Array, "*shape"]
) -> Doubled:
    """The logarithm of ``(1 + above + low) * 2**exponent``, by the series of the inverse tangent.

    Only its first term, twice the quotient ``above / (2 + above)``, needs more than one number.
    """
    whole = _two_sum(above, jnp.full_like(above, 2))
    inverse = 1 / whole.high
    first, (high, rest) = _split(above * inverse)[0], _split(whole.high)
    lost = ((above - first * high) - first * rest) + (low - first * (whole.low + low))
    second = lost * inverse
    s = first + second
    w = s * s
    series = jnp.zeros_like(w)
    for k in range(11 if w.dtype == jnp.float32 else 27, 1, -2):
        series = 2 / k + w * series
    start = _two_sum(exponent * LN2[0], 2 * first)
    tail = 2 * second + (s * w * series + exponent * LN2[1])
    return _two_sum(start.high, start.low + tail)
