"""Losses built from maxima, and randomness that makes them smooth."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxloss.compose import fenchel_young, gumbel, perturbed_maximum
from jaxloss.losses.classification import soft_cross_entropy
from jaxloss.losses.ranking_metric import approx_ndcg
from jaxloss.losses.regression import squared

close = functools.partial(np.testing.assert_allclose, rtol=2e-6)
LOGITS = jax.random.normal(jax.random.key(0), (2, 5, 4))
TARGETS = jax.nn.softmax(jax.random.normal(jax.random.key(1), (2, 5, 4)))


def half_square(x):
    return (x * x).sum() / 2


def test_of_a_log_sum_exp_it_is_the_cross_entropy():
    maximum: Any = jax.nn.logsumexp
    loss = fenchel_young(maximum)
    close(loss(LOGITS, TARGETS), soft_cross_entropy(LOGITS, TARGETS))
    close(
        loss(LOGITS, TARGETS, reduction="none"),
        optax.losses.make_fenchel_young_loss(maximum)(LOGITS, TARGETS),
        rtol=1e-5,
    )
    slope = jax.grad(loss)(LOGITS, TARGETS, reduction="sum")
    close(slope, jax.nn.softmax(LOGITS) - TARGETS, atol=1e-6)


def test_of_half_a_square_it_is_half_the_squared_error():
    loss = fenchel_young(half_square, half_square)
    found = loss(LOGITS, TARGETS, reduction="none")
    close(found, 2 * squared(LOGITS, TARGETS, reduction="none").mean(-1), rtol=1e-5)
    assert loss.__name__ == "loss"


def test_where_and_weights_are_those_of_any_loss():
    loss = fenchel_young(jax.nn.logsumexp)
    where = jax.random.bernoulli(jax.random.key(2), 0.6, (2, 5))
    weights = jax.random.uniform(jax.random.key(3), (2, 5))
    dirty = jnp.where(where[..., None], LOGITS, jnp.nan)
    value, slope = jax.value_and_grad(loss)(dirty, TARGETS, where=where, weights=weights)
    close(value, loss(LOGITS[where], TARGETS[where], weights=weights[where]))
    assert (slope[~where] == 0).all()
    assert loss(LOGITS, TARGETS, where=where & False) == 0


def best(z):
    return jax.nn.one_hot(z.argmax(), z.shape[0])


def test_a_perturbed_maximum_is_that_of_gumbel_up_to_the_noise():
    """Of two scores under normal noise, the first is chosen with probability Phi(d / sqrt 2)."""
    maximum = perturbed_maximum(best, samples=4000, scale=0.5)
    at = jax.jit(jax.value_and_grad(maximum))
    value, chosen = at(jnp.array([0.6, 0.0]), jax.random.key(0))
    chance = float(jax.scipy.stats.norm.cdf(0.6 / 0.5 / np.sqrt(2)))
    close(chosen, [chance, 1 - chance], atol=0.03)
    spread = 0.5 * np.sqrt(2)
    exact = 0.6 * chance + spread * float(jax.scipy.stats.norm.pdf(0.6 / spread))
    close(value, exact, atol=0.03)


def test_a_solver_without_derivatives_can_be_trained_through():
    """Scores of items that are to be sorted: the target is the permutation of ranks."""

    def ranks(z):
        return jnp.argsort(jnp.argsort(z)).astype(z.dtype)

    loss = fenchel_young(perturbed_maximum(ranks, samples=50, scale=0.3))
    targets = jnp.array([[2.0, 0.0, 1.0, 3.0]])

    @jax.jit
    def step(scores, key):
        slope = jax.grad(loss)(scores, targets, jax.random.split(key, 1))
        return scores - 0.1 * slope

    scores = jnp.zeros((1, 4))
    for i in range(40):
        scores = step(scores, jax.random.key(i))
    assert (jax.vmap(ranks)(scores) == targets).all()


def test_gumbel_noise_averages_a_ranking_loss():
    scores, grades = jnp.array([[30.0, 0.0, 0.0, 0.0]]), jnp.array([[0, 1, 0, 0]])
    key = jax.random.key(0)
    plain = jax.grad(approx_ndcg)(scores, grades)
    assert abs(plain[0, 0]) < 1e-6
    stochastic = jax.jit(gumbel(approx_ndcg, samples=64, scale=1.0))
    each = [approx_ndcg(scores + jax.random.gumbel(k, (1, 4)), grades)
            for k in jax.random.split(key, 64)]  # fmt: skip
    assert abs(stochastic(key, scores, grades) - np.mean(each)) < 0.05
    assert (gumbel(approx_ndcg, samples=3, scale=0.0)(key, scores, grades)
            == approx_ndcg(scores, grades))  # fmt: skip
    masked = scores.at[0, 3].set(jnp.nan)
    where = jnp.array([[True, True, True, False]])
    slope = jax.grad(gumbel(approx_ndcg), argnums=1)(key, masked, grades, where=where)
    assert jnp.isfinite(slope).all()
    unreduced = gumbel(approx_ndcg)(key, scores, grades, reduction="none")
    assert unreduced.shape == (1,)


def test_samples_must_be_some():
    for make in (gumbel, perturbed_maximum):
        with pytest.raises(ValueError, match=f"{make.__name__}: samples must be at least 1, got 0"):
            make(best, samples=0)
