"""Segmenting small blobs: cross-entropy, the region losses, and a scheduled sum of both.

Noisy images of 24 x 24 pixels with one blob each, about 3 % of the pixels. To cross-entropy every
pixel counts the same, and calling the uncertain ones background is right more often than not: it
misses more than it invents. Dice is the overlap itself, but leaves overconfident probabilities.
Tversky with a higher ``fn_weight`` would rather invent than miss. The sum, cross-entropy at first
and Dice phased in over the first half of the run, is to have the balance of Dice and probabilities
nearly as good as those of cross-entropy. How much all that gains depends on the task: on this easy
one they overlap about equally well, and it is in the other columns that they differ.

All train the same small convolutional network on the same batches. Prints, over all pixels of the
test images, precision, recall, Dice and the log loss, which tells how good the probabilities are;
and for the sum how each of its terms went.

    python examples/segmentation.py
"""

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxloss import classification, region
from jaxloss.compose import WeightedSum, weighted
from jaxloss.training import Fit, fit, make_train_step

SIDE, CHANNELS = 24, 8
STEPS, BATCH, TEST = 400, 16, 200
LEARNING_RATE = 1e-2


# The data


class Scenes(NamedTuple):
    """Images, and 1 where the blob is; both of shape (batch, side, side, 1)."""

    images: np.ndarray
    targets: np.ndarray


def draw_scenes(random: np.random.Generator, count: int) -> Scenes:
    """A disk each, somewhat brighter than a noisy background."""
    rows, columns = np.mgrid[:SIDE, :SIDE]
    center = random.uniform(4, SIDE - 4, (count, 2, 1, 1))
    radius = random.uniform(1.5, 3.0, (count, 1, 1))
    away = np.hypot(rows - center[:, 0], columns - center[:, 1])
    inside = (away < radius)[..., None].astype(np.float32)
    noise = random.normal(size=inside.shape)
    return Scenes((1.5 * inside + noise).astype(np.float32), inside)


def stream(seed: int) -> Iterator[Scenes]:
    """New scenes for every step."""
    random = np.random.default_rng(seed)
    while True:
        yield draw_scenes(random, BATCH)


# The model


def initial_params(seed: int) -> list[jax.Array]:
    """Kernels of three convolutions; the images carry a channel of ones in place of biases."""
    random = np.random.default_rng(seed)
    shapes = [(5, 5, 2, CHANNELS), (5, 5, CHANNELS, CHANNELS), (1, 1, CHANNELS, 1)]
    scales = [(2 / np.prod(shape[:-1])) ** 0.5 for shape in shapes]  # He's initialization
    return [
        jnp.float32(random.normal(scale=scale, size=shape))
        for scale, shape in zip(scales, shapes, strict=True)
    ]


def network(params: list[jax.Array], images: jax.Array | np.ndarray) -> jax.Array:
    """The logit of each pixel."""
    x = jnp.concatenate([images, jnp.ones_like(images)], -1)
    *hidden, last = params
    for kernel in hidden:
        x = jax.nn.relu(convolve(x, kernel))
    return convolve(x, last)


def convolve(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """A convolution that keeps the size of the images."""
    return jax.lax.conv_general_dilated(
        x, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
    )


# The losses, all of logits and targets


def overlap(loss: Callable[..., jax.Array]) -> Callable[[jax.Array, jax.Array], jax.Array]:
    """A region loss takes probabilities."""
    return lambda logits, targets: loss(jax.nn.sigmoid(logits), targets)


CROSS_ENTROPY = classification.sigmoid_cross_entropy
DICE = overlap(region.dice)
TVERSKY = overlap(partial(region.tversky, fp_weight=0.3, fn_weight=0.7))
PHASED = weighted(
    {"cross-entropy": CROSS_ENTROPY, "dice": DICE},
    weights={"dice": optax.linear_schedule(0.0, 1.0, STEPS // 2)},
)
LOSSES = {
    "cross-entropy": weighted({"cross-entropy": CROSS_ENTROPY}),
    "dice": weighted({"dice": DICE}),
    "tversky": weighted({"tversky": TVERSKY}),
    "phased": PHASED,
}


# The experiment


class Row(NamedTuple):
    """How well the pixels of test images were told apart, and the run that led there."""

    precision: float
    recall: float
    dice: float
    log_loss: float
    result: Fit


def train(loss: Callable[..., WeightedSum], steps: int) -> Fit:
    """Train the network with ``loss``."""

    def objective(params: list[jax.Array], batch: Scenes, step: jax.Array) -> WeightedSum:
        return loss(network(params, batch.images), batch.targets, step=step)

    train_step = make_train_step(
        objective, optax.adam(optax.cosine_decay_schedule(LEARNING_RATE, steps)), extras=("step",)
    )
    state = train_step.init(initial_params(seed=0))
    return fit(train_step, state, stream(seed=1), steps=steps, progress=False)


def main(
    losses: Mapping[str, Callable[..., WeightedSum]] = LOSSES, steps: int = STEPS
) -> dict[str, Row]:
    """Train with each loss and print the table."""
    test = draw_scenes(np.random.default_rng(2), TEST)
    predict = jax.jit(network)
    print(f"blobs cover {test.targets.mean():.1%} of the pixels")
    print(f"{'loss':14} {'precision':>9} {'recall':>7} {'dice':>6} {'log loss':>9}")
    table = {}
    for name, loss in losses.items():
        result = train(loss, steps)
        logits = predict(result.state.params, test.images)
        found, real = np.asarray(logits > 0), test.targets > 0
        hits = (found & real).sum()
        table[name] = row = Row(
            precision=hits / max(found.sum(), 1),
            recall=hits / real.sum(),
            dice=2 * hits / (found.sum() + real.sum()),
            log_loss=float(CROSS_ENTROPY(logits, test.targets)),
            result=result,
        )
        print(f"{name:14} {row.precision:9.3f} {row.recall:7.3f} {row.dice:6.3f}", end=" ")
        print(f"{row.log_loss:9.3f}", flush=True)

    *_, last = table.values()
    history = last.result.history
    print("\nthe terms of the last, before they are weighted")
    print("step", *history.terms, "sum", sep="\t")
    for step in range(0, steps, steps // 8):
        values = [curve[step] for curve in [*history.terms.values(), history.loss]]
        print(step, *(f"{value:.3f}" for value in values), sep="\t")
    return table


if __name__ == "__main__":
    main()
