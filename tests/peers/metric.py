"""Peers of :mod:`jaxloss.losses.metric`, imported only when called."""

import math

import numpy as np
import pytest

from jaxloss.losses import metric
from tests.oracles import Row

MORE = np.random.default_rng(3).normal(size=(5, 4))


def each(loss, options, embeddings, labels, **kwargs):
    """What pytorch-metric-learning gives for each embedding, or for each positive pair."""
    losses = pytest.importorskip("pytorch_metric_learning.losses")
    reducers = pytest.importorskip("pytorch_metric_learning.reducers")
    torch = pytest.importorskip("torch")

    function = getattr(losses, loss)(**options, **kwargs, reducer=reducers.DoNothingReducer())
    found = function(*(torch.from_numpy(np.array(x)) for x in (embeddings, labels)))["loss"]
    indices = found["indices"] if isinstance(found["indices"], tuple) else (found["indices"],)
    result = np.zeros((len(labels),) * len(indices), np.float32)
    result[tuple(x.numpy() for x in indices)] = found["losses"].flatten()
    return result


def pml_circle(embeddings, labels, margin, scale):
    return each("CircleLoss", {"m": margin, "gamma": scale}, embeddings, labels)


def keras_circle(embeddings, labels, margin, scale):
    keras = pytest.importorskip("keras")

    unit = embeddings / np.linalg.norm(embeddings, axis=-1, keepdims=True)
    return np.asarray(keras.losses.circle(labels, unit, gamma=scale, margin=margin))


def pml_multi_similarity(embeddings, labels, positive_scale, negative_scale, threshold):
    options = {"alpha": positive_scale, "beta": negative_scale, "base": threshold}
    return each("MultiSimilarityLoss", options, embeddings, labels)


def pml_tuplet_margin(embeddings, labels, margin, scale):
    options = {"margin": math.degrees(margin), "scale": scale}
    return each("TupletMarginLoss", options, embeddings, labels)


def pml_angular(embeddings, labels, angle):
    embeddings = embeddings / np.linalg.norm(embeddings, axis=-1, keepdims=True)
    return each("AngularLoss", {"alpha": math.degrees(angle)}, embeddings, labels)


def torch_n_pairs(anchors, positives):
    torch = pytest.importorskip("torch")

    scores = torch.from_numpy(anchors @ positives.T)
    rows = torch.arange(len(scores))
    return torch.nn.functional.cross_entropy(scores, rows, reduction="none").numpy()


PEERS = [
    Row(metric.circle, pml_circle, {"margin": 0.3, "scale": 20.0}),
    Row(metric.circle, keras_circle, {"margin": 0.3, "scale": 20.0}),
    Row(
        metric.multi_similarity,
        pml_multi_similarity,
        {"positive_scale": 3.0, "negative_scale": 20.0, "threshold": 0.3},
    ),
    Row(metric.tuplet_margin, pml_tuplet_margin, {"margin": 0.3, "scale": 10.0}),
    Row(metric.angular, pml_angular, {"angle": 0.7}),
    Row(metric.n_pairs, torch_n_pairs),
]
