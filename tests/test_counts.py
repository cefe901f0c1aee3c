"""Limits and extremes of the likelihoods of counts and amounts."""

import functools

import jax
import jax.numpy as jnp
import mpmath
import numpy as np
import pytest

from jaxloss.losses.counts import (
    gamma,
    negative_binomial,
    poisson,
    tweedie,
    zero_inflated_negative_binomial,
    zero_inflated_poisson,
)

close = functools.partial(np.testing.assert_allclose, rtol=2e-6)
COUNTS = np.array([0, 0, 1, 2, 5, 6, 7, 100, 1e4, 1e6, 1e6, 1e12, 1e30, 0, 0, 3], np.float32)
LOGS = np.array(
    [-60, 1, 0, -5, 1.5, 2, 2.5, 4.7, 9.2, 13.8, 13.9, 27.6, 69, 69, -200, -200], np.float32
)


def exactly(function, *arrays):
    """``function`` of numbers of mpmath, and its slope in the first."""
    with mpmath.workdps(120):
        rows = [[mpmath.mpf(float(x)) for x in row] for row in zip(*arrays, strict=True)]
        values = [function(*row) for row in rows]
        slopes = [mpmath.diff(lambda x, r=row: function(x, *r[1:]), row[0]) for row in rows]
        return [float(v) for v in values], [float(s) for s in slopes]


def exact_poisson(s, k):
    return mpmath.exp(s) - k * s + mpmath.loggamma(k + 1)


def exact_negative_binomial(s, r, k):
    mu = mpmath.exp(s)
    gammas = mpmath.loggamma(r) + mpmath.loggamma(k + 1) - mpmath.loggamma(k + r)
    return gammas + r * mpmath.log1p(mu / r) + k * (mpmath.log(r + mu) - s)


def exact_gamma(s, k, t):
    mu = mpmath.exp(s)
    return k * t / mu - k * mpmath.log(k / mu) - (k - 1) * mpmath.log(t) + mpmath.loggamma(k)


def conditioned(slope, s):
    """What rounding the last digit of the logarithm of the rate does to a loss."""
    return np.abs(np.multiply(slope, s)) * 2e-7


def test_poisson_from_no_count_to_any():
    value, slope = jax.vmap(jax.value_and_grad(poisson))(LOGS, COUNTS)
    expected, steep = exactly(exact_poisson, LOGS, COUNTS)
    error = np.abs(np.asarray(value, float) - expected)
    assert (error <= 2e-6 * np.abs(expected) + conditioned(steep, LOGS) + 1e-37).all()
    error = np.abs(np.asarray(slope, float) - steep)
    assert (error <= 1e-6 * np.abs(steep) + 4e-7 * COUNTS * np.abs(LOGS) + 1e-37).all()


@pytest.mark.parametrize("concentration", [1e-3, 0.5, 3.0, 5.9, 6.1, 1e4, 1e10])
def test_negative_binomial_from_no_count_to_any(concentration):
    counts, logs = COUNTS[:13], LOGS[:13]
    concentrations = np.full(13, concentration, np.float32)
    at = jax.value_and_grad(negative_binomial, argnums=(0, 1))
    value, (slope, other) = jax.vmap(at)(logs, concentrations, counts)
    expected, steep = exactly(exact_negative_binomial, logs, concentrations, counts)
    error = np.abs(np.asarray(value, float) - expected)
    assert (error <= 4e-6 * np.abs(expected) + conditioned(steep, logs) + 1e-20).all()
    assert jnp.isfinite(slope).all()
    assert jnp.isfinite(other).all()


def test_a_concentrated_negative_binomial_is_poisson():
    counts, logs = COUNTS[:9], LOGS[:9]
    loss = functools.partial(negative_binomial, logs, jnp.full(9, 1e12), reduction="none")
    close(loss(counts), poisson(logs, counts, reduction="none"), rtol=1e-5, atol=1e-20)


