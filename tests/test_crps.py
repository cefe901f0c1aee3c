"""Limits and extremes of continuous ranked probability scores in closed form."""

import functools

import jax
import jax.numpy as jnp
import mpmath
import numpy as np
import pytest

from jaxloss.losses.crps import (
    exponential,
    gaussian,
    gaussian_mixture,
    laplace,
    logistic,
    uniform,
)
from tests.test_checkify import message

close = functools.partial(np.testing.assert_allclose, rtol=2e-6)
ERRORS = np.array([0, 1e-30, 1e-4, 0.3, -0.3, 1, -2.5, 6, -20, 1e4, -1e20, 1e38], np.float32)
SCALES = np.array([1e-30, 1e-3, 1.0, 37.0, 1e20], np.float32)
GRID = [x.ravel() for x in np.meshgrid(ERRORS, SCALES)]


def exact_gaussian(z):
    slope = mpmath.erf(z / mpmath.sqrt(2))
    return slope, 2 * mpmath.npdf(z) - 1 / mpmath.sqrt(mpmath.pi)


def exact_laplace(z):
    missing = mpmath.exp(-abs(z))
    return mpmath.sign(z) * (1 - missing), (1 + abs(z)) * missing - mpmath.mpf(3) / 4


def exact_logistic(z):
    slope = mpmath.tanh(z / 2)
    return slope, abs(z) + 2 * mpmath.log1p(mpmath.exp(-abs(z))) - 1 - z * slope


def exact_uniform(z):
    inside = max(min(z, mpmath.mpf(0.5)), -mpmath.mpf(0.5))
    return 2 * inside, mpmath.mpf(1) / 12 - inside**2


LAWS = [
    (gaussian, exact_gaussian),
    (laplace, exact_laplace),
    (logistic, exact_logistic),
    (uniform, exact_uniform),
]


@pytest.mark.parametrize(("loss", "exact"), LAWS)
def test_exact_from_the_center_to_the_tails_at_any_scale(loss, exact):
    errors, scales = GRID
    at = jax.jit(jax.vmap(jax.value_and_grad(loss, argnums=(2, 1))))
    value, slopes = at(jnp.zeros_like(errors), scales, errors)
    with mpmath.workdps(120):
        pairs = [(mpmath.mpf(float(e)), mpmath.mpf(float(s))) for e, s in zip(*GRID, strict=True)]
        both = [exact(e / s) for e, s in pairs]
        values = [float(e * a + s * b) for (e, s), (a, b) in zip(pairs, both, strict=True)]
        steep = [[float(x) for x in column] for column in zip(*both, strict=True)]
    assert (value >= 0).all()
    close(value, values, atol=1e-37)
    close(slopes[0], steep[0], atol=1e-37)
    close(slopes[1], steep[1], atol=2e-7)


@pytest.mark.parametrize("loss", [gaussian, laplace, logistic, uniform])
def test_the_curvature_is_finite_everywhere(loss):
    errors, scales = GRID
    moderate = scales >= 1e-3
    errors, scales = errors[moderate], scales[moderate]
    hessian = jax.jit(jax.vmap(jax.hessian(loss, argnums=(0, 1))))
    curvatures = hessian(jnp.zeros_like(errors), scales, errors)
    assert all(jnp.isfinite(c).all() for c in jax.tree.leaves(curvatures))


def test_the_curvature_is_twice_the_density():
    curvature = jax.vmap(jax.grad(jax.grad(laplace)), in_axes=(None, None, 0))
    close(curvature(0.0, 1.0, jnp.array([0.0, 1.0, 20.0])), np.exp([-0.0, -1, -20]))


def test_exponential_from_nothing_to_everything():
    amounts = np.array([0, 1e-30, 0.3, np.log(2), 5, 80, 1e30], np.float32)
    value, slopes = jax.vmap(jax.value_and_grad(exponential, argnums=(1, 0)))(
        jnp.ones_like(amounts), amounts
    )
    t = amounts.astype(float)
    close(value, t - 2 * (1 - np.exp(-t)) + 0.5)
    close(slopes[0], 1 - 2 * np.exp(-t), atol=2e-7)
    close(slopes[1], 2 * (1 + np.minimum(t, 1e4)) * np.exp(-t) - 1.5)


def test_a_mixture_of_one_and_of_equals_is_gaussian():
    targets = jnp.array([-3.0, 0.1, 1e4])
    expected = gaussian(jnp.full(3, 0.2), jnp.full(3, 1.3), targets, reduction="none")
    for components in (1, 4):
        shape = (3, components)
        logits, centers, scales = jnp.zeros(shape), jnp.full(shape, 0.2), jnp.full(shape, 1.3)
        found = gaussian_mixture(logits, centers, scales, targets, reduction="none")
        close(found, expected)


def test_a_mixture_far_apart_small_or_one_sided_stays_exact_and_finite():
    centers, targets = jnp.array([0.0, 1.0]), jnp.array(0.0)
    share = 1e-6
    logits = jnp.array([0.0, float(np.log(share / (1 - share)))])
    value, slopes = jax.value_and_grad(gaussian_mixture, argnums=(0, 1, 2))(
        logits, centers, jnp.full(2, 1e-20), targets
    )
    close(value, share**2, rtol=1e-4)
    assert all(jnp.isfinite(slope).all() for slope in slopes)
    excluded = jnp.array([0.0, -jnp.inf])
    only = gaussian_mixture(excluded, centers, jnp.ones(2), targets)
    close(only, gaussian(0.0, 1.0, 0.0))


def test_no_components_selected_or_scale_negative():
    assert message(gaussian, jnp.zeros(2), jnp.array([1.0, -1.0]), jnp.zeros(2)) == (
        "gaussian: scales must be positive, got -1.0"
    )
    assert message(exponential, jnp.ones(2), jnp.array([1.0, -1.0])) == (
        "exponential: target_amounts must not be negative, got -1.0"
    )
