"""Limits and extremes of the relative losses: above all, what divides by zero."""

import functools

import jax
import jax.numpy as jnp
import mpmath
import numpy as np
import pytest

from jaxloss.losses.relative import (
    absolute_percentage,
    concordance_distance,
    naive_error,
    pearson_distance,
    relative_norm,
    scaled_absolute,
    scaled_squared,
    squared_log,
    symmetric_absolute_percentage,
)

close = functools.partial(np.testing.assert_allclose, rtol=6e-7)


def test_squared_log_keeps_its_digits():
    pairs = [(1e-12, 3e-12), (5.0, 5.00001), (1e6, 1e6 + 1), (0.0, 1e30), (1e30, 0.0), (0.0, 0.0)]
    p, t = np.array(pairs, np.float32).T
    found, slope = jax.vmap(jax.value_and_grad(squared_log))(p, t)
    with mpmath.workdps(60):
        logs = [
            mpmath.log((1 + mpmath.mpf(float(a))) / (1 + mpmath.mpf(float(b))))
            for a, b in zip(p, t, strict=True)
        ]
        close(found, [float(x**2) for x in logs], rtol=1e-6)
        close(
            slope, [float(2 * x / (1 + float(a))) for x, a in zip(logs, p, strict=True)], rtol=1e-6
        )


def test_a_target_of_zero_has_no_percentage():
    predictions, targets = jnp.array([1.0, 3.0, 0.0]), jnp.array([2.0, 0.0, 0.0])
    value, slope = jax.value_and_grad(absolute_percentage)(predictions, targets)
    assert value == 0.5
    assert slope.tolist() == [-0.5, 0, 0]
    slope = jax.grad(absolute_percentage, argnums=1)(predictions, targets)
    assert slope.tolist() == [0.25, 0, 0]


def test_percentages_weighed_by_the_targets_are_the_relative_total():
    predictions, targets = jnp.array([1.0, 5.0, -3.0]), jnp.array([2.0, 4.0, -6.0])
    close(absolute_percentage(predictions, targets, weights=jnp.abs(targets)), 5 / 12)


@pytest.mark.parametrize("size", [1e-30, 1.0, 1e30])
def test_the_unit_does_not_matter(size):
    p, t = size * jnp.array([3.0, -1.0, 4.0]), size * jnp.array([2.0, -1.5, 5.0])
    close(absolute_percentage(p, t), (1 / 2 + 1 / 3 + 1 / 5) / 3)
    close(symmetric_absolute_percentage(p, t), 2 * (1 / 5 + 1 / 5 + 1 / 9) / 3)
    close(relative_norm(p, t), np.sqrt(2.25 / 31.25))
    corr = np.corrcoef([3, -1, 4], [2, -1.5, 5])[0, 1]
    close(pearson_distance(p, t), 1 - corr, rtol=1e-5)
    close(concordance_distance(p, t), 0.75 / (14 / 3 + 7.0555556 + 1 / 36), rtol=1e-6)
    for loss in (symmetric_absolute_percentage, pearson_distance, concordance_distance):
        slope = jax.grad(loss)(p, t) * size
        close(slope, jax.grad(loss)(p / size, t / size), rtol=1e-5)


def test_the_symmetric_percentage_where_it_is_degenerate():
    predictions = jnp.array([0.0, 0.0, 2.0, -3.0, 1.0])
    targets = jnp.array([0.0, 4.0, 0.0, 5.0, 1.0])
    loss = functools.partial(symmetric_absolute_percentage, reduction="none")
    assert loss(predictions, targets).tolist() == [0, 2, 2, 2, 0]
    for argument in (0, 1):
        slope = jax.grad(symmetric_absolute_percentage, argnums=argument)(predictions, targets)
        assert slope.tolist() == [0, 0, 0, 0, 0]


def test_the_symmetric_percentage_of_far_too_much_still_pulls():
    """Its slope there, 4 t / p^2, is what is left of two terms of size 1 / p."""
    value, slope = jax.value_and_grad(symmetric_absolute_percentage)(1e6, 1.0)
    close(value, 2 * (1e6 - 1) / (1e6 + 1))
    close(slope, 4 / (1e6 + 1) ** 2)


