"""Limits and extremes of the negative log-likelihoods."""

import functools

import jax
import jax.numpy as jnp
import mpmath
import numpy as np
import pytest

from jaxloss.losses.likelihood import (
    gaussian,
    gaussian_mixture,
    laplace,
    log_normal,
    low_rank_gaussian,
    multivariate_gaussian,
    student_t,
)

close = functools.partial(np.testing.assert_allclose, rtol=1e-6)
zero, one, ROWS = jnp.zeros(()), jnp.ones(()), jnp.ones((5, 3))


@pytest.mark.parametrize("loss", [gaussian, laplace, student_t])
def test_the_likeliest_scale_of_a_certain_prediction_is_none(loss):
    """The slope in the scale is 1 / scale then, in the target 0."""
    value, slopes = jax.value_and_grad(loss, argnums=(0, 1, 2))(zero, jnp.array(1e-20), zero)
    close(value, loss(zero, one, zero) + np.log(1e-20))
    close(slopes, [0, 1e20, 0])


def test_scales_come_from_variances():
    """Minus log N(4; 0, var 4) = 16/8 + log(2 pi 4)/2, by hand."""
    scales = jnp.sqrt(jnp.array(4.0))
    close(gaussian(zero, scales, jnp.array(4.0)), 2 + np.log(8 * np.pi) / 2)


@pytest.mark.parametrize("size", [1e-30, 1.0, 1e30])
def test_a_density_changes_with_the_unit_by_its_logarithm(size):
    p, s, t = size * jnp.array([1.0, 2.0, 1.5])
    for loss in (gaussian, laplace, student_t):
        close(loss(p, s, t), loss(p / size, s / size, t / size) + np.log(size), rtol=2e-6)
        slope = jax.grad(loss)(p, s, t) * size
        close(slope, jax.grad(loss)(p / size, s / size, t / size))


@pytest.mark.parametrize("loss", [gaussian, laplace, student_t])
def test_densities_integrate_to_one(loss):
    at = jnp.linspace(-400, 400, 80_001)
    density = jnp.exp(-loss(jnp.full_like(at, 0.3), jnp.full_like(at, 1.7), at, reduction="none"))
    close(density.sum() * 0.01, 1, rtol=1e-4)


@pytest.mark.parametrize("df", [1e-3, 0.5, 1.0, 5.0, 15.9, 16.1, 100.0, 1e6, 1e30])
def test_student_t_at_any_degrees_of_freedom(df):
    df = float(np.float32(df))
    ratios = np.array([0.0, 1e-3, 1.0, -30.0, 1e6, 1e18], np.float32)
    at = jax.value_and_grad(lambda z, df: student_t(zero, one, z, df=df), argnums=(0, 1))
    found, (slope, df_slope) = jax.vmap(at, (0, None))(ratios, df)
    assert jnp.isfinite(df_slope).all()
    with mpmath.workdps(80):
        nu = mpmath.mpf(df)
        constant = (
            mpmath.log(nu * mpmath.pi) / 2 + mpmath.loggamma(nu / 2) - mpmath.loggamma((nu + 1) / 2)
        )
        exact = [mpmath.mpf(float(z)) for z in ratios]
        value = [(nu + 1) / 2 * mpmath.log1p(z * z / nu) + constant for z in exact]
        close(found, list(map(float, value)), rtol=2e-6)
        close(slope, [float((nu + 1) * z / (nu + z * z)) for z in exact], rtol=2e-6)


@pytest.mark.parametrize("df", [0.3, 5.0, 15.0, 60.0])
def test_the_slope_in_the_degrees_of_freedom(df):
    df = float(np.float32(df))

    def exact(nu):
        gammas = mpmath.loggamma(nu / 2) - mpmath.loggamma((nu + 1) / 2)
        return (nu + 1) / 2 * mpmath.log1p(9 / nu) + mpmath.log(nu) / 2 + gammas

    with mpmath.workdps(50):
        expected = float(mpmath.diff(exact, mpmath.mpf(df)))
    close(jax.grad(lambda nu: student_t(zero, one, 3 * one, df=nu))(df), expected, rtol=2e-5)


def test_student_t_of_an_infinite_error_has_no_slope():
    value, slope = jax.value_and_grad(student_t)(zero, one, jnp.array(jnp.inf))
    assert value == jnp.inf
    assert slope == 0


def test_student_t_with_many_degrees_of_freedom_is_gaussian():
    at = jnp.array([0.0, 1.0, 5.0])
    close(
        student_t(jnp.zeros(3), jnp.ones(3), at, df=1e10, reduction="none"),
        gaussian(jnp.zeros(3), jnp.ones(3), at, reduction="none"),
    )


