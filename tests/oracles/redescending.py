"""Robust losses in float64 NumPy."""

import numpy as np
from scipy.integrate import quad

from jaxloss.losses import redescending
from tests.oracles import Row


def cauchy(predictions, targets, scale):
    return np.log(1 + ((predictions - targets) / scale) ** 2 / 2)


def geman_mcclure(predictions, targets, scale):
    e = predictions - targets
    return 2 * e**2 / (e**2 + 4 * scale**2)


def welsch(predictions, targets, scale):
    return 1 - np.exp(-(((predictions - targets) / scale) ** 2) / 2)


def tukey_biweight(predictions, targets, scale):
    u = (predictions - targets) / scale
    return scale**2 / 6 * np.where(np.abs(u) < 1, 1 - (1 - u**2) ** 3, 1)


def general_robust(predictions, targets, shape, scale):
    u = (predictions - targets) / scale
    if shape == 2:
        return u**2 / 2
    if shape == 0:
        return np.log1p(u**2 / 2)
    if shape == -np.inf:
        return -np.expm1(-(u**2) / 2)
    b = abs(shape - 2)
    return b / shape * ((u**2 / b + 1) ** (shape / 2) - 1)


def general_robust_nll(predictions, targets, shape, scale):
    def density(x):
        return np.exp(-general_robust(x, 0.0, shape, 1.0))

    # over angles, on which tails end smoothly
    mass, _ = quad(
        lambda t: density(np.tan(t)) / np.cos(t) ** 2, 0, np.pi / 2, epsabs=1e-14, epsrel=1e-13
    )
    return general_robust(predictions, targets, shape, scale) + np.log(2 * mass * scale)


ROWS = [
    *(
        Row(redescending.general_robust_nll, general_robust_nll, {"shape": shape, "scale": 0.7})
        for shape in (0.0, 0.7, 1.0, 1.3, 2.0, 2.6)
    ),
    Row(redescending.cauchy, cauchy, {"scale": 0.7}),
    Row(redescending.geman_mcclure, geman_mcclure, {"scale": 0.7}),
    Row(redescending.welsch, welsch, {"scale": 0.7}),
    Row(redescending.tukey_biweight, tukey_biweight, {"scale": 1.3}),
    *(
        Row(redescending.general_robust, general_robust, {"shape": shape, "scale": 0.7})
        for shape in (-np.inf, -30.0, -2.0, -0.1, 0.0, 0.7, 1.0, 1.3, 2.0, 2.6)
    ),
]
