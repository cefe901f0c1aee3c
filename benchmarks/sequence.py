"""Losses over all alignments: rows, what libraries have of them, and the naive forms in JAX.

These are logarithms of sums, step by step, and their gradients come from autodiff: what is written
in an afternoon. They share nothing with the package.
"""

import importlib
import os
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from benchmarks.contestants import Loss

TEMPERATURE = 0.5
IMPOSSIBLE = -1e30
TOLERANCE = 1e-3
"""Sums of logarithms in float32 leave the gradients of the others so many digits."""

Shape = tuple[int, ...]
Inputs = Callable[[np.random.Generator, Shape], tuple[np.ndarray, ...]]


def texts(generator: np.random.Generator, shape: Shape) -> tuple[np.ndarray, ...]:
    """Logits of (batch, time, classes) and texts, of (batch, time, labels, classes)."""
    batch, time, labels, classes = shape
    logits = generator.standard_normal((batch, time, classes), np.float32)
    return logits, generator.integers(1, classes, (batch, labels), dtype=np.int32)


def grids(generator: np.random.Generator, shape: Shape) -> tuple[np.ndarray, ...]:
    """Logits of (batch, time, labels + 1, classes) and texts."""
    batch, time, labels, classes = shape
    logits = generator.standard_normal((batch, time, labels + 1, classes), np.float32)
    return logits, generator.integers(1, classes, (batch, labels), dtype=np.int32)


def tags(generator: np.random.Generator, shape: Shape) -> tuple[np.ndarray, ...]:
    """Logits of (batch, time, classes), labels and transitions."""
    batch, time, classes = shape
    logits = generator.standard_normal(shape, np.float32)
    labels = generator.integers(classes, size=(batch, time), dtype=np.int32)
    return logits, labels, generator.standard_normal((classes, classes), np.float32)


def signals(generator: np.random.Generator, shape: Shape) -> tuple[np.ndarray, ...]:
    """Two signals, of (batch, time, time of the other, features)."""
    batch, time, other, features = shape
    draw = generator.standard_normal
    return draw((batch, time, features), np.float32), draw((batch, other, features), np.float32)


ROWS: list[tuple[str, Shape, Inputs]] = [
    ("ctc", (16, 400, 50, 32), texts),
    ("transducer", (4, 150, 40, 512), grids),
    ("crf", (32, 100, 20), tags),
    ("soft_dtw", (16, 200, 200, 4), signals),
    ("soft_dtw_divergence", (16, 200, 200, 4), signals),
]


def ours() -> dict[str, Loss]:
    """The losses of this package."""
    from jaxloss.losses import sequence, tagging, warping

    def warped(loss: Loss) -> Loss:
        return lambda x, y: loss(x, y, temperature=TEMPERATURE)

    return {
        "ctc": sequence.ctc,
        "transducer": sequence.transducer,
        "crf": tagging.crf,
        "soft_dtw": warped(warping.soft_dtw),
        "soft_dtw_divergence": warped(warping.soft_dtw_divergence),
    }


def of_optax() -> dict[str, Loss]:
    """CTC."""
    from optax import losses

    def ctc(logits: Array, labels: Array) -> Array:
        absent = jnp.zeros(logits.shape[:2]), jnp.zeros(labels.shape)
        return losses.ctc_loss(logits, absent[0], labels, absent[1]).mean()

    return {"ctc": ctc}


def of_keras() -> dict[str, Loss]:
    """CTC."""
    os.environ.setdefault("KERAS_BACKEND", "jax")
    keras = importlib.import_module("keras")

    def ctc(logits: Array, labels: Array) -> Array:
        counts = (jnp.full(len(labels), x.shape[1]) for x in (labels, logits))
        return keras.ops.ctc_loss(labels, logits, *counts, mask_index=0).mean()

    return {"ctc": ctc}


