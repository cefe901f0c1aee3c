"""Cross-entropies that correct wrong labels in float64 NumPy."""

import numpy as np

from jaxloss import noise_correction
from tests.oracles import Row


def softmax(z):
    return np.exp(z) / np.exp(z).sum(-1, keepdims=True)


def soft_bootstrapped(logits, labels, trust):
    p = softmax(logits)
    mixed = trust * np.eye(p.shape[-1])[labels] + (1 - trust) * p
    return -(mixed * np.log(p)).sum(-1)


def hard_bootstrapped(logits, labels, trust):
    p = softmax(logits)
    one_hot = np.eye(p.shape[-1])
    mixed = trust * one_hot[labels] + (1 - trust) * one_hot[p.argmax(-1)]
    return -(mixed * np.log(p)).sum(-1)


def forward_corrected(logits, labels, transitions):
    noisy = softmax(logits) @ transitions
    return -np.log(noisy[np.arange(len(labels)), labels])


def early_learning(logits, labels, running_probabilities, penalty):
    p = softmax(logits)
    same = (p * running_probabilities).sum(-1)
    return -np.log(p[np.arange(len(labels)), labels]) + penalty * np.log(1 - same)


ROWS = [
    Row(noise_correction.soft_bootstrapped, soft_bootstrapped, {"trust": 0.7}),
    Row(noise_correction.hard_bootstrapped, hard_bootstrapped, {"trust": 0.7}),
    Row(noise_correction.forward_corrected, forward_corrected),
    Row(noise_correction.early_learning, early_learning, {"penalty": 0.7}),
]
