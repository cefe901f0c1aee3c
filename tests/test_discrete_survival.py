"""Limits and extremes of the likelihoods of survival over intervals."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.experimental import checkify

from jaxloss.losses.discrete_survival import deephit_rank, logistic_hazard, mtlr, pc_hazard, pmf

close = functools.partial(np.testing.assert_allclose, rtol=2e-6)
LIKELIHOODS = [logistic_hazard, pmf, mtlr]
every = pytest.mark.parametrize("loss", LIKELIHOODS)


@every
def test_probabilities_of_all_ends_add_up_to_one(loss):
    """An event in any of the intervals, or none until the end of the last."""
    logits = jnp.tile(jnp.array([0.3, -2.0, 1.5]), (4, 1))
    losses = loss(logits, jnp.array([0, 1, 2, 2]), jnp.array([1, 1, 1, 0]), reduction="none")
    close(jnp.exp(-losses).sum(), 1)


@every
def test_huge_logits_have_finite_values_and_slopes(loss):
    logits = jnp.array([[1e4, -1e4, 0.0], [-1e4, -1e4, 1e4]])
    for labels in ([0, 2], [1, 1], [2, 0]):
        for events in ([1, 1], [0, 0]):
            at = jax.value_and_grad(loss)
            value, slope = at(logits, jnp.array(labels), jnp.array(events), reduction="sum")
            assert value >= 0
            assert jnp.isfinite(value)
            assert jnp.isfinite(slope).all()


def test_a_sure_model_keeps_its_digits():
    """Of odds e^30: nearly certain to be over in the first interval, or never to be."""
    sure = jnp.array([[30.0, 0.0]])
    value, slope = jax.value_and_grad(pmf)(sure, jnp.array([0]), jnp.array([1]))
    close(value, 2 * np.exp(-30))
    close(slope, [[-2 * np.exp(-30), np.exp(-30)]])
    value, slope = jax.value_and_grad(pmf)(-sure, jnp.array([0]), jnp.array([0]))
    close(value, np.exp(-30) / 2)
    close(slope[0, 0], np.exp(-30) / 2)


def test_piecewise_constant_hazards_of_any_size():
    logits = jnp.array([[-50.0], [-12.1], [-11.9], [0.0], [50.0]])
    at = jax.value_and_grad(lambda z: pc_hazard(z, jnp.zeros(5, int), jnp.ones(5, int),
                                                jnp.full(5, 0.3), reduction="sum"))  # fmt: skip
    value, slope = at(logits)
    z = np.asarray(logits, float)[:, 0]
    hazard = np.log1p(np.exp(z))
    close(value, (0.3 * hazard - np.log(hazard)).sum())
    close(slope[:, 0], (0.3 - 1 / hazard) / (1 + np.exp(-z)), rtol=5e-6)


@pytest.mark.parametrize("loss", [*LIKELIHOODS, deephit_rank])
def test_a_label_out_of_range_is_nan_in_value_and_gradient(loss):
    logits, events = jnp.zeros((3, 4)), jnp.array([True, True, False])
    losses, pull = jax.vjp(
        lambda z: loss(z, jnp.array([0, 4, 3]), events, reduction="none"), logits
    )
    assert jnp.isnan(losses).tolist() == [False, True, False]
    assert jnp.isnan(pull(jnp.array([0.0, 1.0, 0.0]))[0]).any()


def test_nobody_to_rank():
    value, slope = jax.value_and_grad(deephit_rank)(
        jnp.ones((2, 3)), jnp.array([1, 1]), jnp.array([1, 1])
    )
    assert value == 0
    assert (slope == 0).all()


def test_ranking_forgets_who_does_not_exist():
    logits = jax.random.normal(jax.random.key(0), (6, 4))
    labels, events = jnp.array([0, 2, 1, 3, 3, 1]), jnp.array([1, 1, 0, 1, 0, 1])
    where = jnp.arange(6) < 4
    value, slope = jax.value_and_grad(deephit_rank)(
        logits.at[4:].set(jnp.nan), labels.at[4:].set(-100), events, where=where
    )
    close(value, deephit_rank(logits[:4], labels[:4], events[:4]))
    assert (slope[4:] == 0).all()
    assert jnp.isfinite(slope).all()


@pytest.mark.parametrize(
    ("events", "fraction", "expected"),
    [
        (1, 1.5, "pc_hazard: fractions must lie in [0, 1], got 1.5"),
        (3, 0.5, "pc_hazard: events must be 0 or 1, got 3"),
        (1, 0.5, ""),
    ],
)
def test_preconditions(events, fraction, expected):
    error, _ = jax.jit(checkify.checkify(pc_hazard))(
        jnp.zeros((1, 2)), jnp.zeros(1, int), jnp.full(1, events), jnp.full(1, fraction)
    )
    assert (error.get() or "").partition(" (`check`")[0] == expected
