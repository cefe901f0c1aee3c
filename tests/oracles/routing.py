"""Losses on the routers of mixtures of experts in float64 NumPy."""

import numpy as np

from jaxloss import routing
from tests.oracles import Row


def softmax(z):
    return np.exp(z) / np.exp(z).sum(-1, keepdims=True)


def load_balancing(logits, labels):
    losses = np.zeros(len(logits))
    for group, (z, choices) in enumerate(zip(logits, labels, strict=True)):
        experts = z.shape[-1]
        for e in range(experts):
            chosen = np.sum(choices == e) / choices.size
            losses[group] += experts * chosen * softmax(z)[:, e].mean()
    return losses


def importance_balancing(logits):
    importance = softmax(logits).sum(-2)
    return (importance.std(-1) / importance.mean(-1)) ** 2


def router_z(logits):
    return np.log(np.exp(logits).sum(-1)) ** 2


ROWS = [
    Row(routing.load_balancing, load_balancing),
    Row(routing.importance_balancing, importance_balancing),
    Row(routing.router_z, router_z),
]
