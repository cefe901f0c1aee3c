"""Losses between absolute and squared error in float64 NumPy."""

import numpy as np
import scipy.special

from jaxloss.losses import robust
from tests.oracles import Row


def smooth_l1(predictions, targets, delta):
    e = np.abs(predictions - targets)
    return np.where(e < delta, e**2 / 2 / delta, e - delta / 2) if delta else e


def pseudo_huber(predictions, targets, delta):
    return scipy.special.pseudo_huber(delta, predictions - targets)


def berhu(predictions, targets, delta):
    e = np.abs(predictions - targets)
    return np.where(e <= delta, e, (e**2 + delta**2) / 2 / delta)


def epsilon_insensitive(predictions, targets, tolerance):
    return np.maximum(np.abs(predictions - targets) - tolerance, 0)


ROWS = [
    Row(robust.smooth_l1, smooth_l1, {"delta": 0.7}),
    Row(robust.smooth_l1, smooth_l1, {"delta": 0.0}),
    Row(robust.charbonnier, lambda p, t, scale: np.hypot(p - t, scale), {"scale": 0.3}),
    Row(robust.pseudo_huber, pseudo_huber, {"delta": 0.7}),
    Row(robust.epsilon_insensitive, epsilon_insensitive, {"tolerance": 0.3}),
    Row(robust.berhu, berhu, {"delta": 0.7}),
]
