"""Limits of the agreement with labels in order."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from jaxloss.losses.agreement import weighted_kappa

close = functools.partial(np.testing.assert_allclose, rtol=2e-6)
LABELS = jnp.array([0, 1, 1, 2, 3, 3])


def test_full_agreement_chance_and_reversal():
    assert weighted_kappa(jnp.eye(4)[LABELS], LABELS) == 0
    base = jnp.bincount(LABELS, length=4) / 6
    for power in (1.0, 2.0):
        close(weighted_kappa(jnp.tile(base, (6, 1)), LABELS, power=power), 1)
        assert weighted_kappa(jnp.eye(4)[3 - LABELS], LABELS, power=power) > 1


def test_a_near_miss_costs_less_than_a_far_one():
    near, far = jnp.eye(4)[LABELS.at[0].set(1)], jnp.eye(4)[LABELS.at[0].set(3)]
    assert weighted_kappa(near, LABELS) < weighted_kappa(far, LABELS)


def test_nothing_to_disagree_about_and_labels_out_of_range():
    value, slope = jax.value_and_grad(weighted_kappa)(
        jnp.eye(3)[jnp.ones(4, int)], jnp.ones(4, int)
    )
    assert value == 0
    assert jnp.isfinite(slope).all()
    value, slope = jax.value_and_grad(weighted_kappa)(jnp.eye(3), jnp.array([0, 1, 3]))
    assert jnp.isnan(value)
    assert jnp.isnan(slope).any()
