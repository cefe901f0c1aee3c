"""Ranking losses in float64 NumPy."""

import numpy as np

from jaxloss import ranking
from tests.oracles import Row


def softmax(scores, relevance):
    losses = []
    for s, y in zip(scores, relevance, strict=True):
        p = np.exp(s) / np.exp(s).sum()
        losses.append(-(y / y.sum() * np.log(p)).sum())
    return np.array(losses)


def poly1_softmax(scores, relevance, linear_weight):
    losses = []
    for s, y in zip(scores, relevance, strict=True):
        p = np.exp(s) / np.exp(s).sum()
        losses.append(linear_weight * (1 - (y / y.sum() * p).sum()))
    return softmax(scores, relevance) + np.array(losses)


def listmle(scores, relevance, position_weights=1.0):
    weights = np.broadcast_to(position_weights, scores.shape[-1:])
    losses = []
    for s, y in zip(scores, relevance, strict=True):
        s = s[np.argsort(-y, kind="stable")]
        terms = [np.log(np.exp(s[k:]).sum()) - s[k] for k in range(len(s))]
        losses.append(weights @ terms)
    return np.array(losses)


def unique_softmax(scores, relevance):
    losses = []
    for s, y in zip(scores, relevance, strict=True):
        rest = [np.exp(s[y < grade]).sum() for grade in y]
        losses.append(-((2.0**y - 1) * np.log(np.exp(s) / (np.exp(s) + rest))).sum())
    return np.array(losses)


ROWS = [
    Row(ranking.softmax, softmax),
    Row(ranking.poly1_softmax, poly1_softmax, {"linear_weight": 0.7}),
    Row(ranking.listmle, listmle),
    Row(ranking.listmle, listmle, {"position_weights": np.array([0.3, 0.7, 1.5, 0.0, 2.0])}),
    Row(ranking.unique_softmax, unique_softmax),
]
