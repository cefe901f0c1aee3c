"""Independent truth for :mod:`jaxloss.losses.contrastive`: one row and one candidate at a time."""

import numpy as np

from jaxloss.losses import contrastive
from tests.oracles import Row

MORE = np.random.default_rng(3).normal(size=(5, 4))
THINGS = np.array([0, 1, 2, 1, 3, 0, 4, 1])


def cosine(x, y):
    return np.dot(x, y) / np.linalg.norm(x) / np.linalg.norm(y)


def clip(embeddings, other_embeddings, temperature=0.07, label_smoothing=0.0):
    n = len(embeddings)
    losses = np.zeros(n)
    for i in range(n):
        for one, other in ((embeddings, other_embeddings), (other_embeddings, embeddings)):
            p = np.array([np.exp(cosine(one[i], other[j]) / temperature) for j in range(n)])
            p /= p.sum()
            for j in range(n):
                target = (1 - label_smoothing) * (i == j) + label_smoothing / n
                losses[i] -= target * np.log(p[j]) / 2
    return losses


def siglip(embeddings, other_embeddings, temperature=0.1, bias=-10.0):
    n = len(embeddings)
    losses = np.zeros(n)
    for i in range(n):
        for j in range(n):
            z = cosine(embeddings[i], other_embeddings[j]) / temperature + bias
            losses[i] += np.log1p(np.exp(-z if i == j else z))
    return losses


def info_nce(anchors, positives, temperature=0.07, negatives=(), labels=None, in_batch=True):
    n = len(anchors)
    losses = np.zeros(n)
    for i in range(n):
        right = np.exp(cosine(anchors[i], positives[i]) / temperature)
        wrong = sum(np.exp(cosine(anchors[i], x) / temperature) for x in negatives)
        for j in range(n):
            same = j == i if labels is None else labels[j] == labels[i]
            if in_batch and not same:
                wrong += np.exp(cosine(anchors[i], positives[j]) / temperature)
        losses[i] = -np.log(right / (right + wrong))
    return losses


def sampled_softmax(anchors, positives, log_probabilities, temperature=1.0, labels=None):
    n = len(anchors)
    losses = np.zeros(n)
    for i in range(n):
        z = np.array([anchors[i] @ positives[j] / temperature for j in range(n)])
        p = np.exp(z) / np.exp(log_probabilities)
        if labels is not None:
            p[(labels == labels[i]) & (np.arange(n) != i)] = 0
        losses[i] = -np.log(p[i] / p.sum())
    return losses


def supcon(embeddings, labels, temperature=0.1, inside=False):
    n = len(labels)
    losses = np.zeros(n)
    for i in range(n):
        others = [j for j in range(n) if j != i]
        e = {j: np.exp(cosine(embeddings[i], embeddings[j]) / temperature) for j in others}
        p = [e[j] / sum(e.values()) for j in others if labels[j] == labels[i]]
        if p:
            losses[i] = -np.log(np.mean(p)) if inside else -np.mean(np.log(p))
    return losses


def decoupled(embeddings, labels, temperature=0.1):
    n = len(labels)
    z = np.array([[cosine(x, y) / temperature for y in embeddings] for x in embeddings])
    losses = np.zeros((n, n))
    for i in range(n):
        rivals = sum(np.exp(z[i, k]) for k in range(n) if labels[k] != labels[i])
        for j in range(n):
            if i != j and labels[i] == labels[j]:
                losses[i, j] = -z[i, j] + np.log(rivals)
    return losses


ROWS = [
    Row(contrastive.clip, clip, {"temperature": 0.3}),
    Row(contrastive.clip, clip, {"label_smoothing": 0.3}),
    Row(contrastive.siglip, siglip, {"temperature": 0.3, "bias": -1.7}),
    Row(contrastive.siglip, siglip),
    Row(contrastive.info_nce, info_nce, {"temperature": 0.3}),
    Row(contrastive.info_nce, info_nce, {"negatives": MORE, "labels": THINGS}),
    Row(contrastive.info_nce, info_nce, {"negatives": MORE, "in_batch": False}),
    Row(contrastive.sampled_softmax, sampled_softmax, {"temperature": 0.3}),
    Row(contrastive.sampled_softmax, sampled_softmax, {"labels": THINGS}),
    Row(contrastive.supcon, supcon, {"temperature": 0.3}),
    Row(contrastive.supcon, supcon, {"inside": True}),
    Row(contrastive.decoupled, decoupled, {"temperature": 0.3}),
]
