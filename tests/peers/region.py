"""Peers of :mod:`jaxloss.losses.region`, imported only when called."""

import os

import jax
import numpy as np
import pytest

from jaxloss.losses import region
from tests.oracles import Row


def optax_dice(probabilities, targets, smoothing, fp_weight=0.5, fn_weight=0.5):
    """Takes logits, and is a Tversky loss: its Dice has twice the smoothing."""
    import optax

    return np.asarray(
        optax.losses.dice_loss(
            np.log(probabilities),
            targets,
            smooth=smoothing,
            alpha=fp_weight,
            beta=fn_weight,
            reduction="none",
        )
    )


def halved_optax_dice(probabilities, targets, smoothing):
    return optax_dice(probabilities, targets, smoothing / 2)


def keras_losses():
    os.environ.setdefault("KERAS_BACKEND", "jax")
    keras = pytest.importorskip("keras")

    return keras.losses


def space(array):
    return tuple(range(1, array.ndim - 1))


def keras_dice(probabilities, targets, smoothing):
    """Without smoothing but for 1e-7 below the line."""
    assert smoothing == 0
    return np.asarray(keras_losses().dice(targets, probabilities, axis=space(targets)))


def keras_tversky(probabilities, targets, fp_weight, fn_weight, smoothing):
    """As :func:`keras_dice`; and what it calls a false positive (alpha) is a false negative."""
    assert smoothing == 0
    loss = keras_losses().tversky(
        targets, probabilities, alpha=fn_weight, beta=fp_weight, axis=space(targets)
    )
    return np.asarray(loss)


def segmentation():
    """Probabilities that are a softmax and are far from zero, and hard targets."""
    keys = jax.random.split(jax.random.key(0))
    probabilities = jax.nn.softmax(jax.random.normal(keys[0], (4, 6, 5, 3)))
    return probabilities, jax.nn.one_hot(jax.random.randint(keys[1], (4, 6, 5), 0, 3), 3)


COSTS = {"fp_weight": 0.3, "fn_weight": 0.7}

PEERS = [
    Row(region.tversky, optax_dice, {**COSTS, "smoothing": 0.6}, segmentation),
    Row(region.tversky, keras_tversky, {**COSTS, "smoothing": 0.0}, segmentation),
    Row(region.dice, halved_optax_dice, {"smoothing": 0.6}, segmentation),
    Row(region.dice, keras_dice, {"smoothing": 0.0}, segmentation),
]
