"""Limits and extremes of the redescending losses."""

import functools

import jax
import jax.numpy as jnp
import mpmath
import numpy as np
import pytest

from jaxloss.losses.redescending import (
    cauchy,
    geman_mcclure,
    general_robust,
    general_robust_nll,
    tukey_biweight,
    welsch,
)

close = functools.partial(np.testing.assert_allclose, rtol=1e-6)
inf = np.inf
zero = jnp.zeros(())
LOSSES = [cauchy, geman_mcclure, welsch, tukey_biweight, general_robust]
SCALE = float(np.float32(0.7))


def slopes(loss, errors, **options):
    return jax.vmap(jax.grad(lambda e: loss(e, zero, **options)))(jnp.array(errors))


@pytest.mark.parametrize("loss", LOSSES)
def test_no_error_has_no_slope(loss):
    assert slopes(loss, [0.0, -0.0]).tolist() == [0, 0]


@pytest.mark.parametrize("loss", LOSSES)
def test_small_errors_cost_half_their_square(loss):
    for error in (1e-15, 1e-4):
        close(loss(error, 0.0), error**2 / 2)
        close(slopes(loss, [error]), [error])
    assert jax.hessian(loss)(0.0, 0.0) == 1


@pytest.mark.parametrize(
    ("loss", "value"), [(cauchy, inf), (geman_mcclure, 2), (welsch, 1), (tukey_biweight, 6)]
)
def test_an_infinite_error_has_no_slope(loss, value):
    options = {"scale": 6.0} if loss is tukey_biweight else {}
    assert loss(jnp.array(inf), zero, **options) == value
    assert slopes(loss, [-inf, inf]).tolist() == [0, 0]


# In mpmath: value and slope at a positive error, in units of the scale


def barron(shape):
    def value(u):
        b = abs(shape - 2)
        return b / shape * ((u * u / b + 1) ** (shape / 2) - 1)

    def slope(u):
        return u * (u * u / abs(shape - 2) + 1) ** (shape / 2 - 1)

    return functools.partial(general_robust, shape=shape), value, slope


EXACT = [
    (cauchy, lambda u: mpmath.log(1 + u * u / 2), lambda u: u / (1 + u * u / 2)),
    (geman_mcclure, lambda u: 2 / (1 + 4 / u**2), lambda u: 16 * u / (u * u + 4) ** 2),
    (welsch, lambda u: -mpmath.expm1(-u * u / 2), lambda u: u * mpmath.exp(-u * u / 2)),
    (
        tukey_biweight,
        lambda u: (1 - (1 - min(u, 1) ** 2) ** 3) * SCALE**2 / 6,
        lambda u: u * (1 - min(u, 1) ** 2) ** 2 * SCALE**2,
    ),
    *map(barron, (-20.0, -2.0, -0.5, 0.001, 1.0, 1.5, 1.75, 2.25, 3.5)),
]


@pytest.mark.parametrize(("loss", "value", "slope"), EXACT)
def test_digits_are_kept_at_any_size(loss, value, slope):
    errors = [1e-18, 1e-8, 1e-3, 0.1, 0.34, 0.36, 0.69, 1, 1.4, 2, 3, 30, 1e3, 1e5]
    if loss in (cauchy, geman_mcclure, welsch, tukey_biweight):
        errors += [1e10, 1e20, 3e38]
    errors = np.array(errors, np.float32)
    found, gradient = jax.jit(jax.vmap(jax.value_and_grad(lambda e: loss(e, zero, scale=SCALE))))(
        errors
    )
    with mpmath.workdps(120):
        units = [mpmath.mpf(float(e)) / mpmath.mpf(SCALE) for e in errors]
        close(found, [float(value(u)) for u in units], rtol=2e-6)
        expected = [float(slope(u) / mpmath.mpf(SCALE)) for u in units]
    close(gradient, expected, rtol=4e-6, atol=1e-37)


# The general loss


@pytest.mark.parametrize(
    ("shape", "loss"), [(0.0, cauchy), (-2.0, geman_mcclure), (-inf, welsch), (-1e9, welsch)]
)
def test_the_general_loss_holds_the_others(shape, loss):
    errors = jnp.array([0.0, 1e-3, 0.5, 1.0, 4.0, 100.0])
    zeros = jnp.zeros(6)
    found = general_robust(errors, zeros, shape=shape, scale=SCALE, reduction="none")
    close(found, loss(errors, zeros, scale=SCALE, reduction="none"))
    expected = slopes(loss, errors, scale=SCALE)
    close(slopes(general_robust, errors, shape=shape, scale=SCALE), expected, rtol=3e-6)


@pytest.mark.parametrize("shape", [-2.0, -0.1, 0.7, 1.3, 2.6])
def test_the_general_loss_has_its_digits_far_out(shape):
    """Where the exponential of a logarithm would lose one digit or two, or vanish."""
    errors = np.array([1e-3, 0.9, 54.3, 1.3e5, 2.7e9, 7.1e11], np.float32)
    _, value, slope = barron(float(np.float32(shape)))
    with mpmath.workdps(60):
        ratios = [mpmath.mpf(float(e)) / mpmath.mpf(SCALE) for e in errors]
        values = [float(value(u)) for u in ratios]
        steep = [float(slope(u) / mpmath.mpf(SCALE)) for u in ratios]
    options = {"shape": shape, "scale": SCALE}
    found = general_robust(errors, 0 * errors, reduction="none", **options)
    close(found, values, rtol=6e-7)
    close(slopes(general_robust, jnp.asarray(errors), **options), steep, rtol=6e-7, atol=1e-38)


