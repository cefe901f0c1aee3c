"""What no law can know about the losses between two views of the same things."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxloss import regression, self_supervised

ONE, OTHER = jax.random.normal(jax.random.key(0), (2, 8, 3))


def test_negative_cosine_holds_the_target_constant():
    gradients = jax.grad(self_supervised.negative_cosine, argnums=(0, 1))(ONE, OTHER)
    expected = jax.grad(regression.cosine_distance)(ONE, OTHER)
    np.testing.assert_allclose(gradients[0], expected, rtol=1e-4, atol=1e-6)
    np.testing.assert_array_equal(gradients[1], 0)
    np.testing.assert_allclose(
        self_supervised.negative_cosine(ONE, OTHER),
        regression.cosine_distance(ONE, OTHER) - 1,
        rtol=1e-5,
    )


def test_barlow_twins_of_one_view_costs_only_redundancy():
    def loss(weight):
        return self_supervised.barlow_twins(ONE, ONE, redundancy_weight=weight, reduction="sum")

    assert loss(0.0) == 0
    correlation = np.corrcoef(np.asarray(ONE, np.float64).T)
    np.testing.assert_allclose(loss(1.0), (correlation**2).sum() - 3, rtol=1e-5)


@pytest.mark.parametrize("scale", [1e-30, 1e30])
def test_barlow_twins_knows_neither_scale_nor_shift(scale):
    expected = self_supervised.barlow_twins(ONE, OTHER)
    np.testing.assert_allclose(
        self_supervised.barlow_twins(ONE * scale, 3 + OTHER / 2), expected, rtol=1e-5
    )


def test_what_does_not_vary_is_correlated_with_nothing():
    flat = ONE.at[:, 1].set(5.0)
    losses = self_supervised.barlow_twins(flat, OTHER, reduction="none")
    assert losses[1] == 1
    gradient = jax.grad(self_supervised.barlow_twins)(flat, OTHER)
    assert jnp.isfinite(gradient).all()
    np.testing.assert_array_equal(gradient[:, 1], 0)


def test_vicreg_has_the_parts_it_is_made_of():
    def part(one, other, **weights: Any):
        for name in ("invariance_weight", "variance_weight", "covariance_weight"):
            weights.setdefault(name, 0.0)
        return self_supervised.vicreg(one, other, **weights, eps=0.0)

    assert part(ONE, ONE, invariance_weight=1.0) == 0
    np.testing.assert_allclose(
        part(ONE, OTHER, invariance_weight=1.0), regression.squared(ONE, OTHER), rtol=1e-6
    )
    assert part(9 * ONE, 9 * OTHER, variance_weight=1.0) == 0
    assert part(0 * ONE, 0 * OTHER, variance_weight=1.0) == 1
    spread = jnp.concatenate([jnp.eye(3), -jnp.eye(3)])
    np.testing.assert_allclose(part(spread, spread, covariance_weight=1.0), 0, atol=1e-12)


@pytest.mark.parametrize("eps", [0.0, 1e-4])
def test_vicreg_of_collapsed_features_is_finite(eps):
    def loss(one):
        return self_supervised.vicreg(one, jnp.ones((4, 2)), eps=eps)

    for derivative in (jax.grad, jax.hessian):
        assert jnp.isfinite(jax.jit(derivative(loss))(jnp.ones((4, 2)))).all()
    assert jnp.isfinite(self_supervised.vicreg(jnp.ones((1, 2)), jnp.ones((1, 2))))


def test_alignment_of_coincident_views_is_zero_in_every_derivative():
    for power in (0.5, 1.0, 2.0):
        value, gradient = jax.value_and_grad(self_supervised.alignment)(ONE, 2 * ONE, power=power)
        assert value < 1e-3
        assert jnp.isfinite(gradient).all()
        assert self_supervised.alignment(ONE, ONE, power=power) < 1e-3


def test_uniformity_is_the_logarithm_of_a_mean():
    x = np.asarray(ONE, np.float64)
    x /= np.linalg.norm(x, axis=-1, keepdims=True)
    near = [np.exp(-3 * ((x[i] - x[j]) ** 2).sum()) for i, j in np.ndindex(8, 8) if i != j]
    found = self_supervised.uniformity(ONE, scale=3.0)
    np.testing.assert_allclose(found, np.log(np.mean(near)), rtol=1e-6)


def test_uniformity_forgets_what_does_not_exist():
    where = jnp.arange(8) < 6
    expected = jax.value_and_grad(self_supervised.uniformity)(ONE[:6])
    value, gradient = jax.value_and_grad(self_supervised.uniformity)(
        ONE.at[6].set(jnp.nan).at[7].set(jnp.inf), where=where
    )
    np.testing.assert_allclose(value, expected[0], rtol=1e-6)
    np.testing.assert_allclose(gradient[:6], expected[1], rtol=1e-5, atol=1e-7)
    np.testing.assert_array_equal(gradient[6:], 0)


@pytest.mark.parametrize("alive", [0, 1])
def test_uniformity_of_fewer_than_two_is_zero(alive):
    value, gradient = jax.value_and_grad(self_supervised.uniformity)(
        ONE, where=jnp.arange(8) < alive
    )
    assert value == 0
    np.testing.assert_array_equal(gradient, 0)


def test_uniformity_of_coincident_embeddings_is_zero_and_pushes_nowhere():
    value, gradient = jax.value_and_grad(self_supervised.uniformity)(jnp.ones((4, 3)))
    assert value == 0
    np.testing.assert_array_equal(gradient, 0)
