"""Which loss sees the rare classes? Five of them on handwritten digits with a long tail.

Protocol. scikit-learn's 8 x 8 digits (1797 images, nothing is downloaded). In each seed the ten
digits are ranked at random: class 0 is the most frequent and class 9 the rarest. Of each class, 50
images are for testing and 20 for validation, so both sets are balanced, and 100, 60, 36, ... 1 are
for training, which falls exponentially by 100 : 1. All methods of a seed share the split, the
initial weights, the order of the batches, the optimizer, the tracker and the budget.

Model. One hidden layer of 128 rectified units. LDAM's margins are in the unit of its logits, so, as
its authors do, it takes for logits the cosines of features and class vectors: that is part of the
method. It runs without their second stage of deferred re-weighting.

Settings. Each method's own are the customary ones and jaxloss's defaults, not tuned: a volume of
1000 for the class weights, gamma 2, margin 0.5 and scale 30 for LDAM, scale 1 for logit adjustment.
What all share (width, learning rate, weight decay, batch size, what counts as a gain) was chosen by
a handful of runs with ``--held-out validation --first-seed 100``: other draws than those reported,
though of the same 1797 images. What is tested are the weights at which the tracker stopped: once it
was 95 % confident that training on would not lower the loss by more than GAIN.

Prints, as means over the seeds: the balanced accuracy with its standard deviation, the gain over
cross-entropy (of the same seed, so the luck of the draw cancels), the accuracy on the three
rarest classes, the steps taken, and what stopped the runs. Writes long_tailed_digits.png: the
losses of the first seed, and the accuracy on each class.

    python examples/long_tailed_digits.py
"""

import argparse
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from matplotlib.figure import Figure
from sklearn.datasets import load_digits

from jaxloss import classification, imbalance
from jaxloss.core.vectors import normalized
from jaxloss.training import Fit, fit, make_train_step
from jaxloss.training.convergence import any_of, averaged, budget, nonfinite, plateau

CLASSES = 10
COUNTS = np.round(100 * 100 ** (-np.arange(CLASSES) / (CLASSES - 1)))
TEST, VALIDATION = 50, 20  # images per class
HIDDEN = 128
BATCH = 50  # of 250, so 5 steps are an epoch
LEARNING_RATE, WEIGHT_DECAY = 3e-3, 1e-2
GAIN = 3e-3
BUDGET = 3000
SMOOTH = 25  # steps, in the figure


# The data


class Images(NamedTuple):
    """Images of 64 pixels in [0, 1], and the class of each."""

    pixels: np.ndarray
    labels: np.ndarray


def long_tailed_digits(seed: int) -> tuple[Images, Images, Images]:
    """The training, validation and test sets of a seed."""
    pixels, digits = map(np.array, load_digits(return_X_y=True))
    random = np.random.default_rng(seed)
    labels = random.permutation(CLASSES)[digits.astype(int)]
    chosen = [], [], []
    for label, count in enumerate(COUNTS.astype(int)):
        rows = random.permutation(np.flatnonzero(labels == label))
        parts = np.split(rows, [TEST, TEST + VALIDATION, TEST + VALIDATION + count])
        for rows_so_far, part in zip(chosen, parts, strict=False):
            rows_so_far.extend(part)
    test, validation, train = (
        Images((pixels[rows] / 16).astype(np.float32), labels[rows].astype(np.int32))
        for rows in chosen
    )
    return train, validation, test


def shuffled(images: Images, seed: int) -> Iterator[Images]:
    """Batches of a new order in every epoch, without end."""
    random = np.random.default_rng(seed)
    while True:
        for rows in random.permutation(len(images.labels)).reshape(-1, BATCH):
            yield Images(images.pixels[rows], images.labels[rows])


# The model


class Params(NamedTuple):
    """One hidden layer, and a vector and a bias for each class."""

    kernel: jax.Array
    bias: jax.Array
    class_kernel: jax.Array
    class_bias: jax.Array


def initial_params(seed: int) -> Params:
    """He's initialization."""
    random = np.random.default_rng(seed)
    kernel = random.normal(scale=(2 / 64) ** 0.5, size=(64, HIDDEN))
    class_kernel = random.normal(scale=(2 / HIDDEN) ** 0.5, size=(HIDDEN, CLASSES))
    return Params(
        kernel=jnp.float32(kernel),
        bias=jnp.zeros(HIDDEN),
        class_kernel=jnp.float32(class_kernel),
        class_bias=jnp.zeros(CLASSES),
    )


def features(params: Params, pixels: jax.Array) -> jax.Array:
    """The hidden layer, for a single image."""
    return jax.nn.relu(pixels @ params.kernel + params.bias)


def linear_logits(params: Params, pixels: jax.Array) -> jax.Array:
    """The usual output layer, for a single image."""
    return features(params, pixels) @ params.class_kernel + params.class_bias


def cosine_logits(params: Params, pixels: jax.Array) -> jax.Array:
    """Cosines between the features of a single image and the class vectors."""
    return normalized(params.class_kernel.T) @ normalized(features(params, pixels))


# The methods


class Method(NamedTuple):
    """What two methods may differ in."""

    logits: Callable[..., jax.Array]
    """``(params, pixels)``, for a single image"""
    loss: Callable[..., jax.Array]
    """``(logits, labels)``, for a batch"""


CLASS_WEIGHTS = imbalance.effective_number_weights(COUNTS)


def class_balanced(logits: jax.Array, labels: jax.Array) -> jax.Array:
    """Cross-entropy in which rare classes weigh more."""
    return classification.softmax_cross_entropy(logits, labels, weights=CLASS_WEIGHTS[labels])


