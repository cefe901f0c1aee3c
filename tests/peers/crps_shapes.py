"""Continuous ranked probability scores of scoringrules."""

import numpy as np
import pytest

from jaxloss.losses import crps_shapes
from tests.oracles import Row


def scoringrules_t(predictions, scales, targets, df):
    scoringrules = pytest.importorskip("scoringrules")
    return scoringrules.crps_t(targets, df, predictions, scales)


def scoringrules_lognormal(predictions, scales, target_amounts):
    scoringrules = pytest.importorskip("scoringrules")
    return scoringrules.crps_lognormal(target_amounts, predictions, scales)


def scoringrules_gamma(log_means, concentrations, target_amounts):
    scoringrules = pytest.importorskip("scoringrules")
    return scoringrules.crps_gamma(
        target_amounts, concentrations, concentrations / np.exp(log_means)
    )


PEERS = [
    Row(crps_shapes.student_t, scoringrules_t, {"df": 3.3}),
    Row(crps_shapes.log_normal, scoringrules_lognormal),
    Row(crps_shapes.gamma, scoringrules_gamma),
]
