"""Peers of :mod:`jaxloss.losses.pairs`, imported only when called."""

import numpy as np
import pytest

from jaxloss.losses import pairs
from tests.oracles import Row


def optax_triplet(anchors, positives, negatives, margin):
    import optax

    return np.asarray(
        optax.losses.triplet_margin_loss(anchors, positives, negatives, margin=margin, eps=0.0)
    )


def torch_triplet(anchors, positives, negatives, margin=1.0, power=2.0, swap=False):
    return in_torch(
        "triplet_margin_loss",
        *(anchors, positives, negatives),
        margin=margin,
        p=power,
        swap=swap,
        eps=0.0,
    )


def torch_cosine_embedding(embeddings, other_embeddings, targets, margin):
    sign = 2 * targets - 1
    return in_torch("cosine_embedding_loss", embeddings, other_embeddings, sign, margin=margin)


def torch_hinge_embedding(distances, targets, margin):
    return in_torch("hinge_embedding_loss", distances, 2 * targets - 1, margin=margin)


def torch_margin_ranking(scores, other_scores, targets, margin):
    return in_torch("margin_ranking_loss", scores, other_scores, 2 * targets - 1, margin=margin)


def in_torch(function, *arrays, **options):
    torch = pytest.importorskip("torch")

    tensors = (torch.from_numpy(np.array(x)) for x in arrays)
    return getattr(torch.nn.functional, function)(*tensors, **options, reduction="none").numpy()


PEERS = [
    Row(pairs.triplet, optax_triplet, {"margin": 0.3}),
    Row(pairs.triplet, torch_triplet, {"margin": 1.7, "swap": True}),
    Row(pairs.triplet, torch_triplet, {"margin": 0.3, "swap": False}),
    Row(pairs.triplet, torch_triplet, {"power": 1.0}),
    Row(pairs.triplet, torch_triplet, {"power": 3.4, "swap": True}),
    Row(pairs.cosine_embedding, torch_cosine_embedding, {"margin": -0.3}),
    Row(pairs.hinge_embedding, torch_hinge_embedding, {"margin": 1.7}),
    Row(pairs.margin_ranking, torch_margin_ranking, {"margin": 0.7}),
]
