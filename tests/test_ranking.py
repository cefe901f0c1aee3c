"""What follows from the formulas of the ranking losses."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from jaxloss.losses.ranking import listmle, poly1_softmax, softmax, unique_softmax

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


def test_listwise_losses_far_out_keep_their_digits():
    """Each choice's cross-entropy is a softplus, also between scores far below the maximum."""
    scores, relevance = jnp.array([1e4, -1e4, -1e4]), jnp.array([2, 1, 0])
    for loss in (listmle, unique_softmax):
        value, slope = jax.value_and_grad(loss)(scores, relevance)
        close(value, np.log(2))
        close(slope, [0, -0.5, 0.5])
    value, slope = jax.value_and_grad(listmle)(jnp.array([30.0, 0.0]), jnp.array([1, 0]))
    close(value, np.exp(-30.0))
    close(slope, np.exp(-30.0) * np.array([-1, 1]))


def test_an_item_that_can_not_be_drawn_is_no_rival():
    for loss in (listmle, unique_softmax):
        value, slope = jax.value_and_grad(loss)(
            jnp.array([0.0, 0.0, -jnp.inf]), jnp.array([1, 0, 0])
        )
        close(value, np.log(2))
        close(slope, [-0.5, 0.5, 0])


def test_equally_relevant_items_do_not_compete_in_unique_softmax():
    scores = jnp.array([3.0, -2.0, 0.5])
    assert unique_softmax(scores, jnp.array([1, 1, 1])) == 0
    close(
        unique_softmax(scores, jnp.array([1, 1, 0])),
        np.log1p(np.exp(0.5 - 3)) + np.log1p(np.exp(2.5)),
    )


def test_segments_of_a_flat_array():
    scores, relevance = jnp.array([0.3, 1.0, -0.4, 2.0, 0.1]), jnp.array([1, 0, 2, 0, 1])
    segments = jnp.array([0, 1, 0, 1, 1])
    where = segments[None] == jnp.arange(2)[:, None]
    lists = [jnp.broadcast_to(x, where.shape) for x in (scores, relevance)]
    for loss in (softmax, poly1_softmax, listmle, unique_softmax):
        found = loss(*lists, where=where, reduction="none")
        for segment in (0, 1):
            here = segments == segment
            close(found[segment], loss(scores[here], relevance[here]))
