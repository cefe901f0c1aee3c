"""Divergences of the peers."""

import pytest

from jaxloss import divergence
from tests.oracles import Row


def torch_reverse_kl(log_probabilities, target_log_probabilities):
    """Forward, with the arguments exchanged."""
    torch = pytest.importorskip("torch")

    terms = torch.nn.functional.kl_div(
        torch.as_tensor(target_log_probabilities),
        torch.as_tensor(log_probabilities),
        reduction="none",
        log_target=True,
    )
    return terms.sum(-1)


def optax_reverse_kl(log_probabilities, target_log_probabilities):
    import optax

    return optax.losses.kl_divergence_with_log_targets(target_log_probabilities, log_probabilities)


PEERS = [
    Row(divergence.reverse_kl, torch_reverse_kl),
    Row(divergence.reverse_kl, optax_reverse_kl),
]
