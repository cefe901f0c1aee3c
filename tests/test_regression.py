"""Limits and extremes of the regression losses that follow from their formulas."""

import functools

import jax
import jax.numpy as jnp
import mpmath
import numpy as np
import pytest

from jaxloss.losses.regression import (
    absolute,
    cosine_distance,
    expectile,
    huber,
    log_cosh,
    quantile,
    root_mean_squared,
    squared,
)

inf = np.inf
close = functools.partial(np.testing.assert_allclose, rtol=5e-7)
zero = jnp.zeros(())


def slopes(loss, errors, **options):
    return jax.vmap(jax.grad(lambda e: loss(e, zero, **options)))(jnp.array(errors))


@pytest.mark.parametrize(
    ("loss", "options"), [(absolute, {}), (huber, {}), (log_cosh, {}), (quantile, {})]
)
def test_an_infinite_error_has_the_gradient_of_a_large_one(loss, options):
    far = slopes(loss, [-inf, -1e30, 1e30, inf], **options)
    assert far[0] == far[1]
    assert far[2] == far[3]
    assert loss(jnp.array(inf), zero) == inf


@pytest.mark.parametrize("loss", [squared, absolute, huber, log_cosh, quantile])
def test_no_error_has_no_slope(loss):
    assert slopes(loss, [0.0, -0.0]).tolist() == [0, 0]


def test_huber_is_the_clipped_error_in_its_slope():
    errors = [-5.0, -0.7, -0.2, -3e-9, 0.0, 0.2, 0.7, 5.0]
    close(slopes(huber, errors, delta=0.7), np.clip(errors, -0.7, 0.7))
    curvatures = jax.vmap(jax.hessian(lambda e: huber(e, zero, delta=0.7)))(jnp.array(errors))
    assert curvatures[jnp.array([0, 2, 3, 4, 5, 7])].tolist() == [0, 1, 1, 1, 1, 0]


def test_huber_tends_to_half_the_square_and_to_the_absolute_error():
    errors, zeros = jnp.array([-3.0, 0.5, 2.0]), jnp.zeros(3)
    close(huber(errors, zeros, delta=1e6), squared(errors, zeros) / 2)
    close(huber(errors, zeros, delta=1e-6) / 1e-6, absolute(errors, zeros), rtol=1e-6)


@pytest.mark.parametrize("error", [1e-15, 1e-5, 0.01, 0.3, 0.999, 1.0, 1.5, 20.0, 1e4, 1e30])
def test_log_cosh_keeps_its_digits(error):
    e = mpmath.mpf(float(np.float32(error)))
    if error < 1e-10:
        value = float(e**2 / 2)
    else:
        value = float(str(e - mpmath.log(2) if e > 50 else mpmath.log(mpmath.cosh(e))))
    slope = float(str(mpmath.tanh(e))) if e < 50 else 1.0
    for sign in (1, -1):
        found, gradient = jax.value_and_grad(log_cosh)(sign * jnp.float32(error), zero)
        close(found, value, rtol=6e-7)
        close(gradient, sign * slope, rtol=6e-7)


def test_the_quantile_is_the_minimizer():
    targets = jax.random.normal(jax.random.key(0), (10_001,))
    for q in (0.1, 0.5, 0.9):
        candidates = jnp.quantile(targets, jnp.array([q - 0.05, q, q + 0.05]))
        losses = [quantile(jnp.full_like(targets, c), targets, quantile=q) for c in candidates]
        assert np.argmin(losses) == 1


def test_several_quantiles_at_once():
    predictions, targets = jnp.zeros(4), jnp.arange(4.0)
    sweep = jax.vmap(lambda q: quantile(predictions, targets, quantile=q))(jnp.array([0.1, 0.9]))
    close(sweep, [0.15, 1.35])


# Directions


def test_cosine_distance_keeps_its_digits_between_close_vectors():
    """1 - cos(1e-4) is 5e-9: one minus the cosine would give 0 or 6e-8."""
    near = jnp.array([1.0, 1e-4])
    close(cosine_distance(near, jnp.array([1.0, 0.0])), 5e-9, rtol=1e-6)
    close(jax.grad(cosine_distance)(near, jnp.array([1.0, 0.0]))[1], 1e-4, rtol=1e-6)


