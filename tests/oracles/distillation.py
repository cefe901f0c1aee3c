"""Distillation in float64 NumPy."""

import numpy as np
from scipy.special import rel_entr

from jaxloss import distillation
from tests.oracles import Row


def softmax(z):
    return np.exp(z) / np.exp(z).sum(-1, keepdims=True)


def kl(student, teacher, temperature=1.0):
    s, t = softmax(student / temperature), softmax(teacher / temperature)
    return temperature**2 * rel_entr(t, s).sum(-1)


def reverse_kl(student, teacher, temperature=1.0):
    return kl(teacher, student, temperature)


def standardized_kl(student, teacher, temperature=2.0):
    def standardized(z):
        return (z - z.mean(-1, keepdims=True)) / z.std(-1, keepdims=True)

    return kl(standardized(student), standardized(teacher), temperature)


def mixture(student, teacher, teacher_share):
    s, t = softmax(student), softmax(teacher)
    return s, t, teacher_share * t + (1 - teacher_share) * s


def jensen_shannon(student, teacher, teacher_share=0.5):
    s, t, m = mixture(student, teacher, teacher_share)
    return teacher_share * rel_entr(t, m).sum(-1) + (1 - teacher_share) * rel_entr(s, m).sum(-1)


def skew_kl(student, teacher, teacher_share=0.1):
    _, t, m = mixture(student, teacher, teacher_share)
    return rel_entr(t, m).sum(-1)


def skew_reverse_kl(student, teacher, teacher_share=0.9):
    s, _, m = mixture(student, teacher, teacher_share)
    return rel_entr(s, m).sum(-1)


def adaptive_kl(student, teacher, head_mass=0.5):
    s, t = softmax(student), softmax(teacher)
    losses = kl(student, teacher)
    for i in range(len(losses)):
        head, mass = [], 0.0
        for c in np.argsort(-t[i]):
            if mass < head_mass:
                head.append(c)
            mass += t[i, c]
        gaps = np.abs(t[i] - s[i])
        forward = gaps[head].sum() / gaps.sum()
        losses[i] *= forward
        losses[i] += (1 - forward) * reverse_kl(student[i], teacher[i])
    return losses


def total_variation(student, teacher):
    return np.maximum(0, softmax(teacher) - softmax(student)).sum(-1)


CASES = [
    (distillation.kl, kl, {}),
    (distillation.kl, kl, {"temperature": 3.0}),
    (distillation.reverse_kl, reverse_kl, {"temperature": 3.0}),
    (distillation.standardized_kl, standardized_kl, {}),
    (distillation.standardized_kl, standardized_kl, {"temperature": 0.7}),
    (distillation.jensen_shannon, jensen_shannon, {}),
    (distillation.jensen_shannon, jensen_shannon, {"teacher_share": 0.3}),
    (distillation.skew_kl, skew_kl, {}),
    (distillation.skew_kl, skew_kl, {"teacher_share": 0.3}),
    (distillation.skew_reverse_kl, skew_reverse_kl, {}),
    (distillation.skew_reverse_kl, skew_reverse_kl, {"teacher_share": 0.3}),
    (distillation.adaptive_kl, adaptive_kl, {}),
    (distillation.adaptive_kl, adaptive_kl, {"head_mass": 0.8}),
    (distillation.total_variation, total_variation, {}),
]
ROWS = [Row(*case) for case in CASES]
