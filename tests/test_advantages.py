"""Advantages against loops over time and over groups."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxloss.core.advantages import (
    discounted_returns,
    gae,
    group_centered,
    group_normalized,
    leave_one_out,
    length_weighted,
    vtrace,
)

close = functools.partial(np.testing.assert_allclose, rtol=5e-6, atol=1e-6)
RANDOM = np.random.default_rng(0)
REWARDS, VALUES, LOG_RATIOS = RANDOM.normal(size=(3, 3, 7)).astype(np.float32)
DISCOUNTS = np.where(RANDOM.random((3, 7)) > 0.2, 0.9, 0).astype(np.float32)
AFTER = np.array([0.5, -1.0, 2.0], np.float32)
GROUPS = RANDOM.normal(size=(4, 5)).astype(np.float32)
EXISTS = np.arange(5)[None] < np.array([[5], [3], [1], [0]])


def backwards(x, decay, after: Any = 0.0):
    """y[t] = x[t] + decay[t] y[t + 1]."""
    y = np.zeros(x.shape)
    for t in reversed(range(x.shape[-1])):
        after = x[..., t] + decay[..., t] * after
        y[..., t] = after
    return y


def test_returns_discount_the_future():
    found = discounted_returns(REWARDS, discounts=DISCOUNTS, bootstrap=AFTER)
    close(found, backwards(REWARDS, DISCOUNTS, AFTER))
    constant = discounted_returns(REWARDS, discounts=0.7)
    close(constant, backwards(REWARDS, np.full((3, 7), 0.7)))


def test_gae_is_a_decaying_sum_of_surprises():
    following = np.concatenate([VALUES[:, 1:], AFTER[:, None]], -1)
    surprise = REWARDS + DISCOUNTS * following - VALUES
    found = gae(REWARDS, VALUES, discounts=DISCOUNTS, trace_decay=0.8, bootstrap=AFTER)
    close(found, backwards(surprise, 0.8 * DISCOUNTS))


def test_gae_at_its_ends():
    options = {"discounts": DISCOUNTS, "bootstrap": AFTER}
    returns = discounted_returns(REWARDS, **options)
    close(gae(REWARDS, VALUES, trace_decay=1.0, **options), returns - VALUES)
    one_step = gae(REWARDS, VALUES, trace_decay=0.0, **options)
    following = np.concatenate([VALUES[:, 1:], AFTER[:, None]], -1)
    close(one_step, REWARDS + DISCOUNTS * following - VALUES)


def test_vtrace_is_its_recursion():
    found = vtrace(
        REWARDS, VALUES, LOG_RATIOS, discounts=DISCOUNTS, trace_decay=0.8, bootstrap=AFTER,
        ratio_cap=1.5, trace_cap=1.1,
    )  # fmt: skip
    rho, c = np.minimum(np.exp(LOG_RATIOS), 1.5), 0.8 * np.minimum(np.exp(LOG_RATIOS), 1.1)
    following = np.concatenate([VALUES[:, 1:], AFTER[:, None]], -1)
    surprise = rho * (REWARDS + DISCOUNTS * following - VALUES)
    targets = VALUES + backwards(surprise, DISCOUNTS * c)
    later = np.concatenate([targets[:, 1:], AFTER[:, None]], -1)
    close(found.targets, targets)
    close(found.advantages, rho * (REWARDS + DISCOUNTS * later - VALUES))


def test_vtrace_of_the_same_policy_are_returns():
    found = vtrace(REWARDS, VALUES, 0 * LOG_RATIOS, discounts=0.9, bootstrap=AFTER)
    close(found.targets, discounted_returns(REWARDS, discounts=0.9, bootstrap=AFTER))
    infinite = vtrace(REWARDS, VALUES, np.full((3, 7), np.inf, np.float32), discounts=0.9)
    close(infinite.targets, discounted_returns(REWARDS, discounts=0.9))


def test_steps_that_do_not_exist():
    where = np.arange(7)[None] < np.array([[7], [4], [0]])
    dirty = [np.where(where, x, np.nan) for x in (REWARDS, VALUES, LOG_RATIOS)]
    for estimate, count in ((discounted_returns, 1), (gae, 2), (vtrace, 3)):
        clean = estimate(*(x[1:2, :4] for x in (REWARDS, VALUES, LOG_RATIOS)[:count]))
        found = estimate(*dirty[:count], where=where)
        for whole, part in zip(jax.tree.leaves(found), jax.tree.leaves(clean), strict=True):
            close(whole[1, :4], part[0])
            assert (whole[1, 4:] == 0).all()
            assert (whole[2] == 0).all()


def test_groups_are_compared_with_themselves():
    close(group_centered(GROUPS), GROUPS - GROUPS.mean(-1, keepdims=True))
    spread = GROUPS.std(-1, ddof=1, keepdims=True)
    close(group_normalized(GROUPS), (GROUPS - GROUPS.mean(-1, keepdims=True)) / spread)
    others = (GROUPS.sum(-1, keepdims=True) - GROUPS) / 4
    close(leave_one_out(GROUPS), GROUPS - others)
    lengths = np.array([1, 2, 3, 4, 10])
    baseline = (GROUPS @ lengths)[:, None] / 20
    close(length_weighted(GROUPS, np.tile(lengths, (4, 1))), GROUPS - baseline)


@pytest.mark.parametrize("estimate", [group_centered, group_normalized, leave_one_out])
def test_answers_that_do_not_exist(estimate):
    found = estimate(np.where(EXISTS, GROUPS, np.nan), where=EXISTS)
    close(found[0], estimate(GROUPS[0]))
    close(found[1, :3], estimate(GROUPS[1, :3]))
    assert (found[2:] == 0).all()
    assert (found[1, 3:] == 0).all()


def test_equal_rewards_are_no_advantage_at_any_scale():
    """Also where a floor would let them vanish, or their squares."""
    assert (group_normalized(jnp.full((2, 3), 0.1)) == 0).all()
    expected = group_normalized(GROUPS)
    for scale in (1e-30, 1e30):
        close(group_normalized(scale * GROUPS), expected, rtol=1e-5)


def test_advantages_are_data():
    def total(rewards, values):
        estimates = gae(rewards, values), discounted_returns(rewards)
        groups = group_centered(rewards), group_normalized(rewards), leave_one_out(rewards)
        traces = vtrace(rewards, values, values)
        return sum(x.sum() for x in jax.tree.leaves((estimates, groups, traces)))

    slopes = jax.grad(total, argnums=(0, 1))(jnp.asarray(REWARDS), jnp.asarray(VALUES))
    assert not jnp.stack(slopes).any()
