"""Cross-entropies robust to wrong labels in float64 NumPy."""

import numpy as np
from scipy.optimize import brentq

from jaxloss import noise
from tests.oracles import Row


def softmax(z):
    return np.exp(z) / np.exp(z).sum(-1, keepdims=True)


def probability(logits, labels):
    return softmax(logits)[np.arange(len(labels)), labels]


def generalized_cross_entropy(logits, labels, power):
    p = probability(logits, labels)
    return -np.log(p) if power == 0 else (1 - p**power) / power


def symmetric_cross_entropy(logits, labels, forward_weight, reverse_weight):
    """With log 0 = -1 in the reverse term."""
    p, one_hot = softmax(logits), np.eye(logits.shape[-1])[labels]
    log_one_hot = np.where(one_hot == 1, 0.0, -1.0)
    forward, reverse = -(one_hot * np.log(p)).sum(-1), -(p * log_one_hot).sum(-1)
    return forward_weight * forward + reverse_weight * reverse


def poly(logits, labels, linear_weight):
    p = probability(logits, labels)
    return -np.log(p) + linear_weight * (1 - p)


def taylor_cross_entropy(logits, labels, terms):
    p = probability(logits, labels)
    return sum((1 - p) ** k / k for k in range(1, terms + 1))


def normalized_cross_entropy(logits, labels):
    logs = np.log(softmax(logits))
    return logs[np.arange(len(labels)), labels] / logs.sum(-1)


def tempered_softmax(z, t):
    def p(normalizer):
        if t == 1:
            return np.exp(z - normalizer)
        return np.maximum(0, 1 + (1 - t) * (z - normalizer)) ** (1 / (1 - t))

    return p(brentq(lambda s: p(s).sum() - 1, z.max(), z.max() + 1e3, xtol=1e-15))


def bi_tempered_logistic(logits, labels, power, tail):
    """By the Bregman divergence of a one-hot from the tempered softmax, with t1 and t2."""
    t1, t2 = 1 - power, 1 + tail

    def log_t1(x):
        return np.log(x) if t1 == 1 else (x ** (1 - t1) - 1) / (1 - t1)

    def one(z, y):
        p, t = tempered_softmax(z, t2), np.eye(len(z))[y]
        divergence = -t * log_t1(p) - (t ** (2 - t1) - p ** (2 - t1)) / (2 - t1)
        return divergence.sum()

    return np.array([one(z, y) for z, y in zip(logits, labels, strict=True)])


def active_passive(logits, labels, gamma, active_weight, passive_weight):
    p, own = softmax(logits), probability(logits, labels)
    focal = -((1 - p) ** gamma) * np.log(p)
    picked = focal[np.arange(len(labels)), labels]
    return active_weight * picked / focal.sum(-1) + passive_weight * (1 - own)


def sigmoid_poly(logits, targets, linear_weight):
    p = 1 / (1 + np.exp(-logits))
    right = np.where(targets == 1, p, 1 - p)
    return -np.log(right) + linear_weight * (1 - right)


def bi_tempered_sigmoid(logits, targets, power, tail):
    pairs = np.stack([np.zeros(logits.size), logits.ravel()], -1)
    labels = targets.ravel().astype(int)
    return bi_tempered_logistic(pairs, labels, power, tail).reshape(logits.shape)


ROWS = [
    Row(
        noise.active_passive,
        active_passive,
        {"gamma": 0.7, "active_weight": 0.3, "passive_weight": 1.7},
    ),
    Row(
        noise.active_passive,
        active_passive,
        {"gamma": 0.0, "active_weight": 1.0, "passive_weight": 1.0},
    ),
    Row(noise.sigmoid_poly, sigmoid_poly, {"linear_weight": 0.7}),
    Row(noise.bi_tempered_sigmoid, bi_tempered_sigmoid, {"power": 0.3, "tail": 0.7}),
    Row(noise.bi_tempered_sigmoid, bi_tempered_sigmoid, {"power": 0.0, "tail": 0.4}),
    Row(noise.generalized_cross_entropy, generalized_cross_entropy, {"power": 0.0}),
    Row(noise.generalized_cross_entropy, generalized_cross_entropy, {"power": 0.3}),
    Row(noise.generalized_cross_entropy, generalized_cross_entropy, {"power": 1.0}),
    Row(
        noise.symmetric_cross_entropy,
        symmetric_cross_entropy,
        {"forward_weight": 0.3, "reverse_weight": 0.7},
    ),
    Row(noise.poly, poly, {"linear_weight": 0.7}),
    Row(noise.poly, poly, {"linear_weight": -0.6}),
    Row(noise.taylor_cross_entropy, taylor_cross_entropy, {"terms": 1}),
    Row(noise.taylor_cross_entropy, taylor_cross_entropy, {"terms": 5}),
    Row(noise.normalized_cross_entropy, normalized_cross_entropy),
    Row(noise.bi_tempered_logistic, bi_tempered_logistic, {"power": 0.3, "tail": 0.7}),
    Row(noise.bi_tempered_logistic, bi_tempered_logistic, {"power": 0.0, "tail": 0.4}),
    Row(noise.bi_tempered_logistic, bi_tempered_logistic, {"power": 1.0, "tail": 0.0}),
]
