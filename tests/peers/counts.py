"""Negative log-likelihoods of counts and amounts of the peers."""

import numpy as np
import pytest

from jaxloss.losses import counts
from tests.oracles import Row


def torch_poisson(log_rates, target_counts):
    """Without the constant: torch's is Stirling's approximation."""
    import scipy.special

    torch = pytest.importorskip("torch")

    loss = torch.nn.functional.poisson_nll_loss(
        torch.as_tensor(log_rates), torch.as_tensor(target_counts), reduction="none"
    )
    return loss.numpy() + scipy.special.gammaln(target_counts + 1.0)


def torch_poisson_distribution(log_rates, target_counts):
    torch = pytest.importorskip("torch")

    rate = torch.as_tensor(log_rates).exp()
    return -torch.distributions.Poisson(rate).log_prob(torch.as_tensor(target_counts))


def sklearn_poisson_deviance(log_rates, target_counts):
    """Half of it, and the loss of a perfect prediction."""
    import scipy.stats
    from sklearn.metrics import mean_poisson_deviance

    deviance = np.vectorize(lambda k, m: mean_poisson_deviance([k], [m]))
    perfect = -scipy.stats.poisson.logpmf(target_counts, target_counts)
    return deviance(target_counts, np.exp(log_rates)) / 2 + perfect


def torch_negative_binomial(log_rates, concentrations, target_counts):
    torch = pytest.importorskip("torch")

    log_rate, concentration, count = map(torch.tensor, (log_rates, concentrations, target_counts))
    logits = log_rate - concentration.log()
    return -torch.distributions.NegativeBinomial(concentration, logits=logits).log_prob(count)


def torch_gamma(log_means, concentrations, target_amounts):
    torch = pytest.importorskip("torch")

    log_mean, concentration, amount = map(torch.tensor, (log_means, concentrations, target_amounts))
    rate = concentration / log_mean.exp()
    return -torch.distributions.Gamma(concentration, rate).log_prob(amount)


def sklearn_tweedie(log_means, target_amounts, power):
    from sklearn.metrics import mean_tweedie_deviance

    deviance = np.vectorize(lambda t, m: mean_tweedie_deviance([t], [m], power=power))
    return deviance(target_amounts, np.exp(log_means))


PEERS = [
    Row(counts.poisson, torch_poisson),
    Row(counts.poisson, torch_poisson_distribution),
    Row(counts.poisson, sklearn_poisson_deviance),
    Row(counts.negative_binomial, torch_negative_binomial),
    Row(counts.gamma, torch_gamma),
    Row(counts.tweedie, sklearn_tweedie, {"power": 1.0}),
    Row(counts.tweedie, sklearn_tweedie, {"power": 1.3}),
    Row(counts.tweedie, sklearn_tweedie, {"power": 2.0}),
]
