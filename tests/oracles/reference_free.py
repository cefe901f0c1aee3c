"""Preferences without a reference in float64 NumPy."""

import numpy as np

from jaxloss import reference_free
from tests.oracles import Row


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def orpo(chosen, rejected, odds_weight=0.1):
    p, q = np.exp(chosen), np.exp(rejected)
    odds_ratio = (p / (1 - p)) / (q / (1 - q))
    return -np.log(p) - odds_weight * np.log(sigmoid(np.log(odds_ratio)))


def simpo(chosen, rejected, scale=2.0, margin=1.0):
    return -np.log(sigmoid(scale * chosen - scale * rejected - margin))


def alpha_po(chosen, rejected, scale=2.0, margin=1.0, bend=0.25):
    r, s = (scale * (1 - np.exp(x) ** -bend) / bend for x in (chosen, rejected))
    return -np.log(sigmoid(r - s - margin))


def cpo(chosen, rejected, scale=0.1, nll_weight=1.0):
    return -np.log(sigmoid(scale * (chosen - rejected))) - nll_weight * chosen


def bradley_terry(chosen, rejected, margin=0.0, center_weight=0.0):
    better = np.exp(chosen - margin) / (np.exp(chosen - margin) + np.exp(rejected))
    return -np.log(better) + center_weight * (chosen + rejected) ** 2


PER_PAIR = np.linspace(0, 2, 8).astype(np.float32)
ROWS = [
    Row(reference_free.orpo, orpo),
    Row(reference_free.orpo, orpo, {"odds_weight": 0.7}),
    Row(reference_free.simpo, simpo),
    Row(reference_free.simpo, simpo, {"scale": 0.7, "margin": 0.3}),
    Row(reference_free.alpha_po, alpha_po),
    Row(reference_free.alpha_po, alpha_po, {"scale": 0.7, "margin": 0.3, "bend": -0.4}),
    Row(reference_free.cpo, cpo),
    Row(reference_free.cpo, cpo, {"scale": 0.7, "nll_weight": 0.3}),
    Row(reference_free.bradley_terry, bradley_terry),
    Row(reference_free.bradley_terry, bradley_terry, {"margin": 0.7, "center_weight": 0.3}),
    Row(reference_free.bradley_terry, bradley_terry, {"margin": PER_PAIR}),
]
