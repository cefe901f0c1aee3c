"""Likelihoods of failure times, of SciPy's distributions."""

import numpy as np
import scipy.stats

from jaxloss.losses import failure_time
from tests.oracles import Row


def likelihood(distribution, lower, upper):
    """Of one time: a density if it is observed, a difference of probabilities if it is not."""
    if lower == upper:
        return -distribution.logpdf(lower)
    if lower > distribution.median():
        return -np.log(distribution.sf(lower) - distribution.sf(upper))
    return -np.log(distribution.cdf(upper) - distribution.cdf(lower))


def oracle(make):
    def compute(*arrays):
        rows = np.broadcast(*arrays)
        losses = [likelihood(make(*row[:-2]), *row[-2:]) for row in rows]
        return np.reshape(losses, rows.shape)

    return compute


weibull = oracle(lambda m, s: scipy.stats.weibull_min(1 / s, scale=np.exp(m)))
exponential = oracle(lambda m: scipy.stats.expon(scale=np.exp(m)))
log_normal = oracle(lambda m, s: scipy.stats.lognorm(s, scale=np.exp(m)))
log_logistic = oracle(lambda m, s: scipy.stats.fisk(1 / s, scale=np.exp(m)))


def of_every_kind():
    """Observed, over before, not over yet, in between, and nothing known at all."""
    lower = np.array([2.0, 0.3, 0.0, 0.0, 1.5, 0.4, 1.0, 0.2, 0.0], np.float32)
    upper = np.array([2.0, 0.3, 0.5, 4.0, np.inf, np.inf, 1.5, 9.0, np.inf], np.float32)
    predictions = np.linspace(-1, 1.5, 9, dtype=np.float32)
    return predictions, np.linspace(1.3, 0.6, 9, dtype=np.float32), lower, upper


def without_scales():
    predictions, _, lower, upper = of_every_kind()
    return predictions, lower, upper


def hazard(log_hazards, cumulative_hazards, events):
    likelihoods = np.exp(log_hazards) ** events * np.exp(-cumulative_hazards)
    return -np.log(likelihoods)


ROWS = [
    Row(failure_time.hazard, hazard),
    Row(failure_time.weibull, weibull),
    Row(failure_time.weibull, weibull, {}, of_every_kind),
    Row(failure_time.exponential, exponential),
    Row(failure_time.exponential, exponential, {}, without_scales),
    Row(failure_time.log_normal, log_normal),
    Row(failure_time.log_normal, log_normal, {}, of_every_kind),
    Row(failure_time.log_logistic, log_logistic),
    Row(failure_time.log_logistic, log_logistic, {}, of_every_kind),
]
