"""Smooth ranking metrics in float64 NumPy, item by item."""

import numpy as np

from jaxloss import ranking_metric
from tests.oracles import Row


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def ranks(s, temperature, among=None):
    items = range(len(s)) if among is None else among
    return np.array(
        [1 + sum(sigmoid((s[j] - s[i]) / temperature) for j in items if j != i)
         for i in range(len(s))]
    )  # fmt: skip


def of_lists(metric):
    """One minus the metric of each list in which something is relevant."""

    def oracle(scores, relevance, **options):
        return np.array([
            1 - metric(s, y, **options) if (y > 0).any() else 0.0
            for s, y in zip(scores, relevance, strict=True)
        ])  # fmt: skip

    return oracle


def ideal(y):
    return (2.0 ** np.sort(y)[::-1] - 1) @ (1 / np.log2(np.arange(len(y)) + 2))


def ndcg(s, y, temperature=0.1):
    return (2.0**y - 1) @ (1 / np.log2(1 + ranks(s, temperature))) / ideal(y)


def mrr(s, y, temperature=0.1):
    return (1 / ranks(s, temperature))[y > 0].max()


def average_precision(s, y, temperature=0.1):
    relevant = np.flatnonzero(y > 0)
    among = ranks(s, temperature, relevant)
    return (among / ranks(s, temperature))[relevant].mean()


def precision(s, y, cutoff=10, temperature=0.1):
    front = sigmoid((cutoff + 0.5 - ranks(s, temperature)) / temperature)
    return front[y > 0].sum() / front.sum()


def recall(s, y, cutoff=10, temperature=0.1):
    return sigmoid((cutoff + 0.5 - ranks(s, temperature)) / temperature)[y > 0].mean()


def neural_ndcg(s, y, temperature=1.0, iterations=30):
    n = len(s)
    apart = np.abs(s[:, None] - s).sum(-1)
    p = np.exp(((n + 1 - 2 * np.arange(1, n + 1))[:, None] * s - apart) / temperature)
    p /= p.sum(1, keepdims=True)
    for _ in range(iterations):
        p /= p.sum(0)
        p /= p.sum(1, keepdims=True)
    return (p @ (2.0**y - 1)) @ (1 / np.log2(np.arange(n) + 2)) / ideal(y)


def long_lists():
    """Some with nothing relevant, some with equal scores."""
    generator = np.random.default_rng(2)
    scores = generator.normal(size=(5, 17)).round(1).astype(np.float32)
    return scores, generator.integers(0, [[1], [2], [3], [5], [2]], (5, 17))


ROWS = [
    Row(loss, of_lists(metric), options, inputs)
    for loss, metric, options in (
        (ranking_metric.approx_ndcg, ndcg, {"temperature": 0.7}),
        (ranking_metric.approx_mrr, mrr, {"temperature": 0.7}),
        (ranking_metric.approx_average_precision, average_precision, {"temperature": 0.7}),
        (ranking_metric.approx_precision, precision, {"cutoff": 2, "temperature": 0.7}),
        (ranking_metric.approx_recall, recall, {"cutoff": 3, "temperature": 0.7}),
        (ranking_metric.neural_ndcg, neural_ndcg, {"temperature": 1.7, "iterations": 3}),
    )
    for inputs in (None, long_lists)
]
