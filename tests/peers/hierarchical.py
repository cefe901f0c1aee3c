"""Adaptive softmax of torch."""

import numpy as np
import pytest

from jaxloss import hierarchical
from tests.oracles import Row

CUTOFFS = (3, 5)
CLASSES, FEATURES = 9, 6


def module():
    """The same one each time."""
    torch = pytest.importorskip("torch")
    torch.manual_seed(0)
    return torch.nn.AdaptiveLogSoftmaxWithLoss(FEATURES, CLASSES, list(CUTOFFS), div_value=2.0)


def features():
    return np.random.default_rng(0).normal(size=(20, FEATURES)).astype(np.float32)


def inputs():
    torch = pytest.importorskip("torch")
    layers, x = module(), torch.tensor(features())
    with torch.no_grad():
        logits = torch.cat([layers.head(x), *(tail(x) for tail in layers.tail)], -1)
    labels = np.random.default_rng(1).integers(0, CLASSES, 20).astype(np.int32)
    return logits.numpy(), labels


def torch_adaptive_softmax(logits, labels, cutoffs):
    torch = pytest.importorskip("torch")
    with torch.no_grad():
        output, _ = module()(torch.tensor(features()), torch.tensor(labels).long())
    return -output.numpy()


PEERS = [
    Row(hierarchical.adaptive_softmax, torch_adaptive_softmax, {"cutoffs": CUTOFFS}, inputs),
]
