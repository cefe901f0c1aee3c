"""Scoring rules of one forecast at a time, straight from their definitions."""

import numpy as np

from jaxloss.losses import scoring
from tests.oracles import Row


def brier(probabilities, labels):
    truth = np.eye(probabilities.shape[-1])[labels]
    return ((probabilities - truth) ** 2).sum(-1)


def binary_brier(probabilities, targets):
    return (probabilities - targets) ** 2


def spherical(probabilities, labels):
    true = np.take_along_axis(probabilities, labels[..., None], -1)[..., 0]
    return 1 - true / np.linalg.norm(probabilities, axis=-1)


def ranked_probability(probabilities, labels):
    losses = np.zeros(labels.shape)
    for index in np.ndindex(*labels.shape):
        p, y = probabilities[index], labels[index]
        for k in range(len(p)):
            # the examples add up to one in float32 only
            losses[index] += p[: k + 1].sum() ** 2 if k < y else p[k + 1 :].sum() ** 2
    return losses


def interval(lower, upper, targets, coverage):
    alpha = 1 - coverage
    under = 2 / alpha * (lower - targets) * (targets < lower)
    over = 2 / alpha * (targets - upper) * (targets > upper)
    return upper - lower + under + over


def weighted_interval(medians, lower, upper, targets, coverages):
    total = np.abs(targets - medians) / 2
    for k, coverage in enumerate(coverages):
        score = interval(lower[..., k], upper[..., k], targets, coverage)
        total = total + (1 - coverage) / 2 * score
    return total / (len(coverages) + 1 / 2)


def quantiles(predictions, targets, levels):
    error = targets[..., None] - predictions
    return 2 * np.maximum(levels * error, (levels - 1) * error).mean(-1)


ROWS = [
    Row(scoring.brier, brier),
    Row(scoring.binary_brier, binary_brier),
    Row(scoring.spherical, spherical),
    Row(scoring.ranked_probability, ranked_probability),
    Row(scoring.interval, interval, {"coverage": 0.3}),
    Row(scoring.interval, interval, {"coverage": 0.7}),
    Row(scoring.weighted_interval, weighted_interval),
    Row(scoring.quantiles, quantiles),
]
