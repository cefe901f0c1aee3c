"""What the losses on features leave alone, and their extremes."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxloss.losses.feature_distillation import (
    attention_transfer,
    hint,
    neuron_selectivity,
    solution_flow,
)
from jaxloss.losses.relational_distillation import (
    relational_angle,
    relational_distance,
    similarity_preserving,
)

close = functools.partial(np.testing.assert_allclose, rtol=5e-6)
MAPS = jax.random.normal(jax.random.key(0), (2, 3, 4, 5))
OTHERS = jax.random.normal(jax.random.key(1), (2, 3, 4, 5))
VECTORS = jax.random.normal(jax.random.key(2), (6, 4))
ROTATION = jnp.linalg.qr(jax.random.normal(jax.random.key(3), (4, 4)))[0]
MAP_LOSSES = [attention_transfer, neuron_selectivity]
BATCH_LOSSES = [similarity_preserving, relational_distance, relational_angle]


def test_hint_is_half_the_squared_distance():
    close(hint(VECTORS, jnp.zeros((6, 4))), jnp.square(VECTORS).sum(-1).mean() / 2)


@pytest.mark.parametrize("loss", MAP_LOSSES)
def test_neither_size_nor_order_of_channels_matters(loss):
    expected = loss(MAPS, OTHERS)
    assert expected > 0.01
    for scale in (1e-25, 7.0, 1e25):
        close(loss(MAPS, scale * OTHERS[..., ::-1]), expected)
        value, slope = jax.value_and_grad(loss)(scale * MAPS, OTHERS)
        close(value, expected)
        assert jnp.isfinite(slope).all()
    close(loss(MAPS, MAPS[..., ::-1]), 0, atol=1e-12)


@pytest.mark.parametrize("loss", MAP_LOSSES)
def test_inactive_features_have_no_direction(loss):
    for student, teacher in ((0 * MAPS, OTHERS), (MAPS, 0 * OTHERS), (0 * MAPS, 0 * OTHERS)):
        value, slope = jax.value_and_grad(loss)(student, teacher)
        assert jnp.isfinite(value)
        assert jnp.isfinite(slope).all()
    close(attention_transfer(0 * MAPS, OTHERS), 1)
    for power in (0.5, 1.0, 3.0):
        slope = jax.grad(attention_transfer)(MAPS.at[0, 0].set(0), OTHERS, power=power)
        assert jnp.isfinite(slope).all()


def test_maps_of_different_places_are_apart():
    one, two = jnp.zeros((1, 4, 3)).at[:, 0].set(3.0), jnp.zeros((1, 4, 3)).at[:, 2].set(1.0)
    close(attention_transfer(one, two), 2)
    close(neuron_selectivity(one, two), 2)


@pytest.mark.parametrize("loss", [*MAP_LOSSES, solution_flow])
def test_places_that_do_not_exist_are_removed(loss):
    arguments = [MAPS, OTHERS] if loss is not solution_flow else [MAPS, OTHERS, OTHERS, MAPS[::-1]]
    exists = jnp.ones((2, 3, 4), bool).at[:, :, 2].set(False)
    dirty = [jnp.where(exists[..., None], x, jnp.nan) for x in arguments]
    kept = [jnp.delete(x, 2, axis=2) for x in arguments]
    close(loss(*dirty, where=exists), loss(*kept), rtol=1e-5)
    half = exists & jnp.array([True, False]).reshape(2, 1, 1)
    close(loss(*dirty, where=half), loss(*kept, reduction="none")[0], rtol=1e-5)


def test_the_flow_is_that_of_both_layers():
    """Twice the first and half the second layer is the same way."""
    assert solution_flow(MAPS, OTHERS, 2 * MAPS, OTHERS / 2) == 0


@pytest.mark.parametrize("loss", BATCH_LOSSES)
def test_neither_size_nor_rotation_of_the_space_matters(loss):
    teacher = VECTORS @ ROTATION
    close(loss(VECTORS, teacher), 0, atol=1e-12)
    other = jax.random.normal(jax.random.key(4), (6, 3))
    expected = loss(VECTORS, other)
    assert expected > 1e-3
    for scale in (1e-15, 3.0, 1e15):
        value, slope = jax.value_and_grad(loss)(scale * teacher, other)
        close(value, expected, rtol=1e-4)
        assert jnp.isfinite(slope).all()
    if loss is not similarity_preserving:
        close(loss(VECTORS + 3.0, other), expected, rtol=1e-4)


@pytest.mark.parametrize("loss", BATCH_LOSSES)
def test_examples_that_coincide_have_finite_gradients(loss):
    for student in (jnp.ones((6, 4)), jnp.zeros((6, 4)), VECTORS.at[1].set(VECTORS[0])):
        value, slope = jax.value_and_grad(loss)(student, VECTORS)
        assert jnp.isfinite(value)
        assert jnp.isfinite(slope).all()


@pytest.mark.parametrize("loss", BATCH_LOSSES)
def test_examples_that_do_not_exist_are_removed(loss):
    other = jax.random.normal(jax.random.key(4), (6, 3))
    exists = jnp.array([True, False, True, True, True, False])
    dirty = [jnp.where(exists[:, None], x, jnp.nan) for x in (VECTORS, other)]
    close(loss(*dirty, where=exists), loss(VECTORS[exists], other[exists]), rtol=1e-5)


def test_wrong_arguments_are_refused(as_users_run_it):
    with pytest.raises(ValueError, match="attention_transfer: teacher_features must be over"):
        attention_transfer(MAPS, OTHERS[:, :2])
    with pytest.raises(ValueError, match="solution_flow: shapes must be equal, got student_later"):
        solution_flow(MAPS, OTHERS, MAPS, OTHERS[..., :2])
    with pytest.raises(ValueError, match="relational_angle: teacher_embeddings must be one row"):
        relational_angle(VECTORS, VECTORS[:3])
