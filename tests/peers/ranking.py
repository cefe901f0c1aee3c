"""Ranking losses of the peers."""

import functools

import pytest

from jaxloss import ranking
from tests.oracles import Row


def rax_softmax(scores, relevance):
    """Rax lets a list count as much as it has relevance."""
    import jax.numpy as jnp

    rax = pytest.importorskip("rax")

    grades = jnp.asarray(relevance, jnp.float32)
    return rax.softmax_loss(jnp.asarray(scores), grades, reduce_fn=None) / grades.sum(-1)


def optax_softmax(scores, relevance):
    """So does optax."""
    import optax

    grades = relevance.astype(scores.dtype)
    return optax.losses.ranking_softmax_loss(scores, grades, reduce_fn=None) / grades.sum(-1)


def rax_poly1_softmax(scores, relevance, linear_weight):
    """Here too only the cross-entropy."""
    import jax.numpy as jnp

    rax = pytest.importorskip("rax")

    scores, grades = jnp.asarray(scores), jnp.asarray(relevance, jnp.float32)
    both = rax.poly1_softmax_loss(scores, grades, epsilon=linear_weight, reduce_fn=None)
    entropy = rax.softmax_loss(scores, grades, reduce_fn=None)
    return both - entropy + entropy / grades.sum(-1)


def rax_listmle(scores, relevance):
    import jax.numpy as jnp

    rax = pytest.importorskip("rax")

    grades = jnp.asarray(relevance, jnp.float32)
    return rax.listmle_loss(jnp.asarray(scores), grades, reduce_fn=None)


def rax_unique_softmax(scores, relevance):
    import jax
    import jax.numpy as jnp

    rax = pytest.importorskip("rax")

    loss = jax.vmap(functools.partial(rax.unique_softmax_loss, reduce_fn=None))
    return loss(jnp.asarray(scores), jnp.asarray(relevance, jnp.float32))


PEERS = [
    Row(ranking.softmax, rax_softmax),
    Row(ranking.softmax, optax_softmax),
    Row(ranking.poly1_softmax, rax_poly1_softmax, {"linear_weight": 0.7}),
    Row(ranking.listmle, rax_listmle),
    Row(ranking.unique_softmax, rax_unique_softmax),
]
