"""Reductions by group."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.experimental import checkify

from jaxloss.compose import group_dro, group_means, worst_group

LOSSES = jnp.exp(jax.random.normal(jax.random.key(0), (5, 8)))
GROUPS = jax.random.randint(jax.random.key(1), (5, 8), 0, 3)
WEIGHTS = jax.random.uniform(jax.random.key(2), (5, 8), minval=0.3, maxval=2.0)
WHERE = jax.random.bernoulli(jax.random.key(3), 0.7, (5, 8))


def test_means_by_group():
    found = group_means(LOSSES, GROUPS, count=4, where=WHERE, weights=WEIGHTS)
    for group in range(3):
        chosen = np.asarray(WHERE & (group == GROUPS))
        losses, weights = np.asarray(LOSSES)[chosen], np.asarray(WEIGHTS)[chosen]
        np.testing.assert_allclose(found[group], np.average(losses, weights=weights), rtol=1e-6)
    assert found[3] == 0
    worst = worst_group(LOSSES, GROUPS, count=4, where=WHERE, weights=WEIGHTS)
    assert worst == found.max()
    # an absent group is not the worst, be all others below zero
    assert worst_group(-LOSSES, GROUPS, count=4) == group_means(-LOSSES, GROUPS, count=3).max()


@pytest.mark.parametrize("garbage", [jnp.nan, jnp.inf, 3e38])
def test_what_is_masked_may_be_anything(garbage):
    @jax.jit
    def worst(losses, groups):
        return jax.value_and_grad(worst_group)(losses, groups, count=3, where=WHERE)

    value, slope = worst(LOSSES, GROUPS)
    dirty = worst(jnp.where(WHERE, LOSSES, garbage), jnp.where(WHERE, GROUPS, -100))
    assert dirty[0] == value
    np.testing.assert_array_equal(dirty[1], slope)
    assert (slope[~WHERE] == 0).all()
    chosen = WHERE & (GROUPS.reshape(-1)[jnp.argmax(slope)] == GROUPS)
    np.testing.assert_allclose(slope, jnp.where(chosen, 1 / chosen.sum(), 0), rtol=1e-6)


def test_nothing_selected_is_zero():
    value, slope = jax.value_and_grad(worst_group)(LOSSES, GROUPS, count=3, where=WHERE & False)
    assert value == 0
    assert not slope.any()


def test_a_group_out_of_range_is_nan_and_caught():
    for outside in (-1, 3):
        groups = GROUPS.at[0, 0].set(outside)
        assert jnp.isnan(group_means(LOSSES, groups, count=3)).any()
    error, _ = jax.jit(checkify.checkify(lambda g: worst_group(LOSSES, g, count=3)))(GROUPS + 1)
    assert "worst_group: groups must lie in [0, 3), got 3" in str(error.get())


@pytest.mark.usefixtures("as_users_run_it")
def test_shapes_must_be_equal():
    with pytest.raises(ValueError, match="group_means: shapes must be equal"):
        group_means(LOSSES, GROUPS[0], count=3)


def test_the_worst_group_gains_weight():
    balancer = group_dro(rate=0.5)
    state, losses = balancer.init(3), jnp.array([1.0, 3.0, 2.0])
    expected = np.ones(3)
    for _ in range(4):
        state, weights = jax.jit(balancer.update)(state, losses, None)
        expected = expected * np.exp(0.5 * np.array([1.0, 3.0, 2.0]))
        np.testing.assert_allclose(weights, expected / expected.sum(), rtol=1e-5)
