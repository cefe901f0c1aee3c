"""Averages, limits and extremes of the losses of language models."""

import functools

import jax
import jax.numpy as jnp
import mpmath
import numpy as np
import pytest

from jaxloss import classification
from jaxloss.losses.language import (
    dynamic_fine_tuning,
    multi_token_prediction,
    sequence_cross_entropy,
    sequence_log_probabilities,
    unlikelihood,
    z_cross_entropy,
    z_loss,
)

inf, nan = np.inf, np.nan
close = functools.partial(np.testing.assert_allclose, rtol=2e-6)
mpmath.mp.dps = 60
LENGTHS = jnp.array([5.0, 2.0, 1.0])
EXISTS = jnp.arange(5.0)[None] < LENGTHS[:, None]
LOGITS = 3 * jax.random.normal(jax.random.key(0), (3, 5, 4))
LABELS = jax.random.randint(jax.random.key(1), (3, 5), 0, 4)
ROWS = np.array(
    [[0.3, -0.2, 0.1], [9, 0, -1], [30, 1, 0], [-3, 80, 2], [1e4, 0, 1e4 - 9], [5, 5, 5]],
    np.float32,
)


def mp_softmax(z):
    z = [mpmath.mpf(float(x)) for x in z]
    powers = [mpmath.exp(x - max(z)) for x in z]
    return [x / sum(powers) for x in powers]


@pytest.fixture(scope="module")
def per_sequence():
    return sequence_cross_entropy(LOGITS, LABELS, where=EXISTS, reduction="none")


def test_lengths_as_weights_average_over_tokens(per_sequence):
    tokens = classification.softmax_cross_entropy(LOGITS, LABELS, where=EXISTS)
    close((per_sequence * LENGTHS).sum() / LENGTHS.sum(), tokens)
    close(sequence_cross_entropy(LOGITS, LABELS, where=EXISTS, weights=LENGTHS), tokens)


def test_inverse_lengths_average_over_sequences(per_sequence):
    weights = 1 / LENGTHS[:, None]
    each = classification.softmax_cross_entropy(LOGITS, LABELS, where=EXISTS, weights=weights)
    close(per_sequence.mean(), each)


def test_padding_may_hold_anything(per_sequence):
    dirty = jnp.where(EXISTS[..., None], LOGITS, nan)
    labels = jnp.where(EXISTS, LABELS, -100)
    loss = functools.partial(sequence_cross_entropy, where=EXISTS)
    value, slope = jax.value_and_grad(loss)(dirty, labels)
    close(value, per_sequence.mean())
    assert jnp.isfinite(slope).all()
    assert (jnp.where(EXISTS[..., None], 0, slope) == 0).all()


def test_a_sequence_without_tokens_counts_nothing(per_sequence):
    exists = EXISTS.at[1].set(False)
    value = sequence_cross_entropy(LOGITS, LABELS, where=exists)
    close(value, (per_sequence[0] + per_sequence[2]) / 2)


def test_sequence_log_probabilities_add_up(per_sequence):
    found = sequence_log_probabilities(LOGITS, LABELS, where=EXISTS)
    close(found, -per_sequence * LENGTHS)
    wrong = sequence_log_probabilities(LOGITS, LABELS.at[0, 1].set(7), where=EXISTS)
    assert jnp.isnan(wrong).tolist() == [True, False, False]


@pytest.mark.parametrize("logits", ROWS, ids=str)
def test_z_loss_keeps_its_digits(logits):
    total = mpmath.log(sum(mpmath.exp(mpmath.mpf(float(x))) for x in logits))
    value, slope = jax.value_and_grad(z_loss)(jnp.asarray(logits))
    close(value, float(total**2))
    close(slope, [float(2 * total * p) for p in mp_softmax(logits)], atol=1e-37)


def test_the_partition_of_infinite_logits():
    value, slope = jax.value_and_grad(z_loss)(jnp.array([-inf, 0, 0]))
    close(value, np.log(2) ** 2)
    close(slope, [0, np.log(2), np.log(2)])
    for logits in ([inf, 0, 0], [-inf, -inf, -inf]):
        value, slope = jax.value_and_grad(z_loss)(jnp.array(logits))
        assert value == inf
        assert (slope == 0).all()


def test_z_cross_entropy_is_a_sum():
    smoothed = functools.partial(z_cross_entropy, z_loss=0.3, label_smoothing=0.2)
    expected = classification.softmax_cross_entropy(LOGITS, LABELS, label_smoothing=0.2)
    close(smoothed(LOGITS, LABELS), expected + 0.3 * z_loss(LOGITS))
    huge = jnp.array([[inf, 0.0]])
    assert z_cross_entropy(huge, jnp.array([0]), z_loss=0.0) == 0


