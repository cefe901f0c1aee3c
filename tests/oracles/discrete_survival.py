"""Discrete survival likelihoods, interval by interval and pair by pair."""

import numpy as np

from jaxloss.losses import discrete_survival
from tests.oracles import Row


def by_example(loss):
    def compute(logits, labels, *rest):
        return np.array([loss(*row) for row in zip(logits, labels, *rest, strict=True)])

    return compute


@by_example
def logistic_hazard(z, y, d):
    h = 1 / (1 + np.exp(-z))
    survived = np.log(1 - h[:y]).sum()
    return -survived - np.log(h[y] if d else 1 - h[y])


def masses(z):
    e = np.exp(np.append(z, 0))
    return e / e.sum()


@by_example
def pmf(z, y, d):
    p = masses(z)
    return -np.log(p[y] if d else p[y + 1 :].sum())


@by_example
def mtlr(z, y, d):
    p = masses([z[k:].sum() for k in range(len(z))])
    return -np.log(p[y] if d else p[y + 1 :].sum())


@by_example
def pc_hazard(z, y, d, fraction):
    hazard = np.log(1 + np.exp(z))
    return hazard[:y].sum() + fraction * hazard[y] - d * np.log(hazard[y])


def deephit_rank(logits, labels, events, scale=0.1):
    batch = range(len(labels))
    risk = np.array([np.cumsum(masses(z)) for z in logits])
    losses = np.zeros(len(labels))
    for i in batch:
        for j in batch:
            y = labels[i]
            outlived = labels[j] > y or (labels[j] == y and not events[j])
            if events[i] and outlived:
                losses[i] += np.exp((risk[j, y] - risk[i, y]) / scale) / len(labels)
    return losses


ROWS = [
    Row(discrete_survival.logistic_hazard, logistic_hazard),
    Row(discrete_survival.pmf, pmf),
    Row(discrete_survival.mtlr, mtlr),
    Row(discrete_survival.pc_hazard, pc_hazard),
    Row(discrete_survival.deephit_rank, deephit_rank),
    Row(discrete_survival.deephit_rank, deephit_rank, {"scale": 0.3}),
]
