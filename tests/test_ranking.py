"""What follows from the formulas of the ranking losses."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from jaxloss.losses.ranking import softmax

close = functools.partial(np.testing.assert_allclose, rtol=1e-6)


def test_lists_of_different_lengths():
    scores = jnp.array([[1.0, 0.5, jnp.nan], [0.2, -1.0, 3.0]])
    relevance = jnp.array([[1, 0, 7], [0, 2, 1]])
    where = jnp.array([[True, True, False], [True, True, True]])
    losses = softmax(scores, relevance, where=where, reduction="none")
    close(losses[0], softmax(scores[0, :2], relevance[0, :2]))
    close(losses[1], softmax(scores[1], relevance[1]))


def test_a_list_without_relevant_items_does_not_count():
    scores = jnp.array([[1.0, 0.5], [0.2, -1.0]])
    relevance = jnp.array([[1, 0], [0, 0]])
    value, slope = jax.value_and_grad(softmax)(scores, relevance)
    close(value, softmax(scores[0], relevance[0]))
    assert (slope[1] == 0).all()


def test_the_scale_of_the_grades_does_not_matter():
    scores, relevance = jnp.array([1.0, 0.5, -2.0]), jnp.array([1, 0, 3])
    close(softmax(scores, relevance), softmax(scores, 4 * relevance))


def test_equal_scores_cost_the_logarithm_of_the_length():
    close(softmax(jnp.full(5, 1e4), jnp.array([1, 0, 2, 0, 0])), np.log(5))


def test_a_single_relevant_item_far_ahead_keeps_its_digits():
    value, slope = jax.value_and_grad(softmax)(jnp.array([30.0, 0.0]), jnp.array([1, 0]))
    close(value, np.exp(-30.0))
    close(slope, np.exp(-30.0) * np.array([-1, 1]))
