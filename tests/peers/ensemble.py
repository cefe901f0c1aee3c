"""Scores of samples of scoringrules."""

import pytest

from jaxloss.losses import ensemble
from tests.oracles import Row


def scoringrules_crps(predictions, targets, fair=False):
    scoringrules = pytest.importorskip("scoringrules")
    estimator = "fair" if fair else "nrg"
    return scoringrules.crps_ensemble(targets, predictions, estimator=estimator)


def scoringrules_energy(predictions, targets, fair=False):
    scoringrules = pytest.importorskip("scoringrules")
    return scoringrules.es_ensemble(targets, predictions, estimator="fair" if fair else "nrg")


def scoringrules_variogram(predictions, targets, power):
    scoringrules = pytest.importorskip("scoringrules")
    return scoringrules.vs_ensemble(targets, predictions, p=power)


PEERS = [
    Row(ensemble.crps, scoringrules_crps),
    Row(ensemble.crps, scoringrules_crps, {"fair": True}),
    Row(ensemble.energy, scoringrules_energy),
    Row(ensemble.energy, scoringrules_energy, {"fair": True}),
    Row(ensemble.variogram, scoringrules_variogram, {"power": 0.7}),
]
