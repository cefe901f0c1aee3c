"""No peer library has these losses; torch computes what the first one comes down to."""

import numpy as np
import pytest

from jaxloss import imbalance
from tests.oracles import Row


def torch_adjusted(logits, labels, counts, scale):
    torch = pytest.importorskip("torch")

    adjusted = logits + scale * np.log(counts / counts.sum()).astype(logits.dtype)
    return torch.nn.functional.cross_entropy(
        torch.as_tensor(adjusted), torch.as_tensor(labels).long(), reduction="none"
    )


PEERS = [Row(imbalance.logit_adjusted_cross_entropy, torch_adjusted, {"scale": 0.7})]
