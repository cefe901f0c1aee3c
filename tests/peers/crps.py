"""Continuous ranked probability scores of scoringrules."""

import numpy as np
import pytest

from jaxloss.losses import crps
from tests.oracles import Row


def scoringrules_normal(predictions, scales, targets):
    scoringrules = pytest.importorskip("scoringrules")
    return scoringrules.crps_normal(targets, predictions, scales)


def scoringrules_laplace(predictions, scales, targets):
    scoringrules = pytest.importorskip("scoringrules")
    return scoringrules.crps_laplace(targets, predictions, scales)


def scoringrules_logistic(predictions, scales, targets):
    scoringrules = pytest.importorskip("scoringrules")
    return scoringrules.crps_logistic(targets, predictions, scales)


def scoringrules_uniform(predictions, scales, targets):
    scoringrules = pytest.importorskip("scoringrules")
    low, high = predictions - scales / 2, predictions + scales / 2
    return scoringrules.crps_uniform(targets, low, high)


def scoringrules_exponential(scales, target_amounts):
    scoringrules = pytest.importorskip("scoringrules")
    return scoringrules.crps_exponential(target_amounts, 1 / scales)


def scoringrules_mixture(component_logits, predictions, scales, targets):
    scoringrules = pytest.importorskip("scoringrules")
    share = np.exp(component_logits)
    share /= share.sum(-1, keepdims=True)
    return scoringrules.crps_mixnorm(targets, predictions, scales, share)


PEERS = [
    Row(crps.gaussian, scoringrules_normal),
    Row(crps.laplace, scoringrules_laplace),
    Row(crps.logistic, scoringrules_logistic),
    Row(crps.uniform, scoringrules_uniform),
    Row(crps.exponential, scoringrules_exponential),
    Row(crps.gaussian_mixture, scoringrules_mixture),
]
