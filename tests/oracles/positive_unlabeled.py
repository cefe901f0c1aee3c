"""Risks from yeses and unlabeled examples in float64 NumPy."""

import numpy as np

from jaxloss import positive_unlabeled
from tests.oracles import Row

LOSSES = {
    "sigmoid": lambda z: 1 / (1 + np.exp(z)),
    "logistic": lambda z: np.log(1 + np.exp(-z)),
}


def risks(logits, targets, prior, surrogate):
    def mean(x):
        return x.mean() if len(x) else 0.0

    loss = LOSSES[surrogate]
    for z, t in zip(logits, targets, strict=True):
        yes, rest = z[t == 1], z[t == 0]
        yield prior * mean(loss(yes)), mean(loss(-rest)) - prior * mean(loss(-yes))


def unbiased(logits, targets, prior, surrogate="sigmoid"):
    return np.array([yes + no for yes, no in risks(logits, targets, prior, surrogate)])


def non_negative(logits, targets, prior, surrogate="sigmoid"):
    return np.array([yes + max(no, 0) for yes, no in risks(logits, targets, prior, surrogate)])


ROWS = [
    Row(loss, oracle, options)
    for loss, oracle in (
        (positive_unlabeled.unbiased, unbiased),
        (positive_unlabeled.non_negative, non_negative),
    )
    for options in ({"prior": 0.3}, {"prior": 0.7, "surrogate": "logistic"})
]
