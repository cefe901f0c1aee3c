"""Margin losses of the peers, all of which take targets of -1 and 1."""

import pytest

from jaxloss import margin as family
from tests.oracles import Row


def keras_squared_hinge(logits, targets):
    keras = pytest.importorskip("keras")

    return keras.losses.squared_hinge(2 * targets[..., None] - 1, logits[..., None])


def torch_soft_margin(logits, targets):
    torch = pytest.importorskip("torch")

    return torch.nn.functional.soft_margin_loss(
        torch.as_tensor(logits), torch.as_tensor(2 * targets - 1), reduction="none"
    )


def sklearn_exponential(logits, targets):
    from sklearn._loss.loss import ExponentialLoss

    losses = ExponentialLoss().loss(
        y_true=targets.ravel().astype(float), raw_prediction=logits.ravel().astype(float)
    )
    return losses.reshape(logits.shape)


def optax_perceptron(logits, targets):
    import optax

    return optax.losses.perceptron_loss(logits, 2 * targets - 1)


PEERS = [
    Row(family.squared_hinge, keras_squared_hinge),
    Row(family.logistic, torch_soft_margin),
    Row(family.exponential, sklearn_exponential),
    Row(family.perceptron, optax_perceptron),
]
