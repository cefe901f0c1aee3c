"""Negative log-likelihoods of mixtures, of SciPy's distributions."""

import numpy as np
import scipy.stats

from jaxloss.losses import mixture
from tests.oracles import Row


def mixed(component_logits, probabilities):
    shares = np.exp(component_logits)
    shares /= shares.sum(-1, keepdims=True)
    return -np.log((shares * probabilities).sum(-1))


def poisson(component_logits, log_rates, target_counts):
    count = target_counts[..., None]
    return mixed(component_logits, scipy.stats.poisson.pmf(count, np.exp(log_rates)))


def negative_binomial(component_logits, log_rates, concentrations, target_counts):
    share = concentrations / (concentrations + np.exp(log_rates))
    count = target_counts[..., None]
    return mixed(component_logits, scipy.stats.nbinom.pmf(count, concentrations, share))


def discretized_logistic(
    component_logits, predictions, scales, targets, lower=-1.0, upper=1.0, width=2 / 255
):
    level = targets[..., None]
    distribution = scipy.stats.logistic(predictions, scales)
    low = np.where(level < lower + width / 2, 0.0, distribution.cdf(level - width / 2))
    high = np.where(level > upper - width / 2, 1.0, distribution.cdf(level + width / 2))
    return mixed(component_logits, high - low)


def levels():
    generator = np.random.default_rng(0)
    logits, predictions = generator.normal(size=(2, 20, 3)).astype(np.float32)
    scales = generator.uniform(0.05, 0.6, (20, 3)).astype(np.float32)
    return logits, predictions, scales, (generator.integers(0, 9, 20) / 2).astype(np.float32) - 2


ROWS = [
    Row(mixture.poisson, poisson),
    Row(mixture.negative_binomial, negative_binomial),
    Row(mixture.discretized_logistic, discretized_logistic),
    Row(
        mixture.discretized_logistic,
        discretized_logistic,
        {"lower": -2.0, "upper": 2.0, "width": 0.5},
        levels,
    ),
]
