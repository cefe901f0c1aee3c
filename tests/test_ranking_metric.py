"""What follows from the formulas of the smooth ranking metrics."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

from jaxloss.losses.ranking_metric import (
    approx_average_precision,
    approx_mrr,
    approx_ndcg,
    approx_precision,
    approx_ranks,
    approx_recall,
    neural_ndcg,
)
from jaxloss.losses.relative import pearson_distance

close = functools.partial(np.testing.assert_allclose, rtol=2e-6)
SCORES = jnp.array([0.3, 1.0, -0.4, 2.0, 0.1])
GRADES = jnp.array([2, 0, 1, 0, 3])
METRICS = [
    approx_ndcg,
    approx_mrr,
    approx_average_precision,
    functools.partial(approx_precision, cutoff=3),
    functools.partial(approx_recall, cutoff=3),
    neural_ndcg,
]
every = pytest.mark.parametrize("metric", METRICS, ids=range(len(METRICS)))


def test_ranks_tend_to_the_ranks():
    expected = scipy.stats.rankdata(-np.asarray(SCORES))
    close(approx_ranks(SCORES, temperature=1e-3), expected)
    close(approx_ranks(SCORES).sum(), 15)
    where = jnp.array([True, True, False, True, False])
    some = approx_ranks(jnp.where(where, SCORES, jnp.nan), where=where)
    close(some[where], approx_ranks(SCORES[where]))
    assert (some[~where] == 0).all()


def test_correlated_ranks_are_spearmans():
    other = jnp.array([3.0, 1.0, 2.0, 5.0, 4.0])
    found = pearson_distance(approx_ranks(SCORES, temperature=1e-3), approx_ranks(other))
    expected: Any = scipy.stats.spearmanr(SCORES, other)
    close(1 - found, expected.statistic, rtol=1e-5)


@every
def test_a_perfect_order_loses_nothing_and_others_something(metric):
    scores = jnp.array([50.0, 30.0, 20.0, 10.0, 0.0])
    grades = jnp.array([3, 2, 1, 0, 0])
    value, slope = jax.value_and_grad(metric)(scores, grades)
    cut_softly = isinstance(metric, functools.partial)  # by a sigmoid of 5
    close(value, 0, atol=5e-3 if cut_softly else 2e-6)
    assert jnp.isfinite(slope).all()
    assert metric(-scores, grades) > 0.3
    step = -0.5 * jax.grad(metric)(SCORES, GRADES) / 1e-3
    assert metric(SCORES + 1e-3 * step, GRADES) < metric(SCORES, GRADES)


@pytest.mark.parametrize("metric", [approx_ndcg, approx_mrr, approx_average_precision])
def test_a_nearly_perfect_order_keeps_its_digits(metric):
    """The other way round with a chance of e^-20."""
    scores, grades = jnp.array([2.0, 0.0]), jnp.array([1, 0])
    value, slope = jax.value_and_grad(metric)(scores, grades)
    chance = np.exp(-20) / (1 + np.exp(-20))
    factor = 1 / (2 * np.log(2)) if metric is approx_ndcg else 1.0
    close(value, factor * chance)
    close(slope, factor * 10 * chance * np.array([-1, 1]))


@every
def test_lists_without_anything_relevant_do_not_count(metric):
    scores, grades = jnp.stack([SCORES, SCORES]), jnp.stack([GRADES, jnp.zeros(5, int)])
    value, slope = jax.value_and_grad(metric)(scores, grades)
    close(value, metric(SCORES, GRADES))
    assert (slope[1] == 0).all()


@every
def test_equal_huge_and_infinite_scores(metric):
    for scores in (jnp.zeros(5), 1e4 * SCORES, SCORES.at[0].set(-jnp.inf).at[3].set(-jnp.inf)):
        if metric is neural_ndcg and jnp.isinf(scores).any():
            continue
        value, slope = jax.value_and_grad(metric)(scores, GRADES)
        assert 0 <= value <= 1
        assert jnp.isfinite(slope).all()


def test_precision_of_a_short_list_is_that_of_the_list():
    close(approx_precision(SCORES, GRADES), 2 / 5)
    close(approx_recall(SCORES, GRADES), 0, atol=1e-7)


def test_iterations_make_a_permutation_fair():
    """Unequal scores near each other: without iterations one item may be counted twice."""
    assert neural_ndcg(SCORES, GRADES, temperature=5.0) > 0
    with pytest.raises(ValueError, match="neural_ndcg: iterations must not be negative, got -1"):
        neural_ndcg(SCORES, GRADES, iterations=-1)
