"""Rules that say when to stop: ours, and what other libraries have."""

import functools
import importlib
import os
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import scipy.stats

from jaxloss.training import convergence
from jaxloss.training.convergence import Criterion, Observation, Reason

UNINFORMED = {"with schedule": "default", "with both": "with budget"}
"""What a rule comes down to if the learning rate is constant."""
EVALUATE = 10
"""Values to an evaluation, for the rules that are made for evaluations."""


class Task(NamedTuple):
    """What a rule is shown, and what it may know beforehand."""

    values: np.ndarray
    """one row per run"""
    rates: np.ndarray
    """the learning rate at the time of each"""
    stride: int
    """steps to a value"""


class Stops(NamedTuple):
    """After how many values each run was stopped, 0 if it was not, and why."""

    after: np.ndarray
    codes: np.ndarray


Rule = Callable[[Task], Stops]


def ours(make: Callable[[Callable[[Any], Any], int], Criterion]) -> Rule:
    """A criterion, made for each run from its schedule and its number of steps.

    One run after the other: what is due at the closing of a block is then done at no other time.
    """

    @functools.partial(jax.jit, static_argnums=2)
    def stops(values: jax.Array, rates: jax.Array, stride: int) -> tuple[jax.Array, jax.Array]:
        def one(run: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
            values, rates = run

            def schedule(step: Any) -> jax.Array:
                return rates[jnp.clip(step // stride, 0, len(rates) - 1)]

            criterion = make(schedule, len(values) * stride)

            def see(carry: Any, value: jax.Array) -> tuple[Any, None]:
                state, seen, after, code = carry
                seen = seen + 1
                state, judged = criterion.update(state, Observation(value, seen * stride))
                first = (after == 0) & (judged.code != Reason.RUNNING)
                after = jnp.where(first, seen, after)
                return (state, seen, after, jnp.where(first, judged.code, code)), None

            zero = jnp.int32(0)
            (_, _, after, code), _ = jax.lax.scan(see, (criterion.init(), zero, zero, zero), values)
            return after, code

        return jax.lax.map(one, (values, rates))

    def rule(task: Task) -> Stops:
        found = stops(jnp.asarray(task.values), jnp.asarray(task.rates), task.stride)
        return Stops(*(np.asarray(each) for each in found))

    return rule


def plain(criterion: Criterion) -> Rule:
    """A criterion that needs to know nothing beforehand."""
    return ours(lambda schedule, steps: criterion)


def on_evaluations(stop: Callable[[np.ndarray], int]) -> Rule:
    """A rule for the host: from the evaluations of a run to how many it wants, 0 for all."""

    def rule(task: Task) -> Stops:
        runs = task.values.reshape(len(task.values), -1, EVALUATE).mean(2)
        after = np.array([stop(run) for run in runs]) * EVALUATE
        return Stops(after, np.where(after > 0, Reason.PATIENCE, Reason.RUNNING))

    return rule


def keras_patience(patience: int) -> Rule:
    """``EarlyStopping`` of Keras; Lightning's is the same on finite values."""
    os.environ.setdefault("KERAS_BACKEND", "jax")
    EarlyStopping = importlib.import_module("keras.callbacks").EarlyStopping

    class Model:
        stop_training = False

    def stop(run: np.ndarray) -> int:
        callback, model = EarlyStopping(monitor="loss", patience=patience), Model()
        callback.set_model(model)
        callback.on_train_begin()
        for epoch, value in enumerate(run):
            callback.on_epoch_end(epoch, {"loss": float(value)})
            if model.stop_training:
                return epoch + 1
        return 0

    return on_evaluations(stop)


def flax_patience(patience: int) -> Rule:
    """``EarlyStopping`` of flax."""
    EarlyStopping = importlib.import_module("flax.training.early_stopping").EarlyStopping

    def stop(run: np.ndarray) -> int:
        watch = EarlyStopping(min_delta=1e-3, patience=patience)
        for number, value in enumerate(run):
            watch = watch.update(float(value))
            if watch.should_stop:
                return number + 1
        return 0

    return on_evaluations(stop)


def optax_plateau(patience: int) -> Rule:
    """``reduce_on_plateau`` of optax, taken to say stop where it first cuts the learning rate."""
    from optax.contrib import reduce_on_plateau

    transform = reduce_on_plateau(patience=patience, accumulation_size=EVALUATE)

    @jax.jit
    @jax.vmap
    def stops(values: jax.Array) -> jax.Array:
        def see(state: Any, value: jax.Array) -> tuple[Any, jax.Array]:
            _, state = transform.update(jnp.zeros(1), state, value=value)
            return state, optax.tree.get(state, "scale")

        scales = jax.lax.scan(see, transform.init(jnp.zeros(1)), values)[1]
        return jnp.where((scales < 1).any(), jnp.argmax(scales < 1) + 1, 0)

    def rule(task: Task) -> Stops:
        with jax.numpy_dtype_promotion("standard"):
            after = np.asarray(stops(jnp.asarray(task.values)))
        return Stops(after, np.where(after > 0, Reason.PATIENCE, Reason.RUNNING))

    return rule


def slope_test(task: Task, least: int = 1000, share: int = 8, confidence: float = 0.95) -> Stops:
    """SLOPE: stop once a t-test on the last eighth of the run can show no descent any more.

    Reference:
        Zhang, Lang, Liu and Xiao, "Statistical Adaptive Stochastic Gradient Methods", 2020.
    """
    runs, count = task.values.shape
    after = np.zeros(runs, int)
    for seen in range(2, count + 1, 2):
        last = seen // share
        if last * task.stride <= least:
            continue
        x = np.arange(last) - (last - 1) / 2
        y = task.values[:, seen - last : seen].astype(float)
        y = y - y.mean(1, keepdims=True)
        r = (x * y).sum(1) / np.sqrt((x * x).sum() * np.maximum((y * y).sum(1), 1e-30))
        t = r * np.sqrt((last - 2) / np.maximum(1 - r * r, 1e-12))
        no_descent = scipy.stats.t.cdf(t, last - 2) > 1 - confidence
        after = np.where((after == 0) & no_descent, seen, after)
    return Stops(after, np.where(after > 0, Reason.PLATEAU, Reason.RUNNING))


def rules() -> Mapping[str, Rule]:
    """Every rule, by the name it has in the tables; those of missing libraries are left out."""
    found: dict[str, Rule] = {
        "default": ours(lambda schedule, steps: convergence.default(every=1)),
        "with budget": ours(lambda schedule, steps: convergence.default(every=1, budget=steps + 1)),
        "with schedule": ours(
            lambda schedule, steps: convergence.default(every=1, schedule=schedule)
        ),
        "with both": ours(
            lambda schedule, steps: convergence.default(
                every=1, budget=steps + 1, schedule=schedule
            )
        ),
        "divergence": plain(convergence.divergence()),
        "plateau": plain(convergence.plateau(min_observations=100)),
        "plateau, robust": plain(convergence.plateau(min_observations=100, robust=True)),
        "patience 100": plain(convergence.patience(100, rtol=1e-3)),
        "window 100": plain(convergence.window_gain(100, rtol=2e-3, hits=1)),
        "SLOPE": slope_test,
        "optax 10": optax_plateau(10),
    }
    for name, make in (
        ("Keras 3", keras_patience),
        ("Keras 10", keras_patience),
        ("flax 10", flax_patience),
    ):
        try:
            found[name] = make(int(name.split()[1]))
        except ImportError as missing:
            print(f"without {name}: {missing}")
    return found
