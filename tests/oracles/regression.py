"""Regression losses in float64 NumPy."""

import numpy as np

from jaxloss import regression
from tests.oracles import Row


def huber(predictions, targets, delta):
    e = np.abs(predictions - targets)
    return np.where(e <= delta, e**2 / 2, delta * (e - delta / 2))


def quantile(predictions, targets, quantile):
    e = targets - predictions
    return np.maximum(quantile * e, (quantile - 1) * e)


def expectile(predictions, targets, expectile):
    e = targets - predictions
    return np.abs(expectile - (e < 0)) * e**2


def cosine_distance(predictions, targets):
    dot = (predictions * targets).sum(-1)
    return 1 - dot / np.linalg.norm(predictions, axis=-1) / np.linalg.norm(targets, axis=-1)


ROWS = [
    Row(regression.squared, lambda p, t: (p - t) ** 2),
    Row(regression.absolute, lambda p, t: np.abs(p - t)),
    Row(regression.huber, huber, {"delta": 0.7}),
    Row(regression.log_cosh, lambda p, t: np.log(np.cosh(p - t))),
    Row(regression.quantile, quantile, {"quantile": 0.3}),
    Row(regression.expectile, expectile, {"expectile": 0.3}),
    Row(regression.root_mean_squared, lambda p, t: np.sqrt(((p - t) ** 2).mean(-1))),
    Row(regression.cosine_distance, cosine_distance),
]
