"""What the losses on routers measure."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from jaxloss import language
from jaxloss.losses.routing import importance_balancing, load_balancing, router_z

close = functools.partial(np.testing.assert_allclose, rtol=2e-6)
LOGITS = jax.random.normal(jax.random.key(0), (2, 6, 4))


def chosen(logits, k):
    return jax.lax.top_k(logits, k)[1]


def test_balance_is_one_and_collapse_is_the_number_of_experts():
    even = 50 * jnp.eye(4)
    close(load_balancing(even, chosen(even, 1)), 1)
    collapsed = jnp.tile(jnp.array([50.0, 49.0, 0.0, 0.0]), (4, 1))
    close(load_balancing(collapsed, chosen(collapsed, 1)), 4 * jax.nn.sigmoid(1.0))
    close(load_balancing(collapsed, chosen(collapsed, 2)), 2)
    close(importance_balancing(even), 0, atol=1e-12)
    close(importance_balancing(100 * collapsed), 3)


def test_balance_is_sought_within_a_group_of_tokens():
    """Each sequence by itself, or the whole batch: a matter of shape."""
    logits = 50 * jnp.stack([jnp.eye(2)[jnp.array([0, 0])], jnp.eye(2)[jnp.array([1, 1])]])
    close(load_balancing(logits, chosen(logits, 1), reduction="none"), [2, 2])
    whole = logits.reshape(-1, 2)
    close(load_balancing(whole, chosen(whole, 1)), 1)
    close(importance_balancing(logits, reduction="none"), [1, 1])
    close(importance_balancing(whole), 0, atol=1e-12)


def test_the_gradient_lowers_the_logits_of_the_busy():
    slope = jax.grad(load_balancing)(LOGITS[0], chosen(LOGITS[0], 2))
    share = np.bincount(np.ravel(chosen(LOGITS[0], 2)), minlength=4) / 12
    p = np.asarray(jax.nn.softmax(LOGITS[0]))
    expected = 4 / 6 * p * (share - (p * share).sum(-1, keepdims=True))
    close(slope, expected, rtol=1e-5, atol=1e-8)


def test_padding_is_no_token():
    exists = jnp.arange(6)[None] < jnp.array([[4], [6]])
    dirty = jnp.where(exists[..., None], LOGITS, jnp.nan)
    choices = jnp.where(exists[..., None], chosen(LOGITS, 2), -1)
    found = load_balancing(dirty, choices, where=exists, reduction="none")
    close(found[0], load_balancing(LOGITS[0, :4], chosen(LOGITS[0, :4], 2)))
    close(found[1], load_balancing(LOGITS[1], chosen(LOGITS[1], 2)))
    found = importance_balancing(dirty, where=exists, reduction="none")
    close(found[0], importance_balancing(LOGITS[0, :4]))
    nothing = importance_balancing(dirty, where=exists & jnp.array([[True], [False]]))
    close(nothing, found[0])


def test_an_expert_out_of_range_is_nan():
    losses = load_balancing(LOGITS, chosen(LOGITS, 1).at[1, 2].set(4), reduction="none")
    assert jnp.isnan(losses).tolist() == [False, True]


def test_router_z_is_the_z_loss_of_a_router():
    close(router_z(LOGITS), language.z_loss(LOGITS))
