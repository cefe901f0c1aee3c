"""Independent truth for :mod:`jaxloss.losses.tagging`: every chain of labels, one by one."""

import itertools

import numpy as np

from jaxloss.losses import tagging
from tests.oracles import Row


def score(logits, labels, transition_logits):
    steps = itertools.pairwise(labels)
    frames = zip(logits, labels, strict=True)
    return sum(z[y] for z, y in frames) + sum(transition_logits[pair] for pair in steps)


def crf(logits, labels, transition_logits, impossible="infinite"):
    losses = np.zeros(len(logits))
    for example, (z, truth) in enumerate(zip(logits, labels, strict=True)):
        chains = itertools.product(range(z.shape[1]), repeat=len(z))
        scores = np.array([score(z, chain, transition_logits) for chain in chains])
        losses[example] = np.log(np.exp(scores).sum()) - score(z, truth, transition_logits)
    return np.where(np.isinf(losses), 0, losses) if impossible == "ignored" else losses


def with_a_pair_ruled_out():
    """One that occurs in the second example only."""
    generator = np.random.default_rng(0)
    transition_logits = generator.standard_normal((3, 3), np.float32)
    transition_logits[1, 2] = -np.inf
    labels = np.array([[0, 1, 1, 0], [0, 1, 2, 2], [2, 1, 0, 2]])
    return generator.standard_normal((3, 4, 3), np.float32), labels, transition_logits


def of_short_chains():
    generator = np.random.default_rng(1)
    logits = generator.standard_normal((4, 5, 3), np.float32)
    labels = generator.integers(0, 3, (4, 5))
    return logits, labels, generator.standard_normal((3, 3), np.float32)


ROWS = [
    Row(tagging.crf, crf, inputs=of_short_chains),
    Row(tagging.crf, crf, {"impossible": "ignored"}, with_a_pair_ruled_out),
]
