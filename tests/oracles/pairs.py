"""Independent truth for :mod:`jaxloss.losses.pairs`: one triplet and one pair at a time."""

import numpy as np

from jaxloss.losses import pairs
from tests.oracles import Row


def triplet(anchors, positives, negatives, margin=1.0, power=2, swap=False):
    losses = np.zeros(anchors.shape[:-1])
    for index in np.ndindex(*losses.shape):
        a, p, n = anchors[index], positives[index], negatives[index]
        near, far = ((np.abs(a - x) ** power).sum() ** (1 / power) for x in (p, n))
        if swap:
            far = min(far, (np.abs(p - n) ** power).sum() ** (1 / power))
        losses[index] = max(near - far + margin, 0)
    return losses


def contrastive(embeddings, other_embeddings, targets, margin=1.0):
    losses = np.zeros(targets.shape)
    for i in np.ndindex(*losses.shape):
        apart = np.linalg.norm(embeddings[i] - other_embeddings[i])
        losses[i] = apart**2 / 2 if targets[i] else max(0, margin - apart) ** 2 / 2
    return losses


def cosine_embedding(embeddings, other_embeddings, targets, margin=0.0):
    losses = np.zeros(targets.shape)
    for i in np.ndindex(*losses.shape):
        x, y = embeddings[i], other_embeddings[i]
        cosine = np.dot(x, y) / np.linalg.norm(x) / np.linalg.norm(y)
        losses[i] = 1 - cosine if targets[i] else max(0, cosine - margin)
    return losses


def hinge_embedding(distances, targets, margin=1.0):
    return np.where(targets == 1, distances, np.maximum(0, margin - distances))


def margin_ranking(scores, other_scores, targets, margin=0.0):
    sign = 2 * targets - 1
    return np.maximum(0, margin - sign * (scores - other_scores))


def info_nce(anchors, positives, negatives, temperature=0.07):
    losses = np.zeros(anchors.shape[:-1])
    for i in np.ndindex(*losses.shape):
        unit = [x / np.linalg.norm(x) for x in (anchors[i], positives[i], *negatives[i])]
        p = [np.exp(unit[0] @ x / temperature) for x in unit[1:]]
        losses[i] = -np.log(p[0] / sum(p))
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
    Row(pairs.triplet, triplet, {"power": 1.0}),
    Row(pairs.triplet, triplet, {"power": 3.4, "swap": True}),
    Row(pairs.contrastive, contrastive, {"margin": 3.3}),
    Row(pairs.cosine_embedding, cosine_embedding, {"margin": -0.3}),
    Row(pairs.hinge_embedding, hinge_embedding, {"margin": 1.7}),
    Row(pairs.margin_ranking, margin_ranking, {"margin": 0.7}),
    Row(pairs.info_nce, info_nce, {"temperature": 0.3}),
    Row(pairs.nt_xent, nt_xent, {"temperature": 0.3}),
    Row(pairs.nt_xent, nt_xent),
]
