"""Losses for imbalanced classes in float64 NumPy."""

import numpy as np

from jaxloss import imbalance
from tests.oracles import Row


def logit_adjusted_cross_entropy(logits, labels, counts, scale):
    odds = counts**scale * np.exp(logits)
    return -np.log(odds[np.arange(len(labels)), labels] / odds.sum(-1))


def ldam(logits, labels, counts, margin, scale):
    margins = counts ** (-1 / 4)
    margins *= margin / margins.max()
    losses = []
    for z, y in zip(logits, labels, strict=True):
        shifted = scale * np.where(np.arange(len(z)) == y, z - margins[y], z)
        losses.append(np.log(np.exp(shifted).sum()) - shifted[y])
    return np.array(losses)


def sigmoid_asymmetric(logits, targets, positive_gamma, negative_gamma, margin):
    p = 1 / (1 + np.exp(-logits))
    shifted = np.maximum(p - margin, 0)
    yes = -((1 - p) ** positive_gamma) * np.log(p)
    no = -(shifted**negative_gamma) * np.log(1 - shifted)
    return np.where(targets == 1, yes, no)


def softmax_asymmetric(logits, labels, positive_gamma, negative_gamma, label_smoothing):
    p = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    classes = logits.shape[-1]
    one_hot = np.eye(classes)[labels]
    targets = (1 - label_smoothing) * one_hot + label_smoothing / classes
    fading = np.where(one_hot == 1, (1 - p) ** positive_gamma, p**negative_gamma)
    return -(targets * fading * np.log(p)).sum(-1)


SIGMOID = {"positive_gamma": 0.7, "negative_gamma": 2.5}
SOFTMAX = {"positive_gamma": 0.7, "negative_gamma": 1.5, "label_smoothing": 0.3}

ROWS = [
    Row(imbalance.sigmoid_asymmetric, sigmoid_asymmetric, {**SIGMOID, "margin": 0.3}),
    Row(imbalance.sigmoid_asymmetric, sigmoid_asymmetric, {**SIGMOID, "margin": 0.0}),
    Row(imbalance.softmax_asymmetric, softmax_asymmetric, SOFTMAX),
    Row(imbalance.logit_adjusted_cross_entropy, logit_adjusted_cross_entropy, {"scale": 0.7}),
    Row(imbalance.ldam, ldam, {"margin": 0.3, "scale": 3.0}),
]
