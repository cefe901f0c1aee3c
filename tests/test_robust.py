"""Limits and extremes of the losses between absolute and squared error."""

import functools

import jax
import jax.numpy as jnp
import mpmath
import numpy as np
import pytest

from jaxloss.losses.robust import (
    berhu,
    charbonnier,
    epsilon_insensitive,
    pseudo_huber,
    smooth_l1,
)

close = functools.partial(np.testing.assert_allclose, rtol=6e-7)
inf = np.inf
zero = jnp.zeros(())
LOSSES = [smooth_l1, charbonnier, pseudo_huber, epsilon_insensitive, berhu]


def slopes(loss, errors, **options):
    return jax.vmap(jax.grad(lambda e: loss(e, zero, **options)))(jnp.array(errors))


@pytest.mark.parametrize("loss", LOSSES)
def test_no_error_has_no_slope(loss):
    assert slopes(loss, [0.0, -0.0]).tolist() == [0, 0]


@pytest.mark.parametrize("loss", [smooth_l1, charbonnier, pseudo_huber, epsilon_insensitive])
def test_an_infinite_error_has_the_gradient_of_a_large_one(loss):
    assert slopes(loss, [-inf, -1e30, 1e30, inf]).tolist() == [-1, -1, 1, 1]
    assert loss(jnp.array(-inf), zero) == inf


@pytest.mark.parametrize(
    ("loss", "option", "value", "slope"),
    [
        (charbonnier, "scale", lambda r, e, s: r, lambda r, e, s: e / r),
        (pseudo_huber, "delta", lambda r, e, s: s * (r - s), lambda r, e, s: s * e / r),
    ],
)
def test_digits_are_kept_at_any_size(loss, option, value, slope):
    errors = np.array([1e-18, 1e-9, -1e-3, 0.3, 0.69, 0.71, -3.0, 1e4, 1e12, 1e30], np.float32)
    width = float(np.float32(0.7))
    at = jax.value_and_grad(lambda e: loss(e, zero, **{option: width}))
    found, gradient = jax.jit(jax.vmap(at))(errors)
    with mpmath.workdps(100):
        s, exact = mpmath.mpf(width), [mpmath.mpf(float(e)) for e in errors]
        roots = [mpmath.sqrt(e * e + s * s) for e in exact]
        close(found, [float(value(r, e, s)) for r, e in zip(roots, exact, strict=True)])
        close(gradient, [float(slope(r, e, s)) for r, e in zip(roots, exact, strict=True)])


def test_charbonnier_at_the_ends_of_the_range():
    for size in (1e-30, 1e30):
        value, slope = jax.value_and_grad(charbonnier)(3 * size, 0.0, scale=4 * size)
        close(value, 5 * size)
        close(slope, 0.6)


def test_smooth_l1_is_the_clipped_error_in_units_of_delta_in_its_slope():
    errors = [-5.0, -0.7, -0.2, 0.0, 0.2, 0.7, 5.0]
    close(slopes(smooth_l1, errors, delta=0.7), np.clip(errors, -0.7, 0.7) / np.float32(0.7))


def test_smooth_l1_without_a_delta_is_the_absolute_error():
    errors = jnp.array([-2.0, 0.0, 3.0])
    assert smooth_l1(errors, jnp.zeros(3), delta=0.0, reduction="none").tolist() == [2, 0, 3]
    assert slopes(smooth_l1, errors, delta=0.0).tolist() == [-1, 0, 1]
    assert jax.grad(lambda d: smooth_l1(3.0, 0.0, delta=d))(0.0) == -0.5


def test_smooth_l1_does_not_square_a_delta():
    value, slope = jax.value_and_grad(smooth_l1)(1e30, 0.0, delta=2e30)
    close([value, slope], [0.25e30, 0.5])


def test_the_rounded_kinks_have_the_curvature_of_half_a_square():
    for loss in (smooth_l1, pseudo_huber):
        assert jax.hessian(loss)(0.0, 0.0) == 1
    close(jax.hessian(charbonnier)(0.0, 0.0, scale=0.25), 4)


def test_within_the_tolerance_limits_included_nothing_pulls():
    errors = [-2.0, -1.0, -0.5, 0.0, 1.0, 1.5]
    assert slopes(epsilon_insensitive, errors, tolerance=1.0).tolist() == [-1, 0, 0, 0, 0, 1]
    assert slopes(epsilon_insensitive, errors, tolerance=0.0).tolist() == [-1, -1, -1, 0, 1, 1]


def test_berhu_pulls_by_the_error_beyond_delta_and_by_one_below():
    errors = [-6.0, -2.0, -0.5, 0.0, 1.0, 2.0, 6.0, inf]
    assert slopes(berhu, errors, delta=2.0).tolist() == [-3, -1, -1, 0, 1, 1, 3, inf]


@pytest.mark.parametrize("loss", [charbonnier, pseudo_huber, berhu])
def test_widths_can_be_learnt(loss):
    option = "scale" if loss is charbonnier else "delta"
    errors, step = jnp.array([0.1, 0.6, 3.0]), 1e-6
    with jax.enable_x64(True):

        def at(width):
            return loss(errors.astype(float), jnp.zeros(3, float), **{option: width})

        numeric = (at(0.7 + step) - at(0.7 - step)) / (2 * step)
        close(jax.grad(at)(0.7), numeric, rtol=1e-7)
