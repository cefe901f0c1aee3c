"""Class weights, and what the losses for imbalanced classes tend to."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.utils.class_weight import compute_class_weight

from jaxloss.losses.classification import softmax_cross_entropy
from jaxloss.losses.imbalance import (
    class_counts,
    effective_number_weights,
    inverse_frequency_weights,
    ldam,
    logit_adjusted_cross_entropy,
)

close = functools.partial(np.testing.assert_allclose, rtol=1e-6)
LABELS = jnp.array([0, 0, 0, 0, 1, 1, 2])
LOGITS = jax.random.normal(jax.random.key(0), (7, 3))


def test_class_counts_leave_out_what_is_masked():
    labels, where = jnp.array([[0, 2, -100], [2, 2, 1]]), jnp.array([[1, 1, 0], [1, 1, 1]]) == 1
    assert class_counts(labels, classes=4, where=where).tolist() == [1, 1, 3, 0]


def test_class_counts_do_not_wrap_around():
    assert jnp.isnan(class_counts(jnp.array([0, -1]), classes=3)).all()
    assert jnp.isnan(class_counts(jnp.array([0, 3]), classes=3)).all()


def test_inverse_frequencies_are_those_of_scikit_learn():
    expected = compute_class_weight("balanced", classes=np.arange(3), y=np.asarray(LABELS))
    close(inverse_frequency_weights(class_counts(LABELS, classes=3)), expected)


@pytest.mark.parametrize("beta", [0.9, 0.99, 0.999, 0.9999])
def test_effective_numbers_follow_the_paper(beta):
    counts = np.array([5000, 350, 20, 1])
    expected = (1 - beta) / (1 - beta**counts)
    expected *= 4 / expected.sum()
    close(effective_number_weights(jnp.asarray(counts), volume=1 / (1 - beta)), expected)


def test_effective_numbers_lie_between_uniform_and_inverse_frequency():
    counts = jnp.array([90, 9, 1])
    close(effective_number_weights(counts, volume=1.0), jnp.ones(3))
    inverse = inverse_frequency_weights(counts)
    close(effective_number_weights(counts, volume=1e7), 3 * inverse / inverse.sum(), rtol=1e-4)


@pytest.mark.parametrize("weigh", [inverse_frequency_weights, effective_number_weights])
def test_an_absent_class_weighs_nothing_and_changes_nothing(weigh):
    some, all_ = weigh(jnp.array([8, 2])), weigh(jnp.array([8, 0, 2]))
    close(all_, [some[0], 0, some[1]])


def test_no_examples_at_all_give_finite_weights():
    for weigh in (inverse_frequency_weights, effective_number_weights):
        assert weigh(jnp.zeros(3)).tolist() == [0, 0, 0]


def test_logit_adjustment_of_nothing_is_the_cross_entropy():
    plain = jax.value_and_grad(softmax_cross_entropy)(LOGITS, LABELS)
    for counts, scale in ((jnp.array([9, 5, 1]), 0.0), (jnp.array([4, 4, 4]), 1.0)):
        adjusted = functools.partial(logit_adjusted_cross_entropy, scale=scale)
        found = jax.value_and_grad(adjusted)(LOGITS, LABELS, counts)
        close(found[0], plain[0])
        close(found[1], plain[1], atol=1e-7)


def test_logit_adjustment_depends_on_proportions_only():
    counts = jnp.array([9.0, 5.0, 1.0])
    first = logit_adjusted_cross_entropy(LOGITS, LABELS, counts)
    close(first, logit_adjusted_cross_entropy(LOGITS, LABELS, counts / 15))


def test_a_class_that_never_occurs_is_excluded_from_adjusted_logits():
    slope = jax.grad(logit_adjusted_cross_entropy)(LOGITS, LABELS % 2, jnp.array([4, 3, 0]))
    assert (slope[:, 2] == 0).all()


def test_ldam_without_margin_is_the_sharpened_cross_entropy():
    counts = jnp.array([9, 5, 1])
    close(
        ldam(LOGITS, LABELS, counts, margin=0.0, scale=3.0),
        softmax_cross_entropy(3 * LOGITS, LABELS),
    )


def test_a_class_that_never_occurs_asks_the_widest_margin():
    logits = jnp.zeros((2, 3))
    losses = ldam(logits, jnp.array([1, 2]), jnp.array([9, 5, 0]), reduction="none")
    close(losses[0], losses[1])


@pytest.mark.usefixtures("as_users_run_it")
def test_counts_must_be_one_per_class():
    for loss in (ldam, logit_adjusted_cross_entropy):
        words = rf"{loss.__name__}: counts must be one count per class \(3,\), got \(2,\)"
        with pytest.raises(ValueError, match=words):
            loss(LOGITS, LABELS, jnp.ones(2))
