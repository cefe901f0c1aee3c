"""Losses on the lead of the chosen answer of the peers."""

import numpy as np
import pytest

from jaxloss import preference
from tests.oracles import Row


def liger(loss_type):
    """A loss of its static functions in plain torch, one pair at a time."""

    def peer(chosen, rejected, reference_chosen, reference_rejected, scale, **options):
        torch = pytest.importorskip("torch")
        chunked = pytest.importorskip("liger_kernel.chunked_loss.dpo_loss")
        loss = chunked.LigerFusedLinearDPOFunction.preference_loss_fn
        pairs = np.stack([chosen, rejected, reference_chosen, reference_rejected], -1)
        two = torch.zeros(2)  # by half of its length it divides
        losses = [
            loss(
                *pair[:2, None],
                two,
                *pair[2:, None],
                beta=scale,
                loss_type=loss_type,
                **{OPTIONS[option]: value for option, value in options.items()},
            )[0]
            for pair in torch.tensor(pairs)
        ]
        return np.array(losses)

    peer.__name__ = loss_type
    return peer


OPTIONS = {"flip_rate": "label_smoothing", "temperature": "discopop_tau"}
PEERS = [
    Row(preference.dpo, liger("sigmoid"), {"scale": 0.7}),
    Row(preference.robust_dpo, liger("robust"), {"scale": 0.7, "flip_rate": 0.2}),
    Row(preference.hinge, liger("hinge"), {"scale": 0.7}),
    Row(preference.exo, liger("exo_pair"), {"scale": 0.7, "flip_rate": 0.2}),
    Row(preference.discopop, liger("discopop"), {"scale": 0.7, "temperature": 0.4}),
]
