"""Weighted kappa of scikit-learn, of predictions that are certain."""

import numpy as np
import pytest

from jaxloss.losses import agreement
from tests.oracles import Row

LABELS = np.array([0, 3, 1, 2, 2, 1, 3, 0])
GUESSES = np.array([0, 2, 1, 3, 2, 0, 0, 1])


def scikit_learn(probabilities, labels, power):
    """Example by example: its own disagreement, at the scale on which the mean is that of kappa."""
    metrics = pytest.importorskip("sklearn.metrics")
    weights = {1.0: "linear", 2.0: "quadratic"}[power]
    guesses = probabilities.argmax(-1)
    distance = np.abs(labels - guesses) ** power
    kappa = metrics.cohen_kappa_score(labels, guesses, weights=weights)
    return distance / distance.mean() * (1 - kappa)


def certain():
    return np.eye(4, dtype=np.float32)[GUESSES], LABELS


PEERS = [
    Row(agreement.weighted_kappa, scikit_learn, {"power": 1.0}, certain),
    Row(agreement.weighted_kappa, scikit_learn, {"power": 2.0}, certain),
]
