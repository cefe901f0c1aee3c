"""Competing risks: one of them alone, all that can happen, and impossible labels."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from jaxloss.losses import discrete_survival
from jaxloss.losses.competing_risks import pmf, rank
from tests.test_checkify import message

close = functools.partial(np.testing.assert_allclose, rtol=2e-6)
LOGITS = jax.random.normal(jax.random.key(0), (6, 2, 4))
LABELS = jnp.array([0, 1, 3, 2, 1, 2])
CAUSES = jnp.array([1, 0, 2, 1, 2, 0])


def test_one_risk_is_survival_without_others():
    alone, events = LOGITS[:, 0], (CAUSES > 0).astype(jnp.int32)
    for loss, simple in ((pmf, discrete_survival.pmf), (rank, discrete_survival.deephit_rank)):
        found = loss(alone[:, None], LABELS, events, reduction="none")
        close(found, simple(alone, LABELS, events, reduction="none"))


def test_probabilities_of_all_that_can_happen_add_up_to_one():
    what = [(k, d) for k in range(4) for d in (1, 2)] + [(3, 0)]
    labels, causes = (jnp.array(x) for x in zip(*what, strict=True))
    logits = jnp.broadcast_to(LOGITS[0], (len(what), 2, 4))
    close(jnp.exp(-pmf(logits, labels, causes, reduction="none")).sum(), 1)


def test_sure_logits():
    logits = jnp.array([[[-jnp.inf, 1e4, 0.0], [0.0, -1e4, -jnp.inf]]])
    at = jax.value_and_grad(pmf)
    value, slope = at(logits, jnp.array([1]), jnp.array([1]))
    assert value == 0
    assert jnp.isfinite(slope).all()
    value, slope = at(logits, jnp.array([1]), jnp.array([2]))
    close(value, 2e4)
    assert jnp.isfinite(slope).all()


def test_labels_and_causes_out_of_range_are_nan():
    labels, causes = jnp.array([0, 4, -1, 0, 0, 0]), jnp.array([1, 1, 1, 3, -1, 0])
    for loss in (pmf, rank):
        found = loss(LOGITS, labels, causes, reduction="none")
        assert jnp.isnan(found).tolist() == [False, True, True, True, True, False]
    assert message(pmf, LOGITS, LABELS, causes) == "pmf: causes must lie in [0, 2], got 3"
