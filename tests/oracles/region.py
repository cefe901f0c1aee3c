"""Independent truth for :mod:`jaxloss.losses.region`: one pixel at a time."""

import numpy as np

from jaxloss.losses import region
from tests.oracles import Row


def tversky(probabilities, targets, fp_weight=0.5, fn_weight=0.5, smoothing=1.0):
    return one_minus(
        lambda tp, fp, fn: (tp + smoothing) / (tp + fp_weight * fp + fn_weight * fn + smoothing),
        probabilities,
        targets,
    )


def dice(probabilities, targets, smoothing=1.0):
    return one_minus(
        lambda tp, fp, fn: (2 * tp + smoothing) / ((tp + fp) + (tp + fn) + smoothing),
        probabilities,
        targets,
    )


def jaccard(probabilities, targets, smoothing=1.0):
    return one_minus(
        lambda tp, fp, fn: (tp + smoothing) / (tp + fp + fn + smoothing), probabilities, targets
    )


def one_minus(index, probabilities, targets):
    batch, classes = probabilities.shape[0], probabilities.shape[-1]
    losses = np.zeros((batch, classes))
    for example, number in np.ndindex(batch, classes):
        predicted = probabilities[example, ..., number].ravel()
        actual = targets[example, ..., number].ravel()
        tp = sum(p * t for p, t in zip(predicted, actual, strict=True))
        losses[example, number] = 1 - index(tp, sum(predicted) - tp, sum(actual) - tp)
    return losses


ROWS = [
    Row(region.tversky, tversky),
    Row(region.tversky, tversky, {"fp_weight": 0.3, "fn_weight": 0.7, "smoothing": 1e-3}),
    Row(region.tversky, tversky, {"fp_weight": 1.2, "fn_weight": 0.4, "smoothing": 0.0}),
    Row(region.dice, dice),
    Row(region.dice, dice, {"smoothing": 0.3}),
    Row(region.jaccard, jaccard),
    Row(region.jaccard, jaccard, {"smoothing": 0.3}),
]
