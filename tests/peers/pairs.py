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


def torch_triplet(anchors, positives, negatives, margin, swap):
    torch = pytest.importorskip("torch")

    arrays = (torch.from_numpy(np.array(x)) for x in (anchors, positives, negatives))
    loss = torch.nn.functional.triplet_margin_loss(
        *arrays, margin=margin, swap=swap, eps=0.0, reduction="none"
    )
    return loss.numpy()


PEERS = [
    Row(pairs.triplet, optax_triplet, {"margin": 0.3}),
    Row(pairs.triplet, torch_triplet, {"margin": 1.7, "swap": True}),
    Row(pairs.triplet, torch_triplet, {"margin": 0.3, "swap": False}),
]
