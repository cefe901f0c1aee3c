"""Losses on pairs of a list in float64 NumPy, pair by pair."""

import numpy as np

from jaxloss import pairwise_ranking
from tests.oracles import Row


def over_pairs(scores, relevance, pair_weights, cost):
    """The mean over the pairs of each list of ``cost`` of their lead and of their rise."""
    losses = []
    for at, (s, y) in enumerate(zip(scores, relevance, strict=True)):
        items = range(len(s))
        w = np.broadcast_to(pair_weights, (len(scores), len(s), len(s)))[at]
        terms = [w[i, j] * cost(s[i] - s[j], y[i] - y[j]) for i in items for j in items
                 if y[i] > y[j]]  # fmt: skip
        losses.append(np.sum(terms) / max(len(terms), 1))
    return np.array(losses)


def logistic(scores, relevance, pair_weights=1.0):
    return over_pairs(scores, relevance, pair_weights, lambda d, _: np.log(1 + np.exp(-d)))


def hinge(scores, relevance, margin=1.0, pair_weights=1.0):
    return over_pairs(scores, relevance, pair_weights, lambda d, _: max(0, margin - d))


def soft_zero_one(scores, relevance, temperature=1.0, pair_weights=1.0):
    return over_pairs(
        scores, relevance, pair_weights, lambda d, _: 1 / (1 + np.exp(d / temperature))
    )


def quantile(scores, relevance, quantile=0.5, pair_weights=1.0):
    def cost(lead, rise):
        return quantile * max(0, rise - lead) + (1 - quantile) * max(0, lead - rise)

    return over_pairs(scores, relevance, pair_weights, cost)


def squared(scores, relevance):
    losses = []
    for s, y in zip(scores, relevance, strict=True):
        n = len(s)
        terms = [(s[i] - s[j] - y[i] + y[j]) ** 2 for i in range(n) for j in range(n)]
        losses.append(sum(terms) / n / (n - 1))
    return np.array(losses)


SOME = {"pair_weights": np.random.default_rng(0).uniform(0.2, 3.0, (8, 5, 5)).astype(np.float32)}


def long_lists():
    """Longer, with many grades and with equal scores."""
    generator = np.random.default_rng(1)
    scores = generator.normal(size=(6, 37)).round(1).astype(np.float32)
    return scores, generator.integers(0, [[1], [2], [3], [7], [20], [99]], (6, 37))


ROWS = [
    Row(pairwise_ranking.logistic, logistic),
    Row(pairwise_ranking.logistic, logistic, SOME),
    Row(pairwise_ranking.logistic, logistic, {}, long_lists),
    Row(pairwise_ranking.hinge, hinge, {"margin": 0.7}),
    Row(pairwise_ranking.hinge, hinge, {"margin": 0.3, **SOME}),
    Row(pairwise_ranking.hinge, hinge, {"margin": 0.7}, long_lists),
    Row(pairwise_ranking.soft_zero_one, soft_zero_one, {"temperature": 0.7}),
    Row(pairwise_ranking.soft_zero_one, soft_zero_one, SOME),
    Row(pairwise_ranking.quantile, quantile, {"quantile": 0.3}),
    Row(pairwise_ranking.quantile, quantile, {"quantile": 0.7, **SOME}),
    Row(pairwise_ranking.quantile, quantile, {"quantile": 0.3}, long_lists),
    Row(pairwise_ranking.squared, squared),
    Row(pairwise_ranking.squared, squared, {}, long_lists),
]
