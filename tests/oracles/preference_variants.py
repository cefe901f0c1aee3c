"""Losses on how likely two answers have become in float64 NumPy."""

import numpy as np

from jaxloss import preference_variants as family
from tests.oracles import Row


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def ratios(chosen, rejected, reference_chosen, reference_rejected):
    """Of the policy to the reference, for either answer."""
    return np.exp(chosen) / np.exp(reference_chosen), np.exp(rejected) / np.exp(reference_rejected)


def nca(*answers, scale=0.1):
    chosen, rejected = scale * np.log(ratios(*answers))
    likely = np.log(sigmoid(chosen)) + 0.5 * np.log(sigmoid(-chosen))
    return -likely - 0.5 * np.log(sigmoid(-rejected))


def bco_pair(*answers, scale=0.1, shift=0.0):
    chosen, rejected = scale * np.log(ratios(*answers))
    return -np.log(sigmoid(chosen - shift)) - np.log(1 - sigmoid(rejected - shift))


def sppo(*answers, scale=0.1):
    chosen, rejected = np.log(ratios(*answers))
    return (chosen - 0.5 / scale) ** 2 + (rejected + 0.5 / scale) ** 2


def apo_zero(*answers, scale=0.1):
    chosen, rejected = scale * np.log(ratios(*answers))
    return 1 - sigmoid(chosen) + sigmoid(rejected)


def apo_down(*answers, scale=0.1):
    chosen, rejected = scale * np.log(ratios(*answers))
    return sigmoid(chosen) + 1 - sigmoid(chosen - rejected)


def alpha_dpo(*answers, scale=0.1, order=0.5):
    chosen, rejected = (u ** (order - 1) / (order - 1) for u in ratios(*answers))
    return -np.log(sigmoid(scale * (chosen - rejected)))


def jensen_shannon_dpo(*answers, scale=0.1):
    chosen, rejected = (np.log(2 * u / (1 + u)) for u in ratios(*answers))
    return -np.log(sigmoid(scale * (chosen - rejected)))


def chi_po(*answers, scale=0.1, bound=np.inf):
    chosen, rejected = (scale * (u + np.log(u)) for u in ratios(*answers))
    return -np.log(sigmoid(np.clip(chosen - rejected, -2 * bound, 2 * bound)))


CASES = [
    (family.nca, nca, {"scale": 0.7}),
    (family.bco_pair, bco_pair, {"scale": 0.7, "shift": 0.3}),
    (family.sppo, sppo, {"scale": 0.7}),
    (family.apo_zero, apo_zero, {"scale": 0.7}),
    (family.apo_down, apo_down, {"scale": 0.7}),
    (family.alpha_dpo, alpha_dpo, {"scale": 0.7, "order": -0.3}),
    (family.jensen_shannon_dpo, jensen_shannon_dpo, {"scale": 0.7}),
    (family.chi_po, chi_po, {"scale": 0.7, "bound": 0.2}),
]
ROWS = [Row(*case) for case in CASES] + [Row(loss, oracle) for loss, oracle, _ in CASES]
