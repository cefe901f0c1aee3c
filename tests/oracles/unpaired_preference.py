"""Losses on good and on bad answers in float64 NumPy."""

import numpy as np

from jaxloss import unpaired_preference as family
from tests.oracles import Row


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def kto(policy, reference, targets, scale=0.1, baseline=0.0):
    losses = []
    for r, good in zip(policy - reference, targets, strict=True):
        value = sigmoid(scale * (r - baseline)) if good else sigmoid(scale * (baseline - r))
        losses.append(1 - value)
    return losses


def bco(policy, reference, targets, scale=0.1, shift=0.0):
    p = sigmoid(scale * (policy - reference) - shift)
    return -targets * np.log(p) - (1 - targets) * np.log(1 - p)


def ranked(x, y, scale):
    """In the order of ``x``, the sorted ``y`` below it."""
    losses = np.zeros(len(x))
    for i, partner in zip(sorted(range(len(x)), key=lambda i: x[i]), sorted(y), strict=True):
        losses[i] = -np.log(sigmoid(scale * (x[i] - partner)))
    return losses


def aot(chosen, rejected, reference_chosen, reference_rejected, scale=0.1):
    return ranked(chosen - rejected, reference_chosen - reference_rejected, scale)


def aot_unpaired(chosen, rejected, reference_chosen, reference_rejected, scale=0.1):
    return ranked(chosen - reference_chosen, rejected - reference_rejected, scale)


CASES = [
    (family.kto, kto, {"scale": 0.7, "baseline": 0.3}),
    (family.bco, bco, {"scale": 0.7, "shift": 0.3}),
    (family.aot, aot, {"scale": 0.7}),
    (family.aot_unpaired, aot_unpaired, {"scale": 0.7}),
]
ROWS = [Row(*case) for case in CASES] + [Row(loss, oracle) for loss, oracle, _ in CASES]
