"""Distillation of features in float64 NumPy, one example at a time."""

import numpy as np

from jaxloss import feature_distillation
from tests.oracles import Row


def hint(student, teacher):
    return 0.5 * np.linalg.norm(student - teacher, axis=-1) ** 2


def attention_transfer(student, teacher, power=2.0):
    def attention(features):
        activity = (np.abs(features) ** power).sum(-1).ravel()
        return activity / np.linalg.norm(activity)

    pairs = zip(student, teacher, strict=True)
    return [((attention(s) - attention(t)) ** 2).sum() for s, t in pairs]


def neuron_selectivity(student, teacher):
    """As a maximum mean discrepancy between channels, pair by pair."""

    def mean_kernel(one, other):
        values = []
        for x in one.reshape(-1, one.shape[-1]).T:
            for y in other.reshape(-1, other.shape[-1]).T:
                values.append((x @ y / np.linalg.norm(x) / np.linalg.norm(y)) ** 2)
        return np.mean(values)

    pairs = zip(student, teacher, strict=True)
    return [mean_kernel(s, s) + mean_kernel(t, t) - 2 * mean_kernel(s, t) for s, t in pairs]


def solution_flow(student, student_later, teacher, teacher_later):
    losses = np.zeros(len(student))
    for b, i, j in np.ndindex(len(student), student.shape[-1], student_later.shape[-1]):
        ours = (student[b, ..., i] * student_later[b, ..., j]).mean()
        theirs = (teacher[b, ..., i] * teacher_later[b, ..., j]).mean()
        losses[b] += (ours - theirs) ** 2
    return losses


ROWS = [
    Row(feature_distillation.hint, hint),
    Row(feature_distillation.attention_transfer, attention_transfer),
    Row(feature_distillation.attention_transfer, attention_transfer, {"power": 1.3}),
    Row(feature_distillation.neuron_selectivity, neuron_selectivity),
    Row(feature_distillation.solution_flow, solution_flow),
]
