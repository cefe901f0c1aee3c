"""Scoring rules of the peers."""

import numpy as np
import pytest

from jaxloss.losses import scoring
from tests.oracles import Row


def sklearn_brier(probabilities, labels):
    from sklearn.metrics import brier_score_loss

    classes = list(range(probabilities.shape[-1]))
    rows = zip(labels, probabilities.astype(float), strict=True)
    return [brier_score_loss([y], [p / p.sum()], labels=classes) for y, p in rows]


def sklearn_binary_brier(probabilities, targets):
    from sklearn.metrics import brier_score_loss

    score = np.vectorize(lambda t, p: brier_score_loss([t], [p], labels=[0, 1]))
    return score(targets, probabilities)


def scoringrules_ranked_probability(probabilities, labels):
    """Theirs counts classes from one."""
    scoringrules = pytest.importorskip("scoringrules")
    return scoringrules.rps_score(labels + 1, probabilities)


def scoringrules_interval(lower, upper, targets, coverage):
    scoringrules = pytest.importorskip("scoringrules")
    return scoringrules.interval_score(targets, lower, upper, 1 - coverage)


def scoringrules_weighted_interval(medians, lower, upper, targets, coverages):
    """Of the intervals alone: 0.10 weighs the median where the paper weighs its error."""
    scoringrules = pytest.importorskip("scoringrules")
    of_intervals = scoringrules.weighted_interval_score(
        targets, medians, lower, upper, 1 - coverages, w_median=0.0
    )
    return of_intervals + np.abs(targets - medians) / 2 / (len(coverages) + 0.5)


def scoringrules_quantiles(predictions, targets, levels):
    scoringrules = pytest.importorskip("scoringrules")
    return scoringrules.crps_quantile(targets, predictions, levels)


PEERS = [
    Row(scoring.brier, sklearn_brier),
    Row(scoring.binary_brier, sklearn_binary_brier),
    Row(scoring.ranked_probability, scoringrules_ranked_probability),
    Row(scoring.interval, scoringrules_interval, {"coverage": 0.7}),
    Row(scoring.weighted_interval, scoringrules_weighted_interval),
    Row(scoring.quantiles, scoringrules_quantiles),
]
