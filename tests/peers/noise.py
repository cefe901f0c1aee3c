"""Cross-entropies robust to wrong labels of the peers."""

import numpy as np
import pytest

from jaxloss import noise
from tests.oracles import Row


def keras_generalized_cross_entropy(logits, labels, power):
    keras = pytest.importorskip("keras")

    probabilities = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    return keras.losses.categorical_generalized_cross_entropy(labels, probabilities, q=power)


def optax_poly(logits, labels, linear_weight):
    import optax

    one_hot = np.eye(logits.shape[-1], dtype=logits.dtype)[labels]
    return optax.losses.poly_loss_cross_entropy(logits, one_hot, epsilon=linear_weight)


PEERS = [
    Row(noise.generalized_cross_entropy, keras_generalized_cross_entropy, {"power": 0.3}),
    Row(noise.poly, optax_poly, {"linear_weight": 0.7}),
]
