"""What no law can know about the losses on distances between embeddings with labels."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxloss import neighbors

EMBEDDINGS = jax.random.normal(jax.random.key(0), (6, 4))
LABELS = jnp.array([3, 1, 2, 1, 3, 1])
POINTS = jnp.array([[0.0, 0.0], [0.0, 0.0], [3.0, 4.0], [0.0, 1.0]])
LOSSES = [
    neighbors.nca,
    neighbors.soft_nearest_neighbor,
    neighbors.margin,
    neighbors.lifted_structure,
    neighbors.generalized_lifted_structure,
]


def test_nca_is_one_minus_the_exponential_of_its_sibling():
    losses = neighbors.nca(EMBEDDINGS, LABELS, temperature=2.0, reduction="none")
    logs = neighbors.soft_nearest_neighbor(EMBEDDINGS, LABELS, temperature=2.0, reduction="none")
    np.testing.assert_allclose(losses, -jnp.expm1(-logs), rtol=1e-6)


def test_soft_nearest_neighbor_keeps_its_digits_when_sure():
    """Partners coincide and others are 10 away: a loss of 2 e^-100 at temperature 1."""
    points = jnp.array([[0.0], [0.0], [10.0], [10.0]])
    labels = jnp.array([0, 0, 1, 1])
    value = neighbors.soft_nearest_neighbor(points, labels, temperature=1.5)
    np.testing.assert_allclose(value, 2 * np.exp(-100 / 1.5), rtol=1e-5)


def test_near_points_keep_their_digits_far_from_the_origin():
    """Products of 10^6 would cancel; differences of 2^-4 are exact."""
    points = 1000 + jnp.array([[0.0], [0.0625], [1.0]])
    losses = neighbors.margin(
        points, jnp.array([0, 0, 1]), boundary=0.0, margin=1.0, reduction="none"
    )
    np.testing.assert_array_equal(losses, [[0, 1.0625, 0], [1.0625, 0, 0.0625], [0, 0.0625, 0]])


def test_margin_asks_of_every_pair():
    losses = neighbors.margin(POINTS, jnp.array([0, 1, 0, 1]), boundary=2.0, margin=0.5)
    each = [2.5, 3.5, 1.5, 0, 0, 0]  # 01, 02, 03, 12, 13, 23
    np.testing.assert_allclose(losses, np.mean(each), rtol=1e-6)


def test_lifted_structure_is_zero_once_all_others_are_far():
    points = jnp.array([[0.0], [1.0], [50.0], [51.0]])
    labels = jnp.array([0, 0, 1, 1])
    for loss in (neighbors.lifted_structure, neighbors.generalized_lifted_structure):
        value, gradient = jax.value_and_grad(loss)(points, labels)
        assert value == 0
        np.testing.assert_array_equal(gradient, 0)


@pytest.mark.parametrize("labels", [[0, 1, 2, 3], [5, 5, 5, 5]], ids=["no positive", "no negative"])
@pytest.mark.parametrize("loss", LOSSES)
def test_without_pairs_to_compare_and_with_coincident_points_all_is_finite(loss, labels):
    def at(embeddings):
        return loss(embeddings, jnp.array(labels))

    for derivative in (lambda f: f, jax.jacrev, jax.jacfwd, jax.hessian):
        found = jax.jit(derivative(at))(POINTS)
        assert jnp.isfinite(found).all()
        if loss is not neighbors.margin:
            np.testing.assert_array_equal(found, 0)


@pytest.mark.parametrize("scale", [1e-30, 1e30])
@pytest.mark.parametrize("loss", LOSSES)
def test_no_scale_is_too_small_or_too_large(loss, scale):
    value, gradient = jax.value_and_grad(loss)(EMBEDDINGS * scale, LABELS)
    squared = loss is neighbors.lifted_structure and scale > 1  # beyond float32 indeed
    assert squared or jnp.isfinite(value)
    assert squared or jnp.isfinite(gradient).all()


@pytest.mark.parametrize("loss", [neighbors.soft_nearest_neighbor, neighbors.lifted_structure])
def test_memory_is_for_pairs_not_for_all_their_differences(loss):
    batch, features = 256, 64
    gradient = jax.jit(jax.grad(loss))
    compiled = gradient.lower(jnp.zeros((batch, features)), jnp.arange(batch) // 4).compile()
    memory = compiled.memory_analysis()
    assert memory is not None
    assert memory.temp_size_in_bytes < 10 * 4 * batch**2 < 4 * batch**2 * features
