"""Negative log-likelihoods of the peers."""

import numpy as np
import pytest

from jaxloss.losses import likelihood
from tests.oracles import Row


def torch_gaussian(predictions, scales, targets):
    """Torch takes the variance."""
    torch = pytest.importorskip("torch")

    arrays = map(torch.tensor, (predictions, targets, np.square(scales)))
    return torch.nn.GaussianNLLLoss(full=True, reduction="none")(*arrays)


def torch_laplace(predictions, scales, targets):
    torch = pytest.importorskip("torch")

    predicted, scale, actual = map(torch.tensor, (predictions, scales, targets))
    return -torch.distributions.Laplace(predicted, scale).log_prob(actual)


def torch_student_t(predictions, scales, targets, df):
    torch = pytest.importorskip("torch")

    predicted, scale, actual = map(torch.tensor, (predictions, scales, targets))
    return -torch.distributions.StudentT(df, predicted, scale).log_prob(actual)


def torch_log_normal(predictions, scales, target_amounts):
    torch = pytest.importorskip("torch")

    predicted, scale, actual = map(torch.tensor, (predictions, scales, target_amounts))
    return -torch.distributions.LogNormal(predicted, scale).log_prob(actual)


def torch_multivariate_gaussian(predictions, factors, targets):
    torch = pytest.importorskip("torch")

    predicted, factor, actual = map(torch.tensor, (predictions, factors, targets))
    normal = torch.distributions.MultivariateNormal(predicted, scale_tril=factor)
    return -normal.log_prob(actual)


def torch_gaussian_mixture(component_logits, predictions, scales, targets):
    torch = pytest.importorskip("torch")

    logits, predicted, scale, actual = map(
        torch.tensor, (component_logits, predictions, scales, targets)
    )
    mixture = torch.distributions.MixtureSameFamily(
        torch.distributions.Categorical(logits=logits),
        torch.distributions.Normal(predicted, scale),
    )
    return -mixture.log_prob(actual)


def torch_low_rank_gaussian(predictions, scales, factors, targets):
    torch = pytest.importorskip("torch")

    predicted, scale, factor, actual = map(torch.tensor, (predictions, scales, factors, targets))
    normal = torch.distributions.LowRankMultivariateNormal(predicted, factor, scale**2)
    return -normal.log_prob(actual)


PEERS = [
    Row(likelihood.low_rank_gaussian, torch_low_rank_gaussian),
    Row(likelihood.gaussian, torch_gaussian),
    Row(likelihood.laplace, torch_laplace),
    Row(likelihood.student_t, torch_student_t, {"df": 3.0}),
    Row(likelihood.log_normal, torch_log_normal),
    Row(likelihood.multivariate_gaussian, torch_multivariate_gaussian),
    Row(likelihood.gaussian_mixture, torch_gaussian_mixture),
]
