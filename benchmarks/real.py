"""Real runs on data that come with Python and scikit-learn, with many seeds at once.

The loss on all the data is measured now and then beside the loss on each batch, so that it is known
when a run had converged. The rules see the batches only.
"""

import itertools
import re
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from benchmarks.curves import TOLERANCE, Runs
from jaxloss.losses import classification, regression

STRIDE = 10
"""Steps to a value, and to a measurement."""
CONTEXT = 4
"""Characters from which the next one is guessed."""


class Problem(NamedTuple):
    """A model, data and an optimizer."""

    init: Callable[[jax.Array], Any]
    """key to params"""
    loss: Callable[[Any, jax.Array, jax.Array], jax.Array]
    """params, inputs and targets to a scalar"""
    inputs: np.ndarray
    targets: np.ndarray
    optimizer: optax.GradientTransformation
    schedule: optax.Schedule
    batch: int


def train(name: str, problem: Problem, steps: int, seeds: int, measured: int = 4096) -> Runs:
    """Train ``seeds`` times, and work out when each run had converged."""
    inputs, targets = jnp.asarray(problem.inputs), jnp.asarray(problem.targets)
    some = jax.random.permutation(jax.random.key(0), len(inputs))[:measured]

    def one(key: jax.Array) -> tuple[jax.Array, jax.Array]:
        params = problem.init(key)

        def step(carry: Any, number: jax.Array) -> tuple[Any, jax.Array]:
            params, state = carry
            draw = jax.random.fold_in(key, number)
            rows = jax.random.randint(draw, (problem.batch,), 0, len(inputs))
            loss, gradient = jax.value_and_grad(problem.loss)(params, inputs[rows], targets[rows])
            updates, state = problem.optimizer.update(gradient, state, params)
            return (optax.apply_updates(params, updates), state), loss

        def stretch(carry: Any, numbers: jax.Array) -> tuple[Any, tuple[jax.Array, jax.Array]]:
            carry, losses = jax.lax.scan(step, carry, numbers)
            return carry, (losses.mean(), problem.loss(carry[0], inputs[some], targets[some]))

        numbers = jnp.arange(1, steps + 1, dtype=jnp.int32).reshape(-1, STRIDE)
        return jax.lax.scan(stretch, (params, problem.optimizer.init(params)), numbers)[1]

    with jax.numpy_dtype_promotion("standard"):  # optax.adam promotes its step count
        values, mean = jax.jit(jax.vmap(one))(jax.random.split(jax.random.key(1), seeds))
    rates = np.asarray(problem.schedule(np.arange(0, steps, STRIDE))) * np.ones(steps // STRIDE)
    over, double, converged = measured_truth(np.asarray(mean, float))
    return Runs(
        name,
        "real",
        np.asarray(values),
        over,
        double,
        converged,
        np.tile(rates, (seeds, 1)),
        STRIDE,
    )


def measured_truth(mean: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """As for simulated curves, from measurements that still jitter: by means of a fiftieth."""
    width = max(mean.shape[1] // 50, 1)
    smooth = np.array([np.convolve(row, np.ones(width) / width, "valid") for row in mean])
    smooth = np.concatenate([np.repeat(smooth[:, :1], width - 1, 1), smooth], 1)
    best = np.minimum.accumulate(smooth, 1)
    tolerance = TOLERANCE * np.abs(best)
    over = (best - best[:, -1:]) / tolerance
    double = [best[:, e] - best[:, : 2 * e + 2][:, -1] for e in range(best.shape[1])]
    small = over < 1
    converged = np.where(small.any(1), small.argmax(1) + 1, best.shape[1]) * STRIDE
    return over, np.array(double).T / tolerance, converged


def dense(*widths: int) -> Callable[[jax.Array], Any]:
    """Params of a multilayer perceptron."""

    def init(key: jax.Array) -> Any:
        keys = jax.random.split(key, len(widths) - 1)
        shapes = itertools.pairwise(widths)
        return [
            (jax.random.normal(key, shape) / shape[0] ** 0.5, jnp.zeros(shape[1]))
            for key, shape in zip(keys, shapes, strict=True)
        ]

    return init


def outputs(params: Any, inputs: jax.Array) -> jax.Array:
    """Of a multilayer perceptron."""
    for matrix, bias in params[:-1]:
        inputs = jax.nn.relu(inputs @ matrix + bias)
    matrix, bias = params[-1]
    return inputs @ matrix + bias


def digits(quick: bool, hidden: tuple[int, ...], smoothing: float, rate: float) -> Runs:
    """Handwritten digits."""
    from sklearn.datasets import load_digits

    data: Any = load_digits()
    inputs = np.asarray(data.data, np.float32) / 16

    def loss(params: Any, inputs: jax.Array, labels: jax.Array) -> jax.Array:
        return classification.softmax_cross_entropy(
            outputs(params, inputs), labels, label_smoothing=smoothing
        )

    schedule = optax.constant_schedule(rate)
    optimizer = optax.sgd(schedule, 0.9)
    widths = inputs.shape[1], *hidden, 10
    problem = Problem(
        dense(*widths), loss, inputs, np.asarray(data.target, np.int32), optimizer, schedule, 32
    )
    name = "digits, network" if hidden else "digits, linear"
    return train(name, problem, *((200, 2) if quick else (20_000, 16)))


def diabetes(quick: bool) -> Runs:
    """The progress of a disease from ten measurements, robustly."""
    from sklearn.datasets import load_diabetes

    data: Any = load_diabetes()
    inputs = np.asarray(data.data, np.float32) / np.std(data.data)
    targets = np.asarray((data.target - data.target.mean()) / data.target.std(), np.float32)

    def loss(params: Any, inputs: jax.Array, targets: jax.Array) -> jax.Array:
        return regression.huber(outputs(params, inputs)[:, 0], targets)

    schedule = optax.constant_schedule(0.003)
    problem = Problem(
        dense(inputs.shape[1], 1), loss, inputs, targets, optax.sgd(schedule), schedule, 16
    )
    return train("diabetes, linear", problem, *((200, 2) if quick else (20_000, 16)))


def characters(quick: bool, name: str, schedule: optax.Schedule, steps: int = 10_000) -> Runs:
    """The next character of Python's own documentation."""
    from pydoc_data.topics import topics

    text = re.sub(r"\s+", " ", " ".join(topics[topic] for topic in sorted(topics)))
    letters = sorted(set(text))
    codes = np.array([letters.index(letter) for letter in text[:200_000]], np.int32)
    inputs = np.lib.stride_tricks.sliding_window_view(codes[:-1], CONTEXT)
    targets = codes[CONTEXT:]
    width, mlp = 12, dense(12 * CONTEXT, 64, len(letters))

    def init(key: jax.Array) -> Any:
        return jax.random.normal(key, (len(letters), width)) * 0.3, mlp(jax.random.fold_in(key, 1))

    def loss(params: Any, inputs: jax.Array, labels: jax.Array) -> jax.Array:
        embedded = params[0][inputs].reshape(len(inputs), -1)
        return classification.softmax_cross_entropy(outputs(params[1], embedded), labels)

    problem = Problem(init, loss, inputs, targets, optax.adam(schedule), schedule, 64)
    return train(name, problem, *((200, 2) if quick else (steps, 8)))


REAL: list[Callable[[bool], Runs]] = [
    lambda quick: digits(quick, (), 0.1, 0.03),
    lambda quick: digits(quick, (32,), 0.1, 0.1),
    diabetes,
    lambda quick: characters(quick, "text, constant", optax.constant_schedule(3e-3)),
    lambda quick: characters(
        quick,
        "text, cut",
        optax.piecewise_constant_schedule(1e-2, {6_000: 0.1}),
    ),
    lambda quick: characters(quick, "text, cosine", optax.cosine_decay_schedule(1e-2, 10_000)),
]
