"""Limits and extremes of the cross-entropies that correct labels."""

import functools

import jax
import jax.numpy as jnp
import mpmath
import numpy as np
import pytest

from jaxloss.losses.classification import softmax_cross_entropy
from jaxloss.losses.noise_correction import (
    early_learning,
    forward_corrected,
    hard_bootstrapped,
    soft_bootstrapped,
    update_running_probabilities,
)

inf = np.inf
close = functools.partial(np.testing.assert_allclose, rtol=2e-6)
mpmath.mp.dps = 60
LOGITS = np.array(
    [[0.3, -0.2, 0.1], [9, 0, -1], [30, 1, 0], [-3, 80, 2], [1e4, 0, 1e4 - 9], [5, 5, 5]],
    np.float32,
)
RATES = np.array([[0.875, 0.125, 0], [0.25, 0.5, 0.25], [0, 0, 1]], np.float32)


def mp_softmax(z):
    z = [mpmath.mpf(float(x)) for x in z]
    powers = [mpmath.exp(x - max(z)) for x in z]
    return [x / sum(powers) for x in powers]


def both(loss, logits, *truth, **options):
    logits = jnp.asarray(logits, jnp.float32)
    at = functools.partial(loss, **options)
    return jax.value_and_grad(at)(logits, *map(jnp.asarray, truth))


@pytest.mark.parametrize("logits", LOGITS, ids=str)
def test_becomes_the_cross_entropy(logits):
    """With full trust in the label, or with no mistakes."""
    p = mp_softmax(logits)
    for label in (0, 1, 2):
        value = float(-mpmath.log(p[label]))
        slope = [float(x - (c == label)) for c, x in enumerate(p)]
        for found, gradient in (
            both(soft_bootstrapped, logits, label, trust=1.0),
            both(hard_bootstrapped, logits, label, trust=1.0),
            both(forward_corrected, logits, label, np.eye(3, dtype=np.float32)),
        ):
            close(found, value, atol=1e-37)
            close(gradient, slope, atol=1e-37)


@pytest.mark.parametrize("logits", LOGITS, ids=str)
def test_forward_corrected_keeps_its_digits(logits):
    p = mp_softmax(logits)
    for label in (0, 1, 2):
        rates = [mpmath.mpf(float(x)) for x in RATES[:, label]]
        noisy = sum(x * rate for x, rate in zip(p, rates, strict=True))
        slope = [float(-x * (rate - noisy) / noisy) for x, rate in zip(p, rates, strict=True)]
        found, gradient = both(forward_corrected, logits, label, RATES)
        close(found, float(-mpmath.log(noisy)), atol=1e-37)
        close(gradient, slope, rtol=1e-5, atol=2e-7)


def test_the_rates_may_be_learnt():
    """d/dT_cy of -log of the sum of p_c T_cy."""
    logits, p = LOGITS[0], np.array(mp_softmax(LOGITS[0]), float)
    rates = np.full((3, 3), 1 / 3, np.float32)
    learn = jax.grad(forward_corrected, argnums=2)
    found = learn(jnp.asarray(logits), jnp.array(1), jnp.asarray(rates))
    expected = np.zeros((3, 3))
    expected[:, 1] = -p / (p @ rates[:, 1])
    close(found, expected, rtol=1e-5, atol=1e-7)
    assert jnp.isfinite(learn(jnp.asarray(logits), jnp.array(1), jnp.asarray(RATES))).all()


@pytest.mark.parametrize("logits", LOGITS, ids=str)
def test_no_trust_leaves_the_entropy(logits):
    p = mp_softmax(logits)
    entropy = -sum(x * mpmath.log(x) for x in p)
    slope = [float(-x * (mpmath.log(x) + entropy)) for x in p]
    for label in (0, 2):
        found, gradient = both(soft_bootstrapped, logits, label, trust=0.0)
        close(found, float(entropy), atol=1e-37)
        close(gradient, slope, rtol=1e-5, atol=1e-7)


def test_no_trust_follows_the_model():
    logits = [0.2, 1.0, -0.5]
    found = both(hard_bootstrapped, logits, 0, trust=0.0)
    expected = both(hard_bootstrapped, logits, 1, trust=1.0)
    for actual, wanted in zip(found, expected, strict=True):
        close(actual, wanted)


@pytest.mark.parametrize("logits", [[-inf, 0, 0], [0, -inf, 0], [inf, 0, 1], [0, inf, -inf]])
def test_infinite_logits_give_the_limit(logits):
    for loss, truth in (
        (soft_bootstrapped, (0,)),
        (hard_bootstrapped, (0,)),
        (forward_corrected, (0, np.eye(3, dtype=np.float32))),
        (forward_corrected, (0, RATES)),
    ):
        value, slope = both(loss, logits, *truth)
        assert not jnp.isnan(value)
        assert jnp.isfinite(slope).all()
    certain, _ = both(forward_corrected, [0, inf, -inf], 0, RATES)
    close(certain, np.log(4))


def test_wrong_arguments_are_refused(as_users_run_it):
    with pytest.raises(
        ValueError, match=r"forward_corrected: transitions must be .* \(3, 3\), got"
    ):
        forward_corrected(jnp.zeros((2, 3)), jnp.array([0, 1]), jnp.eye(2))


@pytest.mark.parametrize("loss", [soft_bootstrapped, hard_bootstrapped])
def test_a_label_out_of_range_is_nan(loss):
    losses = loss(jnp.zeros((3, 4)), jnp.array([0, 4, -1]), reduction="none")
    assert jnp.isnan(losses).tolist() == [False, True, True]


def test_early_learning_from_nothing_learnt_to_all_but_sure():
    logits, labels = jnp.array([[2.0, 0.0, -1.0]]), jnp.array([1])
    close(early_learning(logits, labels, jnp.zeros((1, 3))), softmax_cross_entropy(logits, labels))
    sure, before = jnp.array([[40.0, 0.0, -jnp.inf]]), jnp.array([[1.0, 0.0, 0.0]])
    value, slope = jax.value_and_grad(early_learning)(sure, labels, before, penalty=2.0)
    close(value, 40 - 2 * 40)  # what is not the same has a probability of e^-40
    close(slope, [[1 - 2, -1 + 2, 0]])
    assert jnp.isnan(early_learning(logits, jnp.array([3]), before))


def test_running_probabilities_are_a_mean_that_forgets():
    first, second = jnp.array([[0.0, 0.0]]), jnp.array([[np.log(3.0), 0.0]], jnp.float32)
    running = update_running_probabilities(jnp.zeros((1, 2)), first, decay=0.6)
    close(running, [[0.2, 0.2]])
    close(update_running_probabilities(running, second, decay=0.6), [[0.42, 0.22]])
    slope = jax.grad(lambda z: update_running_probabilities(running, z).sum())(second)
    assert (slope == 0).all()
