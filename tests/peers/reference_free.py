"""Preferences without a reference of the peers, in plain torch and one pair at a time."""

import numpy as np
import pytest

from jaxloss import reference_free
from tests.oracles import Row


def liger(module, name, chosen, rejected, **options):
    torch = pytest.importorskip("torch")
    chunked = pytest.importorskip(f"liger_kernel.chunked_loss.{module}")
    loss = getattr(chunked, name).preference_loss_fn
    two = torch.zeros(2)  # by half of its length it divides
    pairs = torch.tensor(np.stack([chosen, rejected], -1))
    return np.array([loss(*pair[:, None], two, **options)[0] for pair in pairs])


def liger_orpo(chosen, rejected, odds_weight):
    """Without the cross-entropy, which its base class adds."""
    ratio = liger("orpo_loss", "LigerFusedLinearORPOFunction", chosen, rejected, beta=odds_weight)
    return ratio - chosen


def liger_simpo(chosen, rejected, scale, margin):
    name = "LigerFusedLinearSimPOFunction"
    return liger("simpo_loss", name, chosen, rejected, beta=scale, gamma=margin)


def liger_cpo(chosen, rejected, scale, nll_weight):
    """Without the cross-entropy, which its base class adds."""
    preference = liger("cpo_loss", "LigerFusedLinearCPOFunction", chosen, rejected, beta=scale)
    return preference - nll_weight * chosen


PEERS = [
    Row(reference_free.orpo, liger_orpo, {"odds_weight": 0.7}),
    Row(reference_free.simpo, liger_simpo, {"scale": 0.7, "margin": 0.3}),
    Row(reference_free.cpo, liger_cpo, {"scale": 0.7, "nll_weight": 0.3}),
]
