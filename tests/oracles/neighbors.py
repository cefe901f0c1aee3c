"""Independent truth for :mod:`jaxloss.losses.neighbors`: one embedding and one pair at a time."""

import numpy as np

from jaxloss.losses import neighbors
from tests.oracles import Row


def probability_of_label(embeddings, labels, i, temperature):
    weights = np.exp(-((embeddings - embeddings[i]) ** 2).sum(-1) / temperature)
    weights[i] = 0
    return weights[labels == labels[i]].sum() / weights.sum()


def nca(embeddings, labels, temperature=1.0):
    batch = range(len(labels))
    return np.array([1 - probability_of_label(embeddings, labels, i, temperature) for i in batch])


def soft_nearest_neighbor(embeddings, labels, temperature=1.0):
    batch = range(len(labels))
    return -np.log([probability_of_label(embeddings, labels, i, temperature) for i in batch])


def margin(embeddings, labels, boundary=1.2, margin=0.2):
    losses = np.zeros((len(labels), len(labels)))
    for i, j in np.ndindex(*losses.shape):
        sign = 1 if labels[i] == labels[j] else -1
        apart = np.linalg.norm(embeddings[i] - embeddings[j])
        losses[i, j] = max(0, margin + sign * (apart - boundary)) if i != j else 0
    return losses


def lifted_structure(embeddings, labels, margin=1.0):
    losses = np.zeros((len(labels), len(labels)))
    for i, j in np.ndindex(*losses.shape):
        if i != j and labels[i] == labels[j]:
            near = 0
            for anchor in (i, j):
                for k in np.flatnonzero(labels != labels[i]):
                    near += np.exp(margin - np.linalg.norm(embeddings[anchor] - embeddings[k]))
            far = np.linalg.norm(embeddings[i] - embeddings[j])
            losses[i, j] = max(0, far + np.log(near)) ** 2 / 2
    return losses


def generalized_lifted_structure(embeddings, labels, margin=1.0):
    losses = np.zeros(len(labels))
    for i, x in enumerate(embeddings):
        apart = np.linalg.norm(embeddings - x, axis=-1)
        same = (labels == labels[i]) & (np.arange(len(labels)) != i)
        far = np.log(np.exp(apart[same]).sum())
        near = np.log(np.exp(margin - apart[labels != labels[i]]).sum())
        losses[i] = max(0, far + near)
    return losses


ROWS = [
    Row(neighbors.nca, nca, {"temperature": 3.0}),
    Row(neighbors.soft_nearest_neighbor, soft_nearest_neighbor, {"temperature": 3.0}),
    Row(neighbors.margin, margin, {"boundary": 2.3, "margin": 0.9}),
    Row(neighbors.lifted_structure, lifted_structure, {"margin": 1.7}),
    Row(neighbors.generalized_lifted_structure, generalized_lifted_structure, {"margin": -1.7}),
]
