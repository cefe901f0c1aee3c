"""Classes found in two steps."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxloss.losses.classification import softmax_cross_entropy
from jaxloss.losses.hierarchical import adaptive_log_probabilities, adaptive_softmax

close = functools.partial(np.testing.assert_allclose, rtol=2e-6)
LOGITS = jax.random.normal(jax.random.key(0), (7, 9))
CUTOFFS = (2, 4)


def test_without_clusters_it_is_the_cross_entropy():
    labels = jnp.arange(7)
    close(adaptive_softmax(LOGITS, labels), softmax_cross_entropy(LOGITS, labels))


def test_log_probabilities_are_those_of_the_loss_and_add_up_to_one():
    logs = adaptive_log_probabilities(LOGITS, cutoffs=CUTOFFS)
    assert logs.shape == (7, 7)
    close(jnp.exp(logs).sum(-1), np.ones(7))
    labels = jnp.arange(7)
    close(
        adaptive_softmax(LOGITS, labels, cutoffs=CUTOFFS, reduction="none"),
        -logs[labels, labels],
    )


def test_a_cluster_learns_from_its_own_labels_only():
    slope = jax.grad(adaptive_softmax)(LOGITS[:1], jnp.array([3]), cutoffs=CUTOFFS)
    assert (slope[0, :6] != 0).all()
    assert (slope[0, 6:] == 0).all()
    wild = LOGITS[:1].at[:, 6:].set(jnp.array([jnp.inf, -jnp.inf, jnp.nan]))
    value, slope = jax.value_and_grad(adaptive_softmax)(wild, jnp.array([3]), cutoffs=CUTOFFS)
    close(value, adaptive_softmax(LOGITS[:1], jnp.array([3]), cutoffs=CUTOFFS))
    assert jnp.isfinite(slope).all()


def test_a_label_out_of_range_is_nan_in_value_and_gradient():
    labels = jnp.array([0, -1, 7, 6, 1, 2, 3])
    losses, pull = jax.vjp(
        lambda z: adaptive_softmax(z, labels, cutoffs=CUTOFFS, reduction="none"), LOGITS
    )
    bad = [False, True, True, False, False, False, False]
    assert jnp.isnan(losses).tolist() == bad
    assert jnp.isnan(pull(jnp.ones(7))[0]).any(-1).tolist() == bad


@pytest.mark.parametrize("cutoffs", [(0,), (3, 3), (8,), (4, 2)])
def test_cutoffs_must_increase(cutoffs):
    with pytest.raises(ValueError, match="adaptive_softmax: cutoffs must increase from 1 to"):
        adaptive_softmax(LOGITS, jnp.zeros(7, int), cutoffs=cutoffs)
