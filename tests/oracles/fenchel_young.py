"""Fenchel-Young losses by bisection, in float64 NumPy and SciPy."""

import numpy as np
import scipy.optimize

from jaxloss import fenchel_young
from tests.oracles import Row


def distribution(z, power):
    if power == 1:
        return np.exp(z - np.logaddexp.reduce(z))
    a = power - 1

    def at(shift):
        with np.errstate(divide="ignore"):
            return np.maximum(1 + a * (z - z.max() - shift), 0) ** (1 / a)

    widest = (1 - len(z) ** -a) / a
    shift = scipy.optimize.brentq(lambda s: at(s).sum() - 1, -1e-9, widest + 1e-9, xtol=1e-16)
    return at(shift)


def loss(z, y, power):
    p = distribution(z, power)
    if power == 1:
        return -np.log(p[y])
    return p @ z - z[y] + (p - p**power).sum() / power / (power - 1)


def entmax(logits, labels, power):
    return np.array([loss(z, y, power) for z, y in zip(logits, labels, strict=True)])


def sparsemax(logits, labels):
    return entmax(logits, labels, 2.0)


def entmax15(logits, labels):
    return entmax(logits, labels, 1.5)


def binary_sparsemax(logits, targets):
    def one(z, t):
        p = distribution(np.array([z, 0.0]), 2.0)[0]
        return p * z - p * p + p - t * z - t + t * t  # of two classes: the regularizer is p^2 - p

    return np.vectorize(one)(logits, targets)


ROWS = [
    Row(fenchel_young.sparsemax, sparsemax),
    Row(fenchel_young.binary_sparsemax, binary_sparsemax),
    Row(fenchel_young.entmax15, entmax15),
    *(Row(fenchel_young.entmax, entmax, {"power": a}) for a in (0.7, 1.0, 1.3, 1.5, 2.0, 2.7)),
]
