"""What no law can know about the losses on angles between embeddings with labels."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxloss import contrastive, metric, pairs

EMBEDDINGS = jax.random.normal(jax.random.key(0), (6, 4))
LABELS = jnp.array([3, 1, 2, 1, 3, 1])
VIEWS = jnp.array([[1.0, 0.0], [2.0, 0.0], [-1.0, 0.0], [0.0, 3.0]])
LOSSES = [
    metric.circle,
    metric.multi_similarity,
    functools.partial(metric.multi_similarity, mining_margin=0.1),
    metric.tuplet_margin,
    metric.angular,
]


def test_circle_holds_its_weights_constant():
    """Of one partner at cosine 0.6 and one other at cosine 0.8, by hand."""
    x = jnp.array([[1.0, 0.0], [0.6, 0.8], [0.8, -0.6]])
    labels, weights = jnp.array([0, 0, 1]), jnp.array([1.0, 0.0, 0.0])

    def first(cosines):
        near = jnp.array([[1.0, 0.0], [0.0, 1.0], [0.0, -1.0]])
        near = near.at[1].multiply(0.8).at[2].multiply(0.6)
        near = near.at[1:, 0].set(cosines)
        return metric.circle(near, labels, margin=0.3, scale=2.0, weights=weights)

    exponent = 2 * ((0.8 + 0.3) * (0.8 - 0.3) - (1.3 - 0.6) * (0.6 - 0.7))
    np.testing.assert_allclose(
        metric.circle(x, labels, margin=0.3, scale=2.0, weights=weights),
        np.log1p(np.exp(exponent)),
        rtol=1e-6,
    )
    sure = 1 / (1 + np.exp(-exponent))
    # the cosine of a vector (c, s) with (1, 0) grows by s^2 as c grows
    expected = 2 * sure * np.array([-(1.3 - 0.6) * 0.64, (0.8 + 0.3) * 0.36])
    np.testing.assert_allclose(jax.grad(first)(jnp.array([0.6, 0.8])), expected, rtol=1e-5)


def test_multi_similarity_mines_what_is_hard():
    """One partner at cosine 1 and others at most 0: nothing to learn, by the margin 0.1."""
    labels = jnp.array([0, 0, 1, 2])
    mined = metric.multi_similarity(VIEWS, labels, mining_margin=0.1, reduction="none")
    np.testing.assert_array_equal(mined, 0)
    assert (metric.multi_similarity(VIEWS, labels, reduction="none")[:2] > 0).all()
    all_kept = metric.multi_similarity(VIEWS, labels, mining_margin=3.0)
    np.testing.assert_allclose(all_kept, metric.multi_similarity(VIEWS, labels), rtol=1e-6)


def test_tuplet_margin_without_margin_is_nt_xent():
    np.testing.assert_allclose(
        metric.tuplet_margin(EMBEDDINGS, LABELS, margin=0.0, scale=5.0, reduction="none"),
        pairs.nt_xent(EMBEDDINGS, LABELS, temperature=0.2, reduction="none"),
        rtol=1e-6,
    )


def test_tuplet_margin_of_aligned_views_costs_the_margin_and_pulls_nowhere():
    labels = jnp.array([0, 0, 1, 2])

    def loss(x):
        return metric.tuplet_margin(x, labels, margin=0.3, scale=4.0)

    value, gradient = jax.value_and_grad(loss)(VIEWS)
    expected = np.log1p(sum(np.exp(4 * (other - np.cos(0.3))) for other in (-1, 0)))
    np.testing.assert_allclose(value, expected, rtol=1e-6)
    assert jnp.isfinite(gradient).all()
    assert jnp.isfinite(jax.jit(jax.hessian(loss))(VIEWS)).all()


@pytest.mark.parametrize("angle", [0.1, 1.2])
def test_angular_at_any_angle(angle):
    value, gradient = jax.value_and_grad(metric.angular)(EMBEDDINGS, LABELS, angle=angle)
    with jax.enable_x64(True):
        x = np.asarray(EMBEDDINGS, np.float64)
        x /= np.linalg.norm(x, axis=-1, keepdims=True)
        square, losses = np.tan(angle) ** 2, []
        for i, j in np.ndindex(6, 6):
            if i != j and LABELS[i] == LABELS[j]:
                rivals = (x[i] + x[j]) @ x[np.asarray(LABELS[i] != LABELS)].T
                f = 4 * square * rivals - 2 * (1 + square) * x[i] @ x[j]
                losses.append(np.logaddexp.reduce([0, *f]))
    np.testing.assert_allclose(value, np.mean(losses), rtol=1e-5)
    assert jnp.isfinite(gradient).all()


def test_n_pairs_is_a_sampled_softmax_without_correction():
    anchors, positives = jax.random.normal(jax.random.key(1), (2, 5, 3))
    expected = contrastive.sampled_softmax(anchors, positives, jnp.zeros(5), reduction="none")
    np.testing.assert_allclose(metric.n_pairs(anchors, positives, reduction="none"), expected)


def test_n_pairs_of_one_class_share_the_truth():
    loss = metric.n_pairs(jnp.zeros((4, 2)), jnp.ones((4, 2)), labels=jnp.array([0, 0, 0, 1]))
    np.testing.assert_allclose(loss, np.log(4), rtol=1e-6)
    where = jnp.array([True, True, False, True])
    anchors, positives = jax.random.normal(jax.random.key(1), (2, 4, 3))
    labels = jnp.array([0, 0, 0, 1])
    np.testing.assert_allclose(
        metric.n_pairs(anchors, positives.at[2].set(jnp.nan), labels=labels, where=where),
        metric.n_pairs(anchors[where], positives[where], labels=labels[where]),
        rtol=1e-6,
    )


@pytest.mark.parametrize("labels", [[0, 1, 2, 3], [5, 5, 5, 5]], ids=["no positive", "no negative"])
@pytest.mark.parametrize("loss", LOSSES)
def test_without_pairs_to_compare_every_derivative_is_finite(loss, labels):
    def at(embeddings):
        return loss(embeddings, jnp.array(labels))

    for derivative in (lambda f: f, jax.jacrev, jax.jacfwd, jax.hessian):
        found = jax.jit(derivative(at))(VIEWS)
        assert jnp.isfinite(found).all()
        if len(set(labels)) > 1:
            np.testing.assert_array_equal(found, 0)


@pytest.mark.parametrize("loss", LOSSES)
def test_an_embedding_without_partner_does_not_count(loss):
    losses = loss(EMBEDDINGS, LABELS, reduction="none")
    np.testing.assert_array_equal(losses[2], 0)
    pairs_or_partners = 2 + 6 if losses.ndim == 2 else 5
    expected = losses.sum() / pairs_or_partners
    np.testing.assert_allclose(loss(EMBEDDINGS, LABELS), expected, rtol=1e-6)


@pytest.mark.parametrize("loss", LOSSES)
def test_a_zero_vector_is_left_alone(loss):
    value, gradient = jax.value_and_grad(loss)(EMBEDDINGS.at[1].set(0), LABELS)
    assert jnp.isfinite(value)
    assert jnp.isfinite(gradient).all()
    np.testing.assert_array_equal(gradient[1], 0)