def test_one_head_is_a_language_model():
    found = multi_token_prediction(LOGITS[..., None, :], LABELS, where=EXISTS, reduction="none")
    expected = classification.softmax_cross_entropy(LOGITS, LABELS, where=EXISTS, reduction="none")
    close(found[..., 0], expected)


def test_heads_predict_what_exists():
    """A gap in the middle: neither predicted from nor predicted."""
    logits = jax.random.normal(jax.random.key(2), (5, 3, 4))
    exists = jnp.array([True, True, False, True, True])
    dirty = logits.at[2].set(nan)
    labels = LABELS[0].at[2].set(-100)
    found = multi_token_prediction(dirty, labels, where=exists, reduction="none")
    alone = [[True, True, False], [True, False, True], [False] * 3, [True, True, False]]
    assert (found > 0).tolist() == [*alone, [True, False, False]]
    nll = -jax.nn.log_softmax(logits)
    close(found[1, 2], nll[1, 2, labels[3]])
    close(found[3, 1], nll[3, 1, labels[4]])
    weights = jnp.array([[1.0, 0.5, 0.25]])
    mean = multi_token_prediction(dirty, labels, where=exists, weights=weights)
    close(mean, (found * weights).sum() / jnp.where(found > 0, weights, 0).sum())


def test_more_heads_than_tokens():
    logits = jax.random.normal(jax.random.key(2), (2, 5, 4))
    losses = multi_token_prediction(logits, LABELS[0, :2], reduction="none")
    assert (losses > 0).sum() == 3


@pytest.mark.parametrize("logits", ROWS, ids=str)
def test_the_gradient_of_dynamic_fine_tuning_is_that_of_the_probability(logits):
    p = mp_softmax(logits)
    for label in range(3):
        value, slope = jax.value_and_grad(dynamic_fine_tuning)(jnp.asarray(logits), label)
        close(value, float(-p[label] * mpmath.log(p[label])), rtol=1e-5, atol=1e-37)
        expected = [float(p[label] * (p[c] - (c == label))) for c in range(3)]
        close(slope, expected, rtol=1e-5, atol=1e-37)


def test_the_impossible_is_not_learnt():
    value, slope = jax.value_and_grad(dynamic_fine_tuning)(jnp.array([-inf, 0, 0]), 0)
    assert value == 0
    assert (slope == 0).all()


@pytest.mark.parametrize("logits", ROWS, ids=str)
def test_unlikelihood_keeps_its_digits(logits):
    p = mp_softmax(logits)
    for wrong in (0, 1, 2):
        others = sum(x for c, x in enumerate(p) if c != wrong)
        slope = [
            float(p[wrong]) if c == wrong else float(-p[wrong] * p[c] / others) for c in range(3)
        ]
        value, found = jax.value_and_grad(unlikelihood)(jnp.asarray(logits), jnp.eye(3)[wrong])
        close(value, float(-mpmath.log(others)), atol=1e-37)
        close(found, [float(x) for x in slope], rtol=1e-5, atol=1e-37)


def test_unlikelihood_of_the_certain_and_of_the_excluded():
    at = jax.value_and_grad(unlikelihood)
    value, slope = at(jnp.array([0, -inf, -inf]), jnp.array([1.0, 0, 0]))
    assert value == inf
    assert jnp.isfinite(slope).all()
    value, slope = at(jnp.array([0, -inf, 0]), jnp.array([0, 1.0, 0]))
    assert value == 0
    assert (slope == 0).all()
    value, slope = at(jnp.array([1e4, 0, 0]), jnp.array([0, 1.0, 0.5]))
    assert value == 0
    assert (slope == 0).all()


def test_wrong_arguments_are_refused(as_users_run_it):
    with pytest.raises(ValueError, match=r"sequence_cross_entropy: logits must be of shape"):
        sequence_cross_entropy(jnp.zeros(3), jnp.array(0))
    with pytest.raises(ValueError, match=r"multi_token_prediction: labels must be one class id"):
        multi_token_prediction(jnp.zeros((2, 5, 3, 4)), LABELS)
    losses = z_cross_entropy(jnp.zeros((3, 4)), jnp.array([0, 4, -1]), reduction="none")
    assert jnp.isnan(losses).tolist() == [False, True, True]
