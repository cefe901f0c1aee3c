"""Losses on the margin of a yes-or-no answer in float64 NumPy."""

import numpy as np

from jaxloss import margin as family
from tests.oracles import Row


def signed(logits, targets):
    return np.where(targets == 1, logits, -logits)


def squared_hinge(logits, targets, margin):
    return np.maximum(0, margin - signed(logits, targets)) ** 2


def smooth_hinge(logits, targets, margin, delta):
    v = signed(logits, targets)
    parabola, line = (margin - v) ** 2 / (2 * delta), margin - v - delta / 2
    return np.where(v >= margin, 0, np.where(v > margin - delta, parabola, line))


def logistic(logits, targets, margin=0.0, scale=1.0):
    return np.log(1 + np.exp(scale * (margin - signed(logits, targets)))) / scale


def exponential(logits, targets):
    return np.exp(-signed(logits, targets))


def perceptron(logits, targets):
    return np.maximum(0, -signed(logits, targets))


def modified_huber(logits, targets):
    v = signed(logits, targets)
    return np.where(v < -1, -4 * v, np.maximum(0, 1 - v) ** 2)


def savage(logits, targets):
    return (targets - 1 / (1 + np.exp(-logits))) ** 2


def tangent(logits, targets):
    return (2 * np.arctan(signed(logits, targets)) - 1) ** 2


ROWS = [
    Row(family.squared_hinge, squared_hinge, {"margin": 0.7}),
    Row(family.smooth_hinge, smooth_hinge, {"margin": 0.7, "delta": 0.3}),
    Row(family.logistic, logistic),
    Row(family.logistic, logistic, {"margin": 0.7, "scale": 3.0}),
    Row(family.exponential, exponential),
    Row(family.perceptron, perceptron),
    Row(family.modified_huber, modified_huber),
    Row(family.savage, savage),
    Row(family.tangent, tangent),
]
