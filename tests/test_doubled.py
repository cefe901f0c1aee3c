"""Functions of doubled numbers and powers have the digits that are claimed, also when compiled."""

import math

import jax
import jax.numpy as jnp
import mpmath
import numpy as np
import pytest

from jaxloss.core import doubled, powers
from jaxloss.core.doubled import Doubled
from jaxloss.core.exponentials import growth

SIZES = np.array([3.1e-20, 2.7e-3, 0.41, 0.42, 0.999, 1.3, 17.1, 6.02e23], np.float32)
SCALE = np.float32(0.7)


def error(found: Doubled, truth) -> float:
    """The largest relative error."""
    high, low = (np.asarray(x, np.float64) for x in found)
    expected = [mpmath.mpf(x) for x in truth]
    pairs = zip(high, low, expected, strict=True)
    return float(max(abs((mpmath.mpf(h) + mpmath.mpf(lo) - x) / x) for h, lo, x in pairs))


@pytest.mark.parametrize(
    ("function", "exact", "bound"),
    [
        (lambda x: doubled.difference(x, jnp.full_like(x, 1e-9)),
         lambda x: x - mpmath.mpf(float(np.float32(1e-9))), 1e-13),
        (lambda x: doubled.ratio(doubled.exact(x), jnp.float32(SCALE)),
         lambda x: x / mpmath.mpf(float(SCALE)), 1e-10),
        (lambda x: doubled.square(doubled.exact(jnp.minimum(x, 17))),
         lambda x: min(x, 17) ** 2, 1e-10),
        (lambda x: doubled.times(jnp.float32(SCALE), doubled.exact(x)),
         lambda x: x * mpmath.mpf(float(SCALE)), 1e-10),
        (doubled.log, mpmath.log, 4e-9),
    ],
)  # fmt: skip
def test_more_digits_than_one_number_holds(function, exact, bound):
    sizes = SIZES[1:]
    with mpmath.workdps(40):
        truth = [exact(mpmath.mpf(float(x))) for x in sizes]
        assert error(jax.jit(function)(jnp.asarray(sizes)), truth) < bound


def test_slopes_are_those_of_plain_numbers():
    x = jnp.float32(1.7)
    for function, plain in (
        (doubled.log, jnp.log),
        (lambda x: doubled.square(doubled.exact(x)), jnp.square),
        (lambda x: doubled.ratio(doubled.exact(x), jnp.float32(3)), lambda x: x / 3),
        (lambda x: doubled.times(x, doubled.exact(x)), jnp.square),
    ):
        value = jax.grad(lambda x, f=function: f(x).value())
        np.testing.assert_allclose(value(x), jax.grad(plain)(x), rtol=1e-6)
        expected = jax.grad(jax.grad(plain))(x)
        np.testing.assert_allclose(jax.grad(value)(x), expected, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("exponent", [-0.65, 0.35, 1.3])
def test_a_power_of_a_large_number_is_right_to_a_few_units_in_the_last_place(exponent):
    exponent = np.float32(exponent)
    found = jax.jit(
        lambda x: powers.scaled_power(
            jnp.ones_like(x), powers.log1p(x), doubled.exact(jnp.float32(exponent))
        )
    )(jnp.asarray(SIZES))
    with mpmath.workdps(40):
        truth = [float((1 + mpmath.mpf(float(x))) ** mpmath.mpf(float(exponent))) for x in SIZES]
    np.testing.assert_allclose(found, truth, rtol=3e-7)


def test_a_factor_is_applied_before_the_power_vanishes():
    def scaled(factor, exponent):
        base = powers.log1p(jnp.float32(1e20))
        return powers.scaled_power(jnp.float32(factor), base, doubled.exact(jnp.float32(exponent)))

    np.testing.assert_allclose(scaled(1e10, -2.0), 1e-30, rtol=1e-6)
    assert scaled(1.0, -1e9) == 0
    np.testing.assert_allclose(jax.grad(scaled)(1e10, -1.5), 1e-30, rtol=1e-6)
    np.testing.assert_allclose(jax.grad(scaled, 1)(1.0, -0.5), 1e-10 * np.log(1e20), rtol=1e-6)


def test_growth_and_its_slopes():
    x = jnp.float32(2.5)
    for rate in (-30.0, -0.3, 0.0, 1e-6, 0.5, 3.0):
        with mpmath.workdps(40):
            r, at = mpmath.mpf(float(np.float32(rate))), mpmath.mpf(2.5)
            value = at if r == 0 else mpmath.expm1(r * at) / r
            bend = at**2 / 2 if r == 0 else (at * mpmath.exp(r * at) - value) / r
            slope = math.exp(r * at)
        np.testing.assert_allclose(growth(jnp.float32(rate), x), float(value), rtol=1e-6)
        np.testing.assert_allclose(jax.grad(growth)(jnp.float32(rate), x), float(bend), rtol=3e-6)
        found = jax.grad(growth, 1)(jnp.float32(rate), x)
        np.testing.assert_allclose(found, slope, rtol=1e-6)
