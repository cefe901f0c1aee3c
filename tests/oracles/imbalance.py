"""Losses for imbalanced classes in float64 NumPy."""

import numpy as np

from jaxloss import imbalance
from tests.oracles import Row


def logit_adjusted_cross_entropy(logits, labels, counts, scale):
    odds = counts**scale * np.exp(logits)
    return -np.log(odds[np.arange(len(labels)), labels] / odds.sum(-1))


def ldam(logits, labels, counts, margin, scale):
    margins = counts ** (-1 / 4)
    margins *= margin / margins.max()
    losses = []
    for z, y in zip(logits, labels, strict=True):
        shifted = scale * np.where(np.arange(len(z)) == y, z - margins[y], z)
        losses.append(np.log(np.exp(shifted).sum()) - shifted[y])
    return np.array(losses)


ROWS = [
    Row(imbalance.logit_adjusted_cross_entropy, logit_adjusted_cross_entropy, {"scale": 0.7}),
    Row(imbalance.ldam, ldam, {"margin": 0.3, "scale": 3.0}),
]
