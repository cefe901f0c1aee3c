"""Scores of distributions with a shape against many digits, and their limits."""

import functools

import jax
import jax.numpy as jnp
import mpmath
import numpy as np
import pytest

from jaxloss.losses import crps
from jaxloss.losses.crps_shapes import gamma, log_normal, student_t
from tests.test_checkify import message

close = functools.partial(np.testing.assert_allclose, rtol=1e-5)


def exact_student_t(error, scale, df):
    z, nu, half = error / scale, df, mpmath.mpf(1) / 2
    outside = mpmath.betainc(nu / 2, half, 0, nu / (nu + z * z), regularized=True)
    density = (1 + z * z / nu) ** (-(nu + 1) / 2) / mpmath.sqrt(nu) / mpmath.beta(half, nu / 2)
    spread = mpmath.sqrt(nu) * mpmath.beta(half, nu - half) / mpmath.beta(half, nu / 2) ** 2
    beyond = 2 * (density * (nu + z * z) - spread) / (nu - 1)
    return scale * (abs(z) * (1 - outside) + beyond)


def exact_log_normal(predicted, scale, amount):
    z = (mpmath.log(amount) - predicted) / scale
    mean = mpmath.exp(predicted + scale**2 / 2)
    rest = mpmath.ncdf(-scale / mpmath.sqrt(2)) - mpmath.ncdf(z - scale)
    return amount * (2 * mpmath.ncdf(z) - 1) + 2 * mean * rest


def exact_gamma(log_mean, k, amount):
    mean = mpmath.exp(log_mean)
    below = [mpmath.gammainc(s, 0, amount * k / mean, regularized=True) for s in (k, k + 1)]
    spread = mean / k / mpmath.beta(0.5, k)
    return amount * (2 * below[0] - 1) - mean * (2 * below[1] - 1) - spread


def by_error(error, scale, df):
    return student_t(0.0, scale, error, df=df)


POINTS = {
    "student_t": (
        by_error,
        exact_student_t,
        [(e, s, n) for e in (1e-3, -2.5, 1e3) for s in (1e-3, 30.0) for n in (0.6, 1.001, 3, 90)],
    ),
    "log_normal": (
        log_normal,
        exact_log_normal,
        [(m, s, t) for m in (-2.0, 3.0) for s in (1e-2, 0.49, 0.51, 3.0) for t in (1e-3, 1.0, 90)],
    ),
    "gamma": (
        gamma,
        exact_gamma,
        [(m, k, t) for m in (-2.0, 3.0) for k in (1e-2, 1, 7.9, 8.1, 300) for t in (1e-3, 1.0, 21)],
    ),
}


@pytest.mark.parametrize("name", POINTS)
def test_exact_at_any_shape_in_value_and_in_all_slopes(name):
    loss, exact, points = POINTS[name]
    arguments = [np.array(column, np.float32) for column in zip(*points, strict=True)]
    value, slopes = jax.jit(jax.vmap(jax.value_and_grad(loss, argnums=(0, 1, 2))))(*arguments)
    assert (value >= 0).all()
    for i in range(len(points)):
        with mpmath.workdps(50):
            at = [mpmath.mpf(float(column[i])) for column in arguments]
            close(value[i], float(exact(*at)), rtol=2e-5)
            for j, slope in enumerate(slopes):
                step = abs(at[j]) * mpmath.mpf(10) ** -15
                ahead, behind = (
                    exact(*(x + sign * step if j == k else x for k, x in enumerate(at)))
                    for sign in (1, -1)
                )
                steep = float((ahead - behind) / (2 * step))
                close(slope[i], steep, rtol=5e-4, atol=3e-6 * (1 + float(abs(at[0]))))


def test_many_degrees_of_freedom_are_gaussian_and_one_is_cauchy():
    errors, scales = jnp.array([-3.0, 0.0, 0.2, 1e4]), jnp.full(4, 1.3)
    found = student_t(jnp.zeros(4), scales, errors, df=1e8, reduction="none")
    close(found, crps.gaussian(jnp.zeros(4), scales, errors, reduction="none"))
    at = jax.vmap(jax.value_and_grad(lambda df: student_t(0.0, 1.0, 2.0, df=df)))
    value, slope = at(jnp.array([1.0, 1.0 + 1e-6, 1.0 - 1e-6]))
    # 2 z arctan(z) / pi - log(1 + z^2) / pi + log 4 / pi
    close(value, (4 * np.arctan(2) - np.log(5) + np.log(4)) / np.pi)
    close(slope, slope[0])


def test_a_gamma_of_shape_one_is_exponential_and_of_many_gaussian():
    amounts = jnp.array([0.0, 1e-3, 1.0, 30.0])
    found = gamma(jnp.full(4, jnp.log(2.0)), jnp.ones(4), amounts, reduction="none")
    close(found, crps.exponential(jnp.full(4, 2.0), amounts, reduction="none"))
    amounts = jnp.array([0.999, 1.0, 1.001])
    found = gamma(jnp.zeros(3), jnp.full(3, 1e6), amounts, reduction="none")
    close(
        found, crps.gaussian(jnp.ones(3), jnp.full(3, 1e-3), amounts, reduction="none"), rtol=5e-3
    )


def test_nothing_at_all_and_far_too_much():
    for loss, first in ((log_normal, 0.3), (gamma, 0.3)):
        at = jax.vmap(jax.value_and_grad(loss, argnums=(0, 1, 2)), in_axes=(None, None, 0))
        value, slopes = at(first, 1.2, jnp.array([0.0, 1e30]))
        assert jnp.isfinite(value).all()
        assert all(jnp.isfinite(slope).all() for slope in slopes)
        close(slopes[2], [-1, 1])
        close(value[1], 1e30)


def test_preconditions():
    assert message(student_t, jnp.zeros(2), jnp.ones(2), jnp.zeros(2), df=0.5) == (
        "student_t: df must be more than 1/2, got 0.5"
    )
