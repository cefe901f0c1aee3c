"""Losses on the margin between classes of the peers."""

import jax
import numpy as np
import pytest

from jaxloss import class_margin
from tests.oracles import Row


def optax_perceptron(logits, labels):
    import optax

    return jax.vmap(optax.losses.multiclass_perceptron_loss)(logits, labels)


def optax_hinge(logits, labels):
    import optax

    return jax.vmap(optax.losses.multiclass_hinge_loss)(logits, labels)


def keras_categorical_hinge(logits, labels):
    """Keras lets the label count as a rival with a logit of 0; added to all, 10 rules that out."""
    keras = pytest.importorskip("keras")

    one_hot = np.eye(logits.shape[-1], dtype=logits.dtype)[labels]
    return keras.losses.categorical_hinge(one_hot, logits + 10)


def torch_multi_margin(logits, labels, margin, power):
    torch = pytest.importorskip("torch")

    return torch.nn.functional.multi_margin_loss(
        torch.as_tensor(logits),
        torch.as_tensor(labels).long(),
        margin=margin,
        p=int(power),
        reduction="none",
    )


def torch_multilabel_margin(logits, targets):
    """Torch takes the indices of the classes that apply, followed by -1."""
    torch = pytest.importorskip("torch")

    indices = np.full(targets.shape, -1)
    for row, applies in zip(indices, targets == 1, strict=True):
        row[: applies.sum()] = np.flatnonzero(applies)
    return torch.nn.functional.multilabel_margin_loss(
        torch.as_tensor(logits), torch.as_tensor(indices), reduction="none"
    )


def several_apply():
    first, second = jax.random.split(jax.random.key(0))
    targets = jax.random.bernoulli(second, 0.5, (8, 4)).astype(float)
    return jax.random.normal(first, (8, 4)), targets


PEERS = [
    Row(class_margin.multiclass_perceptron, optax_perceptron),
    Row(class_margin.multiclass_hinge, optax_hinge),
    Row(class_margin.multiclass_hinge, keras_categorical_hinge),
    Row(class_margin.weston_watkins, torch_multi_margin, {"margin": 0.7, "power": 1.0}),
    Row(class_margin.weston_watkins, torch_multi_margin, {"margin": 0.7, "power": 2.0}),
    Row(class_margin.multilabel_margin, torch_multilabel_margin, inputs=several_apply),
]
