"""Losses on the area under the curve in float64 NumPy, pair by pair."""

import numpy as np

from jaxloss import auc
from tests.oracles import Row


def squared_hinge(logits, targets, margin):
    losses = []
    for z, t in zip(logits, targets, strict=True):
        terms = [max(0, margin - (a - b)) ** 2 for a in z[t == 1] for b in z[t == 0]]
        losses.append(np.mean(terms) if terms else 0.0)
    return np.array(losses)


def minimax(probabilities, targets, saddle, margin):
    a, b, multiplier = saddle
    losses = []
    for p, t in zip(probabilities, targets, strict=True):
        yes, no = p[t == 1], p[t == 0]
        if len(yes) == 0 or len(no) == 0:
            losses.append(0.0)
            continue
        spread = ((yes - a) ** 2).mean() + ((no - b) ** 2).mean()
        gap = margin + no.mean() - yes.mean()
        losses.append(spread + 2 * multiplier * gap - multiplier**2)
    return np.array(losses)


def long_rows():
    """Longer, with equal scores."""
    generator = np.random.default_rng(1)
    scores = generator.normal(size=(6, 37)).round(1).astype(np.float32)
    share = np.array([[0.02], [0.1], [0.3], [0.5], [0.9], [1.0]])
    return scores, (generator.uniform(size=(6, 37)) < share).astype(np.float32)


ROWS = [
    Row(auc.squared_hinge, squared_hinge, {"margin": 0.7}),
    Row(auc.squared_hinge, squared_hinge, {"margin": 1.3}, long_rows),
    Row(auc.minimax, minimax, {"margin": 0.7}),
]
