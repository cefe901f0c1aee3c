"""Limits and extremes of the likelihoods of mixtures."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxloss.losses import counts
from jaxloss.losses.mixture import discretized_logistic, negative_binomial, poisson
from tests.test_checkify import message

close = functools.partial(np.testing.assert_allclose, rtol=3e-6)


@pytest.mark.parametrize("components", [1, 3])
def test_equal_components_are_one(components):
    shape = (4, components)
    number = jnp.array([0, 1, 7, 1000])
    logits, log_rate = jnp.zeros(shape), jnp.array([-30.0, 0.0, 1.0, 6.9])
    rates = jnp.broadcast_to(log_rate[:, None], shape)
    found = poisson(logits, rates, number, reduction="none")
    close(found, counts.poisson(log_rate, number, reduction="none"))
    found = negative_binomial(logits, rates, jnp.full(shape, 2.5), number, reduction="none")
    plain = counts.negative_binomial(log_rate, jnp.full(4, 2.5), number, reduction="none")
    close(found, plain)


def test_a_nearly_sure_mixture_keeps_its_digits():
    """Nearly no events: of two rates, the mean."""
    log_rates = jnp.array([-30.0, -28.0])
    value, slope = jax.value_and_grad(poisson, argnums=1)(jnp.zeros(2), log_rates, 0)
    close(value, (np.exp(-30) + np.exp(-28)) / 2)
    close(slope, np.exp([-30, -28]) / 2)


def test_components_may_be_excluded_or_hopeless():
    logits, log_rates = jnp.array([0.0, -jnp.inf, 0.0]), jnp.array([1.0, 0.0, -1e4])
    value, slopes = jax.value_and_grad(poisson, argnums=(0, 1))(logits, log_rates, 3)
    close(value, counts.poisson(1.0, 3) + np.log(2))
    assert all(jnp.isfinite(slope).all() for slope in slopes)
    assert slopes[0][1] == slopes[1][1] == 0


def test_levels_have_probabilities_that_add_up_to_one():
    levels = jnp.linspace(-1, 1, 256)
    logits = jnp.array([0.3, -0.5, 1.0])
    for centers, scales in (
        ([0.0, 0.5, -0.9], [0.1, 0.02, 0.3]),
        ([3.0, -5.0, 0.0], [0.1, 0.5, 1e-4]),
    ):
        loss = jax.vmap(discretized_logistic, (None, None, None, 0))
        losses = loss(logits, jnp.array(centers), jnp.array(scales), levels)
        assert (losses >= 0).all()
        close(jnp.exp(-losses).sum(), 1, rtol=1e-5)


@pytest.mark.parametrize("scale", [1e-20, 1e-3, 1.0, 1e20])
@pytest.mark.parametrize("center", [-1e4, 0.3, 1e4])
def test_levels_are_finite_with_finite_slopes(center, scale):
    at = jax.vmap(jax.value_and_grad(discretized_logistic, argnums=(1, 2)), (None, None, None, 0))
    value, slopes = at(
        jnp.zeros(1), jnp.full(1, center), jnp.full(1, scale), jnp.array([-1.0, 0.0, 1.0])
    )
    assert jnp.isfinite(value).all()
    if scale > 1e-10:
        assert all(jnp.isfinite(slope).all() for slope in slopes)


def test_preconditions():
    ones = jnp.ones((2, 1))
    assert message(poisson, ones, ones, jnp.array([1.0, -1.0])) == (
        "poisson: target_counts must not be negative, got -1.0"
    )
    assert message(discretized_logistic, ones, ones, ones, jnp.array([0.0, 2.0])) == (
        "discretized_logistic: targets must lie between lower and upper, got 2.0"
    )
    masked = discretized_logistic(
        ones, ones, ones, jnp.array([0.0, 2.0]), where=jnp.array([True, False])
    )
    close(masked, discretized_logistic(ones[:1], ones[:1], ones[:1], jnp.array([0.0])))
