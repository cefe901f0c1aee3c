"""Calibration errors, example by example and bin by bin."""

import numpy as np

from jaxloss.losses import calibration
from tests.oracles import Row


def softmax(z):
    return np.exp(z) / np.exp(z).sum(-1, keepdims=True)


def kernel_error(logits, labels, scale):
    p = softmax(logits)
    r, c = p.max(-1), p.argmax(-1) == labels
    n = len(r)
    return np.array(
        [sum((c[i] - r[i]) * (c[j] - r[j]) * np.exp(-abs(r[i] - r[j]) / scale) for j in range(n))
         for i in range(n)]
    ) / n  # fmt: skip


def binned_error(logits, labels, bins, temperature, power):
    p = softmax(logits)
    r, c = p.max(-1), p.argmax(-1) == labels
    middles = (np.arange(bins) + 0.5) / bins
    member = softmax(-((r[:, None] - middles) ** 2) / temperature)
    losses = np.zeros(len(r))
    for b in range(bins):
        u = member[:, b]
        accuracy, confidence = (u * c).sum() / u.sum(), (u * r).sum() / u.sum()
        losses += u * abs(accuracy - confidence) ** power
    return losses


def margin_smoothing(logits, labels, margin, penalty):
    nll = -np.log(softmax(logits)[np.arange(len(labels)), labels])
    lead = logits.max(-1, keepdims=True) - logits
    return nll + penalty * np.maximum(lead - margin, 0).sum(-1)


ROWS = [
    Row(calibration.kernel_error, kernel_error, {"scale": 0.3}),
    Row(calibration.binned_error, binned_error, {"bins": 7, "temperature": 0.03, "power": 2.0}),
    Row(calibration.binned_error, binned_error, {"bins": 3, "temperature": 0.1, "power": 1.0}),
    Row(calibration.margin_smoothing, margin_smoothing, {"margin": 0.7, "penalty": 0.3}),
]
