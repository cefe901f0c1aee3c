"""Losses on the margin between classes in float64 NumPy."""

import numpy as np

from jaxloss import class_margin
from tests.oracles import Row


def multiclass_perceptron(logits, labels):
    return np.array([max(z) - z[y] for z, y in zip(logits, labels, strict=True)])


def multiclass_hinge(logits, labels, margin):
    """The form with the margin inside the maximum over all classes, the label among them."""
    rows = zip(logits, labels, strict=True)
    return np.array([max(z + margin * (np.arange(len(z)) != y)) - z[y] for z, y in rows])


def weston_watkins(logits, labels, margin, power):
    def one(z, y):
        others = [max(0, margin + z[c] - z[y]) ** power for c in range(len(z)) if c != y]
        return sum(others) / len(z)

    return np.array([one(z, y) for z, y in zip(logits, labels, strict=True)])


def multilabel_margin(logits, targets, margin):
    def one(z, t):
        classes = range(len(z))
        total = sum(
            t[j] * (1 - t[k]) * max(0, margin - (z[j] - z[k])) for j in classes for k in classes
        )
        return total / len(z)

    return np.array([one(z, t) for z, t in zip(logits, targets, strict=True)])


ROWS = [
    Row(class_margin.multiclass_perceptron, multiclass_perceptron),
    Row(class_margin.multiclass_hinge, multiclass_hinge, {"margin": 0.7}),
    Row(class_margin.weston_watkins, weston_watkins, {"margin": 0.7, "power": 1.0}),
    Row(class_margin.weston_watkins, weston_watkins, {"margin": 0.7, "power": 2.0}),
    Row(class_margin.weston_watkins, weston_watkins, {"margin": 0.7, "power": 1.6}),
    Row(class_margin.multilabel_margin, multilabel_margin, {"margin": 0.7}),
]
