"""Losses for long-tailed classes in float64 NumPy."""

import numpy as np

from jaxloss import long_tail
from tests.oracles import Row
from tests.oracles.imbalance import logit_adjusted_cross_entropy


def balanced_softmax(logits, labels, counts):
    return logit_adjusted_cross_entropy(logits, labels, counts, 1.0)


def vector_scaling(logits, labels, counts, power, scale):
    stretched = logits * (counts / counts.max()) ** power
    return logit_adjusted_cross_entropy(stretched, labels, counts, scale)


def seesaw(logits, labels, counts, mitigation, compensation):
    losses = []
    for z, y in zip(logits, labels, strict=True):
        p = np.exp(z) / np.exp(z).sum()
        total = 0.0
        for c in range(len(z)):
            relieved = (counts[c] / counts[y]) ** mitigation if counts[y] > counts[c] else 1.0
            taken_back = (p[c] / p[y]) ** compensation if p[c] > p[y] else 1.0
            total += relieved * taken_back * np.exp(z[c])
        losses.append(np.log(total) - z[y])
    return np.array(losses)


def cross_entropies(logits, targets):
    p = 1 / (1 + np.exp(-logits))
    return -targets * np.log(p), -(1 - targets) * np.log(1 - p)


def equalized(logits, targets, counts, threshold):
    yes, no = cross_entropies(logits, targets)
    spared = (counts / counts.sum() < threshold) & (targets.max(-1) > 0)[:, None]
    return np.where(spared, targets * (yes + no), yes + no).sum(-1)


def equalized_v2(logits, targets, gradient_ratios, slope, threshold, boost):
    yes, no = cross_entropies(logits, targets)
    negative = 1 / (1 + np.exp(-slope * (gradient_ratios - threshold)))
    positive = 1 + boost * (1 - negative)
    weight = targets * positive + (1 - targets) * negative
    return (weight * (yes + no)).sum(-1)


def with_background():
    generator = np.random.default_rng(0)
    targets = np.eye(4)[generator.integers(0, 4, 8)] * (np.arange(8) > 2)[:, None]
    logits = generator.normal(size=(8, 4)).astype(np.float32)
    return logits, targets.astype(np.float32), np.array([70, 4, 30, 2])


ROWS = [
    Row(long_tail.balanced_softmax, balanced_softmax),
    Row(long_tail.vector_scaling, vector_scaling, {"power": 0.3, "scale": 0.7}),
    Row(long_tail.seesaw, seesaw, {"mitigation": 0.7, "compensation": 1.3}),
    Row(long_tail.equalized, equalized, {"threshold": 0.2}),
    Row(long_tail.equalized, equalized, {"threshold": 0.1}, with_background),
    Row(long_tail.equalized_v2, equalized_v2, {"slope": 3.0, "threshold": 0.7, "boost": 2.0}),
]
