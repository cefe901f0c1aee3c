"""Limits, extremes and relatives of the losses of policies."""

import functools

import jax
import jax.numpy as jnp
import mpmath
import numpy as np
import pytest

from jaxloss.losses.group_policy import cispo, gmpo, grpo, gspo, sapo, vespo
from jaxloss.losses.policy import (
    clipped_value,
    kl_k1,
    kl_k2,
    kl_k3,
    kl_k3_straight_through,
    negative_entropy,
    policy_gradient,
    ppo,
)

inf, nan = np.inf, np.nan
close = functools.partial(np.testing.assert_allclose, rtol=2e-6)
mpmath.mp.dps = 50
GROUP = [grpo, gspo, gmpo, cispo, sapo, vespo]
LOG_P = -jax.random.uniform(jax.random.key(0), (3, 5), minval=0.5, maxval=3.0)
OLD = LOG_P + 0.3 * jax.random.normal(jax.random.key(1), (3, 5))
ADVANTAGES = jnp.array([1.5, -0.5, 0.7])
EXISTS = jnp.arange(5)[None] < jnp.array([[5], [2], [3]])
LENGTHS = jnp.array([5.0, 2.0, 3.0])


# The clip


@pytest.mark.parametrize(
    ("ratio", "advantage", "value", "slope"),
    [
        (1.0, 2.0, -2.0, -2.0),
        (1.1, 2.0, -2.2, -2.2),
        (1.5, 2.0, -2.4, 0.0),
        (0.5, 2.0, -1.0, -1.0),
        (1.0, -2.0, 2.0, 2.0),
        (0.5, -2.0, 1.6, 0.0),
        (1.5, -2.0, 3.0, 3.0),
        (9.0, -2.0, 6.0, 0.0),
        (9.0, 0.0, 0.0, 0.0),
    ],
)
def test_ppo_learns_until_it_has_moved(ratio, advantage, value, slope):
    loss = functools.partial(ppo, ratio_cap=3.0)
    log_ratio, advantage = jnp.log(jnp.array([ratio])), jnp.array([advantage])
    found = jax.value_and_grad(loss)(log_ratio, jnp.zeros(1), advantage)
    close(found[0], value, atol=1e-7)
    close(found[1], [slope], atol=1e-7)


@pytest.mark.parametrize("loss", [ppo, *GROUP])
def test_ratios_beyond_all_bounds(loss):
    """Impossible for either policy, or for both, and very far apart."""
    log_p = jnp.array([[-inf, -1.0, -inf, -1e4, 0.0, -1.0]])
    old = jnp.array([[-1.0, -inf, -inf, 0.0, -1e4, -1.0]])
    for advantage in (1.0, 0.0, -1.0):
        weight = jnp.full(log_p.shape if loss is ppo else (1,), advantage)
        losses = loss(log_p, old, weight, reduction="none")
        slope = jax.grad(lambda x, w=weight: loss(x, old, w, reduction="sum"))(log_p)
        assert not jnp.isnan(losses).any()
        assert not jnp.isnan(slope).any()
        if advantage == 0:
            assert (losses == 0).all()
            assert (slope == 0).all()
        if advantage == 1 and loss in (ppo, grpo):
            close(losses[0], [0, -1.2, -1, 0, -1.2, -1])
            close(slope[0], [0, 0, 0, 0, 0, -1])


def test_ppo_where_nothing_has_moved_is_the_policy_gradient():
    advantages = jnp.broadcast_to(ADVANTAGES[:, None], LOG_P.shape)
    expected = jax.grad(policy_gradient)(LOG_P, advantages)
    close(jax.grad(ppo)(LOG_P, LOG_P, advantages), expected)
    for loss in (grpo, cispo, sapo, vespo):
        close(jax.grad(loss)(LOG_P, LOG_P, ADVANTAGES), expected)
    for loss in (gspo, gmpo):
        slope = jax.grad(loss)(LOG_P, LOG_P, ADVANTAGES, where=EXISTS, weights=LENGTHS)
        close(slope, jnp.where(EXISTS, expected, 0) * 15 / 10)


def test_a_policy_gradient_of_impossible_actions():
    value, slope = jax.value_and_grad(policy_gradient)(
        jnp.array([-inf, -inf, -1.0]), jnp.array([0.0, -1.0, 2.0]), reduction="sum"
    )
    assert value == -inf
    close(slope, [0, 1, -2])


