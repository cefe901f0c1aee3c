"""Divergences between distributions in float64 NumPy."""

import numpy as np
from scipy.special import rel_entr

from jaxloss import divergence
from tests.oracles import Row


def forward_kl(log_q, log_t):
    return rel_entr(np.exp(log_t), np.exp(log_q)).sum(-1)


def reverse_kl(log_q, log_t):
    return rel_entr(np.exp(log_q), np.exp(log_t)).sum(-1)


def jensen_shannon(log_q, log_t, target_share=0.5):
    q, t = np.exp(log_q), np.exp(log_t)
    m = target_share * t + (1 - target_share) * q
    return target_share * rel_entr(t, m).sum(-1) + (1 - target_share) * rel_entr(q, m).sum(-1)


def total_variation(log_q, log_t):
    return np.maximum(0, np.exp(log_t) - np.exp(log_q)).sum(-1)


def hellinger(log_q, log_t):
    return 1 - np.sqrt(np.exp(log_q) * np.exp(log_t)).sum(-1)


def chi_squared(log_q, log_t):
    return (np.exp(log_t) ** 2 / np.exp(log_q)).sum(-1) - 1


def augmix(logits, labels, scale):
    p = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    own = p[np.arange(len(labels)), 0, labels]
    mixture = p.mean(-2, keepdims=True)
    return -np.log(own) + scale * rel_entr(p, mixture).sum(-1).mean(-1)


def distributions():
    """Normalized to the last digit of a float64, as these formulas take for granted."""
    z = np.random.default_rng(0).normal(size=(2, 8, 4))
    return tuple(z - np.log(np.exp(z).sum(-1, keepdims=True)))


CASES = [
    (divergence.forward_kl, forward_kl, {}),
    (divergence.reverse_kl, reverse_kl, {}),
    (divergence.jensen_shannon, jensen_shannon, {}),
    (divergence.jensen_shannon, jensen_shannon, {"target_share": 0.3}),
    (divergence.total_variation, total_variation, {}),
    (divergence.hellinger, hellinger, {}),
    (divergence.chi_squared, chi_squared, {}),
]
ROWS = [Row(*case, inputs=distributions) for case in CASES]
ROWS += [Row(divergence.augmix, augmix, {"scale": 0.7})]