def test_cosine_distance_of_equal_and_opposite_vectors():
    x = jax.random.normal(jax.random.key(0), (5, 7))
    assert (cosine_distance(x, 8 * x, reduction="none") < 1e-14).all()  # an ulp, squared
    close(cosine_distance(x, -x, reduction="none"), 2 * np.ones(5))


def test_a_zero_vector_has_distance_one_and_no_slope():
    x = jnp.array([[0.0, 0.0], [1.0, 2.0]])
    y = jnp.array([[1.0, 2.0], [0.0, 0.0]])
    for argument in (0, 1):
        value, slope = jax.value_and_grad(cosine_distance, argnums=argument)(x, y)
        assert value == 1
        assert (slope == 0).all()
    assert jnp.isfinite(jax.hessian(cosine_distance)(x, y)).all()


@pytest.mark.parametrize("scale", [1e-30, 1e30])
def test_the_length_of_a_vector_does_not_matter(scale):
    x, y = jnp.array([3.0, 4.0]), jnp.array([1.0, 0.0])
    close(cosine_distance(scale * x, y), 0.4, rtol=1e-6)


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (
            lambda: huber(jnp.zeros(8), jnp.zeros((8, 1))),
            ValueError,
            r"huber: shapes must be equal, got predictions \(8,\), targets \(8, 1\)",
        ),
        (
            lambda: cosine_distance(zero, zero),
            ValueError,
            r"cosine_distance: predictions must be rows of features, got shape \(\)",
        ),
        (
            lambda: squared(jnp.zeros(3), jnp.zeros(3), weights=jnp.ones(3, bool)),
            TypeError,
            "squared: weights must be real numbers, got bool",
        ),
    ],
)
@pytest.mark.usefixtures("as_users_run_it")
def test_wrong_arguments_are_refused(call, error, words):
    with pytest.raises(error, match=words):
        call()


def test_integers_and_python_numbers_are_welcome():
    assert squared(jnp.array([1, 2]), jnp.array([0, 0])) == 2.5
    assert huber(3.0, 0.0) == 2.5


def test_an_empty_batch_costs_nothing():
    nothing = jnp.zeros((0, 3))
    value, slope = jax.value_and_grad(huber)(nothing, nothing)
    assert value == 0
    assert slope.shape == (0, 3)


def test_expectile_is_least_at_the_expectile():
    """Of 0 and 1, the tau-expectile is tau; at 1/2 the loss is half the squared error."""
    targets = jnp.array([0.0, 1.0])
    for tau in (0.1, 0.5, 0.9):
        at = jax.grad(lambda x, tau=tau: expectile(jnp.full(2, x), targets, expectile=tau))
        close(at(tau), 0, atol=1e-7)
    p = jnp.array([0.3, -4.0, 1e10])
    close(expectile(p, 0 * p), squared(p, 0 * p) / 2)
    assert (slopes(expectile, [0.0, -0.0]) == 0).all()


@pytest.mark.parametrize("size", [1e-30, 1.0, 1e30])
def test_root_mean_squared_is_exact_at_any_scale(size):
    error = size * jnp.array([3.0, 4.0])
    value, slope = jax.value_and_grad(root_mean_squared)(error, 0 * error)
    close(value, size * np.sqrt(12.5), rtol=2e-7)
    close(slope, np.array([3, 4]) / 5 / np.sqrt(2), rtol=1e-6)


def test_root_mean_squared_of_nothing():
    value, slope = jax.value_and_grad(root_mean_squared)(jnp.ones((2, 3)), jnp.ones((2, 3)))
    assert value == 0
    assert (slope == 0).all()
    where = jnp.array([[True, False, True], [False, False, False]])
    p = jnp.array([[3.0, jnp.nan, 4.0], [jnp.nan] * 3])
    value, slope = jax.value_and_grad(root_mean_squared)(p, jnp.zeros((2, 3)), where=where)
    close(value, np.sqrt(12.5))
    assert jnp.isfinite(slope).all()
