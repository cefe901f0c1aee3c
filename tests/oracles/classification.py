"""Classification losses in float64 NumPy."""

import numpy as np

from jaxloss import classification
from tests.oracles import Row


def softmax(z):
    return np.exp(z) / np.exp(z).sum(-1, keepdims=True)


def sigmoid(z):
    return 1 / (1 + np.exp(-z))


def softmax_cross_entropy(logits, labels, label_smoothing=0.0):
    p = softmax(logits)
    smooth = np.full_like(p, label_smoothing / p.shape[-1])
    smooth[np.arange(len(labels)), labels] += 1 - label_smoothing
    return -(smooth * np.log(p)).sum(-1)


def soft_cross_entropy(logits, targets):
    return -(targets * np.log(softmax(logits))).sum(-1)


def sigmoid_cross_entropy(logits, targets):
    p = sigmoid(logits)
    return -targets * np.log(p) - (1 - targets) * np.log(1 - p)


def softmax_focal(logits, labels, gamma):
    p = softmax(logits)[np.arange(len(labels)), labels]
    return -((1 - p) ** gamma) * np.log(p)


def sigmoid_focal(logits, targets, gamma):
    p = np.where(targets == 1, sigmoid(logits), 1 - sigmoid(logits))
    return -((1 - p) ** gamma) * np.log(p)


def hinge(logits, targets, margin):
    sign = np.where(targets == 1, 1, -1)
    return np.maximum(0, margin - sign * logits)


def distributions():
    """Normalized to the last digit of a float64, as the formula takes for granted."""
    z = np.random.default_rng(0).normal(size=(2, 8, 4))
    p = softmax(z)
    return np.log(p[0]), p[1]


def kl(log_probabilities, targets):
    return (targets * (np.log(targets) - log_probabilities)).sum(-1)


def nll(log_probabilities, labels):
    return -log_probabilities[np.arange(len(labels)), labels]


def unsure():
    """Probabilities and yes-or-no or soft answers."""
    rng = np.random.default_rng(0)
    p, t = rng.uniform(size=(2, 8, 4)).astype(np.float32)
    t[:4] = t[:4] > 0.4
    return p, t


def binary_cross_entropy(probabilities, targets):
    return -targets * np.log(probabilities) - (1 - targets) * np.log(1 - probabilities)


ROWS = [
    Row(classification.nll, nll),
    Row(classification.binary_cross_entropy, binary_cross_entropy, inputs=unsure),
    Row(classification.softmax_cross_entropy, softmax_cross_entropy),
    Row(classification.softmax_cross_entropy, softmax_cross_entropy, {"label_smoothing": 0.1}),
    Row(classification.soft_cross_entropy, soft_cross_entropy),
    Row(classification.sigmoid_cross_entropy, sigmoid_cross_entropy),
    Row(classification.softmax_focal, softmax_focal, {"gamma": 1.7}),
    Row(classification.sigmoid_focal, sigmoid_focal, {"gamma": 1.7}),
    Row(classification.hinge, hinge, {"margin": 0.7}),
    Row(classification.kl, kl, inputs=distributions),
]
