"""Losses of language models of the peers."""

import numpy as np
import pytest

from jaxloss import language
from tests.oracles import Row


def torch_sequence_cross_entropy(logits, labels, label_smoothing):
    """Each sequence by itself; torch wants the classes second."""
    torch = pytest.importorskip("torch")

    return torch.nn.functional.cross_entropy(
        torch.as_tensor(np.moveaxis(logits, -1, 1)),
        torch.as_tensor(labels).long(),
        label_smoothing=label_smoothing,
        reduction="none",
    ).mean(-1)


PEERS = [
    Row(language.sequence_cross_entropy, torch_sequence_cross_entropy, {"label_smoothing": 0.3}),
]
