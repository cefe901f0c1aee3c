"""What no law can know about the losses by which two views choose the same prototypes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxloss import classification, prototypes

LOGITS, OTHER = jax.random.normal(jax.random.key(0), (2, 8, 4))


def test_sinkhorn_uses_all_prototypes_evenly():
    crowded = LOGITS.at[:, 0].add(3.0)  # all prefer the first
    codes = prototypes.sinkhorn(crowded, temperature=0.5, iterations=50)
    np.testing.assert_allclose(codes.sum(-1), 1, rtol=1e-5)
    np.testing.assert_allclose(codes.sum(0), 2, rtol=1e-3)


def test_sinkhorn_is_that_of_the_paper():
    q = np.exp(np.asarray(LOGITS, np.float64) / 0.3).T
    for _ in range(3):
        q /= q.sum(1, keepdims=True)
        q /= q.sum(0, keepdims=True)
    np.testing.assert_allclose(prototypes.sinkhorn(LOGITS, temperature=0.3), q.T, rtol=1e-5)


def test_sinkhorn_of_sharp_logits_neither_overflows_nor_vanishes():
    codes = prototypes.sinkhorn(jnp.eye(4), temperature=1e-4)
    np.testing.assert_array_equal(codes, np.eye(4))


def test_sinkhorn_forgets_rows_that_do_not_exist():
    where = jnp.arange(8) != 2
    codes = prototypes.sinkhorn(LOGITS.at[2].set(jnp.nan), where=where)
    np.testing.assert_allclose(codes[where], prototypes.sinkhorn(LOGITS[where]), rtol=1e-5)
    np.testing.assert_array_equal(codes[2], 0)
    np.testing.assert_array_equal(prototypes.sinkhorn(LOGITS, where=jnp.zeros(8, bool)), 0)


def test_sinkhorn_carries_no_gradient():
    slope = jax.jacobian(prototypes.sinkhorn)(LOGITS)
    np.testing.assert_array_equal(slope, 0)


def test_swav_is_a_cross_entropy_with_the_codes_of_the_other_view():
    codes, others = prototypes.sinkhorn(LOGITS), prototypes.sinkhorn(OTHER)
    expected = [
        classification.soft_cross_entropy(x / 0.2, q) for x, q in ((LOGITS, others), (OTHER, codes))
    ]
    loss = prototypes.swav(LOGITS, OTHER, temperature=0.2)
    np.testing.assert_allclose(loss, sum(expected) / 2, rtol=1e-6)
    slope = jax.grad(prototypes.swav)(LOGITS, OTHER, temperature=0.2)
    held = jax.grad(lambda x: classification.soft_cross_entropy(x / 0.2, others) / 2)(LOGITS)
    np.testing.assert_allclose(slope, held, rtol=1e-5, atol=1e-7)


def test_dino_teaches_the_student_only():
    slopes = jax.grad(prototypes.dino, argnums=(0, 1))(LOGITS, OTHER)
    assert jnp.abs(slopes[0]).max() > 0
    np.testing.assert_array_equal(slopes[1], 0)


def test_dino_of_agreeing_and_sure_logits_is_small_and_keeps_its_digits():
    loss = prototypes.dino(jnp.array([[3.0, 0.0]]), jnp.array([[9.0, 0.0]]))
    np.testing.assert_allclose(loss, np.exp(-30), rtol=1e-5)


def test_a_center_takes_away_what_the_teacher_always_says():
    biased = OTHER + jnp.array([[5.0, 0.0, 0.0, 0.0]])
    np.testing.assert_allclose(
        prototypes.dino(LOGITS, biased, center=jnp.array([5.0, 0.0, 0.0, 0.0])),
        prototypes.dino(LOGITS, OTHER),
        rtol=1e-4,
    )


def test_the_center_follows_the_mean_of_the_teacher():
    center = jnp.array([1.0, 2.0, 3.0, 4.0])
    crops = jnp.stack([OTHER, LOGITS])
    moved = prototypes.updated_center(center, crops, momentum=0.7)
    np.testing.assert_allclose(moved, 0.7 * center + 0.3 * crops.mean((0, 1)), rtol=1e-6)
    where = jnp.arange(8) < 5
    dirty = OTHER.at[5:].set(jnp.nan)
    moved = prototypes.updated_center(center, dirty, momentum=0.7, where=where)
    np.testing.assert_allclose(moved, 0.7 * center + 0.3 * OTHER[:5].mean(0), rtol=1e-6)
    kept = prototypes.updated_center(center, dirty, where=jnp.zeros(8, bool))
    np.testing.assert_allclose(kept, center, rtol=1e-6)


@pytest.mark.parametrize("scale", [1e4, -1e4])
def test_large_logits_are_fine(scale):
    for loss in (prototypes.swav, prototypes.dino):
        value, slope = jax.value_and_grad(loss)(LOGITS * scale, OTHER * scale)
        assert jnp.isfinite(value)
        assert jnp.isfinite(slope).all()
