"""What the losses for long tails tend to, and what they remember."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxloss.losses.classification import sigmoid_cross_entropy, softmax_cross_entropy
from jaxloss.losses.imbalance import logit_adjusted_cross_entropy
from jaxloss.losses.long_tail import (
    GradientBalance,
    balanced_softmax,
    equalized,
    equalized_v2,
    seesaw,
    update_gradient_balance,
    vector_scaling,
)

close = functools.partial(np.testing.assert_allclose, rtol=2e-6)
LABELS = jnp.array([0, 0, 0, 0, 1, 1, 2])
LOGITS = jax.random.normal(jax.random.key(0), (7, 3))
COUNTS = jnp.array([90, 9, 1])
TARGETS = jax.nn.one_hot(LABELS, 3)


@pytest.mark.parametrize(
    ("loss", "relative"),
    [
        (
            functools.partial(vector_scaling, power=0.0, scale=0.7),
            functools.partial(logit_adjusted_cross_entropy, scale=0.7),
        ),
        (balanced_softmax, logit_adjusted_cross_entropy),
        (
            functools.partial(vector_scaling, power=0.0, scale=0.0),
            lambda z, y, n: softmax_cross_entropy(z, y),
        ),
        (
            functools.partial(seesaw, mitigation=0.0, compensation=0.0),
            lambda z, y, n: softmax_cross_entropy(z, y),
        ),
    ],
)
def test_options_at_which_a_loss_becomes_another(loss, relative):
    found = jax.value_and_grad(loss)(LOGITS, LABELS, COUNTS)
    expected = jax.value_and_grad(relative)(LOGITS, LABELS, COUNTS)
    close(found[0], expected[0])
    close(found[1], expected[1], atol=1e-7)


def test_a_class_that_never_occurs_is_excluded():
    for loss in (balanced_softmax, vector_scaling):
        value, slope = jax.value_and_grad(loss)(LOGITS, LABELS % 2, jnp.array([4, 3, 0]))
        assert jnp.isfinite(value)
        assert (slope[:, 2] == 0).all()
        assert jnp.isfinite(slope).all()


def test_seesaw_spares_rare_classes_until_they_are_ahead():
    """At equal scores a frequent label pushes a rare class by 9^-0.8 of what it would."""
    slope = jax.grad(functools.partial(seesaw, compensation=0.0))
    even = slope(jnp.zeros((1, 2)), jnp.array([0]), jnp.array([9, 1]))
    share = 9**-0.8
    close(even[0, 1], share / (1 + share))
    close(slope(jnp.zeros((1, 2)), jnp.array([1]), jnp.array([9, 1]))[0, 0], 0.5)
    unseen = seesaw(LOGITS, LABELS, jnp.array([4, 0, 0]))
    close(unseen, seesaw(LOGITS, LABELS, jnp.array([4, 1, 1])))


def test_seesaw_is_finite_for_logits_of_any_size():
    logits = jnp.array([[-jnp.inf, 0.0, 1.0], [0.0, -jnp.inf, 1e4], [-1e4, 1e4, 0.0]])
    value, slope = jax.value_and_grad(seesaw)(logits, jnp.array([1, 0, 0]), COUNTS)
    assert jnp.isfinite(value)
    assert jnp.isfinite(slope).all()
    hopeless = jax.grad(seesaw)(logits[:1], jnp.array([0]), COUNTS)
    assert jnp.isfinite(hopeless).all()


def test_equalized_spares_only_rare_classes_and_only_in_the_foreground():
    targets = TARGETS.at[0].set(0.0)
    slope = jax.grad(equalized)(LOGITS, targets, COUNTS, threshold=0.05, reduction="sum")
    plain = jax.grad(sigmoid_cross_entropy)(LOGITS, targets, reduction="sum")
    spared = (slope == 0) & (plain != 0)
    assert spared.tolist() == ([[False] * 3] + [[False, False, True]] * 5 + [[False] * 3])
    close(jnp.where(spared, plain, slope), plain)
    everything = equalized(LOGITS, targets, COUNTS, threshold=0.0)
    close(everything, 3 * sigmoid_cross_entropy(LOGITS, targets))


def test_a_fresh_balance_changes_nothing():
    fresh = GradientBalance.zeros(3)
    assert jnp.isinf(fresh.ratios()).all()
    close(
        equalized_v2(LOGITS, TARGETS, fresh.ratios()),
        3 * sigmoid_cross_entropy(LOGITS, TARGETS),
    )


def test_the_balance_adds_up_what_the_loss_pulls():
    start = GradientBalance(jnp.array([5.0, 1.0, 0.1]), jnp.array([5.0, 2.0, 4.0]))
    options = {"slope": 5.0, "threshold": 0.6, "boost": 2.0}
    slope = jax.grad(equalized_v2)(LOGITS, TARGETS, start.ratios(), **options, reduction="sum")
    new = jax.jit(functools.partial(update_gradient_balance, **options))(start, LOGITS, TARGETS)
    close(new.positive, start.positive + jnp.where(TARGETS == 1, -slope, 0).sum(0))
    close(new.negative, start.negative + jnp.where(TARGETS == 0, slope, 0).sum(0))
    where = jnp.arange(7) < 4
    some = update_gradient_balance(
        start, LOGITS.at[4:].set(jnp.nan), TARGETS, **options, where=where
    )
    expected = update_gradient_balance(start, LOGITS[:4], TARGETS[:4], **options)
    jax.tree.map(close, some, expected)


def test_drowned_classes_hear_more_yes_and_less_no():
    slope = jax.grad(equalized_v2)(jnp.zeros((1, 2)), jnp.array([[1.0, 0.0]]), jnp.zeros(2))
    close(slope[0, 0], -0.5 * (1 + 4 * jax.nn.sigmoid(9.6)))
    close(slope[0, 1], 0.5 * jax.nn.sigmoid(-9.6))


@pytest.mark.usefixtures("as_users_run_it")
def test_arrays_must_hold_one_number_per_class():
    for loss, argument in (
        (balanced_softmax, "counts"),
        (seesaw, "counts"),
        (vector_scaling, "counts"),
    ):
        words = rf"{loss.__name__}: {argument} must be one count per class \(3,\), got \(2,\)"
        with pytest.raises(ValueError, match=words):
            loss(LOGITS, LABELS, jnp.ones(2))
    words = r"equalized_v2: gradient_ratios must be one per class \(3,\), got \(2,\)"
    with pytest.raises(ValueError, match=words):
        equalized_v2(LOGITS, TARGETS, jnp.ones(2))
