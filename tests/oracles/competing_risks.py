"""Competing risks, event by event and pair by pair."""

import numpy as np

from jaxloss.losses import competing_risks
from tests.oracles import Row


def masses(z):
    e = np.exp(np.append(z, 0))
    return (e / e.sum())[:-1].reshape(z.shape)


def pmf(logits, labels, causes):
    losses = np.zeros(len(labels))
    for i, (z, y, d) in enumerate(zip(logits, labels, causes, strict=True)):
        p = masses(z)
        losses[i] = -np.log(p[d - 1, y] if d else 1 - p[:, : y + 1].sum())
    return losses


def rank(logits, labels, causes, scale):
    n = len(labels)
    risk = np.array([np.cumsum(masses(z), -1) for z in logits])
    losses = np.zeros(n)
    for i in range(n):
        for j in range(n):
            y, d = labels[i], causes[i]
            outlived = labels[j] > y or (labels[j] == y and not causes[j])
            if d and outlived:
                losses[i] += np.exp((risk[j, d - 1, y] - risk[i, d - 1, y]) / scale) / n
    return losses


ROWS = [
    Row(competing_risks.pmf, pmf),
    Row(competing_risks.rank, rank, {"scale": 0.1}),
    Row(competing_risks.rank, rank, {"scale": 0.3}),
]
