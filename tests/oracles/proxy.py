"""Independent truth for :mod:`jaxloss.losses.proxy`: one embedding or one proxy at a time."""

import math

import jax
import numpy as np

from jaxloss.losses import proxy
from tests.oracles import Row


def unit(x):
    return x / np.linalg.norm(x, axis=-1, keepdims=True)


def with_margins(embeddings, labels, proxies, scale, of_angle):
    losses = np.zeros(labels.shape)
    for i in np.ndindex(*losses.shape):
        logits = scale * unit(embeddings[i]) @ unit(proxies).T
        logits[labels[i]] = scale * of_angle(math.acos(logits[labels[i]] / scale))
        losses[i] = np.logaddexp.reduce(logits) - logits[labels[i]]
    return losses


def arcface(embeddings, labels, proxies, margin=0.5, scale=64.0):
    def of_angle(angle):
        if angle > math.pi - margin:
            return math.cos(angle) - margin * math.sin(margin)
        return math.cos(angle + margin)

    return with_margins(embeddings, labels, proxies, scale, of_angle)


def cosface(embeddings, labels, proxies, margin=0.35, scale=64.0):
    return with_margins(embeddings, labels, proxies, scale, lambda a: math.cos(a) - margin)


def combined_margin(
    embeddings, labels, proxies, factor=1.0, angle_margin=0.3, margin=0.2, scale=64.0
):
    def of_angle(angle):
        enlarged, k = factor * angle + angle_margin, 0
        while enlarged > (k + 1) * math.pi:
            k += 1
        return (-1) ** k * math.cos(enlarged) - 2 * k - margin

    return with_margins(embeddings, labels, proxies, scale, of_angle)


def proxy_nca(embeddings, labels, proxies, temperature=1.0):
    losses = np.zeros(labels.shape)
    for i in np.ndindex(*losses.shape):
        near = np.exp(-((unit(embeddings[i]) - unit(proxies)) ** 2).sum(-1) / temperature)
        losses[i] = -np.log(near[labels[i]] / near.sum())
    return losses


def proxy_anchor(embeddings, labels, proxies, margin=0.1, scale=32.0):
    losses = np.zeros(len(proxies))
    present = len(set(labels.tolist()))
    for c, center in enumerate(proxies):
        s = unit(embeddings) @ unit(center)
        pull = np.log1p(np.exp(-scale * (s[labels == c] - margin)).sum())
        push = np.log1p(np.exp(scale * (s[labels != c] + margin)).sum())
        losses[c] = pull * len(proxies) / present + push
    return losses


def opposite():
    """Embeddings at angles beyond 2.6, where a margin reaches past the half circle."""
    embeddings, proxies = jax.random.normal(jax.random.key(9), (2, 3, 4))
    return -proxies + 0.1 * embeddings, np.arange(3), proxies


ROWS = [
    Row(proxy.arcface, arcface, {"margin": 0.3, "scale": 20.0}),
    Row(proxy.arcface, arcface),
    Row(proxy.arcface, arcface, {"margin": 0.8, "scale": 20.0}, inputs=opposite),
    Row(proxy.cosface, cosface, {"margin": 0.3, "scale": 20.0}),
    Row(
        proxy.combined_margin,
        combined_margin,
        {"factor": 1.3, "angle_margin": 0.2, "margin": 0.1, "scale": 20.0},
    ),
    Row(proxy.combined_margin, combined_margin, {"factor": 4.0}, inputs=opposite),
    Row(proxy.proxy_nca, proxy_nca, {"temperature": 0.3}),
    Row(proxy.proxy_anchor, proxy_anchor, {"margin": 0.3, "scale": 10.0}),
]
