"""Peers of :mod:`jaxloss.losses.contrastive`, imported only when called."""

import numpy as np
import pytest

from jaxloss.losses import contrastive
from tests.oracles import Row
from tests.peers.metric import MORE, each


def unit(x):
    return x / np.linalg.norm(x, axis=-1, keepdims=True)


def torch_cross_entropy(scores, label_smoothing=0.0):
    torch = pytest.importorskip("torch")

    rows = torch.arange(len(scores))
    return torch.nn.functional.cross_entropy(
        torch.as_tensor(scores), rows, label_smoothing=label_smoothing, reduction="none"
    ).numpy()


def torch_clip(embeddings, other_embeddings, temperature, label_smoothing):
    scores = unit(embeddings) @ unit(other_embeddings).T / temperature
    ways = (
        torch_cross_entropy(np.ascontiguousarray(x), label_smoothing) for x in (scores, scores.T)
    )
    return sum(ways) / 2


def torch_siglip(embeddings, other_embeddings, temperature, bias):
    torch = pytest.importorskip("torch")

    logits = torch.from_numpy(unit(embeddings) @ unit(other_embeddings).T / temperature + bias)
    sign = 2 * torch.eye(len(logits)) - 1
    return -torch.nn.functional.logsigmoid(sign * logits).sum(-1).numpy()


def torch_info_nce(anchors, positives, temperature, negatives):
    candidates = np.concatenate([unit(positives), unit(negatives)])
    return torch_cross_entropy(np.float32(unit(anchors) @ candidates.T / temperature))


def torch_sampled_softmax(anchors, positives, log_probabilities, temperature):
    return torch_cross_entropy(anchors @ positives.T / temperature - log_probabilities)


def pml_supcon(embeddings, labels, temperature):
    return each("SupConLoss", {"temperature": temperature}, embeddings, labels)


PEERS = [
    Row(contrastive.clip, torch_clip, {"temperature": 0.2, "label_smoothing": 0.3}),
    Row(contrastive.siglip, torch_siglip, {"temperature": 0.2, "bias": -1.7}),
    Row(contrastive.info_nce, torch_info_nce, {"temperature": 0.2, "negatives": MORE}),
    Row(contrastive.sampled_softmax, torch_sampled_softmax, {"temperature": 2.0}),
    Row(contrastive.supcon, pml_supcon, {"temperature": 0.2}),
]
