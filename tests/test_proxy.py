"""What no law can know about classification by angle to the proxies of the classes."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxloss import classification, proxy

EMBEDDINGS, PROXIES = jax.random.normal(jax.random.key(0), (2, 5, 4))
LABELS = jnp.array([0, 1, 2, 2, 4])
COSINES = (
    EMBEDDINGS
    / jnp.linalg.norm(EMBEDDINGS, axis=-1, keepdims=True)
    @ (PROXIES / jnp.linalg.norm(PROXIES, axis=-1, keepdims=True)).T
)
LOSSES = [
    proxy.arcface,
    proxy.cosface,
    proxy.combined_margin,
    proxy.proxy_nca,
    proxy.proxy_anchor,
]


def no_margin(**but: Any) -> dict[str, Any]:
    return {"factor": 1.0, "angle_margin": 0.0, "margin": 0.0, **but}


def test_without_margin_all_are_a_softmax_over_cosines():
    expected = classification.softmax_cross_entropy(5 * COSINES, LABELS, reduction="none")
    for loss, options in [
        (proxy.arcface, {"margin": 0.0, "scale": 5.0}),
        (proxy.cosface, {"margin": 0.0, "scale": 5.0}),
        (proxy.combined_margin, no_margin(scale=5.0)),
        (proxy.proxy_nca, {"temperature": 0.4}),
    ]:
        losses = loss(EMBEDDINGS, LABELS, PROXIES, **options, reduction="none")
        np.testing.assert_allclose(losses, expected, rtol=1e-5, atol=1e-6)


def test_combined_margin_has_the_others_for_limits():
    combined = functools.partial(proxy.combined_margin, scale=5.0, reduction="none")
    np.testing.assert_allclose(
        combined(EMBEDDINGS, LABELS, PROXIES, **no_margin(angle_margin=0.3)),
        proxy.arcface(EMBEDDINGS, LABELS, PROXIES, margin=0.3, scale=5.0, reduction="none"),
        rtol=1e-6,
    )
    np.testing.assert_allclose(
        combined(EMBEDDINGS, LABELS, PROXIES, **no_margin(margin=0.3)),
        proxy.cosface(EMBEDDINGS, LABELS, PROXIES, margin=0.3, scale=5.0, reduction="none"),
        rtol=1e-5,
    )


def test_the_continued_cosine_falls_all_the_way():
    """Around the half circle, by SphereFace's factor of 4: the loss rises with the angle."""
    angles = jnp.linspace(0.01, 3.14, 200)
    embeddings = jnp.stack([jnp.cos(angles), jnp.sin(angles)], -1)
    losses = proxy.combined_margin(
        embeddings,
        jnp.zeros(200, int),
        jnp.array([[1.0, 0.0], [0.0, -1.0]]),
        **no_margin(factor=4.0),
        scale=1.0,
        reduction="none",
    )
    own = jnp.log(jnp.expm1(losses)) + jnp.sin(angles)  # minus what stands for the cosine
    assert (jnp.diff(own) > -1e-3).all()
    np.testing.assert_allclose(own[jnp.array([0, -1])], [-1, 7], atol=2e-3)  # cos 0, 1 - 2 * 4


@pytest.mark.parametrize("angle", [1e-4, 1e-3, np.pi - 1e-3])
def test_angles_are_exact_near_both_poles(angle):
    """Where the arccosine of a float32 is off by 10^-4."""
    embedding = jnp.array([[np.cos(angle), np.sin(angle)]], jnp.float32)
    proxies = jnp.array([[1.0, 0.0], [0.0, 1.0]])

    def loss(embedding):
        return proxy.combined_margin(
            embedding, jnp.array([0]), proxies, **no_margin(factor=0.5), scale=1.0
        )

    value, slope = jax.value_and_grad(loss)(embedding)
    expected = np.logaddexp(0, np.sin(angle) - np.cos(angle / 2))
    np.testing.assert_allclose(value, expected, rtol=1e-6)
    wrong = -np.expm1(-expected)
    along = wrong * (np.cos(angle) + np.sin(angle / 2) / 2)
    np.testing.assert_allclose(slope @ np.array([-np.sin(angle), np.cos(angle)]), along, rtol=1e-5)


@pytest.mark.parametrize("loss", LOSSES)
def test_aligned_opposite_and_zero_vectors_have_finite_derivatives(loss):
    embeddings = jnp.stack([2 * PROXIES[0], -3 * PROXIES[1], jnp.zeros(4)])

    def at(embeddings, proxies):
        return loss(embeddings, jnp.array([0, 1, 2]), proxies)

    for derivative in (jax.grad, jax.hessian):
        assert all(
            jnp.isfinite(x).all()
            for x in jax.tree.leaves(jax.jit(derivative(at, (0, 1)))(embeddings, PROXIES))
        )
    np.testing.assert_array_equal(jax.grad(at)(embeddings, PROXIES)[2], 0)


@pytest.mark.parametrize("scale", [1e-30, 1e30])
@pytest.mark.parametrize("loss", LOSSES)
def test_lengths_do_not_matter(loss, scale):
    expected = loss(EMBEDDINGS, LABELS, PROXIES)
    np.testing.assert_allclose(
        loss(EMBEDDINGS * scale, LABELS, PROXIES / scale), expected, rtol=1e-5
    )


@pytest.mark.parametrize("bad", [-1, 5])
@pytest.mark.parametrize("loss", LOSSES)
def test_a_label_out_of_range_is_nan_in_value_and_gradient(loss, bad):
    labels = LABELS.at[1].set(bad)
    value, gradient = jax.value_and_grad(loss)(EMBEDDINGS, labels, PROXIES)
    assert jnp.isnan(value)
    assert jnp.isnan(gradient[1]).all()
    where = labels != bad
    assert jnp.isfinite(loss(EMBEDDINGS, labels, PROXIES, where=where))


def test_proxy_anchor_is_the_mean_over_classes_present_and_over_all():
    losses = proxy.proxy_anchor(EMBEDDINGS, LABELS, PROXIES, margin=0.0, scale=4.0)
    pull, push = [], []
    for c in range(5):
        s = np.asarray(COSINES[:, c], np.float64)
        inside = np.asarray(c == LABELS)
        push.append(np.log1p(np.exp(4 * s[~inside]).sum()))
        if inside.any():
            pull.append(np.log1p(np.exp(-4 * s[inside]).sum()))
    assert len(pull) == 4
    np.testing.assert_allclose(losses, np.mean(pull) + np.mean(push), rtol=1e-6)


def test_wrong_shapes_are_named():
    with pytest.raises(Exception, match=r"proxies"):
        proxy.arcface(EMBEDDINGS, LABELS, PROXIES[:, :3])