def test_a_welsch_outlier_pulls_exactly():
    errors = np.array([2.5, -5.7, 8.3], np.float32)
    targets = np.array([-1e-6, 3e-7, 1e-5], np.float32)
    with mpmath.workdps(40):
        apart = [
            mpmath.mpf(float(x)) - mpmath.mpf(float(y))
            for x, y in zip(errors, targets, strict=True)
        ]
        ratios = [e / mpmath.mpf(SCALE) for e in apart]
        steep = [float(u * mpmath.exp(-u * u / 2) / mpmath.mpf(SCALE)) for u in ratios]
    found = jax.vmap(jax.grad(functools.partial(welsch, scale=SCALE)))(errors, targets)
    close(found, steep, rtol=4e-7)


def test_the_general_loss_of_shape_two_is_half_the_square():
    errors = jnp.array([0.0, 1e-15, 0.5, 3.0, 1e15])
    assert (general_robust(errors, jnp.zeros(5), shape=2.0, reduction="none")
            == errors * errors / 2).all()  # fmt: skip
    assert (slopes(general_robust, errors, shape=2.0) == errors).all()


@pytest.mark.parametrize("shape", [-1e3, -1.5, -1e-3, -1e-6, 0.0, 1e-6, 1e-3, 0.99, 1.01, 1.9, 3.0])
def test_the_slope_in_the_shape(shape):
    shape = float(np.float32(shape))

    def exact(a):
        b = abs(a - 2)
        return b / a * ((9 / b + 1) ** (a / 2) - 1) if a else mpmath.log(1 + mpmath.mpf(9) / 2)

    with mpmath.workdps(60):
        a, step = mpmath.mpf(shape), mpmath.mpf(10) ** -20
        expected = float((exact(a + step) - exact(a - step)) / (2 * step))
    close(jax.grad(lambda s: general_robust(3.0, 0.0, shape=s))(shape), expected, rtol=2e-5)


def test_the_slope_in_the_shape_is_finite_where_it_is_infinite_and_zero_at_infinity():
    slope = jax.grad(lambda s: general_robust(3.0, 0.0, shape=s))
    at, beside = slope(2.0), slope(jnp.nextafter(jnp.float32(2), jnp.float32(0)))
    close(at, beside, rtol=0.1)
    assert at > slope(1.99) > slope(1.9) > 0
    assert slope(-inf) == 0


def test_the_shape_can_be_learnt_from_two():
    """Three outliers among a hundred: the loss falls as soon as the shape does."""
    errors, shape = jnp.linspace(-1, 1, 100).at[:3].set(50.0), 2.0
    value = functools.partial(general_robust, errors, jnp.zeros(100))
    assert value(shape=shape - 0.1) < value(shape=shape)
    assert jax.grad(lambda s: value(shape=s))(shape) > 0


def test_beyond_its_range_the_general_loss_stays_finite():
    for shape in (-inf, -5.0, 0.0, 1.0, 1.999, 2.0, 2.001):
        value, slope = jax.value_and_grad(general_robust)(jnp.array(inf), zero, shape=shape)
        assert value == general_robust(2.0**50, 0.0, shape=shape)
        assert slope == 0


def test_an_outlier_moves_the_least_squares_fit_and_not_the_robust_one():
    targets = jnp.array([-0.2, -0.1, 0.0, 0.1, 0.2, 100.0])
    for loss in LOSSES:
        options = {"shape": -2.0} if loss is general_robust else {}
        slope = jax.jit(jax.grad(lambda c, f=loss, o=options: f(jnp.full(6, c), targets, **o)))
        center = jnp.zeros(())
        for _ in range(50):
            center -= 0.5 * slope(center)
        assert abs(center) < 0.03


@pytest.mark.parametrize(
    ("shape", "mass"),
    [
        (0.0, np.pi * np.sqrt(2)),
        (1.0, float(2 * mpmath.e * mpmath.besselk(1, 1))),
        (2.0, np.sqrt(2 * np.pi)),
    ],
)
def test_the_likelihood_has_the_mass_that_is_known(shape, mass):
    errors = jnp.array([0.0, 0.3, -4.0, 1e10])
    found = general_robust_nll(errors, 0 * errors, shape=shape, scale=0.5, reduction="none")
    plain = general_robust(errors, 0 * errors, shape=shape, scale=0.5, reduction="none")
    close(found, plain + np.log(0.5 * mass), rtol=3e-6)


def test_shape_and_scale_are_learnt_from_data():
    """Of normal errors with few outliers; the loss alone would make everything an outlier."""
    errors = jax.random.normal(jax.random.key(0), (400,)).at[:8].mul(30.0)
    at = functools.partial(general_robust_nll, errors, jnp.zeros(400))
    grid = jnp.linspace(0, 2, 21)
    scales = jnp.linspace(0.4, 3, 27)
    losses = jax.jit(jax.vmap(jax.vmap(lambda a, c: at(shape=a, scale=c), (None, 0)), (0, None)))(
        grid, scales
    )
    best = np.unravel_index(np.argmin(losses), losses.shape)
    assert 0 < grid[best[0]] < 1
    assert scales[best[1]] < 1
    slope = jax.grad(lambda a: at(shape=a, scale=1.0))
    assert slope(0.1) < 0 < slope(1.99)
