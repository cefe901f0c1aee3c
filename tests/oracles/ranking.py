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


ROWS = [Row(ranking.softmax, softmax)]