# Answers


def masked_loss(loss, **options):
    dirty = jnp.where(EXISTS, LOG_P, nan)
    return functools.partial(loss, dirty, jnp.where(EXISTS, OLD, -inf), where=EXISTS, **options)


@pytest.mark.parametrize("loss", GROUP)
def test_padding_changes_nothing(loss):
    found = masked_loss(loss, reduction="none")(ADVANTAGES)
    for i, length in enumerate((5, 2, 3)):
        alone = loss(LOG_P[i, :length], OLD[i, :length], ADVANTAGES[i], reduction="none")
        close(jnp.atleast_1d(found[i])[: alone.size], jnp.atleast_1d(alone))
    empty = EXISTS & jnp.array([[True], [False], [True]])
    without = loss(LOG_P, OLD, ADVANTAGES.at[1].set(nan), where=empty)
    kept = jnp.array([0, 2])
    close(without, loss(LOG_P[kept], OLD[kept], ADVANTAGES[kept], where=EXISTS[kept]))


def test_the_table_of_averages():
    """Of the group losses: by token, by answer, over a constant."""
    losses = masked_loss(grpo, reduction="none")(ADVANTAGES)
    by_answer = losses.sum(-1) / LENGTHS
    close(masked_loss(grpo)(ADVANTAGES), losses.sum() / 10)
    close(masked_loss(grpo, weights=1 / LENGTHS[:, None])(ADVANTAGES), by_answer.mean())
    constant = masked_loss(grpo, reduction="sum")(ADVANTAGES) / (3 * 5)
    close(constant, jnp.where(EXISTS, losses, 0).mean())
    whole = masked_loss(gspo, reduction="none")(ADVANTAGES)
    length_unbiased = masked_loss(gspo, weights=LENGTHS, reduction="sum")(ADVANTAGES) / 3
    close(length_unbiased, (whole * LENGTHS).mean())


def test_answers_are_ppo_with_one_advantage_each():
    advantages = jnp.broadcast_to(ADVANTAGES[:, None], LOG_P.shape)
    close(grpo(LOG_P, OLD, ADVANTAGES, ratio_cap=1.3), ppo(LOG_P, OLD, advantages, ratio_cap=1.3))
    geometric, whole = (functools.partial(f, clip_low=1.0, clip_high=1e9) for f in (gmpo, gspo))
    close(geometric(LOG_P, OLD, ADVANTAGES), whole(LOG_P, OLD, ADVANTAGES))
    single = LOG_P[:, :1], OLD[:, :1], ADVANTAGES
    close(gspo(*single, clip_low=0.1), grpo(*single, clip_low=0.1, clip_high=4e-4))


def test_what_is_held_constant():
    ratio, log_p = jnp.exp(LOG_P - OLD), LOG_P
    expected = -jnp.minimum(ratio, 1.1) * ADVANTAGES[:, None]
    loss = functools.partial(cispo, ratio_cap=1.1, reduction="sum")
    close(jax.grad(loss)(log_p, OLD, ADVANTAGES), expected)
    whole = jnp.exp((LOG_P - OLD).sum(-1))
    k, rate = jnp.where(ADVANTAGES > 0, 2.0, 3.0), jnp.where(ADVANTAGES > 0, 3.0, 2.0)
    weight = whole**k * jnp.exp(rate * (1 - whole))
    slope = jax.grad(functools.partial(vespo, reduction="sum"))(log_p, OLD, ADVANTAGES)
    expected = -(weight * ADVANTAGES)[:, None] * jnp.ones_like(log_p)
    close(slope, expected, rtol=1e-5)


def test_the_soft_gate_is_widest_where_nothing_has_moved():
    def slope(log_ratio):
        return -jax.grad(sapo)(jnp.array([log_ratio]), jnp.zeros(1), jnp.array(1.0))[0]

    close(slope(0.0), 1)
    expected = float(mpmath.diff(lambda x: 4 / (1 + mpmath.exp(1 - mpmath.exp(x))), 2.0))
    close(slope(2.0), expected, rtol=1e-5)
    assert slope(5.0) < 1e-20


# Values, entropies, divergences


