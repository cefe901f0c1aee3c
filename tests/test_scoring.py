"""Limits and extremes of scores of classes, intervals and quantiles."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxloss.losses.scoring import (
    binary_brier,
    brier,
    interval,
    quantiles,
    ranked_probability,
    spherical,
    weighted_interval,
)
from tests.test_checkify import message

close = functools.partial(np.testing.assert_allclose, rtol=1e-6)
FORECASTS = jnp.array([[1, 0, 0], [0, 0, 1], [0.2, 0.3, 0.5], [1 - 1e-6, 1e-6, 0]], jnp.float32)
of_classes = pytest.mark.parametrize("loss", [brier, spherical, ranked_probability])


@of_classes
def test_a_certain_truth_costs_nothing_and_a_certain_mistake_the_most(loss):
    value, slope = jax.vmap(jax.value_and_grad(loss))(FORECASTS, jnp.zeros(4, jnp.int32))
    most = {brier: 2, spherical: 1, ranked_probability: 2}[loss]
    close(value[:2], [0, most])
    assert jnp.isfinite(slope).all()
    tiny = {brier: 2e-12, spherical: 5e-13, ranked_probability: 1e-12}[loss]
    close(value[3], tiny, rtol=0.2)  # by rounding of 1 - 1e-6


@of_classes
def test_the_truth_is_the_best_forecast(loss):
    truth = jnp.array([0.2, 0.3, 0.5])

    def expected(logits):
        p = jax.nn.softmax(logits)
        losses = loss(jnp.stack([p] * 3), jnp.arange(3), reduction="none")
        return (truth * losses).sum()

    slope = jax.grad(expected)(jnp.log(truth))
    np.testing.assert_allclose(slope, np.zeros(3), atol=1e-7)
    assert expected(jnp.log(truth)) < expected(jnp.log(truth) + jnp.array([0.1, 0, -0.1]))


@of_classes
def test_a_label_out_of_range_is_nan(loss):
    at = jax.vmap(jax.value_and_grad(loss))
    value, slope = at(FORECASTS, jnp.array([0, -1, 3, 1]))
    assert jnp.isnan(value).tolist() == [False, True, True, False]
    assert jnp.isnan(slope).all(-1).tolist() == [False, True, True, False]


def test_brier_of_two_classes_is_twice_the_binary_one():
    p, t = jnp.array([0.1, 0.6, 1.0]), jnp.array([1, 0, 1])
    both = brier(jnp.stack([1 - p, p], -1), t, reduction="none")
    close(both, 2 * binary_brier(p, t, reduction="none"))


def test_spherical_does_not_see_the_scale_and_survives_nothing():
    scaled = spherical(FORECASTS * 1e-30, jnp.arange(4) % 3, reduction="none")
    close(scaled, spherical(FORECASTS, jnp.arange(4) % 3, reduction="none"))
    assert jnp.isfinite(jax.grad(spherical)(jnp.zeros(3), jnp.array(1))).all()


def test_a_far_miss_costs_more_than_a_near_one():
    losses = ranked_probability(jnp.eye(4), jnp.zeros(4, jnp.int32), reduction="none")
    close(losses, [0, 1, 2, 3])


def test_an_interval_is_two_quantiles_also_if_its_ends_cross():
    low, high = jnp.array([-1.0, 0.5, 2.0, 1e30]), jnp.array([1.0, 0.5, -2.0, -1e30])
    targets = jnp.array([3.0, 0.5, 0.1, 0.0])
    losses = interval(low, high, targets, coverage=0.8, reduction="none")
    pair = quantiles(jnp.stack([low, high], -1), targets, jnp.array([0.1, 0.9]), reduction="none")
    close(losses, 10 * pair, rtol=3e-6)
    assert (losses >= 0).all()
    assert losses[1] == 0


def test_a_target_on_the_end_of_an_interval_and_an_endless_one():
    slopes = jax.grad(interval, argnums=(0, 1, 2))(0.0, 1.0, 0.0)
    assert jnp.isfinite(jnp.stack(slopes)).all()
    assert interval(0.0, jnp.inf, 1.0) == jnp.inf


def test_a_weighted_interval_is_the_score_of_its_quantiles():
    median, low, high = jnp.array(0.2), jnp.array([-1.0, -2.0]), jnp.array([0.7, 3.0])
    both = jnp.concatenate([low, median[None], high])
    levels = jnp.array([0.25, 0.05, 0.5, 0.75, 0.95])
    for target in jnp.array([-3.0, 0.0, 0.2, 5.0]):
        found = weighted_interval(median, low, high, target, jnp.array([0.5, 0.9]))
        close(found, quantiles(both, target, levels), rtol=2e-6)


def test_many_quantiles_tend_to_the_continuous_score():
    """Of a uniform distribution on [0, 1], whose score at 0 is 1/3."""
    levels = jnp.linspace(0.0005, 0.9995, 1000)
    close(quantiles(levels, jnp.array(0.0), levels), 1 / 3, rtol=1e-5)


def test_preconditions_name_the_argument():
    labels = jnp.array([0, 1])
    found = message(brier, jnp.array([[0.5, 0.5], [2.0, 0.0]]), labels)
    assert found == "brier: probabilities must lie in [0, 1], got 2.0"
    found = message(interval, jnp.zeros(2), jnp.ones(2), jnp.ones(2), coverage=1.5)
    assert found == "interval: coverage must lie in [0, 1], got 1.5"
    found = message(quantiles, jnp.zeros((1, 2)), jnp.zeros(1), jnp.array([0.5, -1.0]))
    assert found == "quantiles: levels must lie in [0, 1], got -1.0"
