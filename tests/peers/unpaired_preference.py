"""Losses on good and on bad answers of the peers."""

import numpy as np
import pytest

from jaxloss import unpaired_preference
from tests.oracles import Row


def liger_kto(policy, reference, targets, scale, baseline):
    torch = pytest.importorskip("torch")
    chunked = pytest.importorskip("liger_kernel.chunked_loss.kto_loss")
    loss = chunked.LigerFusedLinearKTOFunction.preference_loss_fn
    answers = zip(*map(torch.tensor, (policy, targets == 1, reference)), strict=True)
    one = torch.zeros(1)  # by its length it divides
    return np.array([
        loss(x, good, one, y, beta=scale, kl=torch.tensor(baseline))[0] for x, good, y in answers
    ])  # fmt: skip


PEERS = [Row(unpaired_preference.kto, liger_kto, {"scale": 0.7, "baseline": 0.3})]
