r"""Estimates of a ratio of sums over clusters, and what they may be off by.

Rows are runs of a method, from seeds of their own; columns are clusters of examples. The total of
cell (s, g) is :math:`S_{sg}`, and its weight :math:`W_g` is the same for all runs. The estimate is

.. math::
    \theta = \frac{1}{R} \sum_s \theta_s, \qquad
    \theta_s = \frac{\sum_g S_{sg}}{\sum_g W_g}
"""

import math
from typing import NamedTuple

import numpy as np
import scipy.special

SKEWED = 50.0
"""Clusters wanted per squared skewness, for Student's quantiles to be relied upon."""
FEWEST, MOST = 8, 20_000
"""Clusters between which the bootstrap is worth its while."""
DRAWS = 1999
"""Of the bootstrap."""


class Estimate(NamedTuple):
    """A number, how far off it may be, and how likely it would be this far off from zero."""

    value: float
    standard_error: float
    reach: float
    """half the width of the confidence interval"""
    p_value: float
    """of the hypothesis that there is nothing"""
    method: str
    """``"t"`` or ``"bootstrap-t"``"""

    @property
    def low(self) -> float:
        """The lower end of the confidence interval."""
        return self.value - self.reach

    @property
    def high(self) -> float:
        """The upper end of the confidence interval."""
        return self.value + self.reach


def estimate(totals: np.ndarray, weights: np.ndarray, confidence: float, seed: int) -> Estimate:
    """The mean over all runs, as a sample of the runs and clusters that there might have been.

    Of one run the clusters alone are random, and the result is about that very run. The quantiles
    are Student's, or from the bootstrap if the totals are skewed for so few clusters.

    Args:
        totals: one row per run, one column per cluster.
        weights: of the clusters.
        confidence: of the interval.
        seed: of the bootstrap.
    """
    runs = len(totals)
    ratios = [ratio_of_sums(row, weights) for row in totals]
    value = float(np.mean([ratio.value for ratio in ratios]))
    together = ratio_of_sums(totals.mean(0), weights)
    degrees = together.effective - 1
    if runs == 1:
        residuals = totals[0] - value * weights
        if _wants_bootstrap(residuals):
            return _by_bootstrap(together, residuals, weights, confidence, seed)
        return _by_student(value, together.error, degrees, confidence)

    by_run = np.array([ratio.value for ratio in ratios])
    of_runs = float(((by_run - value) ** 2).sum()) / (runs * (runs - 1))
    of_clusters = together.error**2
    cells = totals - totals.mean(0)
    of_cells = sum(ratio_of_sums(row, weights).error ** 2 for row in cells) / (runs * (runs - 1))
    # What one sees vary between runs, or between clusters, includes what varies from cell to cell;
    # that would be counted twice.
    variance = max(of_runs, of_cells) + max(of_clusters, of_cells) - of_cells
    error = math.sqrt(variance)
    if error > 0 and degrees > 0:  # by Satterthwaite
        degrees = variance**2 / (of_runs**2 / (runs - 1) + of_clusters**2 / degrees)
    return _by_student(value, error, degrees, confidence)


class Ratio(NamedTuple):
    """A sum over clusters divided by that of their weights."""

    value: float
    error: float
    """NaN for fewer than two clusters"""
    effective: float
    """how many clusters of equal weight would tell as much"""


def ratio_of_sums(totals: np.ndarray, weights: np.ndarray) -> Ratio:
    r"""The ratio of two sums over clusters, with its standard error by the jackknife.

    .. math::
        \text{se}^2 = \frac{G - 1}{G} \sum_g \left(
            \frac{S_g - \theta W_g}{\sum_h W_h - W_g} \right)^2

    Leaving each cluster out in turn, it knows that a large one pulls the ratio its way; with the
    degrees of freedom of the effective number of clusters, intervals are then right for clusters of
    very different weights too.
    """
    count, weight = len(totals), float(weights.sum())
    with np.errstate(invalid="ignore"):  # a ratio that is infinite
        value = float(totals.sum()) / weight
        residuals = totals - value * weights
    effective = weight**2 / float((weights**2).sum())
    if count < 2:
        return Ratio(value, math.nan, effective)
    squares = float(((residuals / (weight - weights)) ** 2).sum())
    return Ratio(value, math.sqrt(squares * (count - 1) / count), effective)


def holm(p_values: list[float]) -> list[float]:
    """P-values that may each be held against one level, however many there are.

    Reference:
        Holm, "A Simple Sequentially Rejective Multiple Test Procedure", 1979.
    """
    adjusted, largest = [math.nan] * len(p_values), 0.0
    known = [k for k, p in enumerate(p_values) if not math.isnan(p)]
    for rank, k in enumerate(sorted(known, key=lambda k: p_values[k])):
        largest = max(largest, min(1.0, (len(known) - rank) * p_values[k]))
        adjusted[k] = largest
    return adjusted


def _by_student(value: float, error: float, degrees: float, confidence: float) -> Estimate:
    if not degrees > 0 or math.isnan(error) or math.isnan(value):
        return Estimate(value, math.nan, math.nan, math.nan, "t")
    reach = float(scipy.special.stdtrit(degrees, (1 + confidence) / 2)) * error
    if error == 0:
        return Estimate(value, 0.0, 0.0, float(value == 0), "t")
    p_value = 2 * float(scipy.special.stdtr(degrees, -abs(value / error)))
    return Estimate(value, error, reach, p_value, "t")


def _wants_bootstrap(residuals: np.ndarray) -> bool:
    count, spread = len(residuals), float((residuals**2).mean())
    if not FEWEST <= count <= MOST or spread == 0 or not math.isfinite(spread):
        return False
    skewness = float((residuals**3).mean()) / spread**1.5
    return count < SKEWED * skewness**2


def _by_bootstrap(
    ratio: Ratio, residuals: np.ndarray, weights: np.ndarray, confidence: float, seed: int
) -> Estimate:
    """By the quantiles of the t-statistics of samples drawn with replacement.

    The interval is symmetric, so it contains zero exactly if the p-value is above the level.

    Reference:
        Hall, "On Symmetric Bootstrap Confidence Intervals", 1988.
    """
    random, count = np.random.default_rng(seed), len(residuals)
    statistics = np.empty(DRAWS)
    for part in np.array_split(np.arange(DRAWS), 1 + DRAWS * count // 2_000_000):
        chosen = random.integers(0, count, (len(part), count))
        drawn, weight = residuals[chosen], weights[chosen]
        whole = weight.sum(1, keepdims=True)
        off = drawn.sum(1, keepdims=True) / whole
        squares = (((drawn - off * weight) / (whole - weight)) ** 2).sum(1)
        spread, off = np.sqrt(squares * (count - 1) / count), off[:, 0]
        with np.errstate(divide="ignore", invalid="ignore"):
            # a sample of equal values, even of nothing but zeros, is no evidence of anything
            statistics[part] = np.where(spread > 0, np.abs(off) / spread, np.inf)
    statistics.sort()
    # the value itself is one of the DRAWS + 1 that are equally likely if there is nothing
    rank = min(math.ceil(confidence * (DRAWS + 1)), DRAWS)
    extreme = DRAWS - np.searchsorted(statistics, abs(ratio.value) / ratio.error, side="left")
    p_value = (int(extreme) + 1) / (DRAWS + 1)
    reach = float(statistics[rank - 1]) * ratio.error
    return Estimate(ratio.value, ratio.error, reach, p_value, "bootstrap-t")
