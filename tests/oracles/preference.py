"""Losses on the lead of the chosen answer in float64 NumPy."""

import numpy as np

from jaxloss import preference
from tests.oracles import Row


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def lead(chosen, rejected, reference_chosen, reference_rejected):
    return np.log(np.exp(chosen - reference_chosen) / np.exp(rejected - reference_rejected))


def dpo(*answers, scale=0.1):
    return -np.log(sigmoid(scale * lead(*answers)))


def conservative_dpo(*answers, scale=0.1, flip_rate=0.1):
    p = sigmoid(scale * lead(*answers))
    return -(1 - flip_rate) * np.log(p) - flip_rate * np.log(1 - p)


def robust_dpo(*answers, scale=0.1, flip_rate=0.1):
    p = sigmoid(scale * lead(*answers))
    clean, flipped = -np.log(p), -np.log(1 - p)
    return ((1 - flip_rate) * clean - flip_rate * flipped) / (1 - 2 * flip_rate)


def hinge(*answers, scale=0.1, margin=1.0):
    return np.maximum(0, margin - scale * lead(*answers))


def ipo(*answers, scale=0.1):
    return (lead(*answers) - 0.5 / scale) ** 2


def exo(*answers, scale=0.1, flip_rate=1e-3):
    p = sigmoid(scale * lead(*answers))
    return p * np.log(p / (1 - flip_rate)) + (1 - p) * np.log((1 - p) / flip_rate)


def discopop(*answers, scale=0.1, temperature=0.05):
    x = scale * lead(*answers)
    m = sigmoid(x / temperature)
    return (1 - m) * np.log(1 + np.exp(-x)) + m * np.exp(-x)


CASES = [
    (preference.dpo, dpo, {"scale": 0.7}),
    (preference.conservative_dpo, conservative_dpo, {"scale": 0.7, "flip_rate": 0.2}),
    (preference.robust_dpo, robust_dpo, {"scale": 0.7, "flip_rate": 0.2}),
    (preference.hinge, hinge, {"scale": 0.7, "margin": 1.3}),
    (preference.ipo, ipo, {"scale": 0.7}),
    (preference.exo, exo, {"scale": 0.7, "flip_rate": 0.2}),
    (preference.discopop, discopop, {"scale": 0.7, "temperature": 0.4}),
]
ROWS = [Row(*case) for case in CASES] + [Row(loss, oracle) for loss, oracle, _ in CASES]