def test_log_normal_is_likeliest_at_its_mode():
    mode = jnp.exp(jnp.array(0.3 - 0.7**2))
    at = functools.partial(log_normal, jnp.array(0.3), jnp.array(0.7))
    close(jax.grad(at)(mode), 0, atol=1e-6)


def test_a_diagonal_factor_makes_the_features_independent():
    keys = jax.random.split(jax.random.key(0), 3)
    p, t = jax.random.normal(keys[0], (3, 4)), jax.random.normal(keys[1], (3, 4))
    scales = jnp.exp(jax.random.normal(keys[2], (3, 4)))
    factors = scales[..., None] * jnp.eye(4)[None]
    together = multivariate_gaussian(p, factors, t, reduction="none")
    close(together, gaussian(p, scales, t, reduction="none").sum(-1))


def test_what_is_above_the_diagonal_does_not_matter():
    p, t = jnp.zeros(2), jnp.array([2.0, 1.0])
    factor = jnp.array([[1.0, jnp.nan], [0.5, 1.0]])
    value, slope = jax.value_and_grad(multivariate_gaussian, argnums=1)(p, factor, t)
    close(value, 2 + np.log(2 * np.pi))
    assert slope[0, 1] == 0
    assert jnp.isfinite(slope).all()


def test_a_mixture_of_one_is_gaussian_and_minus_infinity_leaves_out():
    p, s, t = jnp.array([[0.3, 5.0]]), jnp.array([[0.7, 2.0]]), jnp.array([1.0])
    logits = jnp.array([[2.0, -jnp.inf]])
    value, slopes = jax.value_and_grad(gaussian_mixture, argnums=(0, 1, 2))(logits, p, s, t)
    close(value, gaussian(p[:, 0], s[:, 0], t))
    assert all(jnp.isfinite(slope).all() and slope[0, 1] == 0 for slope in slopes)


def test_a_mixture_far_from_all_its_components_still_pulls():
    at = jnp.array([1e6])
    slope = jax.grad(gaussian_mixture, argnums=1)(
        jnp.zeros((1, 2)), jnp.array([[-1.0, 1.0]]), jnp.ones((1, 2)), at
    )
    close(slope, [[0, 1 - 1e6]], atol=1e-3)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (
            lambda: multivariate_gaussian(jnp.zeros((5, 3)), jnp.eye(3), jnp.zeros((5, 3))),
            r"multivariate_gaussian: factors must be one matrix per row, \(5, 3, 3\), got \(3, 3\)",
        ),
        (
            lambda: gaussian_mixture(ROWS, ROWS, ROWS, jnp.zeros(4)),
            r"gaussian_mixture: targets must be one per row of components, \(5,\), got \(4,\)",
        ),
    ],
)
@pytest.mark.usefixtures("as_users_run_it")
def test_wrong_shapes_are_refused(call, words):
    with pytest.raises(ValueError, match=words):
        call()


def test_a_low_rank_normal_is_a_multivariate_one():
    keys = jax.random.split(jax.random.key(0), 4)
    p, t = jax.random.normal(keys[0], (2, 6, 4))
    scales = jax.random.uniform(keys[1], (6, 4), minval=0.5, maxval=2.0)
    factors = jax.random.normal(keys[2], (6, 4, 2))
    covariance = jax.vmap(lambda s, f: jnp.diag(s**2) + f @ f.T)(scales, factors)
    expected = multivariate_gaussian(p, jnp.linalg.cholesky(covariance), t)
    close(low_rank_gaussian(p, scales, factors, t), expected, rtol=1e-5)
    close(
        low_rank_gaussian(p, scales, 0 * factors, t),
        4 * gaussian(p, scales, t),
        rtol=2e-6,
    )


def test_a_strong_shared_cause_leaves_the_rest_its_digits():
    """Errors that the cause explains cost only what the cause does."""
    factor = jnp.array([[1e4], [1e4], [-1e4]])
    value, slopes = jax.value_and_grad(low_rank_gaussian, argnums=(0, 1, 2))(
        jnp.zeros(3), jnp.ones(3), factor, 0.5 * factor[:, 0]
    )
    exact = 0.5**2 / 2 + 1.5 * np.log(2 * np.pi) + np.log(np.sqrt(3) * 1e4)
    close(value, exact, rtol=1e-5)
    assert all(jnp.isfinite(slope).all() for slope in slopes)
