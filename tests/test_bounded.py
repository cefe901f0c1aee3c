"""Limits and extremes of the likelihoods of targets that have bounds."""

import functools

import jax
import jax.numpy as jnp
import mpmath
import numpy as np
import pytest

from jaxloss.losses.bounded import beta, tobit, von_mises
from jaxloss.losses.likelihood import gaussian
from tests.test_checkify import message

close = functools.partial(np.testing.assert_allclose, rtol=3e-6)
mp = mpmath.mpf


def exact_von_mises(error, concentration):
    e, k = mp(float(error)), mp(float(concentration))
    value = k * (1 - mpmath.cos(e)) + mpmath.log(
        2 * mpmath.pi * mpmath.besseli(0, k) * mpmath.exp(-k)
    )
    slope = 1 - mpmath.cos(e) + mpmath.besseli(1, k) / mpmath.besseli(0, k) - 1
    return float(value), float(k * mpmath.sin(e)), float(slope)


@pytest.mark.parametrize("concentration", [1e-6, 0.1, 1.0, 8.0, 29.9, 30.1, 1e3, 1e6])
def test_von_mises_keeps_its_digits(concentration):
    concentration = np.float32(concentration)
    at = jax.jit(jax.value_and_grad(von_mises, argnums=(2, 1)))
    for turn in (0.0, 1e-3, 0.3, 3.0):
        turn = np.float32(turn)
        with mpmath.workdps(40):
            value, steep, learnt = exact_von_mises(turn, concentration)
        found, slopes = at(0.0, concentration, turn)
        close(found, value, atol=3e-7)
        close(slopes[0], steep, atol=1e-20)
        if turn < 1 and concentration > 1:
            close(slopes[1], learnt, rtol=1e-4, atol=3e-8)


def test_full_turns_do_not_matter():
    turns = von_mises(jnp.zeros(3), jnp.full(3, 5.0), 0.3 + 2 * np.pi * jnp.arange(3.0))
    close(turns, von_mises(0.0, 5.0, 0.3), rtol=1e-5)


def test_concentrated_angles_are_normal():
    close(von_mises(0.1, 1e5, 0.102), gaussian(0.1, 1e5**-0.5, 0.102), rtol=1e-4)


@pytest.mark.parametrize("logit", [-1e4, -80.0, -3.0, 0.0, 3.0, 80.0, 1e4])
@pytest.mark.parametrize("concentration", [1e-4, 1.0, 1e6])
def test_beta_is_finite_with_finite_slopes(logit, concentration):
    shares = jnp.array([1e-30, 1e-4, 0.5, 1 - 1e-4])
    at = jax.vmap(jax.value_and_grad(beta, argnums=(0, 1, 2)), (None, None, 0))
    value, slopes = at(logit, concentration, shares)
    assert jnp.isfinite(value).all()
    assert all(jnp.isfinite(slope).all() for slope in slopes)


def test_beta_is_least_near_its_mean_and_integrates_to_one():
    grid = (jnp.arange(2000.0) + 0.5) / 2000
    for logit, concentration in ((0.3, 5.0), (-1.0, 40.0)):
        density = jnp.exp(-jax.vmap(beta, (None, None, 0))(logit, concentration, grid))
        close(density.mean(), 1, rtol=1e-4)
        close((density * grid).mean(), jax.nn.sigmoid(logit), rtol=1e-4)


def test_sides_of_a_beta_mirror():
    close(beta(0.7, 3.0, 0.2), beta(-0.7, 3.0, 0.8))


def test_without_limits_tobit_is_gaussian():
    targets = jnp.array([-3.0, 0.1, 1e4])
    found = jax.value_and_grad(tobit, argnums=(0, 1))(jnp.zeros(3), jnp.ones(3), targets)
    expected = jax.value_and_grad(gaussian, argnums=(0, 1))(jnp.zeros(3), jnp.ones(3), targets)
    jax.tree.map(close, found, expected)
    within = tobit(jnp.zeros(3), jnp.ones(3), targets, lower=-4.0, upper=2e4)
    close(within, expected[0])


def test_a_target_at_a_limit_asks_for_no_more():
    at = jax.value_and_grad(functools.partial(tobit, lower=0.0, upper=1.0))
    for predicted, target in ((-30.0, 0.0), (40.0, 1.0)):
        value, slope = at(predicted, 1.0, target)
        close(value, 0, atol=1e-30)
        close(slope, 0, atol=1e-30)
    value, slope = at(30.0, 1.0, 0.0)  # far off: as a squared error
    close(value, -float(mpmath.log(mpmath.ncdf(-30))))
    hazard = mpmath.npdf(30) / mpmath.ncdf(-30)
    close(slope, float(hazard))
    bend = jax.grad(jax.grad(functools.partial(tobit, lower=0.0)))(30.0, 1.0, 0.0)
    close(bend, float(hazard * (hazard - 30)))
    limit = jax.grad(lambda x: tobit(0.3, 1.0, x, lower=x))(0.0)
    assert limit < 0


def test_preconditions():
    assert message(beta, jnp.zeros(2), jnp.ones(2), jnp.array([0.5, 1.0])) == (
        "beta: target_shares must lie between 0 and 1, got 1.0"
    )
    assert message(von_mises, jnp.zeros(2), jnp.array([1.0, 0.0]), jnp.zeros(2)) == (
        "von_mises: concentrations must be positive, got 0.0"
    )
