"""Limits of the losses that calibrate."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from jaxloss.losses.calibration import binned_error, kernel_error, margin_smoothing
from jaxloss.losses.classification import softmax_cross_entropy

close = functools.partial(np.testing.assert_allclose, rtol=1e-5)


def sure(shares):
    """Logits of two classes of which the first has these probabilities."""
    p = jnp.asarray(shares)
    return jnp.log(jnp.stack([p, 1 - p], -1))


def test_a_batch_that_is_as_sure_as_it_is_right_costs_nothing():
    logits, labels = sure([0.75] * 4), jnp.array([0, 0, 0, 1])
    close(kernel_error(logits, labels), 0, atol=1e-7)
    close(binned_error(logits, labels), 0, atol=1e-7)


def test_too_sure_throughout_is_the_squared_gap():
    logits, labels = sure([0.9] * 4), jnp.array([0, 1, 0, 1])
    close(kernel_error(logits, labels), 0.4**2)
    close(binned_error(logits, labels), 0.4**2)
    close(binned_error(logits, labels, power=1.0), 0.4)
    slope = jax.grad(kernel_error)(logits, labels)
    assert (slope[:, 0] > 0).all()  # be less sure


def test_far_confidences_do_not_make_up_for_each_other():
    logits, labels = sure([0.6, 0.6, 0.95, 0.95]), jnp.array([0, 0, 1, 0])
    apart = kernel_error(logits, labels, scale=1e-3)
    close(apart, (0.4**2 + 0.45**2) / 4)  # of all pairs half are near
    close(binned_error(logits, labels, temperature=1e-4), (0.4**2 + 0.45**2) / 2)
    assert kernel_error(logits, labels, scale=1e3) < 1e-3


def test_sharp_bins_are_those_of_the_expected_calibration_error():
    p = np.array([0.55, 0.62, 0.71, 0.77, 0.93, 0.99], np.float32)
    right = np.array([1, 0, 1, 1, 1, 0])
    index = (p * 5).astype(int)
    expected = sum(abs((right - p)[index == b].sum()) for b in range(5)) / len(p)
    found = binned_error(sure(p), 1 - right, bins=5, temperature=1e-4, power=1.0)
    close(found, expected, rtol=1e-4)


def test_a_wide_margin_is_the_cross_entropy_and_a_sure_model_is_held_back():
    logits, labels = jax.random.normal(jax.random.key(0), (5, 3)), jnp.array([0, 1, 2, 0, 1])
    close(margin_smoothing(logits, labels), softmax_cross_entropy(logits, labels))
    value, slope = jax.value_and_grad(margin_smoothing)(jnp.array([1e4, 0.0, -jnp.inf]), 0)
    close(value, 0.1 * (1e4 - 10))
    close(slope, [0.1, -0.1, 0], atol=1e-6)


def test_a_label_out_of_range_is_nan():
    for loss in (kernel_error, binned_error, margin_smoothing):
        value, slope = jax.value_and_grad(loss)(jnp.eye(3), jnp.array([0, 1, 3]))
        assert jnp.isnan(value)
        assert jnp.isnan(slope).any()