def test_a_scale_of_zero_does_not_count():
    args = jnp.array([1.0, 2.0]), jnp.array([3.0, 5.0]), jnp.array([4.0, 0.0])
    value, slopes = jax.value_and_grad(scaled_absolute, argnums=(0, 1, 2))(*args)
    assert value == 0.5
    assert [slope.tolist() for slope in slopes] == [[-0.25, 0], [0.25, 0], [-0.125, 0]]


def test_naive_error_is_that_of_the_season_before():
    history = jnp.array([[1, 4, 2, 8], [5, 5, 5, 5]])
    close(naive_error(history), [11 / 3, 0])
    assert naive_error(history, season=2).tolist() == [2.5, 0]
    assert naive_error(history, season=3).tolist() == [7, 0]
    for season in (0, 4):
        with pytest.raises(ValueError, match=rf"naive_error: season must be .* 3, got {season}"):
            naive_error(history, season=season)


def test_a_target_of_no_length_does_not_count():
    predictions = jnp.array([[3.0, 5.0], [1.0, 1.0]])
    targets = jnp.array([[3.0, 4.0], [0.0, 0.0]])
    for argument in (0, 1):
        value, slope = jax.value_and_grad(relative_norm, argnums=argument)(predictions, targets)
        close(value, 0.2)
        assert jnp.isfinite(slope).all()
        assert (slope[1] == 0).all()
    assert (jax.grad(relative_norm)(targets, targets) == 0).all()


@pytest.mark.parametrize(("loss", "constant"), [(pearson_distance, 1), (concordance_distance, 0)])
def test_constants_are_recognized_though_their_mean_is_rounded(loss, constant):
    rows = jnp.full((3, 7), 0.1) * jnp.array([[1.0], [1e6], [1e-6]])
    for argument in (0, 1):
        value, slope = jax.value_and_grad(loss, argnums=argument)(rows, rows)
        assert value == constant
        assert (slope == 0).all()
    some = jnp.arange(7) < 5
    assert loss(rows.at[:, 5:].set(3.0), rows, where=some) == constant


def test_correlation_does_not_see_offset_and_factor_and_concordance_does():
    t = jax.random.normal(jax.random.key(0), (4, 9))
    assert (pearson_distance(1000 + 4 * t, t, reduction="none") < 1e-8).all()
    close(pearson_distance(1000 - 4 * t, t), 2, rtol=1e-6)
    var = np.var(np.asarray(t, float), -1)
    close(concordance_distance(t + 2, t, reduction="none"), 4 / (2 * var + 4), rtol=1e-5)
    close(concordance_distance(-t, t - t.mean(-1, keepdims=True) * 2, reduction="none"), 2)


def test_a_perfect_prediction_costs_nothing():
    x = 1 + jax.random.uniform(jax.random.key(0), (3, 5))
    for loss in (squared_log, absolute_percentage, symmetric_absolute_percentage, relative_norm,
                 pearson_distance, concordance_distance):  # fmt: skip
        value, slope = jax.value_and_grad(loss)(x, x)
        rounding = 1e-7 if loss is pearson_distance else 0  # its two sides may round differently
        assert value <= rounding**2
        assert (abs(slope) <= rounding).all()


def test_scaled_errors_are_in_units_of_naive_ones():
    """RMSSE of M5, by hand: changes of 1, -3 and 2 have a mean square of 14/3."""
    history = jnp.array([5.0, 6.0, 3.0, 5.0])
    close(naive_error(history, power=2), np.sqrt(14 / 3))
    close(naive_error(history), 2)
    scales = jnp.full(2, naive_error(history, power=2))
    p, t = jnp.array([5.0, 7.0]), jnp.array([4.0, 3.0])
    close(jnp.sqrt(scaled_squared(p, t, scales)), np.sqrt(8.5 / (14 / 3)))
    value, slope = jax.value_and_grad(scaled_squared)(p, t, jnp.array([2.0, 0.0]))
    assert value == 0.25
    assert slope.tolist() == [0.5, 0]
