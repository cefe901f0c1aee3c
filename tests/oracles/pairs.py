"""Independent truth for :mod:`jaxloss.losses.pairs`: one triplet and one pair at a time."""

import numpy as np

from jaxloss.losses import pairs
from tests.oracles import Row


def triplet(anchors, positives, negatives, margin=1.0, swap=False):
    losses = np.zeros(anchors.shape[:-1])
    for index in np.ndindex(*losses.shape):
        a, p, n = anchors[index], positives[index], negatives[index]
        near, far = np.linalg.norm(a - p), np.linalg.norm(a - n)
        if swap:
            far = min(far, np.linalg.norm(p - n))
        losses[index] = max(near - far + margin, 0)
    return losses


def nt_xent(embeddings, labels, temperature=0.1):
    batch = range(len(labels))

    def similarity(i, j):
        x, y = embeddings[i], embeddings[j]
        lengths = np.linalg.norm(x) * np.linalg.norm(y)
        return np.dot(x, y) / lengths / temperature if lengths else 0.0

    losses = np.zeros((len(labels), len(labels)))
    for i in batch:
        rivals = sum(np.exp(similarity(i, k)) for k in batch if labels[k] != labels[i])
        for j in batch:
            if i != j and labels[i] == labels[j]:
                partner = np.exp(similarity(i, j))
                losses[i, j] = -np.log(partner / (partner + rivals))
    return losses


ROWS = [
    Row(pairs.triplet, triplet, {"margin": 0.3}),
    Row(pairs.triplet, triplet, {"margin": 1.7, "swap": True}),
    Row(pairs.nt_xent, nt_xent, {"temperature": 0.3}),
    Row(pairs.nt_xent, nt_xent),
]
