"""What follows from the formulas of the losses on the area under the curve."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from jaxloss.losses.auc import minimax, squared_hinge

close = functools.partial(np.testing.assert_allclose, rtol=2e-6)


def pair_by_pair(logits, targets, margin=1.0):
    short = jax.nn.relu(margin - (logits[:, None] - logits[None, :]))
    pairs = (targets[:, None] == 1) & (targets[None, :] == 0)
    return jnp.where(pairs, short**2, 0).sum() / pairs.sum().astype(short.dtype)


@pytest.mark.parametrize("size", [2, 7, 300])
def test_sorting_gives_value_and_slopes_of_all_pairs(size):
    keys = jax.random.split(jax.random.key(size))
    logits = jnp.round(3 * jax.random.normal(keys[0], (size,)), 1)
    targets = (
        jax.random.bernoulli(keys[1], 0.3, (size,)).astype(float).at[:2].set(jnp.array([1.0, 0.0]))
    )
    found = jax.value_and_grad(squared_hinge)(logits, targets)
    expected = jax.value_and_grad(pair_by_pair)(logits, targets)
    close(found[0], expected[0])
    close(found[1], expected[1], rtol=1e-5, atol=1e-7)


def test_a_perfect_and_a_reversed_order():
    targets = jnp.array([0, 0, 1, 1])
    logits = jnp.array([0.0, 0.5, 2.0, 3.0])
    value, slope = jax.value_and_grad(squared_hinge)(logits, targets)
    assert roc_auc_score(targets, logits) == 1
    assert value == 0
    assert (slope == 0).all()
    assert squared_hinge(-logits, targets) > 4


def test_a_small_sum_survives_large_scores():
    """Prefix sums of squares would leave nothing of the digits of 1e-6 beside 1e8."""
    logits, targets = jnp.array([1e4, 1e4 - 1, -1e4, -1e4 + 1e-3]), jnp.array([1, 0, 1, 0])
    yes, no = np.asarray(logits, np.float64).reshape(2, 2).T
    exact = np.mean(np.maximum(0, 1 - (yes[:, None] - no)) ** 2)
    close(squared_hinge(logits, targets), exact)
    close(squared_hinge(jnp.array([3e4, 0.999, 0.0]), jnp.array([1, 1, 0])), 0.5e-6, rtol=1e-4)


def test_infinite_scores_have_finite_slopes():
    right = jnp.array([-jnp.inf, 1e4, 0.0, jnp.inf, 2.0, jnp.inf])
    value, slope = jax.value_and_grad(squared_hinge)(right, jnp.array([0, 1, 0, 1, 1, 1]))
    assert value == 0
    assert (slope == 0).all()
    value, slope = jax.value_and_grad(squared_hinge)(right, jnp.array([0, 1, 0, 1, 1, 0]))
    assert jnp.isinf(value)
    assert jnp.isfinite(slope).all()


def test_rows_without_a_pair_do_not_count():
    logits = jnp.array([[0.3, -1.0, 0.7], [1.0, 2.0, 3.0], [1.0, 2.0, 3.0]])
    targets = jnp.array([[1, 0, 0], [1, 1, 1], [0, 0, 0]])
    value, slope = jax.value_and_grad(squared_hinge)(logits, targets)
    close(value, squared_hinge(logits[0], targets[0]))
    assert (slope[1:] == 0).all()
    point = jnp.array([0.5, 0.2, 0.1])
    p = jax.nn.sigmoid(logits)
    close(minimax(p, targets, point), minimax(p[0], targets[0], point))


def test_the_saddle_point_is_the_variances_and_the_shortfall():
    p, targets = jnp.array([0.9, 0.4, 0.6, 0.2, 0.1]), jnp.array([1, 1, 0, 0, 0])
    yes, no = np.array([0.9, 0.4]), np.array([0.6, 0.2, 0.1])
    shortfall = 1 + no.mean() - yes.mean()
    saddle = jnp.array([yes.mean(), no.mean(), shortfall], jnp.float32)
    value, slope = jax.value_and_grad(minimax, argnums=2)(p, targets, saddle)
    close(value, yes.var() + no.var() + shortfall**2)
    close(slope, np.zeros(3), atol=1e-6)
    bend = jax.hessian(minimax, argnums=2)(p, targets, saddle)
    close(bend, np.diag([2.0, 2.0, -2.0]), atol=1e-6)


def test_ascending_in_the_multiplier_finds_the_saddle_point():
    p, targets = jnp.array([0.9, 0.4, 0.6, 0.2, 0.1]), jnp.array([1, 1, 0, 0, 0])
    slope = jax.jit(jax.grad(minimax, argnums=2))
    saddle = jnp.zeros(3)
    for _ in range(80):
        saddle -= 0.2 * slope(p, targets, saddle) * jnp.array([1.0, 1.0, -1.0])
    close(saddle, [0.65, 0.3, 0.65], rtol=1e-5)


@pytest.mark.usefixtures("as_users_run_it")
def test_the_saddle_has_three_numbers():
    with pytest.raises(ValueError, match=r"minimax: saddle must be of shape \(3,\), got \(2,\)"):
        minimax(jnp.zeros(4), jnp.zeros(4), jnp.zeros(2))
