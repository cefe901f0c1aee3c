"""Fenchel-Young losses of the peers."""

import pytest

from jaxloss import fenchel_young
from tests.oracles import Row


def optax_sparsemax(logits, labels):
    optax = pytest.importorskip("optax")

    return optax.losses.multiclass_sparsemax_loss(logits, labels)


def optax_binary_sparsemax(logits, targets):
    optax = pytest.importorskip("optax")

    return optax.losses.sparsemax_loss(logits, targets)


PEERS = [
    Row(fenchel_young.sparsemax, optax_sparsemax),
    Row(fenchel_young.binary_sparsemax, optax_binary_sparsemax),
]
