"""The released rax cannot make its metrics approximate on a recent JAX; the metrics it has."""

import numpy as np
import pytest

from jaxloss import ranking_metric
from tests.oracles import Row


def clear_order():
    """Scores far enough apart for the approximation to be exact."""
    generator = np.random.default_rng(0)
    scores = np.stack([generator.permutation(9) for _ in range(6)]).astype(np.float32)
    return scores, generator.integers(0, 4, (6, 9)).astype(np.float32)


def one_minus(metric, **options):
    def peer(scores, relevance, temperature, **_):
        rax = pytest.importorskip("rax")
        relevant = relevance if metric == "ndcg_metric" else (relevance > 0).astype(np.float32)
        one = getattr(rax, metric)
        return np.array([1 - one(s, y, **options) for s, y in zip(scores, relevant, strict=True)])

    peer.__name__ = metric
    return peer


SHARP = {"temperature": 0.03}
PEERS = [
    Row(ranking_metric.approx_ndcg, one_minus("ndcg_metric"), SHARP, clear_order),
    Row(ranking_metric.approx_mrr, one_minus("mrr_metric"), SHARP, clear_order),
    Row(ranking_metric.approx_average_precision, one_minus("ap_metric"), SHARP, clear_order),
    Row(
        ranking_metric.approx_precision,
        one_minus("precision_metric", topn=3),
        {"cutoff": 3, **SHARP},
        clear_order,
    ),
    Row(
        ranking_metric.approx_recall,
        one_minus("recall_metric", topn=3),
        {"cutoff": 3, **SHARP},
        clear_order,
    ),
    Row(ranking_metric.neural_ndcg, one_minus("ndcg_metric"), SHARP, clear_order),
]
