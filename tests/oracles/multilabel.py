"""Losses on several yes-or-no answers in float64 NumPy."""

import numpy as np

from jaxloss import multilabel
from tests.oracles import Row


def zlpr(logits, targets):
    yes = np.log(1 + (targets * np.exp(-logits)).sum(-1))
    return yes + np.log(1 + ((1 - targets) * np.exp(logits)).sum(-1))


def multi_positive_cross_entropy(logits, targets):
    losses = []
    for z, t in zip(logits, targets, strict=True):
        classes = range(len(z))
        terms = [t[i] * (1 - t[j]) * np.exp(z[j] - z[i]) for i in classes for j in classes]
        losses.append(np.log(1 + sum(terms)))
    return np.array(losses)


def f_measure(probabilities, targets, recall_weight):
    tp = (probabilities * targets).sum(-1)
    precision, recall = tp / probabilities.sum(-1), tp / np.maximum(targets.sum(-1), 1)
    square = recall_weight**2
    bottom = square * precision + recall
    return 1 - (1 + square) * precision * recall / np.where(bottom == 0, 1, bottom)


def certain():
    generator = np.random.default_rng(1)
    logits = (8 * generator.normal(size=(8, 4))).astype(np.float32)
    return logits, (generator.uniform(size=(8, 4)) < 0.4).astype(np.float32)


ROWS = [
    Row(multilabel.zlpr, zlpr),
    Row(multilabel.zlpr, zlpr, {}, certain),
    Row(multilabel.multi_positive_cross_entropy, multi_positive_cross_entropy),
    Row(multilabel.multi_positive_cross_entropy, multi_positive_cross_entropy, {}, certain),
    Row(multilabel.f_measure, f_measure, {"recall_weight": 0.7}),
]
