"""What follows from the formulas of the losses on pairs of a list."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxloss.losses.pairwise_ranking import (
    dcg2_weights,
    dcg_weights,
    hinge,
    label_difference_weights,
    logistic,
    pair_counts,
    precision_weights,
    quantile,
    soft_zero_one,
    squared,
)

close = functools.partial(np.testing.assert_allclose, rtol=2e-6)
SCORES = jnp.array([0.3, 1.0, -0.4, 2.0, 0.1])
GRADES = jnp.array([2, 0, 1, 0, 3])


def test_sorting_gives_the_slopes_of_all_pairs():
    """Also at a kink, where the slope is 0."""
    scores = jnp.array([0.0, 1.0, 1.0, 2.5, 0.5, 0.5])
    grades = jnp.array([1, 0, 2, 0, 2, 1])
    for loss in (hinge, quantile):
        sorting = jax.value_and_grad(loss)(scores, grades)
        pair_by_pair = jax.value_and_grad(loss)(scores, grades, pair_weights=1.0)
        close(sorting[0], pair_by_pair[0])
        close(sorting[1], pair_by_pair[1], atol=1e-7)


def test_lists_without_a_pair_do_not_count():
    scores, grades = jnp.stack([SCORES, SCORES]), jnp.stack([GRADES, jnp.ones(5, int)])
    for loss in (logistic, hinge, soft_zero_one, quantile):
        value, slope = jax.value_and_grad(loss)(scores, grades)
        close(value, loss(SCORES, GRADES))
        assert (slope[1] == 0).all()
    assert squared(SCORES[:1], GRADES[:1]) == 0


def test_weighing_by_pairs_is_a_mean_over_all_pairs():
    scores = jnp.stack([SCORES, -SCORES])
    grades = jnp.stack([GRADES, jnp.array([1, 0, 0, 0, 0])])
    counts = pair_counts(grades)
    assert counts.tolist() == [9, 4]
    assert pair_counts(grades, where=GRADES > 0).tolist() == [3, 2]
    total = hinge(scores, grades, weights=counts, reduction="sum")
    close(hinge(scores, grades, weights=counts), total / 13)


@pytest.mark.parametrize("loss", [logistic, hinge, soft_zero_one, quantile])
def test_scores_of_any_size(loss):
    value, slope = jax.value_and_grad(loss)(jnp.array([1e4, -1e4, 0.0]), jnp.array([0, 1, 1]))
    assert value > 0
    assert jnp.isfinite(slope).all()
    value, slope = jax.value_and_grad(loss)(jnp.array([-jnp.inf, 0.0]), jnp.array([0, 1]))
    assert not jnp.isnan(slope).any()


def delta_ndcg(scores, grades, cutoff):
    """By swapping each two items."""
    gains = 2.0**grades - 1
    discounts = np.where(
        np.arange(len(scores)) < cutoff, 1 / np.log2(np.arange(len(scores)) + 2), 0
    )
    ranks = np.argsort(np.argsort(-scores, kind="stable"), kind="stable")
    ideal = np.sort(gains)[::-1] @ discounts
    changes = np.zeros((len(scores), len(scores)))
    for i in range(len(scores)):
        for j in range(len(scores)):
            swapped = ranks.copy()
            swapped[[i, j]] = ranks[[j, i]]
            changes[i, j] = abs(gains @ discounts[swapped] - gains @ discounts[ranks]) / ideal
    return changes


@pytest.mark.parametrize("cutoff", [None, 1, 3])
def test_dcg_weights_are_what_a_swap_changes(cutoff):
    expected = delta_ndcg(np.asarray(SCORES, float), np.asarray(GRADES), cutoff or 5)
    found = dcg_weights(SCORES, GRADES, cutoff=cutoff)
    close(found, expected, rtol=1e-5, atol=1e-7)
    masked = dcg_weights(
        jnp.append(SCORES, jnp.nan), jnp.append(GRADES, -1), cutoff=cutoff, where=jnp.arange(6) < 5
    )
    close(masked[:5, :5], found)
    assert (masked[5] == 0).all()


def test_dcg2_weights_look_at_distances():
    found = dcg2_weights(SCORES, GRADES)
    gains, ranks = 2.0 ** np.asarray(GRADES) - 1, np.array([2, 1, 4, 0, 3])
    ideal = np.sort(gains)[::-1] @ (1 / np.log2(np.arange(5) + 2))
    for i in range(5):
        for j in range(5):
            d = max(abs(ranks[i] - ranks[j]), 1)
            near = 1 / np.log2(1 + d) - 1 / np.log2(2 + d)
            close(found[i, j], abs(gains[i] - gains[j]) / ideal * near, rtol=1e-5)


def test_weights_that_are_plain():
    assert label_difference_weights(GRADES)[0].tolist() == [0, 2, 1, 2, 1]
    found = precision_weights(SCORES, GRADES, cutoff=2)
    assert found[3].tolist() == [0.5, 0, 0.5, 0, 0.5]
    assert found[0].tolist() == [0, 0.5, 0, 0.5, 0]


def test_no_gradient_flows_through_weights_of_scores():
    def loss(scores):
        return dcg_weights(scores, GRADES).sum() + dcg2_weights(scores, GRADES).sum()

    assert (jax.grad(loss)(SCORES) == 0).all()
