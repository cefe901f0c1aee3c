"""Mixtures of torch's distributions."""

import pytest

from jaxloss.losses import mixture
from tests.oracles import Row


def torch_poisson(component_logits, log_rates, target_counts):
    torch = pytest.importorskip("torch")

    logits, log_rate, count = map(torch.tensor, (component_logits, log_rates, target_counts))
    mixed = torch.distributions.MixtureSameFamily(
        torch.distributions.Categorical(logits=logits), torch.distributions.Poisson(log_rate.exp())
    )
    return -mixed.log_prob(count)


def torch_negative_binomial(component_logits, log_rates, concentrations, target_counts):
    torch = pytest.importorskip("torch")

    logits, log_rate, concentration, count = map(
        torch.tensor, (component_logits, log_rates, concentrations, target_counts)
    )
    component = torch.distributions.NegativeBinomial(
        concentration, logits=log_rate - concentration.log()
    )
    mixed = torch.distributions.MixtureSameFamily(
        torch.distributions.Categorical(logits=logits), component
    )
    return -mixed.log_prob(count)


PEERS = [
    Row(mixture.poisson, torch_poisson),
    Row(mixture.negative_binomial, torch_negative_binomial),
]
