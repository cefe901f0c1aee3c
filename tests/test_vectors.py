"""Lengths, directions and distances over the whole range of the numbers."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxloss.core.vectors import distance, norm, normalized

DIRECTION = np.array([3.0, -4.0, 0.0, 1e-3])
SCALES = [1e-34, 1e-30, 1e-19, 1.0, 1e19, 1e30, 6e37]
ZERO = jnp.zeros(3)


def exact(x):
    """Length, direction and curvature in float64, of the very numbers that ``x`` holds."""
    x = np.asarray(x, np.float64)
    length = np.sqrt((x**2).sum())
    unit = x / length
    return length, unit, (np.eye(len(x)) - np.outer(unit, unit)) / length


@pytest.mark.parametrize("scale", SCALES)
def test_norm_and_its_gradient_hold_over_the_whole_range_of_float32(scale):
    x = jnp.asarray(DIRECTION * scale, jnp.float32)
    length, unit, _ = exact(x)
    found, gradient = jax.jit(jax.value_and_grad(norm))(x)
    np.testing.assert_allclose(found, length, rtol=3e-7)
    np.testing.assert_allclose(gradient, unit, rtol=3e-7, atol=1e-7)
    np.testing.assert_allclose(normalized(x), unit, rtol=3e-7)


@pytest.mark.parametrize("scale", [1e-300, 1e300])
def test_norm_holds_over_the_range_of_float64(scale):
    with jax.enable_x64(True):
        x = jnp.asarray(DIRECTION * scale)
        unit = DIRECTION / np.linalg.norm(DIRECTION)
        np.testing.assert_allclose(norm(x), np.linalg.norm(DIRECTION) * scale, rtol=1e-15)
        np.testing.assert_allclose(jax.grad(norm)(x), unit, rtol=1e-15)
        np.testing.assert_allclose(normalized(x), unit, rtol=1e-15)


@pytest.mark.parametrize("exponent", [-126, -64, 0, 64, 125])
def test_scaling_rounds_nothing(exponent):
    assert norm(jnp.array([3.0, 4.0]) * 2.0**exponent) == 5 * 2.0**exponent


@pytest.mark.parametrize("scale", [1e-30, 1.0, 1e30])
def test_second_derivatives_hold_for_short_and_long_vectors(scale):
    x = jnp.asarray(DIRECTION * scale, jnp.float32)
    length, _, curvature = exact(x)
    for derivative in (jax.hessian(norm), jax.jacfwd(normalized), jax.jacrev(normalized)):
        found = np.asarray(jax.jit(derivative)(x), np.float64)
        np.testing.assert_allclose(found * length, curvature * length, atol=1e-6)


@pytest.mark.parametrize("function", [norm, normalized, lambda x: distance(x, ZERO)])
@pytest.mark.parametrize("derivative", [lambda f: f, jax.jacfwd, jax.jacrev, jax.hessian])
def test_everything_is_zero_at_the_zero_vector(function, derivative):
    np.testing.assert_array_equal(jax.jit(derivative(function))(ZERO), 0)


def test_each_vector_has_its_own_scale():
    x = jnp.array([[[3e30, 4e30], [3e-30, 4e-30], [0.0, 0.0]]])
    np.testing.assert_allclose(norm(x), [[5e30, 5e-30, 0]], rtol=2e-7)
    np.testing.assert_allclose(normalized(x), [[[0.6, 0.8], [0.6, 0.8], [0, 0]]], rtol=2e-7)
    np.testing.assert_allclose(distance(x, -x), [[1e31, 1e-29, 0]], rtol=2e-7)


def test_infinite_and_undefined_lengths_show():
    lengths = norm(jnp.array([[jnp.inf, 1.0], [-jnp.inf, jnp.inf], [jnp.nan, 0.0]]))
    np.testing.assert_array_equal(lengths, [np.inf, np.inf, np.nan])


def test_a_vector_without_features_has_no_length():
    np.testing.assert_array_equal(norm(jnp.zeros((2, 0))), [0, 0])
