"""Reductions that look at the hardest examples, or away from them."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.optimize

from jaxloss.compose import cvar, hard_mean, tilted, trimmed_mean

close = functools.partial(np.testing.assert_allclose, rtol=2e-6)
LOSSES = jnp.exp(jax.random.normal(jax.random.key(0), (5, 8)))
WEIGHTS = jax.random.uniform(jax.random.key(1), (5, 8), minval=0.3, maxval=2.0)
WHERE = jax.random.bernoulli(jax.random.key(2), 0.7, (5, 8))
TAILS = [
    functools.partial(cvar, share=0.3),
    functools.partial(trimmed_mean, share=0.3),
    functools.partial(hard_mean, threshold=1.5, least=3),
    functools.partial(tilted, tilt=0.7),
    functools.partial(tilted, tilt=1e-5),
    functools.partial(tilted, tilt=-40.0),
]
every_tail = pytest.mark.parametrize("tail", TAILS, ids=lambda t: f"{t.func.__name__}{t.keywords}")


def mean(losses, weights):
    return (losses * weights).sum() / weights.sum()


@every_tail
def test_masked_is_removed_whatever_it_holds(tail):
    @jax.jit
    def both(losses, weights, where):
        return jax.value_and_grad(tail, argnums=0)(losses, weights=weights, where=where)

    expected, steep = jax.jit(jax.value_and_grad(tail))(LOSSES[WHERE], weights=WEIGHTS[WHERE])
    for garbage in (jnp.nan, jnp.inf, -jnp.inf, 3e38):
        value, slope = both(jnp.where(WHERE, LOSSES, garbage), WEIGHTS, WHERE)
        close(value, expected)
        close(slope[WHERE], steep, atol=1e-8)
        assert (slope[~WHERE] == 0).all()
    value, slope = both(LOSSES * jnp.nan, WEIGHTS, WHERE & False)
    assert value == 0
    assert (slope == 0).all()


@every_tail
def test_weights_are_relative_and_a_weight_of_zero_is_a_mask(tail):
    value = tail(LOSSES, weights=WEIGHTS)
    close(tail(LOSSES, weights=5 * WEIGHTS), value)
    masked = tail(LOSSES, weights=jnp.where(WHERE, 1.0, 0.0))
    close(masked, tail(LOSSES, where=WHERE))
    assert tail(LOSSES.astype(jnp.bfloat16)).dtype == jnp.float32


@every_tail
def test_derivatives_agree_with_finite_differences(tail):
    with jax.enable_x64(True):
        x, w = LOSSES.astype(float), WEIGHTS.astype(float)
        direction = jax.random.normal(jax.random.key(3), x.shape, float)
        at = jax.jit(lambda s: tail(x + s * direction, weights=w))
        close(jax.grad(at)(0.0), (at(1e-5) - at(-1e-5)) / 2e-5, rtol=1e-7)
        slope = jax.jit(jax.grad(at))
        close(jax.grad(slope)(0.0), (slope(1e-5) - slope(-1e-5)) / 2e-5, rtol=1e-6, atol=1e-8)
        spread = jax.jit(lambda w: tail(x, weights=w))
        direct = jax.grad(spread)(w)
        step = 1e-6 * direction
        close((direct * step).sum(), (spread(w + step) - spread(w - step)) / 2, rtol=1e-5)


@pytest.mark.parametrize("share", [0.01, 0.3, 0.77, 1.0])
def test_cvar_is_the_worst_distribution_of_weights(share):
    losses, weights = map(np.ravel, (LOSSES, WEIGHTS))
    whole = share * weights.sum()
    bounds = [(0, w / whole) for w in weights]
    found = scipy.optimize.linprog(-losses, A_eq=np.ones((1, 40)), b_eq=[1], bounds=bounds)
    close(cvar(LOSSES, share=share, weights=WEIGHTS), -found.fun)
    rest = mean(LOSSES, WEIGHTS) - share * cvar(LOSSES, share=share, weights=WEIGHTS)
    if share < 1:
        close(trimmed_mean(LOSSES, share=share, weights=WEIGHTS), rest / (1 - share), rtol=1e-5)


def test_limits_are_the_mean_and_the_largest():
    average = mean(LOSSES, WEIGHTS)
    for limit in (
        cvar(LOSSES, share=1.0, weights=WEIGHTS),
        trimmed_mean(LOSSES, share=0.0, weights=WEIGHTS),
        hard_mean(LOSSES, threshold=jnp.inf, least=40, weights=WEIGHTS),
        hard_mean(LOSSES, threshold=-1.0, weights=WEIGHTS),
        tilted(LOSSES, tilt=0.0, weights=WEIGHTS),
    ):
        close(limit, average)
    close(cvar(LOSSES, share=1e-6), LOSSES.max())
    close(hard_mean(LOSSES, threshold=jnp.inf), LOSSES.max())
    close(tilted(LOSSES, tilt=1e6), LOSSES.max(), rtol=1e-5)
    close(tilted(LOSSES, tilt=-1e6), LOSSES.min(), rtol=1e-4)


def test_hard_mean_keeps_what_is_hard_and_enough_of_the_rest():
    losses = jnp.array([0.1, 5.0, 2.0, 0.3])
    for threshold, least, expected in ((1.0, 1, 3.5), (10.0, 3, 7.3 / 3), (0.2, 0, 7.3 / 3)):
        close(hard_mean(losses, threshold=threshold, least=least), expected)
    assert hard_mean(losses, threshold=10.0, least=0) == 0
    assert hard_mean(losses, threshold=10.0, least=9) == losses.mean()
    with pytest.raises(ValueError, match="hard_mean: least must not be negative, got -1"):
        hard_mean(losses, threshold=0.0, least=-1)


@pytest.mark.parametrize("tilt", [-30, -1.0, -1e-2, -1e-3, 1e-4, 3e-4, 1e-2, 0.3, 5.0, 1e3])
def test_tilted_keeps_its_digits_at_any_tilt(tilt):
    tilt = float(np.float32(tilt))
    x = np.asarray(LOSSES, np.float64)
    top = (tilt * x).max()
    exact = (top + np.log(np.exp(tilt * x - top).mean())) / tilt
    close(tilted(LOSSES, tilt=tilt), exact, rtol=1e-6)
    slope = jax.grad(functools.partial(tilted, tilt=tilt))(LOSSES)
    close(slope, np.exp(tilt * x - top) / np.exp(tilt * x - top).sum(), rtol=1e-4, atol=1e-9)


def test_the_tilt_can_be_learnt_from_zero():
    close(jax.grad(lambda t: tilted(LOSSES, tilt=t))(0.0), LOSSES.var() / 2, rtol=1e-5)


def test_shares_are_traced():
    swept = jax.jit(jax.vmap(lambda s: cvar(LOSSES, share=s)))(jnp.array([0.2, 0.6]))
    close(swept, [cvar(LOSSES, share=0.2), cvar(LOSSES, share=0.6)])
