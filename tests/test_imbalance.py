"""Class weights, and what the losses for imbalanced classes tend to."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.utils.class_weight import compute_class_weight

from jaxloss.losses.classification import (
    sigmoid_cross_entropy,
    sigmoid_focal,
    softmax_cross_entropy,
    softmax_focal,
)
from jaxloss.losses.imbalance import (
    class_counts,
    deferred_weights,
    effective_number_weights,
    inverse_frequency_weights,
    ldam,
    logit_adjusted_cross_entropy,
    prior_corrected,
    sigmoid_asymmetric,
    softmax_asymmetric,
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


SCORES = jnp.array([-jnp.inf, -1e4, -100.5, -99.5, -20.0, -1.0, 0.0, 2.0, 20.0, 99.5, 1e4, jnp.inf])


@pytest.mark.parametrize("target", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0])
def test_asymmetric_without_asymmetry_is_focal(gamma, target):
    plain = functools.partial(sigmoid_asymmetric, positive_gamma=gamma, negative_gamma=gamma)
    for loss, other in (
        (functools.partial(plain, margin=0.0), functools.partial(sigmoid_focal, gamma=gamma)),
        (functools.partial(plain, margin=1e-30), functools.partial(sigmoid_focal, gamma=gamma)),
    ):
        scores = SCORES[1:-1] if loss.keywords["margin"] == 0 else SCORES[1:9]
        if 0 < target < 1 and gamma:
            continue  # the focal loss interpolates its factor too
        targets = jnp.full(scores.shape, target)
        found = jax.vmap(jax.value_and_grad(loss))(scores, targets)
        expected = jax.vmap(jax.value_and_grad(other))(scores, targets)
        close(found[0], expected[0], rtol=3e-6, atol=1e-37)
        close(found[1], expected[1], rtol=5e-6, atol=1e-36)


@pytest.mark.parametrize("margin", [0.0, 0.05, 0.5])
def test_asymmetric_has_no_slope_but_finite_ones(margin):
    for target in (0.0, 0.3, 1.0):
        loss = functools.partial(sigmoid_asymmetric, margin=margin)
        value, slope = jax.vmap(jax.value_and_grad(loss))(SCORES, jnp.full(12, target))
        assert not jnp.isnan(value).any()
        assert jnp.isfinite(slope).all()
    bend = jax.vmap(jax.grad(lambda m, z: sigmoid_asymmetric(z, 0.0, margin=m)), (None, 0))
    assert jnp.isfinite(bend(margin, SCORES[1:9])).all()


def test_a_no_below_the_margin_costs_nothing():
    value, slope = jax.value_and_grad(sigmoid_asymmetric)(-3.0, 0.0)
    assert value == slope == 0
    assert sigmoid_asymmetric(-2.9, 0.0) > 0
    limit = sigmoid_asymmetric(1e4, 0.0, margin=0.3, negative_gamma=2.0)
    close(limit, -(0.7**2) * np.log(0.3))


def test_softmax_asymmetric_without_smoothing_is_focal():
    close(
        softmax_asymmetric(LOGITS, LABELS, positive_gamma=1.5, label_smoothing=0.0),
        softmax_focal(LOGITS, LABELS, gamma=1.5),
    )
    constant = functools.partial(softmax_asymmetric, positive_gamma=0.0, negative_gamma=0.0)
    close(
        constant(LOGITS, LABELS, label_smoothing=0.3),
        softmax_cross_entropy(LOGITS, LABELS, label_smoothing=0.3),
    )
    excluded = LOGITS.at[:, 1].set(-jnp.inf)[:4]
    value, slope = jax.value_and_grad(softmax_asymmetric)(excluded, LABELS[:4])
    assert jnp.isfinite(value)
    assert jnp.isfinite(slope).all()


def test_weights_are_deferred_to_a_step():
    weights, at = jnp.array([0.5, 3.0]), jax.jit(functools.partial(deferred_weights, start=8))
    assert at(weights, 7).tolist() == [1, 1]
    assert at(weights, 8).tolist() == [0.5, 3]


def test_prior_correction_moves_from_one_prior_to_another():
    evidence = np.array([[0.2, 0.5, 0.1], [3, 1, 1]])
    prior, other = np.array([0.7, 0.2, 0.1]), np.array([0.1, 0.3, 0.6])
    logits = jnp.asarray(np.log(evidence * prior), jnp.float32)
    found = jax.nn.softmax(prior_corrected(logits, 50 * prior, target_counts=3 * other))
    expected = evidence * other
    close(found, expected / expected.sum(-1, keepdims=True))
    balanced = jax.nn.softmax(prior_corrected(logits, prior))
    close(balanced, evidence / evidence.sum(-1, keepdims=True))
    absent = prior_corrected(logits, jnp.array([1, 0, 1]), target_counts=jnp.array([1, 1, 0]))
    assert jnp.isneginf(absent).tolist() == [[False, True, True]] * 2


def test_adjusting_in_training_is_correcting_afterwards():
    """The best logits for the adjusted loss are the best for the plain one, corrected."""
    counts = jnp.array([9.0, 5.0, 1.0])
    plain = softmax_cross_entropy(LOGITS, LABELS)
    close(logit_adjusted_cross_entropy(prior_corrected(LOGITS, counts), LABELS, counts), plain)


def test_asymmetric_reduces_to_the_cross_entropy():
    constant = functools.partial(sigmoid_asymmetric, positive_gamma=0.0, negative_gamma=0.0)
    targets = (LOGITS > 0.3).astype(jnp.float32) * 0.7
    close(constant(LOGITS, targets, margin=0.0), sigmoid_cross_entropy(LOGITS, targets))
