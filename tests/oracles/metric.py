"""Independent truth for :mod:`jaxloss.losses.metric`: one embedding and one pair at a time."""

import math

import numpy as np

from jaxloss.losses import metric
from tests.oracles import Row

THINGS = np.array([0, 1, 2, 1, 3, 0, 4, 1])


def cosine(x, y):
    return np.dot(x, y) / np.linalg.norm(x) / np.linalg.norm(y)


def relatives(labels, i):
    """The partners of an embedding, and all embeddings of another label."""
    others = [j for j in range(len(labels)) if j != i]
    partners = [j for j in others if labels[j] == labels[i]]
    return partners, [j for j in others if labels[j] != labels[i]]


def circle(embeddings, labels, margin=0.4, scale=80.0):
    losses = np.zeros(len(labels))
    for i, x in enumerate(embeddings):
        partners, others = relatives(labels, i)
        pull = push = 0
        for j in partners:
            s = cosine(x, embeddings[j])
            pull += np.exp(-scale * max(0, 1 + margin - s) * (s - (1 - margin)))
        for j in others:
            s = cosine(x, embeddings[j])
            push += np.exp(scale * max(0, s + margin) * (s - margin))
        losses[i] = np.log1p(pull * push)
    return losses


def multi_similarity(
    embeddings,
    labels,
    positive_scale=2.0,
    negative_scale=50.0,
    threshold=0.5,
    mining_margin=None,
):
    losses = np.zeros(len(labels))
    for i, x in enumerate(embeddings):
        partners, others = relatives(labels, i)
        right = [cosine(x, embeddings[j]) for j in partners]
        wrong = [cosine(x, embeddings[j]) for j in others]
        if mining_margin is not None:
            hard = [s for s in right if s < max(wrong) + mining_margin]
            wrong = [s for s in wrong if s > min(right) - mining_margin]
            right = hard
        pull = sum(np.exp(-positive_scale * (s - threshold)) for s in right)
        push = sum(np.exp(negative_scale * (s - threshold)) for s in wrong)
        losses[i] = np.log1p(pull) / positive_scale + np.log1p(push) / negative_scale
    return losses


def tuplet_margin(embeddings, labels, margin=0.1, scale=64.0):
    losses = np.zeros((len(labels), len(labels)))
    for i, x in enumerate(embeddings):
        partners, others = relatives(labels, i)
        for j in partners:
            eased = math.cos(math.acos(cosine(x, embeddings[j])) - margin)
            rivals = [np.exp(scale * (cosine(x, embeddings[k]) - eased)) for k in others]
            losses[i, j] = np.log1p(sum(rivals))
    return losses


def angular(embeddings, labels, angle=math.pi / 4):
    losses = np.zeros((len(labels), len(labels)))
    square = math.tan(angle) ** 2
    unit = [x / np.linalg.norm(x) for x in embeddings]
    for i, x in enumerate(unit):
        partners, others = relatives(labels, i)
        for j in partners:
            f = [
                4 * square * (x + unit[j]) @ unit[k] - 2 * (1 + square) * x @ unit[j]
                for k in others
            ]
            losses[i, j] = np.log1p(np.exp(f).sum())
    return losses


def n_pairs(anchors, positives, labels=None):
    losses = np.zeros(len(anchors))
    for i, a in enumerate(anchors):
        p = np.exp([a @ x for x in positives])
        p /= p.sum()
        same = np.arange(len(p)) == i if labels is None else labels == labels[i]
        losses[i] = -np.log(p[same]).mean()
    return losses


ROWS = [
    Row(metric.circle, circle, {"margin": 0.3, "scale": 7.0}),
    Row(metric.circle, circle),
    Row(
        metric.multi_similarity,
        multi_similarity,
        {"positive_scale": 3.0, "negative_scale": 20.0, "threshold": 0.3},
    ),
    Row(metric.multi_similarity, multi_similarity, {"mining_margin": 0.1}),
    Row(metric.tuplet_margin, tuplet_margin, {"margin": 0.3, "scale": 10.0}),
    Row(metric.angular, angular, {"angle": 0.7}),
    Row(metric.n_pairs, n_pairs),
    Row(metric.n_pairs, n_pairs, {"labels": THINGS}),
]
