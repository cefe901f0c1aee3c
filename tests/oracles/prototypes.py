"""Independent truth for :mod:`jaxloss.losses.prototypes`, by the matrices of the papers."""

import numpy as np

from jaxloss.losses import prototypes
from tests.oracles import Row

CENTER = np.array([0.3, -0.7, 0.1, 0.9])


def softmax(x):
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def sinkhorn(scores, temperature, iterations):
    q = np.exp(scores / temperature).T
    q /= q.sum()
    prototypes, batch = q.shape
    for _ in range(iterations):
        q /= q.sum(1, keepdims=True) * prototypes
        q /= q.sum(0, keepdims=True) * batch
    return (q * batch).T


def swav(logits, other_logits, temperature=0.1, sinkhorn_temperature=0.05, iterations=3):
    losses = np.zeros(len(logits))
    for one, other in ((logits, other_logits), (other_logits, logits)):
        codes = sinkhorn(other, sinkhorn_temperature, iterations)
        losses -= (codes * np.log(softmax(one / temperature))).sum(-1) / 2
    return losses


def dino(student_logits, teacher_logits, center=0.0, temperature=0.1, teacher_temperature=0.04):
    targets = softmax((teacher_logits - center) / teacher_temperature)
    return -(targets * np.log(softmax(student_logits / temperature))).sum(-1)


ROWS = [
    Row(
        prototypes.swav,
        swav,
        {"temperature": 0.3, "sinkhorn_temperature": 0.4, "iterations": 2},
    ),
    Row(prototypes.swav, swav),
    Row(prototypes.dino, dino, {"temperature": 0.3, "teacher_temperature": 0.4, "center": CENTER}),
    Row(prototypes.dino, dino),
]
