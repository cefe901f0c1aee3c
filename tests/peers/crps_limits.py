"""Continuous ranked probability scores of scoringrules."""

import pytest

from jaxloss.losses import crps_limits
from tests.oracles import Row


def scoringrules_cnorm(predictions, scales, targets, lower, upper):
    scoringrules = pytest.importorskip("scoringrules")
    return scoringrules.crps_cnormal(targets, predictions, scales, lower, upper)


def scoringrules_tnorm(predictions, scales, targets, lower, upper):
    scoringrules = pytest.importorskip("scoringrules")
    return scoringrules.crps_tnormal(targets, predictions, scales, lower, upper)


PEERS = [
    Row(crps_limits.censored_gaussian, scoringrules_cnorm, {"lower": -0.7, "upper": 1.1}),
    Row(crps_limits.truncated_gaussian, scoringrules_tnorm, {"lower": -0.7, "upper": 1.1}),
]
