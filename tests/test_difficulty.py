"""Reductions that look at how hard examples are."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.optimize import minimize_scalar

from jaxloss.compose import difficulty_density, harmonized, superloss

close = functools.partial(np.testing.assert_allclose, rtol=2e-6)
LOSSES = jnp.exp(jax.random.normal(jax.random.key(0), (5, 8)))
WEIGHTS = jax.random.uniform(jax.random.key(1), (5, 8), minval=0.3, maxval=2.0)
WHERE = jax.random.bernoulli(jax.random.key(2), 0.7, (5, 8))
HARD = jax.random.uniform(jax.random.key(3), (5, 8)) ** 2


@pytest.mark.parametrize("strength", [0.3, 2.0])
@pytest.mark.parametrize("loss", [-3.0, 0.2, 0.999, 1.0, 1.3, 7.0, 80.0])
def test_superloss_is_the_minimum_over_confidences(loss, strength):
    def at(log_sigma):
        return (loss - 1) * np.exp(log_sigma) + strength * log_sigma**2

    best: Any = minimize_scalar(at, bounds=(-10, 1), method="bounded", options={"xatol": 1e-10})
    value, slope = jax.value_and_grad(superloss)(loss, threshold=1.0, strength=strength)
    close(value, best.fun, rtol=1e-5, atol=1e-6)
    close(slope, np.exp(best.x), rtol=1e-4)


def test_superloss_tends_to_the_mean():
    close(superloss(LOSSES, threshold=0.7, strength=1e6), LOSSES.mean() - 0.7, rtol=1e-4)
    close(jax.grad(superloss)(LOSSES, threshold=0.7, strength=1e7), np.full((5, 8), 1 / 40))


def test_superloss_derivatives_agree_with_finite_differences():
    with jax.enable_x64(True):
        losses = jnp.array([-2.0, 0.1, 0.6, 1.0, 1.5, 4.0, 90.0])

        def at(x, threshold=1.0, strength=0.7):
            return superloss(losses + x, threshold=threshold, strength=strength)

        step = 1e-5
        for argument, start in ((0, 0.0), (1, 1.0), (2, 0.7)):
            point = [0.0, 1.0, 0.7]

            def along(x, argument=argument, point=point):
                moved = [x if i == argument else p for i, p in enumerate(point)]
                return at(*moved)

            slope = jax.grad(along)
            close(slope(start), (along(start + step) - along(start - step)) / (2 * step), rtol=1e-8)
            bend = jax.grad(slope)(start)
            close(bend, (slope(start + step) - slope(start - step)) / (2 * step), rtol=1e-6)


@pytest.mark.parametrize("loss", [-np.inf, -1e30, 1 - 2 / np.e, 1e30, np.inf])
def test_superloss_has_finite_slopes(loss):
    value, slope = jax.value_and_grad(superloss)(loss, threshold=1.0)
    assert not jnp.isnan(value)
    assert 0 <= slope <= np.e * (1 + 1e-6)


@pytest.mark.parametrize(
    "reduction",
    [functools.partial(superloss, threshold=1.0), lambda x, **k: harmonized(x, HARD, **k)],
)
def test_masked_is_not_there_whatever_it_holds(reduction):
    both = jax.jit(jax.value_and_grad(lambda x: reduction(x, where=WHERE)))
    expected, steep = both(LOSSES)
    for garbage in (jnp.nan, jnp.inf, -jnp.inf, 3e38):
        value, slope = both(jnp.where(WHERE, LOSSES, garbage))
        close(value, expected)
        close(slope, steep)
        assert (slope[~WHERE] == 0).all()
    zero = reduction(LOSSES, weights=jnp.where(WHERE, 1.0, 0.0))
    close(zero, expected)
    value, slope = jax.value_and_grad(lambda x: reduction(x, where=WHERE & False))(LOSSES)
    assert value == 0
    assert (slope == 0).all()


def test_harmonized_is_the_mean_of_the_means_of_bins():
    index = np.minimum(np.floor(np.asarray(HARD) * 6), 5)
    means = [
        np.average(LOSSES[index == b], weights=WEIGHTS[index == b])
        for b in range(6)
        if (index == b).any()
    ]
    close(harmonized(LOSSES, HARD, bins=6, weights=WEIGHTS), np.mean(means), rtol=1e-5)
    close(harmonized(LOSSES, HARD, bins=1), LOSSES.mean())


def test_a_density_may_come_from_elsewhere():
    own = difficulty_density(HARD, bins=6)
    assert own.sum() == 40
    close(own, np.histogram(HARD, bins=6, range=(0, 1))[0])
    close(harmonized(LOSSES, HARD, bins=6, density=own), harmonized(LOSSES, HARD, bins=6))
    twice = harmonized(LOSSES, HARD, bins=6, density=2 * own)
    close(twice, harmonized(LOSSES, HARD, bins=6) / 2)
    some = difficulty_density(jnp.where(WHERE, HARD, jnp.nan), bins=6, where=WHERE)
    close(some, difficulty_density(HARD[WHERE], bins=6))


def test_no_gradient_flows_through_the_difficulties():
    assert (jax.grad(lambda h: harmonized(LOSSES, h))(HARD) == 0).all()


@pytest.mark.usefixtures("as_users_run_it")
def test_errors_name_function_and_argument():
    with pytest.raises(ValueError, match="harmonized: bins must be at least 1, got 0"):
        harmonized(LOSSES, HARD, bins=0)
    with pytest.raises(ValueError, match=r"harmonized: density must be of shape \(10,\)"):
        harmonized(LOSSES, HARD, density=jnp.ones(4))
    with pytest.raises(ValueError, match="harmonized: shapes must be equal"):
        harmonized(LOSSES, HARD[:2])
