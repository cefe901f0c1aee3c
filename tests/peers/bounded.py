"""Negative log-likelihoods of torch's distributions."""

import pytest

from jaxloss.losses import bounded
from tests.oracles import Row


def torch_beta(logits, concentrations, target_shares):
    torch = pytest.importorskip("torch")

    logit, concentration, share = map(torch.tensor, (logits, concentrations, target_shares))
    counts = concentration * logit.sigmoid(), concentration * (-logit).sigmoid()
    return -torch.distributions.Beta(*counts).log_prob(share)


def torch_von_mises(predictions, concentrations, targets):
    torch = pytest.importorskip("torch")

    predicted, concentration, actual = map(torch.tensor, (predictions, concentrations, targets))
    return -torch.distributions.VonMises(predicted, concentration).log_prob(actual)


PEERS = [
    Row(bounded.beta, torch_beta),
    Row(bounded.von_mises, torch_von_mises),
]
