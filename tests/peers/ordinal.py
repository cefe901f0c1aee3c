"""Losses on ordered classes of the peers."""

import numpy as np
import pytest

from jaxloss.losses import ordinal
from tests.oracles import Row


def torch_binary_cross_entropies(logits, labels):
    torch = pytest.importorskip("torch")

    levels = (labels[..., None] > np.arange(logits.shape[-1])).astype(np.float32)
    loss = torch.nn.functional.binary_cross_entropy_with_logits
    return loss(torch.as_tensor(logits), torch.as_tensor(levels), reduction="none").sum(-1)


def scipy_wasserstein(probabilities, targets, power):
    import scipy.stats

    assert power == 1
    places = np.arange(probabilities.shape[-1])
    pairs = zip(probabilities, targets, strict=True)
    return [scipy.stats.wasserstein_distance(places, places, p, t) for p, t in pairs]


PEERS = [
    Row(ordinal.coral, torch_binary_cross_entropies),
    Row(ordinal.earth_mover, scipy_wasserstein, {"power": 1.0}),
]
