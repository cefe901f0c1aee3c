"""Weighted kappa, pair by pair."""

import numpy as np

from jaxloss.losses import agreement
from tests.oracles import Row


def weighted_kappa(probabilities, labels, power):
    distance = np.abs(labels[:, None] - np.arange(probabilities.shape[1])[None, :]) ** power
    chance = np.mean([(row * p).sum() for row in distance for p in probabilities])
    return (distance * probabilities).sum(-1) / chance


ROWS = [
    Row(agreement.weighted_kappa, weighted_kappa, {"power": 1.0}),
    Row(agreement.weighted_kappa, weighted_kappa, {"power": 2.0}),
    Row(agreement.weighted_kappa, weighted_kappa, {"power": 1.3}),
]
