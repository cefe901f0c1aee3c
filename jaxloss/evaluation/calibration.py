"""Whether probabilities mean what they say."""

from typing import NamedTuple

import numpy as np
import scipy.special
from jaxtyping import ArrayLike, Bool, Float


class Calibration(NamedTuple):
    """Predictions in bins of equal size, sorted by how sure they were."""

    confidence: np.ndarray
    """the mean of each bin, rising"""
    accuracy: np.ndarray
    """the share of each bin that came true"""
    low: np.ndarray
    high: np.ndarray
    """the 95 % confidence interval of ``accuracy``, by Wilson"""
    counts: np.ndarray
    edges: np.ndarray
    """between which confidences the bins lie: one more than there are bins"""
    error: float
    """expected calibration error: the mean distance of accuracy and confidence"""


def calibration(
    confidence: Float[ArrayLike, " examples"],
    correct: Bool[ArrayLike, " examples"],
    *,
    bins: int = 15,
) -> Calibration:
    r"""Compare how sure predictions were with how often they came true.

    .. math::
        \text{error} = \sum_b \frac{n_b}{n} \left| \text{accuracy}_b - \text{confidence}_b \right|

    The bins have equally many predictions each, and predictions that are equally sure share one.
    The error is biased upwards: with few examples per bin chance alone makes some.

    Args:
        confidence: of classes, the probability of the one that was predicted; or that of an event.
        correct: whether the prediction was right, or the event came true.
        bins: how many at most.

    Example:
        >>> import numpy as np
        >>> found = calibration(np.array([0.9, 0.9, 0.6, 0.6]), np.array([1, 1, 0, 1]) == 1, bins=2)
        >>> found.accuracy, round(found.error, 3)
        (array([0.5, 1. ]), 0.1)

    Reference:
        Guo et al., "On Calibration of Modern Neural Networks", 2017.
    """
    sure, right = np.asarray(confidence, np.float64), np.asarray(correct)
    if sure.ndim != 1 or sure.shape != right.shape or not sure.size:
        raise ValueError(
            "calibration: confidence and correct must be one number per example, "
            f"got shapes {sure.shape} and {right.shape}"
        )
    if not ((sure >= 0) & (sure <= 1)).all():
        raise ValueError("calibration: confidence must lie in [0, 1]")
    if bins < 1:
        raise ValueError(f"calibration: bins must be at least 1, got {bins}")
    order = np.argsort(sure, kind="stable")
    sure, right = sure[order], right[order].astype(float)
    cuts = np.linspace(0, len(sure), min(bins, len(sure)) + 1).astype(int)[1:-1]
    starts = np.unique([0, *np.searchsorted(sure, sure[cuts])])
    counts = np.diff([*starts, len(sure)])
    means = np.add.reduceat(sure, starts) / counts
    hits = np.add.reduceat(right, starts) / counts
    low, high = _wilson(hits, counts)
    edges = np.array([*sure[starts], sure[-1]])
    error = float((counts * np.abs(hits - means)).sum() / len(sure))
    return Calibration(means, hits, low, high, counts, edges, error)


def _wilson(share: np.ndarray, count: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    z = float(scipy.special.ndtri(0.975))
    center = (share + z * z / (2 * count)) / (1 + z * z / count)
    reach = z * np.sqrt(share * (1 - share) / count + (z / (2 * count)) ** 2) / (1 + z * z / count)
    return np.clip(center - reach, 0, 1), np.clip(center + reach, 0, 1)