@pytest.mark.parametrize(
    ("value", "error", "slope"),
    [(1.1, 0.9, -0.9), (1.5, 0.8, 0.0), (3.0, 1.0, 1.0), (0.5, 1.5, -1.5), (2.5, 0.8, 0.0)],
)
def test_a_value_moves_no_farther_than_the_clip(value, error, slope):
    """From 1 towards 2, by 0.2; away from it, or past it by more, it may be called back."""
    found = jax.value_and_grad(clipped_value)(
        jnp.array([value]), jnp.array([2.0]), jnp.array([1.0])
    )
    close(found[0], error**2 / 2)
    close(found[1], [slope])


@pytest.mark.parametrize("logits", [[0.25, -0.5, 0.125], [30, 1, 0], [1e4, 0, -1e4], [80, 80, 0]])
def test_entropy_keeps_its_digits(logits):
    z = [mpmath.mpf(x) for x in logits]
    p = [mpmath.exp(x - max(z)) for x in z]
    p = [x / mpmath.fsum(p) for x in p]
    entropy = -sum(x * mpmath.log(x) for x in p)
    slope = [float(x * (mpmath.log(x) + entropy)) for x in p]
    found = jax.value_and_grad(negative_entropy)(jnp.array(logits, jnp.float32))
    close(found[0], -float(entropy), rtol=5e-6, atol=1e-37)
    close(found[1], slope, rtol=2e-5, atol=1e-7 * float(entropy) + 1e-37)


def test_actions_that_are_not_allowed_have_no_entropy():
    value, slope = jax.value_and_grad(negative_entropy)(jnp.array([-inf, 0.0, 0.0]))
    close(value, -np.log(2))
    close(slope, np.zeros(3), atol=1e-7)


RATIOS = np.array([0, 1e-5, -1e-5, 0.3, -0.3, 0.999, 1.001, -1.5, 20, -20, 80, 1e4], np.float32)


def test_k3_keeps_its_digits():
    def exact(x):
        return mpmath.exp(-x) - 1 + x

    zero = jnp.zeros_like(RATIOS)
    values = kl_k3(jnp.asarray(RATIOS), zero, reduction="none")
    slopes = jax.grad(functools.partial(kl_k3, reduction="sum"))(jnp.asarray(RATIOS), zero)
    at = [mpmath.mpf(float(x)) for x in RATIOS]
    close(values, [float(exact(x)) for x in at], rtol=3e-6)
    close(slopes, [float(-mpmath.expm1(-x)) for x in at], rtol=3e-6)


def test_estimates_of_the_divergence_add_up_to_it():
    """Over all actions, weighted by the policy: value and gradient of each."""
    z, w = jnp.array([0.5, -1.0, 0.2]), jnp.array([0.1, 0.4, -0.3])
    reference, p = jax.nn.log_softmax(w), jax.nn.softmax(z)

    def of(loss):
        return lambda z: loss(jax.nn.log_softmax(z), reference, weights=p)

    def kl(x, y):
        return (jnp.exp(x) * (x - y)).sum()

    forward, backward = (
        jax.value_and_grad(lambda z: kl(jax.nn.log_softmax(z), reference))(z),
        jax.value_and_grad(lambda z: kl(reference, jax.nn.log_softmax(z)))(z),
    )
    for loss, value, slope in (
        (kl_k1, forward[0], jnp.zeros(3)),
        (kl_k2, None, forward[1]),
        (kl_k3, forward[0], backward[1]),
        (kl_k3_straight_through, forward[0], forward[1]),
    ):
        found = jax.value_and_grad(of(loss))(z)
        close(found[1], slope, rtol=1e-4, atol=1e-7)
        if value is not None:
            close(found[0], value, rtol=1e-5)


@pytest.mark.parametrize("loss", [kl_k1, kl_k2, kl_k3, kl_k3_straight_through])
def test_divergence_from_the_impossible(loss):
    log_p = jnp.array([-inf, -1.0, -inf, -1.0])
    reference = jnp.array([-1.0, -inf, -inf, -1.0])
    losses = loss(log_p, reference, reduction="none")
    slope = jax.grad(functools.partial(loss, reduction="sum"))(log_p, reference)
    assert (losses[2:] == 0).all()
    assert not jnp.isnan(losses).any()
    assert not jnp.isnan(slope).any()


def test_wrong_arguments_are_refused(as_users_run_it):
    with pytest.raises(ValueError, match="grpo: advantages must be one per answer"):
        grpo(LOG_P, OLD, LOG_P)
    with pytest.raises(ValueError, match="ppo: shapes must be equal"):
        ppo(LOG_P, OLD, ADVANTAGES)
