"""Relational distillation in float64 NumPy, one pair or triplet at a time."""

import numpy as np

from jaxloss import relational_distillation
from tests.oracles import Row


def huber(error):
    return error**2 / 2 if abs(error) <= 1 else abs(error) - 0.5


def similarity_preserving(student, teacher):
    def similarity(features):
        gram = features @ features.T
        return gram / np.sqrt((gram**2).sum(1, keepdims=True))

    return (similarity(student) - similarity(teacher)) ** 2


def relational_distance(student, teacher):
    size = len(student)

    def distances(vectors):
        d = np.array([[np.linalg.norm(x - y) for y in vectors] for x in vectors])
        return d / (d.sum() / (size * (size - 1)))

    apart = distances(student) - distances(teacher)
    return np.vectorize(huber)(apart)


def relational_angle(student, teacher):
    size = len(student)

    def cosine(vectors, i, j, k):
        x, y = vectors[j] - vectors[i], vectors[k] - vectors[i]
        return x @ y / np.linalg.norm(x) / np.linalg.norm(y)

    losses = np.zeros((size, size, size))
    for i, j, k in np.ndindex(losses.shape):
        if len({i, j, k}) == 3:
            losses[i, j, k] = huber(cosine(student, i, j, k) - cosine(teacher, i, j, k))
    return losses


ROWS = [
    Row(relational_distillation.similarity_preserving, similarity_preserving),
    Row(relational_distillation.relational_distance, relational_distance),
    Row(relational_distillation.relational_angle, relational_angle),
]
