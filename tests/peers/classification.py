"""Classification losses of the peers."""

import numpy as np
import pytest

from jaxloss import classification
from tests.oracles import Row
from tests.oracles.classification import unsure


def torch_cross_entropy(logits, labels, label_smoothing=0.0):
    torch = pytest.importorskip("torch")

    return torch.nn.functional.cross_entropy(
        torch.as_tensor(logits),
        torch.as_tensor(labels).long(),
        label_smoothing=label_smoothing,
        reduction="none",
    )


def optax_cross_entropy(logits, labels):
    import optax

    return optax.softmax_cross_entropy_with_integer_labels(logits, labels)


def keras_cross_entropy(logits, labels):
    keras = pytest.importorskip("keras")

    return keras.losses.sparse_categorical_crossentropy(labels, logits, from_logits=True)


def torch_soft_cross_entropy(logits, targets):
    torch = pytest.importorskip("torch")

    return torch.nn.functional.cross_entropy(
        torch.as_tensor(logits), torch.as_tensor(targets), reduction="none"
    )


def optax_soft_cross_entropy(logits, targets):
    import optax

    return optax.softmax_cross_entropy(logits, targets)


def torch_sigmoid_cross_entropy(logits, targets):
    torch = pytest.importorskip("torch")

    return torch.nn.functional.binary_cross_entropy_with_logits(
        torch.as_tensor(logits), torch.as_tensor(targets), reduction="none"
    )


def optax_sigmoid_cross_entropy(logits, targets):
    import optax

    return optax.sigmoid_binary_cross_entropy(logits, targets)


def keras_sigmoid_cross_entropy(logits, targets):
    keras = pytest.importorskip("keras")

    return keras.losses.binary_crossentropy(targets[..., None], logits[..., None], from_logits=True)


def optax_sigmoid_focal(logits, targets, gamma):
    import optax

    return optax.sigmoid_focal_loss(logits, targets, gamma=gamma)


def keras_sigmoid_focal(logits, targets, gamma):
    keras = pytest.importorskip("keras")

    return keras.losses.binary_focal_crossentropy(
        targets[..., None], logits[..., None], from_logits=True, gamma=gamma
    )


def keras_softmax_focal(logits, labels, gamma):
    """Keras multiplies by alpha throughout, and takes one-hot targets."""
    keras = pytest.importorskip("keras")

    one_hot = np.eye(logits.shape[-1], dtype=logits.dtype)[labels]
    return keras.losses.categorical_focal_crossentropy(
        one_hot, logits, from_logits=True, gamma=gamma, alpha=1.0
    )


def keras_hinge(logits, targets):
    keras = pytest.importorskip("keras")

    return keras.losses.hinge(2 * targets[..., None] - 1, logits[..., None])


def optax_hinge(logits, targets):
    import optax

    return optax.hinge_loss(logits, 2 * targets - 1)


def torch_kl(log_probabilities, targets):
    torch = pytest.importorskip("torch")

    divergence = torch.nn.functional.kl_div(
        torch.as_tensor(log_probabilities), torch.as_tensor(targets), reduction="none"
    )
    return divergence.sum(-1)


def optax_kl(log_probabilities, targets):
    import optax

    return optax.kl_divergence(log_probabilities, targets)


def torch_nll(log_probabilities, labels):
    torch = pytest.importorskip("torch")

    labels = torch.as_tensor(labels).long()
    return torch.nn.functional.nll_loss(
        torch.as_tensor(log_probabilities), labels, reduction="none"
    )


def torch_binary_cross_entropy(probabilities, targets):
    torch = pytest.importorskip("torch")

    arrays = map(torch.tensor, (probabilities, targets))
    return torch.nn.functional.binary_cross_entropy(*arrays, reduction="none")


def keras_binary_cross_entropy(probabilities, targets):
    keras = pytest.importorskip("keras")

    return keras.losses.binary_crossentropy(targets[..., None], probabilities[..., None])


PEERS = [
    Row(classification.nll, torch_nll),
    Row(classification.binary_cross_entropy, torch_binary_cross_entropy, inputs=unsure),
    Row(classification.binary_cross_entropy, keras_binary_cross_entropy, inputs=unsure),
    Row(classification.softmax_cross_entropy, torch_cross_entropy),
    Row(classification.softmax_cross_entropy, torch_cross_entropy, {"label_smoothing": 0.1}),
    Row(classification.softmax_cross_entropy, optax_cross_entropy),
    Row(classification.softmax_cross_entropy, keras_cross_entropy),
    Row(classification.soft_cross_entropy, torch_soft_cross_entropy),
    Row(classification.soft_cross_entropy, optax_soft_cross_entropy),
    Row(classification.sigmoid_cross_entropy, torch_sigmoid_cross_entropy),
    Row(classification.sigmoid_cross_entropy, optax_sigmoid_cross_entropy),
    Row(classification.sigmoid_cross_entropy, keras_sigmoid_cross_entropy),
    Row(classification.sigmoid_focal, optax_sigmoid_focal, {"gamma": 1.7}),
    Row(classification.sigmoid_focal, keras_sigmoid_focal, {"gamma": 1.7}),
    Row(classification.softmax_focal, keras_softmax_focal, {"gamma": 1.7}),
    Row(classification.hinge, keras_hinge),
    Row(classification.hinge, optax_hinge),
    Row(classification.kl, torch_kl),
    Row(classification.kl, optax_kl),
]