METHODS = {
    "cross-entropy": Method(linear_logits, classification.softmax_cross_entropy),
    "class-balanced": Method(linear_logits, class_balanced),
    "focal": Method(linear_logits, classification.softmax_focal),
    "LDAM": Method(cosine_logits, partial(imbalance.ldam, counts=COUNTS)),
    "logit adjustment": Method(
        linear_logits, partial(imbalance.logit_adjusted_cross_entropy, counts=COUNTS)
    ),
}


# The experiment


class Run(NamedTuple):
    """A method in one seed."""

    accuracy: np.ndarray
    """on each class, the most frequent first"""
    result: Fit


def train(method: Method, seeds: range, most_steps: int, held_out: str) -> list[Run]:
    """Train once per seed; the step is compiled for the first of them and serves all."""
    network = jax.vmap(method.logits, in_axes=(None, 0))

    def objective(params: Params, batch: Images) -> jax.Array:
        return method.loss(network(params, batch.pixels), batch.labels)

    train_step = make_train_step(
        objective,
        optax.adamw(LEARNING_RATE, weight_decay=WEIGHT_DECAY),
        tracker=any_of(
            bad=nonfinite(3),
            flat=averaged(10, plateau(atol=GAIN, rtol=0.0)),
            end=budget(most_steps),
        ),
    )
    predict = jax.jit(lambda params, pixels: network(params, pixels).argmax(-1))

    runs = []
    for seed in seeds:
        training_set, validation_set, test_set = long_tailed_digits(seed)
        state = train_step.init(initial_params(seed))
        result = fit(train_step, state, shuffled(training_set, seed), progress=False)
        scored = validation_set if held_out == "validation" else test_set
        hits = predict(result.state.params, scored.pixels) == scored.labels
        accuracy = np.asarray(hits).reshape(CLASSES, -1).mean(1)
        runs.append(Run(accuracy, result))
    return runs


def main(
    methods: Mapping[str, Method] = METHODS,
    seeds: range = range(5),
    out: str = "long_tailed_digits.png",
    most_steps: int = BUDGET,
    held_out: str = "test",
) -> dict[str, list[Run]]:
    """Train by each method, print the table and draw the figure; gains are over the first."""
    print(f"training images per class {COUNTS.astype(int)}, {len(seeds)} seeds, {held_out} set")
    print(f"{'method':16} {'balanced accuracy':>17} {'gain':>15} {'rarest 3':>8} {'steps':>5}  end")
    runs: dict[str, list[Run]] = {}
    for name, method in methods.items():
        runs[name] = train(method, seeds, most_steps, held_out)
        print(table_row(name, runs[name], baseline=next(iter(runs.values()))), flush=True)
    for name, (first, *_) in runs.items():
        print(f"{name}, seed {seeds[0]}: {first.result.explanation}")
    draw(runs, out)
    print(f"wrote {out}")
    return runs


def table_row(name: str, runs: list[Run], baseline: list[Run]) -> str:
    """One line of the table."""
    by_class = np.array([run.accuracy for run in runs])
    balanced = by_class.mean(1)
    gain = balanced - np.array([run.accuracy.mean() for run in baseline])
    steps = np.mean([len(run.result.history.loss) for run in runs])
    reasons = Counter(run.result.reason.name.lower() for run in runs)
    ends = ", ".join(f"{reason} {times}/{len(runs)}" for reason, times in reasons.items())
    gained = "" if runs is baseline else f"{gain.mean():+.3f} +- {gain.std():.3f}"
    return (
        f"{name:16} {balanced.mean():8.3f} +- {balanced.std():.3f} {gained:>15} "
        f"{by_class[:, -3:].mean():8.3f} {steps:5.0f}  {ends}"
    )


def draw(runs: dict[str, list[Run]], out: str) -> None:
    """The losses of the first seed up to where each stopped, and the accuracy on each class."""
    figure = Figure(figsize=(11, 4.5), layout="constrained")
    left, right = figure.subplots(1, 2)
    for name, of_method in runs.items():
        loss = of_method[0].result.history.loss
        smooth = np.convolve(loss, np.full(SMOOTH, 1 / SMOOTH), mode="valid")
        (line,) = left.plot(np.arange(SMOOTH, len(loss) + 1), smooth, linewidth=1.5)
        left.plot(len(loss), smooth[-1], "o", color=line.get_color(), markersize=8, zorder=3)
        accuracy = np.mean([run.accuracy for run in of_method], axis=0)
        right.plot(accuracy, "o-", color=line.get_color(), label=name)
    left.set(yscale="log", xlabel="step", ylabel=f"training loss, mean of {SMOOTH} steps")
    left.set_title("a dot where the tracker stopped the run")
    right.set(xlabel="training images of the class", ylabel="accuracy", ylim=(0, 1.02))
    right.set_xticks(range(CLASSES), [f"{count:.0f}" for count in COUNTS])
    right.set_title("accuracy by class, mean of all seeds")
    right.legend(loc="lower left")
    for axes in (left, right):
        axes.grid(alpha=0.3)
    figure.savefig(out, dpi=120)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Five losses for a long-tailed data set.")
    parser.add_argument("--seeds", type=int, default=5, help="how many (default: 5)")
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--out", default="long_tailed_digits.png", help="where to draw the figure")
    parser.add_argument("--held-out", choices=["test", "validation"], default="test")
    parser.add_argument("--quick", action="store_true", help="stop after 400 steps")
    given = parser.parse_args()
    main(
        seeds=range(given.first_seed, given.first_seed + given.seeds),
        out=given.out,
        most_steps=400 if given.quick else BUDGET,
        held_out=given.held_out,
    )
