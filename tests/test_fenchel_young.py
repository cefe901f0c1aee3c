"""Limits and extremes of the sparse cross-entropies."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxloss.core.sparse import (
    entmax15_probabilities,
    entmax_probabilities,
    sparsemax_probabilities,
)
from jaxloss.losses.classification import softmax_cross_entropy
from jaxloss.losses.fenchel_young import binary_sparsemax, entmax, entmax15, sparsemax

close = functools.partial(np.testing.assert_allclose, rtol=2e-6, atol=2e-7)
INF = jnp.inf
EXTREME = jnp.array(
    [
        [1e4, 0, -1e4],
        [0, 0, 0],
        [INF, 0, 1],
        [-INF, 0, 0],
        [-INF, 0, -INF],
        [INF, INF, 0],
        [1e4, 1e4 - 0.5, 0],
    ]
)
FIRST = jnp.zeros(7, jnp.int32)
LOSSES = [sparsemax, entmax15, *(functools.partial(entmax, power=a) for a in (0.5, 1, 1.7, 2))]
MAPPINGS = [
    sparsemax_probabilities,
    entmax15_probabilities,
    *(functools.partial(entmax_probabilities, power=a) for a in (0.5, 1.0, 1.7, 2.0)),
]


@pytest.mark.parametrize("mapping", MAPPINGS)
def test_probabilities_add_up_to_one_however_large_the_logits(mapping):
    p = mapping(EXTREME)
    close(p.sum(-1), jnp.ones(7), rtol=1e-5)
    assert (p >= 0).all()
    close(p[1], jnp.full(3, 1 / 3))
    close(p[2:6], [[1, 0, 0], [0, 0.5, 0.5], [0, 1, 0], [0.5, 0.5, 0]], rtol=1e-5)


@pytest.mark.parametrize("mapping", MAPPINGS)
def test_long_rows(mapping):
    logits = jax.random.normal(jax.random.key(0), (3, 5000)) * jnp.array([[0.01], [1], [5]])
    p = jax.jit(mapping)(logits)
    close(p.sum(-1), jnp.ones(3), rtol=3e-5)


@pytest.mark.parametrize("loss", LOSSES)
def test_the_gradient_is_the_distance_from_the_truth_and_finite(loss):
    losses = loss(EXTREME, FIRST, reduction="none")
    assert (losses >= 0).all()
    assert jnp.isinf(losses).tolist() == [False] * 3 + [True] * 2 + [False] * 2
    slope = jax.grad(functools.partial(loss, reduction="sum"))(EXTREME, FIRST)
    close(slope.sum(-1), jnp.zeros(7), atol=1e-6)
    close(slope[1], [-2 / 3, 1 / 3, 1 / 3], rtol=1e-6)
    close(slope[3], [-1, 0.5, 0.5], rtol=1e-5)
    curvature = jax.hessian(lambda z: loss(z, FIRST[:2]))(EXTREME[:2])
    assert jnp.isfinite(curvature).all()


@pytest.mark.parametrize("loss", LOSSES)
def test_a_label_out_of_range_is_nan(loss):
    value, slope = jax.value_and_grad(loss)(jnp.zeros((1, 3)), jnp.array([-1]))
    assert jnp.isnan(value)
    assert jnp.isnan(slope).all()


def test_a_label_far_enough_ahead_costs_nothing():
    for loss, lead in ((sparsemax, 1.0), (entmax15, 2.0)):
        logits = jnp.array([[lead, 0, 0], [lead + 3, 0, 1]])
        value, slope = jax.value_and_grad(loss)(logits, FIRST[:2])
        assert value == 0
        assert (slope == 0).all()


def test_small_losses_keep_their_digits():
    """A lead short of 1 by d leaves d / 2 for the other: a loss of d^2 / 4."""
    short = jnp.array([1e-3, 1e-5, 6e-8]).astype(jnp.float32)
    logits = jnp.stack([jnp.zeros(3), short - 1], -1)
    exact = (np.asarray(logits, np.float64)[:, 1] + 1) ** 2 / 4
    close(sparsemax(logits, FIRST[:3], reduction="none"), exact, atol=0)


def test_the_family_contains_its_members():
    logits = 2 * jax.random.normal(jax.random.key(1), (20, 7))
    labels = jax.random.randint(jax.random.key(2), (20,), 0, 7)
    both = jax.jit(lambda f, g: (jax.value_and_grad(f)(logits, labels), jax.value_and_grad(g)(
        logits, labels)), static_argnums=(0, 1))  # fmt: skip
    for power, member in ((1.0, softmax_cross_entropy), (1.5, entmax15), (2.0, sparsemax)):
        family, alone = both(functools.partial(entmax, power=power), member)
        close(family[0], alone[0], rtol=1e-5)
        close(family[1], alone[1], rtol=1e-5, atol=1e-6)


def test_the_power_can_be_learnt_also_at_its_limit():
    logits = 2 * jax.random.normal(jax.random.key(1), (5, 4))
    labels = jnp.arange(5) % 4
    with jax.enable_x64(True):
        double = logits.astype(float)
        at = jax.jit(lambda power: entmax(double, labels, power=power))
        for power in (0.6, 1.0, 1.4, 2.0):
            numeric = (at(power + 1e-5) - at(power - 1e-5)) / 2e-5
            close(jax.grad(at)(power), numeric, rtol=1e-7)


def test_binary_sparsemax_is_sparsemax_of_two_classes():
    score = jnp.array([-5.0, -1.0, -0.3, 0.0, 0.7, 1.0, 5.0])
    rows = jnp.stack([jnp.zeros(7), score], -1)
    for t in (0, 1):
        binary = jax.value_and_grad(functools.partial(binary_sparsemax, reduction="sum"))
        multi = jax.value_and_grad(functools.partial(sparsemax, reduction="sum"))
        value, slope = binary(score, jnp.full(7, t))
        expected, steep = multi(rows, jnp.full(7, t))
        close(value, expected)
        close(slope, steep[:, 1])
    infinite = binary_sparsemax(jnp.array([INF, -INF]), jnp.array([1, 0]))
    assert infinite == 0
