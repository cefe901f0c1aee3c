"""Losses on pairs of the peers: rax gives all pairs, flat; the mean is over those that count."""

import numpy as np
import pytest

from jaxloss import pairwise_ranking
from tests.oracles import Row


def rax_mean(name, scores, relevance, all_pairs=False, **options):
    import jax.numpy as jnp

    rax = pytest.importorskip("rax")

    grades = jnp.asarray(relevance, jnp.float32)
    loss = getattr(rax, name)(jnp.asarray(scores), grades, reduce_fn=None, **options)
    items = scores.shape[-1]
    ordered = (relevance[:, :, None] > relevance[:, None, :]).sum((1, 2))
    return loss.sum(-1) / (items * (items - 1) if all_pairs else np.maximum(ordered, 1))


def rax_logistic(scores, relevance):
    return rax_mean("pairwise_logistic_loss", scores, relevance)


def rax_hinge(scores, relevance):
    return rax_mean("pairwise_hinge_loss", scores, relevance)


def rax_soft_zero_one(scores, relevance):
    return rax_mean("pairwise_soft_zero_one_loss", scores, relevance)


def rax_quantile(scores, relevance, quantile):
    return rax_mean("pairwise_qr_loss", scores, relevance, tau=quantile)


def rax_squared(scores, relevance):
    return rax_mean("pairwise_mse_loss", scores, relevance, all_pairs=True)


PEERS = [
    Row(pairwise_ranking.logistic, rax_logistic),
    Row(pairwise_ranking.hinge, rax_hinge),
    Row(pairwise_ranking.soft_zero_one, rax_soft_zero_one),
    Row(pairwise_ranking.quantile, rax_quantile, {"quantile": 0.3}),
    Row(pairwise_ranking.squared, rax_squared),
]
