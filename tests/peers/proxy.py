"""Peers of :mod:`jaxloss.losses.proxy`, imported only when called."""

import math

import numpy as np
import pytest

from jaxloss.losses import proxy
from tests.oracles import Row


def pml(loss, options, embeddings, labels, proxies):
    losses = pytest.importorskip("pytorch_metric_learning.losses")
    reducers = pytest.importorskip("pytorch_metric_learning.reducers")
    torch = pytest.importorskip("torch")

    shape = {"num_classes": len(proxies), "embedding_size": proxies.shape[1]}
    function = getattr(losses, loss)(**shape, **options, reducer=reducers.DoNothingReducer())
    if hasattr(function, "W"):
        function.W.data = torch.from_numpy(np.array(proxies.T))
    else:
        function.proxies.data = torch.from_numpy(np.array(proxies))
    arrays = (np.array(embeddings), np.array(labels, np.int64))
    with torch.no_grad():
        return function(*map(torch.from_numpy, arrays))


def pml_losses(loss, options, embeddings, labels, proxies):
    return pml(loss, options, embeddings, labels, proxies)["loss"]["losses"].numpy()


def pml_arcface(embeddings, labels, proxies, margin, scale):
    options = {"margin": math.degrees(margin), "scale": scale}
    return pml_losses("ArcFaceLoss", options, embeddings, labels, proxies)


def pml_cosface(embeddings, labels, proxies, margin, scale):
    options = {"margin": margin, "scale": scale}
    return pml_losses("CosFaceLoss", options, embeddings, labels, proxies)


def pml_sphereface(embeddings, labels, proxies, factor, angle_margin, margin, scale):
    assert angle_margin == margin == 0
    options = {"margin": int(factor), "scale": scale}
    return pml("SphereFaceLoss", options, unit(embeddings), labels, proxies)["loss"][
        "losses"
    ].numpy()


def pml_proxy_nca(embeddings, labels, proxies, temperature):
    options = {"softmax_scale": 1 / temperature}
    return pml_losses("ProxyNCALoss", options, embeddings, labels, proxies)


def pml_proxy_anchor(embeddings, labels, proxies, margin, scale):
    options = {"margin": margin, "alpha": scale}
    parts = pml("ProxyAnchorLoss", options, embeddings, labels, proxies)
    pull, push = (parts[f"{part}_loss"] for part in ("pos", "neg"))
    return (pull["losses"] / pull["divisor"] * len(proxies) + push["losses"]).numpy()


def unit(x):
    return x / np.linalg.norm(x, axis=-1, keepdims=True)


PEERS = [
    Row(proxy.arcface, pml_arcface, {"margin": 0.3, "scale": 20.0}),
    Row(proxy.cosface, pml_cosface, {"margin": 0.3, "scale": 20.0}),
    Row(
        proxy.combined_margin,
        pml_sphereface,
        {"factor": 4.0, "angle_margin": 0.0, "margin": 0.0, "scale": 5.0},
    ),
    Row(proxy.proxy_nca, pml_proxy_nca, {"temperature": 0.3}),
    Row(proxy.proxy_anchor, pml_proxy_anchor, {"margin": 0.3, "scale": 10.0}),
]
