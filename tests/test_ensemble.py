"""Limits and extremes of scores of samples."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxloss.losses.crps import gaussian
from jaxloss.losses.ensemble import crps, energy, variogram

close = functools.partial(np.testing.assert_allclose, rtol=2e-6)


def test_one_member_is_an_absolute_error():
    assert crps(jnp.array([[3.0], [-1e30]]), jnp.array([1.0, 0.0]), reduction="sum") == 1e30
    assert energy(jnp.array([[3.0, 4.0]]), jnp.zeros(2)) == 5


def test_many_members_tend_to_the_distribution_they_are_drawn_from():
    members = jax.scipy.stats.norm.ppf(jnp.linspace(0.00005, 0.99995, 10000))
    for fair in (False, True):
        close(crps(members, jnp.array(0.7), fair=fair), gaussian(0.0, 1.0, 0.7), rtol=1e-3)


def test_a_fair_score_is_unbiased_and_never_negative():
    """Of two members drawn from a fair coin, on average that of the coin."""
    members = jnp.array([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]])
    losses = crps(members, jnp.zeros(4), fair=True, reduction="none")
    assert (losses >= 0).all()
    close(losses.mean(), 1 / 4)  # E|X - 0| - E|X - X'| / 2
    close(crps(members, jnp.zeros(4)), 3 / 8)


def test_members_far_away_lose_no_digits_of_the_target():
    members = jnp.array([1e8, 1e8 + 8, 1e8 + 16])
    close(crps(members, jnp.array(1e8)), 8 - 64 / 18)
    assert crps(jnp.full(7, 3e8), jnp.array(3e8)) == 0


@pytest.mark.parametrize("fair", [False, True])
def test_ties_and_hits_have_finite_slopes(fair):
    slope, curvature = jax.vmap(
        lambda x: (
            jax.grad(crps)(x, jnp.array(1.0), fair=fair),
            jax.hessian(crps)(x, jnp.array(1.0), fair=fair),
        )
    )(jnp.array([[1.0, 1.0, 1.0], [0.0, 1.0, 2.0], [2.0, 2.0, 5.0]]))
    assert jnp.isfinite(slope).all()
    assert (curvature == 0).all()
    assert (slope[0] == 0).all()
    close(slope[2].sum(), 1)


@pytest.mark.parametrize("power", [0.5, 1.0, 1.5])
def test_coincident_vectors_have_finite_slopes(power):
    members = jnp.array([[0.0, 0.0], [0.0, 0.0], [1.0, 1.0]])
    for loss in (energy, variogram):
        value, slope = jax.value_and_grad(functools.partial(loss, power=power))(
            members, jnp.zeros(2)
        )
        curvature = jax.hessian(functools.partial(loss, power=power))(members, jnp.zeros(2))
        assert value >= 0
        assert jnp.isfinite(slope).all()
        assert jnp.isfinite(curvature).all()


def test_vectors_whose_squares_overflow():
    members = jnp.array([[3e20, 4e20], [0.0, 0.0]])
    value, slope = jax.value_and_grad(energy)(members, jnp.zeros(2))
    close(value, 1.25e20)
    assert jnp.isfinite(slope).all()


def test_a_shift_of_all_features_is_invisible_to_a_variogram():
    members = jax.random.normal(jax.random.key(0), (6, 4))
    close(variogram(members + 3, members[0]), variogram(members, members[0]), rtol=1e-4)


@pytest.mark.usefixtures("as_users_run_it")
def test_too_few_members_is_an_error():
    with pytest.raises(ValueError, match=r"^crps: predictions must have two members at least"):
        crps(jnp.zeros((3, 1)), jnp.zeros(3), fair=True)
    with pytest.raises(ValueError, match=r"^energy: predictions must have a member at least"):
        energy(jnp.zeros((3, 0, 2)), jnp.zeros((3, 2)))
