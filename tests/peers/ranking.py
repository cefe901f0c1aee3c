"""Ranking losses of the peers."""

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


PEERS = [Row(ranking.softmax, rax_softmax), Row(ranking.softmax, optax_softmax)]
