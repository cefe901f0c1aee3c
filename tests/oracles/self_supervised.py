"""Independent truth for :mod:`jaxloss.losses.self_supervised`: one feature at a time."""

import numpy as np

from jaxloss.losses import self_supervised
from tests.oracles import Row


def unit(x):
    return x / np.linalg.norm(x, axis=-1, keepdims=True)


def negative_cosine(predictions, targets):
    return -(unit(predictions) * unit(targets)).sum(-1)


def barlow_twins(embeddings, other_embeddings, redundancy_weight=0.005):
    features = embeddings.shape[1]
    losses = np.zeros(features)
    for j in range(features):
        for k in range(features):
            c = np.corrcoef(embeddings[:, j], other_embeddings[:, k])[0, 1]
            losses[j] += (1 - c) ** 2 if j == k else redundancy_weight * c**2
    return losses


def vicreg(
    embeddings,
    other_embeddings,
    invariance_weight=25.0,
    variance_weight=25.0,
    covariance_weight=1.0,
    margin=1.0,
    eps=1e-4,
):
    losses = invariance_weight * ((embeddings - other_embeddings) ** 2).mean(0)
    for view in (embeddings, other_embeddings):
        covariance = np.cov(view.T)
        for j in range(len(losses)):
            short = max(0, margin - np.sqrt(covariance[j, j] + eps))
            losses[j] += variance_weight * short / 2
            others = np.delete(covariance[j], j)
            losses[j] += covariance_weight * (others**2).sum()
    return losses


def alignment(anchors, positives, power=2.0):
    return np.linalg.norm(unit(anchors) - unit(positives), axis=-1) ** power


ROWS = [
    Row(self_supervised.negative_cosine, negative_cosine),
    Row(self_supervised.barlow_twins, barlow_twins, {"redundancy_weight": 0.3}),
    Row(
        self_supervised.vicreg,
        vicreg,
        {
            "invariance_weight": 2.0,
            "variance_weight": 3.0,
            "covariance_weight": 0.7,
            "margin": 1.3,
            "eps": 0.1,
        },
    ),
    Row(self_supervised.vicreg, vicreg),
    Row(self_supervised.alignment, alignment, {"power": 1.3}),
]
