"""Scores of normal distributions with limits, from no limits to hardly any room."""

import functools

import jax
import jax.numpy as jnp
import mpmath
import numpy as np
import pytest

from jaxloss.losses import crps
from jaxloss.losses.crps_limits import censored_gaussian, truncated_gaussian
from tests.test_checkify import message

close = functools.partial(np.testing.assert_allclose, rtol=1e-5)
BOTH = [censored_gaussian, truncated_gaussian]
ERRORS = jnp.array([-3.0, -0.3, 0.0, 1e-4, 2.0, 1e4])
ONES = jnp.ones(6)


def exact_truncated(mean, scale, low, high, target):
    """All seen from the side on which probabilities are small."""
    if low + high > 2 * mean:
        mean, low, high, target = -mean, -high, -low, -target
    z, a, b = ((x - mean) / scale for x in (target, low, high))
    root = mpmath.sqrt(2)

    def below(x):
        return mpmath.erfc(-x / root) / 2

    mass = below(b) - below(a)
    share = (below(z) - below(a)) / mass
    pairs = (below(root * b) - below(root * a)) / mpmath.sqrt(mpmath.pi) / mass**2
    return scale * (z * (2 * share - 1) + 2 * mpmath.npdf(z) / mass - pairs)


@pytest.mark.parametrize("ends", [(0.0, 1.0), (0.0, 50.0)])
def test_exact_far_from_the_limits_and_in_a_narrow_space_between(ends):
    points = [
        (m, s, t)
        for m in (-30.0, -1.0, 0.3, 0.7, 2.0)
        for s in (0.5, 1.0, 500.0)
        for t in (0.0, 0.01, 0.5, 1.0)
    ]
    arguments = [np.array(column, np.float32) for column in zip(*points, strict=True)]
    loss = functools.partial(truncated_gaussian, lower=ends[0], upper=ends[1])
    value, slopes = jax.jit(jax.vmap(jax.value_and_grad(loss, argnums=(0, 1))))(*arguments)
    assert (value >= 0).all()
    low, high = map(mpmath.mpf, ends)
    for i in range(len(points)):
        with mpmath.workdps(80):
            mean, scale, target = (mpmath.mpf(float(column[i])) for column in arguments)
            expected = exact_truncated(mean, scale, low, high, target)
            close(value[i], float(expected), rtol=1e-4)
            step = mpmath.mpf(10) ** -20
            up = exact_truncated(mean + step, scale, low, high, target)
            wide = exact_truncated(mean, scale + step, low, high, target)
            close(slopes[0][i], float((up - expected) / step), rtol=2e-4, atol=2e-6)
            close(slopes[1][i], float((wide - expected) / step), rtol=2e-4, atol=4e-6)


@pytest.mark.parametrize("loss", BOTH)
def test_without_limits_or_with_far_ones_it_is_gaussian(loss):
    expected = crps.gaussian(0 * ONES, ONES, ERRORS, reduction="none")
    close(loss(0 * ONES, ONES, ERRORS, reduction="none"), expected)
    close(loss(0 * ONES, ONES, ERRORS, lower=-1e6, upper=1e6, reduction="none"), expected)


@pytest.mark.parametrize("loss", BOTH)
def test_both_sides_are_alike(loss):
    one = loss(ERRORS / 3, ONES, ERRORS, lower=-0.4, reduction="none")
    other = loss(-ERRORS / 3, ONES, -ERRORS, upper=0.4, reduction="none")
    close(one, other)


@pytest.mark.parametrize("loss", BOTH)
def test_far_beyond_the_limit_the_forecast_is_the_limit(loss):
    at = jax.value_and_grad(loss, argnums=(0, 1))
    value, slopes = at(jnp.array([-1e4]), jnp.ones(1), jnp.array([3.0]), lower=0.0)
    close(value, 3, rtol=1e-3)
    assert all(jnp.isfinite(slope).all() for slope in slopes)
    assert loss(jnp.array([-1e4]), jnp.ones(1), jnp.zeros(1), lower=0.0) < 1e-3
    close(loss(jnp.zeros(1), jnp.ones(1), jnp.array([-7.0]), lower=0.0),
          7 + loss(jnp.zeros(1), jnp.ones(1), jnp.zeros(1), lower=0.0))  # fmt: skip


def test_a_narrow_truncated_normal_is_uniform():
    targets = jnp.array([-0.5, 0.1, 0.5, 2.0])
    found = truncated_gaussian(
        jnp.full(4, 0.3), jnp.full(4, 1e5), targets, lower=-0.5, upper=0.5, reduction="none"
    )
    close(found, crps.uniform(jnp.zeros(4), jnp.ones(4), targets, reduction="none"))


def test_preconditions():
    found = message(censored_gaussian, jnp.zeros(2), jnp.ones(2), jnp.ones(2), lower=1.0, upper=0.0)
    assert found.startswith("censored_gaussian: lower must be less than upper")
