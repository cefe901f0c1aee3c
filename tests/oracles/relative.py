"""Losses relative to something of the same unit, in float64 NumPy."""

import numpy as np

from jaxloss.losses import relative
from tests.oracles import Row


def absolute_percentage(predictions, targets):
    return np.abs(predictions - targets) / np.abs(targets)


def symmetric_absolute_percentage(predictions, targets):
    return 2 * np.abs(predictions - targets) / (np.abs(predictions) + np.abs(targets))


def relative_norm(predictions, targets):
    error = np.linalg.norm(predictions - targets, axis=-1)
    return error / np.linalg.norm(targets, axis=-1)


def pearson_distance(predictions, targets):
    rows = zip(predictions, targets, strict=True)
    return np.array([1 - np.corrcoef(p, t)[0, 1] for p, t in rows])


def concordance_distance(predictions, targets):
    covariance = ((predictions.T - predictions.mean(-1)) * (targets.T - targets.mean(-1))).mean(0)
    bias = predictions.mean(-1) - targets.mean(-1)
    return 1 - 2 * covariance / (predictions.var(-1) + targets.var(-1) + bias**2)


ROWS = [
    Row(relative.squared_log, lambda p, t: np.log((1 + p) / (1 + t)) ** 2),
    Row(relative.absolute_percentage, absolute_percentage),
    Row(relative.symmetric_absolute_percentage, symmetric_absolute_percentage),
    Row(relative.scaled_absolute, lambda p, t, s: np.abs(p - t) / s),
    Row(relative.scaled_squared, lambda p, t, s: ((p - t) / s) ** 2),
    Row(relative.relative_norm, relative_norm),
    Row(relative.pearson_distance, pearson_distance),
    Row(relative.concordance_distance, concordance_distance),
]
