"""Losses of language models in float64 NumPy, token by token."""

import numpy as np

from jaxloss import language
from tests.oracles import Row


def softmax(z):
    return np.exp(z) / np.exp(z).sum(-1, keepdims=True)


def cross_entropy(logits, label, label_smoothing=0.0):
    mass = np.full(len(logits), label_smoothing / len(logits))
    mass[label] += 1 - label_smoothing
    return -mass @ np.log(softmax(logits))


def sequence_cross_entropy(logits, labels, label_smoothing=0.0):
    sequences = zip(logits, labels, strict=True)
    return np.array([
        np.mean([cross_entropy(z, y, label_smoothing) for z, y in zip(*sequence, strict=True)])
        for sequence in sequences
    ])  # fmt: skip


def z_loss(logits):
    return np.log(np.exp(logits).sum(-1)) ** 2


def z_cross_entropy(logits, labels, z_loss=1e-4, label_smoothing=0.0):
    rows = zip(logits, labels, strict=True)
    squared = np.log(np.exp(logits).sum(-1)) ** 2
    return z_loss * squared + [cross_entropy(z, y, label_smoothing) for z, y in rows]


def multi_token_prediction(logits, labels):
    losses = np.zeros(logits.shape[:-1])
    for b, t, d in np.ndindex(*losses.shape):
        if t + d < labels.shape[-1]:
            losses[b, t, d] = cross_entropy(logits[b, t, d], labels[b, t + d])
    return losses


def dynamic_fine_tuning(logits, labels):
    p = softmax(logits)[np.arange(len(labels)), labels]
    return -p * np.log(p)


def unlikelihood(logits, targets):
    return -(targets * np.log(1 - softmax(logits))).sum(-1)


ROWS = [
    Row(language.sequence_cross_entropy, sequence_cross_entropy),
    Row(language.sequence_cross_entropy, sequence_cross_entropy, {"label_smoothing": 0.3}),
    Row(language.z_loss, z_loss),
    Row(language.z_cross_entropy, z_cross_entropy),
    Row(language.z_cross_entropy, z_cross_entropy, {"z_loss": 0.7, "label_smoothing": 0.3}),
    Row(language.multi_token_prediction, multi_token_prediction),
    Row(language.dynamic_fine_tuning, dynamic_fine_tuning),
    Row(language.unlikelihood, unlikelihood),
]
