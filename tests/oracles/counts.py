"""Negative log-likelihoods of counts and amounts, of SciPy."""

import numpy as np
import scipy.stats

from jaxloss.losses import counts
from tests.oracles import Row


def poisson(log_rates, target_counts):
    return -scipy.stats.poisson.logpmf(target_counts, np.exp(log_rates))


def negative_binomial(log_rates, concentrations, target_counts):
    share = concentrations / (concentrations + np.exp(log_rates))
    return -scipy.stats.nbinom.logpmf(target_counts, concentrations, share)


def inflated(loss, zero_logits, target_counts):
    zero = 1 / (1 + np.exp(-zero_logits))
    return -np.log(zero * (target_counts == 0) + (1 - zero) * np.exp(-loss))


def zero_inflated_poisson(log_rates, zero_logits, target_counts):
    return inflated(poisson(log_rates, target_counts), zero_logits, target_counts)


def zero_inflated_negative_binomial(log_rates, concentrations, zero_logits, target_counts):
    loss = negative_binomial(log_rates, concentrations, target_counts)
    return inflated(loss, zero_logits, target_counts)


def gamma(log_means, concentrations, target_amounts):
    scale = np.exp(log_means) / concentrations
    return -scipy.stats.gamma.logpdf(target_amounts, concentrations, scale=scale)


def tweedie(log_means, target_amounts, power):
    t, m, p = target_amounts, np.exp(log_means), power
    if p == 1:
        return 2 * (t * np.log(t / m) - t + m)
    if p == 2:
        return 2 * (np.log(m / t) + t / m - 1)
    return 2 * (
        t ** (2 - p) / (1 - p) / (2 - p) - t * m ** (1 - p) / (1 - p) + m ** (2 - p) / (2 - p)
    )


ROWS = [
    Row(counts.poisson, poisson),
    Row(counts.negative_binomial, negative_binomial),
    Row(counts.zero_inflated_poisson, zero_inflated_poisson),
    Row(counts.zero_inflated_negative_binomial, zero_inflated_negative_binomial),
    Row(counts.gamma, gamma),
    *(Row(counts.tweedie, tweedie, {"power": p}) for p in (0.0, 1.0, 1.3, 1.7, 2.0, 3.0)),
]
