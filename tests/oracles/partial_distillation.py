"""Partial distillation in float64 NumPy, row by row."""

import itertools

import numpy as np
from scipy.special import rel_entr

from jaxloss import partial_distillation
from tests.oracles import Row


def softmax(z):
    return np.exp(z) / np.exp(z).sum(-1, keepdims=True)


def top_k_kl(student, teacher_log_probabilities, labels):
    losses = []
    for z, log_t, kept in zip(student, teacher_log_probabilities, labels, strict=True):
        s, t = softmax(z)[kept], np.exp(log_t)
        s, t = np.append(s, 1 - s.sum()), np.append(t, 1 - t.sum())
        losses.append(rel_entr(t, s).sum())
    return losses


def decoupled_kl(student, teacher, labels, label_weight=1.0, others_weight=8.0, temperature=4.0):
    losses = []
    for s, t, y in zip(
        softmax(student / temperature), softmax(teacher / temperature), labels, strict=True
    ):
        ours, theirs = (np.array([p[y], 1 - p[y]]) for p in (s, t))
        others, their_others = (np.delete(p, y) / (1 - p[y]) for p in (s, t))
        target, rest = rel_entr(theirs, ours).sum(), rel_entr(their_others, others).sum()
        losses.append(temperature**2 * (label_weight * target + others_weight * rest))
    return losses


def universal(student, teacher):
    losses = []
    for s, t in zip(np.sort(softmax(student)), np.sort(softmax(teacher)), strict=True):
        pairs = itertools.zip_longest(s[::-1], t[::-1], fillvalue=0)
        losses.append(sum(abs(a - b) for a, b in pairs))
    return losses


def margin_squared(student_positives, student_negatives, teacher_positives, teacher_negatives):
    student = student_positives - student_negatives
    return (student - (teacher_positives - teacher_negatives)) ** 2


ROWS = [
    Row(partial_distillation.top_k_kl, top_k_kl),
    Row(partial_distillation.decoupled_kl, decoupled_kl),
    Row(
        partial_distillation.decoupled_kl,
        decoupled_kl,
        {"label_weight": 0.7, "others_weight": 3.0, "temperature": 1.5},
    ),
    Row(partial_distillation.universal, universal),
    Row(partial_distillation.margin_squared, margin_squared),
]
