"""Partial likelihoods by a double loop over examples."""

import numpy as np

from jaxloss.losses import survival
from tests.oracles import Row


def at_risk(i, times, strata, entry_times):
    batch = np.arange(len(times))
    strata = np.zeros(len(times)) if strata is None else np.asarray(strata)
    entries = np.full(len(times), -np.inf) if entry_times is None else np.asarray(entry_times)
    return [j for j in batch if times[j] >= times[i] > entries[j] and strata[j] == strata[i]]


def cox_breslow(log_hazards, times, events, strata=None, entry_times=None):
    losses = np.zeros(len(times))
    for i in np.flatnonzero(events):
        risk = at_risk(i, times, strata, entry_times)
        losses[i] = np.log(sum(np.exp(log_hazards[j]) for j in risk)) - log_hazards[i]
    return losses


def cox_efron(log_hazards, times, events, strata=None, entry_times=None):
    losses = np.zeros(len(times))
    for i in np.flatnonzero(events):
        risk = at_risk(i, times, strata, entry_times)
        tied = [j for j in risk if events[j] and times[j] == times[i]]
        risk, all_tied = np.exp(log_hazards[risk]).sum(), np.exp(log_hazards[tied]).sum()
        d = len(tied)
        terms = [np.log(risk - k / d * all_tied) for k in range(d)]
        losses[i] = (sum(terms) - log_hazards[tied].sum()) / d
    return losses


def with_ties():
    random = np.random.default_rng(3)
    hazards = random.normal(size=40).astype(np.float32)
    return hazards, random.integers(3, 12, 40).astype(np.float32), random.integers(0, 2, 40)


STRATA = np.random.default_rng(4).integers(-1, 2, 40).astype(np.int32)
ENTRIES = np.random.default_rng(5).integers(0, 3, 40).astype(np.float32)

ROWS = [
    Row(loss, oracle, options, inputs)
    for loss, oracle in (
        (survival.cox_breslow, cox_breslow),
        (survival.cox_efron, cox_efron),
    )
    for options, inputs in (
        ({}, None),
        ({}, with_ties),
        ({"strata": STRATA}, with_ties),
        ({"entry_times": ENTRIES}, with_ties),
        ({"strata": STRATA, "entry_times": ENTRIES}, with_ties),
    )
]