def of_torch() -> dict[str, Loss]:
    """CTC."""
    torch = importlib.import_module("torch")
    functional = torch.nn.functional

    def ctc(logits: Any, labels: Any) -> Any:
        frames = functional.log_softmax(logits, -1).transpose(0, 1)
        counts = (torch.full((len(labels),), x.shape[1]) for x in (logits, labels))
        return functional.ctc_loss(frames, labels, *counts, reduction="sum") / len(labels)

    return {"ctc": ctc}


def naive() -> dict[str, Loss]:
    """In ``jnp``, differentiated by JAX."""

    def transducer(logits: Array, labels: Array) -> Array:
        scores = jax.nn.log_softmax(logits)
        blank, following = scores[..., 0], jnp.pad(labels, ((0, 0), (0, 1)))
        index = jnp.broadcast_to(following[:, None, :, None], (*blank.shape, 1))
        label = jnp.take_along_axis(scores, index, -1)[..., 0].at[:, :, -1].set(IMPOSSIBLE)

        def advance(sums: Array, steps: tuple[Array, Array]) -> tuple[Array, None]:
            down, right = steps
            return jnp.logaddexp(sums + down, shifted(sums + right)), None

        start = jnp.full(blank[:, 0].shape, IMPOSSIBLE).at[:, 0].set(0)
        steps = diagonals(blank), diagonals(label)
        last, _ = jax.lax.scan(advance, start, jax.tree.map(lambda x: x[:-1], steps))
        return -(last[:, -1] + blank[:, -1, -1]).mean()

    def crf(logits: Array, labels: Array, transitions: Array) -> Array:
        def advance(sums: Array, logits: Array) -> tuple[Array, None]:
            return jax.nn.logsumexp(sums[..., None] + transitions[None], axis=1) + logits, None

        last, _ = jax.lax.scan(advance, logits[:, 0], jnp.moveaxis(logits[:, 1:], 1, 0))
        score = jnp.take_along_axis(logits, labels[..., None], -1).sum((1, 2))
        score += transitions[labels[:, :-1], labels[:, 1:]].sum(1)
        return (jax.nn.logsumexp(last, axis=1) - score).mean()

    def soft_dtw(x: Array, y: Array) -> Array:
        costs = jnp.square(x[:, :, None] - y[:, None]).sum(-1) / TEMPERATURE

        def advance(sums: tuple[Array, Array], cost: Array) -> tuple[tuple[Array, Array], None]:
            one, two = sums
            to = jnp.logaddexp(jnp.logaddexp(one, shifted(one)), shifted(two)) - cost
            return (to, one), None

        all_costs = diagonals(costs, -IMPOSSIBLE)
        none = jnp.full(all_costs[0].shape, IMPOSSIBLE)
        first = none.at[:, 0].set(-costs[:, 0, 0])
        (last, _), _ = jax.lax.scan(advance, (first, none), all_costs[1:])
        return -TEMPERATURE * last[:, -1].mean()

    def divergence(x: Array, y: Array) -> Array:
        return soft_dtw(x, y) - soft_dtw(x, x) / 2 - soft_dtw(y, y) / 2

    return {
        "transducer": transducer,
        "crf": crf,
        "soft_dtw": soft_dtw,
        "soft_dtw_divergence": divergence,
    }


def shifted(x: Array) -> Array:
    """What the column before has."""
    return jnp.concatenate([jnp.full_like(x[:, :1], IMPOSSIBLE), x[:, :-1]], 1)


def diagonals(x: Array, beyond: float = IMPOSSIBLE) -> Array:
    """(batch, rows, columns) -> (rows + columns - 1, batch, columns)."""
    _, rows, columns = x.shape
    column = np.arange(columns)
    row = np.arange(rows + columns - 1)[:, None] - column
    inside = (row >= 0) & (row < rows)
    picked = x[:, row.clip(0, rows - 1), column]
    return jnp.moveaxis(jnp.where(inside, picked, beyond), 1, 0)
