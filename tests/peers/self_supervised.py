"""Peers of :mod:`jaxloss.losses.self_supervised`, imported only when called."""

import numpy as np
import pytest

from jaxloss.losses import self_supervised
from tests.oracles import Row


def torch_negative_cosine(predictions, targets):
    torch = pytest.importorskip("torch")

    arrays = (torch.from_numpy(np.array(x)) for x in (predictions, targets))
    return -torch.nn.functional.cosine_similarity(*arrays).numpy()


PEERS = [Row(self_supervised.negative_cosine, torch_negative_cosine)]