def test_probabilities_of_all_counts_add_up_to_one():
    counts = jnp.arange(2000)
    logs, concentrations, gates = (jnp.full(2000, x) for x in (2.0, 0.7, -1.0))
    for loss in (
        poisson(logs, counts, reduction="none"),
        negative_binomial(logs, concentrations, counts, reduction="none"),
        zero_inflated_poisson(logs, gates, counts, reduction="none"),
        zero_inflated_negative_binomial(logs, concentrations, gates, counts, reduction="none"),
    ):
        close(jnp.exp(-loss).sum(), 1, rtol=1e-5)


def test_zero_inflation_from_never_to_always():
    logits = jnp.array([-200.0, -1.0, 0.0, 30.0, 200.0])
    for log_rate in (-30.0, 0.0, 5.0):
        at = functools.partial(zero_inflated_poisson, jnp.full(5, log_rate))
        value = at(logits, jnp.zeros(5), reduction="none")
        slope = jax.grad(lambda g, at=at: at(g, jnp.zeros(5), reduction="sum"))(logits)
        with mpmath.workdps(80):
            pi = [1 / (1 + mpmath.exp(-mpmath.mpf(float(g)))) for g in logits]
            nothing = mpmath.exp(-mpmath.exp(log_rate))
            zero = [p + (1 - p) * nothing for p in pi]
            close(value, [float(-mpmath.log(z)) for z in zero], atol=1e-38)
            steep = [-p * (1 - p) * (1 - nothing) / z for p, z in zip(pi, zero, strict=True)]
            close(slope, list(map(float, steep)), rtol=1e-5, atol=1e-38)
    some = zero_inflated_poisson(jnp.array([1.0]), jnp.array([-200.0]), jnp.array([3]))
    close(some, poisson(jnp.array([1.0]), jnp.array([3])))


@pytest.mark.parametrize("concentration", [1e-3, 0.5, 1.0, 5.9, 6.1, 1e4])
def test_gamma_at_any_concentration(concentration):
    amounts = np.array([1e-30, 1e-3, 0.5, 1.0, 30.0, 1e20], np.float32)
    logs = np.array([-60, 1, 0, 0.3, 3.4, 46], np.float32)
    concentrations = np.full(6, concentration, np.float32)
    value, (slope, other) = jax.vmap(jax.value_and_grad(gamma, argnums=(0, 1)))(
        logs, concentrations, amounts
    )
    expected, steep = exactly(exact_gamma, logs, concentrations, amounts)
    close(value, expected, rtol=1e-5, atol=1e-6 + 1e-4 * concentration)
    close(slope, steep, rtol=1e-5, atol=1e-6 + 1e-5 * concentration)
    assert jnp.isfinite(other).all()


def test_digits_are_kept_where_rates_are_large_and_where_they_match():
    """Where the logarithm of the count, rounded, would cost one digit or two."""
    logs = np.array([7.368092, 9.170422, 9.828309, 9.40031], np.float32)
    counts = np.array([1781, 17755, 39267, 7787], np.float32)
    expected, steep = exactly(exact_poisson, logs, counts)
    value, slope = jax.vmap(jax.value_and_grad(poisson))(logs, counts)
    close(value, expected, rtol=3e-7)
    close(slope, steep, rtol=3e-7)

    logs = np.array([-58.57083, -58.873158, -5.959276, -45.724182], np.float32)
    concentrations = np.array([6111.5913, 0.01914722, 11.401492, 1310.7783], np.float32)
    amounts = np.array([483.9316, 628.5249, 0.002975902, 6.1559496], np.float32)
    expected, steep = exactly(exact_gamma, logs, concentrations, amounts)
    value, slope = jax.vmap(jax.value_and_grad(gamma))(logs, concentrations, amounts)
    close(value, expected, rtol=4e-7)
    close(slope, steep, rtol=3e-7)

    logs = np.array([-55.138714, -45.053436, -19.450653, 80], np.float32)
    concentrations = np.array([0.1423948, 6371.8247, 0.64443123, 1e-4], np.float32)
    expected, steep = exactly(exact_negative_binomial, logs, concentrations, 0 * logs)
    at = jax.value_and_grad(negative_binomial)
    value, slope = jax.vmap(at)(logs, concentrations, 0 * logs)
    close(value, expected, rtol=4e-7)
    close(slope, steep, rtol=4e-7)


