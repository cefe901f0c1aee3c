"""Peers of :mod:`jaxloss.losses.sequence`, imported only when called."""

import os

import numpy as np
import pytest

from jaxloss.losses import sequence
from tests.oracles import Row
from tests.oracles.sequence import SOME, with_another_blank


def lengths(labels, label_where):
    return np.full(len(labels), labels.shape[1]) if label_where is None else label_where.sum(1)


def torch_ctc(logits, labels, blank=0, label_where=None, impossible="infinite"):
    torch = pytest.importorskip("torch")
    functional = torch.nn.functional
    batch, time = logits.shape[:2]
    return functional.ctc_loss(
        functional.log_softmax(torch.tensor(logits), -1).transpose(0, 1),
        torch.tensor(labels),
        torch.full((batch,), time),
        torch.tensor(lengths(labels, label_where)),
        blank=blank,
        reduction="none",
        zero_infinity=impossible == "ignored",
    ).numpy()


def optax_ctc(logits, labels, blank=0, label_where=None):
    """Wants to know what does not exist."""
    import optax

    exists = np.ones(labels.shape, bool) if label_where is None else label_where
    absent = np.zeros(logits.shape[:2])
    return np.asarray(optax.ctc_loss(logits, absent, labels, ~exists * 1.0, blank_id=blank))


def keras_ctc(logits, labels, label_where=None):
    os.environ.setdefault("KERAS_BACKEND", "jax")
    keras = pytest.importorskip("keras")
    time = np.full(len(labels), logits.shape[1])
    count = lengths(labels, label_where)
    return np.asarray(keras.ops.ctc_loss(labels, logits, count, time, mask_index=0))


PEERS = [
    Row(sequence.ctc, torch_ctc),
    Row(sequence.ctc, torch_ctc, {"label_where": SOME}),
    Row(sequence.ctc, torch_ctc, {"blank": 2, "impossible": "ignored"}, with_another_blank),
    Row(sequence.ctc, torch_ctc, {"blank": 2}, with_another_blank),
    Row(sequence.ctc, optax_ctc, {"label_where": SOME}),
    Row(sequence.ctc, keras_ctc, {"label_where": SOME}),
]
