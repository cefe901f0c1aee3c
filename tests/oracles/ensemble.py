"""Scores of samples, pair by pair."""

import itertools

import numpy as np

from jaxloss.losses import ensemble
from tests.oracles import Row


def energy(predictions, targets, power=1.0, fair=False):
    losses = np.zeros(targets.shape[:-1])
    for index in np.ndindex(*losses.shape):
        x, t = predictions[index], targets[index]
        members = len(x)
        error = sum(np.linalg.norm(a - t) ** power for a in x) / members
        spread = sum(np.linalg.norm(a - b) ** power for a, b in itertools.product(x, x))
        losses[index] = error - spread / (2 * members * (members - fair))
    return losses


def crps(predictions, targets, fair=False):
    return energy(predictions[..., None], targets[..., None], fair=fair)


def variogram(predictions, targets, power):
    losses = np.zeros(targets.shape[:-1])
    for index in np.ndindex(*losses.shape):
        x, t = predictions[index], targets[index]
        for i, j in itertools.product(range(len(t)), range(len(t))):
            sample = np.mean([abs(a[i] - a[j]) ** power for a in x])
            losses[index] += (abs(t[i] - t[j]) ** power - sample) ** 2
    return losses


ROWS = [
    Row(ensemble.crps, crps),
    Row(ensemble.crps, crps, {"fair": True}),
    Row(ensemble.energy, energy),
    Row(ensemble.energy, energy, {"power": 1.7, "fair": True}),
    Row(ensemble.energy, energy, {"power": 0.3}),
    Row(ensemble.variogram, variogram, {"power": 0.7}),
]