@pytest.mark.parametrize("power", [0.0, 1.0, 1.3, 1.7, 2.0, 3.0])
def test_tweedie_keeps_its_digits_far_from_the_mean(power):
    logs = np.array([-60, -43.6, -59.25878, -51, 20.5], np.float32)
    amounts = np.array([1e4, 1830.4694, 959.5525, 1e-3, 2e-4], np.float32)
    exact_power = mpmath.mpf(float(np.float32(power)))

    def exact(s, t):
        m, p = mpmath.exp(s), exact_power + mpmath.mpf(10) ** -40  # never a limit
        first = t ** (2 - p) / (1 - p) / (2 - p)
        return 2 * (first - t * m ** (1 - p) / (1 - p) + m ** (2 - p) / (2 - p))

    at = jax.value_and_grad(lambda s, t: tweedie(s, t, power=power))
    value, slope = jax.vmap(at)(logs, amounts)
    expected, steep = (np.array(x) for x in exactly(exact, logs, amounts))
    normal = (np.abs(expected) < 3e38) & (np.abs(steep) < 3e38)
    assert normal.any()
    close(value[normal], expected[normal], rtol=6e-7)
    close(slope[normal], steep[normal], rtol=6e-7, atol=1e-38)


def test_the_slope_in_the_concentration():
    for r in (0.05, 1.0, 5.0, 8.0, 40.0):
        found = jax.grad(negative_binomial, argnums=1)(jnp.log(4.0), r, 7.0)
        with mpmath.workdps(50):
            exact = mpmath.diff(
                lambda x: exact_negative_binomial(mpmath.log(4), x, mpmath.mpf(7)),
                mpmath.mpf(float(np.float32(r))),
            )
        close(found, float(exact), rtol=1e-5, atol=1e-7)


def test_an_exponential_distribution_is_a_gamma_of_one():
    t, s = jnp.array([0.1, 2.0, 7.0]), jnp.array([0.3, -1.0, 2.0])
    close(gamma(s, jnp.ones(3), t, reduction="none"), t / jnp.exp(s) + s, rtol=1e-5)


@pytest.mark.parametrize("power", [0.0, 0.999, 1.0, 1.001, 1.5, 1.999, 2.0, 2.001, 3.0])
def test_tweedie_from_a_hit_to_a_miss(power):
    power = float(np.float32(power))
    logs = np.array([1, 1, 1, 0, 0, -2, 1, 5], np.float32)
    amounts = np.array([np.exp(1), 2.7, 2, 1, 1.6, 50, 1e-6, 1e-3], np.float32)

    def exact(s, t):
        m, p = mpmath.exp(s), mpmath.mpf(power) + mpmath.mpf(10) ** -40  # never a limit
        first = t ** (2 - p) / (1 - p) / (2 - p)
        return 2 * (first - t * m ** (1 - p) / (1 - p) + m ** (2 - p) / (2 - p))

    at = jax.value_and_grad(lambda s, t: tweedie(s, t, power=power))
    value, slope = jax.vmap(at)(logs, amounts)
    expected, steep = exactly(exact, logs, amounts)
    assert (value >= 0).all()
    close(value, expected, rtol=1e-5, atol=1e-12)
    close(slope, steep, rtol=1e-5, atol=2e-6)


def test_tweedie_where_nothing_was():
    value, slope = jax.value_and_grad(tweedie)(jnp.log(4.0), 0.0, power=1.5)
    close(value, 8)
    close(slope, 4)
    assert tweedie(0.0, 0.0, power=2.0) == jnp.inf


def test_the_slope_in_the_power_is_finite_at_its_limits():
    slope = jax.grad(lambda p, t: tweedie(0.3, t, power=p))
    for power in (1.0, 2.0):
        for amount in (0.01, 1.0, 1.4, 30.0):
            with jax.enable_x64(True):
                sides = [tweedie(0.3, amount, power=power + h) for h in (-1e-5, 1e-5)]
            numeric = float(sides[1] - sides[0]) / 2e-5
            close(slope(power, amount), numeric, rtol=1e-4, atol=1e-6)
