"""Regression losses of the peers."""

import numpy as np
import pytest

from jaxloss import regression
from tests.oracles import Row


def torch_squared(predictions, targets):
    torch = pytest.importorskip("torch")

    return torch.nn.functional.mse_loss(
        *map(torch.tensor, (predictions, targets)), reduction="none"
    )


def optax_squared(predictions, targets):
    import optax

    return optax.squared_error(predictions, targets)


def torch_absolute(predictions, targets):
    torch = pytest.importorskip("torch")

    return torch.nn.functional.l1_loss(*map(torch.tensor, (predictions, targets)), reduction="none")


def torch_huber(predictions, targets, delta):
    torch = pytest.importorskip("torch")

    return torch.nn.functional.huber_loss(
        *map(torch.tensor, (predictions, targets)), reduction="none", delta=delta
    )


def optax_huber(predictions, targets, delta):
    import optax

    return optax.huber_loss(predictions, targets, delta=delta)


def keras_huber(predictions, targets, delta):
    """Keras takes the mean over the last axis before it reduces: one feature at a time."""
    keras = pytest.importorskip("keras")

    return keras.losses.huber(targets[..., None], predictions[..., None], delta=delta)


def optax_log_cosh(predictions, targets):
    import optax

    return optax.log_cosh(predictions, targets)


def keras_log_cosh(predictions, targets):
    keras = pytest.importorskip("keras")

    return keras.losses.log_cosh(targets[..., None], predictions[..., None])


def sklearn_pinball(predictions, targets, quantile):
    from sklearn.metrics import mean_pinball_loss

    return [
        [mean_pinball_loss([t], [p], alpha=quantile) for t, p in zip(ts, ps, strict=True)]
        for ts, ps in zip(targets, predictions, strict=True)
    ]


def optax_cosine_distance(predictions, targets):
    import optax

    return optax.cosine_distance(predictions, targets)


def torch_cosine_distance(predictions, targets):
    torch = pytest.importorskip("torch")

    similarity = torch.nn.functional.cosine_similarity
    return 1 - similarity(*map(torch.tensor, (predictions, targets)), dim=-1)


def keras_cosine_distance(predictions, targets):
    """Keras gives minus the similarity."""
    keras = pytest.importorskip("keras")

    return 1 + np.asarray(keras.losses.cosine_similarity(targets, predictions, axis=-1))


PEERS = [
    Row(regression.squared, torch_squared),
    Row(regression.squared, optax_squared),
    Row(regression.absolute, torch_absolute),
    Row(regression.huber, torch_huber, {"delta": 0.7}),
    Row(regression.huber, optax_huber, {"delta": 0.7}),
    Row(regression.huber, keras_huber, {"delta": 0.7}),
    Row(regression.log_cosh, optax_log_cosh),
    Row(regression.log_cosh, keras_log_cosh),
    Row(regression.quantile, sklearn_pinball, {"quantile": 0.3}),
    Row(regression.cosine_distance, optax_cosine_distance),
    Row(regression.cosine_distance, torch_cosine_distance),
    Row(regression.cosine_distance, keras_cosine_distance),
]
