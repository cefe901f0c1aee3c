"""How many digits the losses have: ``python -m benchmarks.accuracy [name ...]``.

Each loss and its gradient are computed in float32, at inputs that span what the dtype can hold, and
compared with its oracle in ``tests/oracles``, the plain formula of the paper, computed with as many
digits as it takes. The peers in ``tests/peers`` are held against the same truth, at the same
inputs, wherever they are installed.

The error is in units in the last place of the true number: 0.5 is a correctly rounded result. Of a
gradient that has several entries for one loss, it is the last place of the largest of them. What is
smaller than the smallest normal number counts as zero, as XLA takes it. Kinks do not count.

Near a zero of a sum, or far down a steep slope, the rounding of the inputs alone would move the
result by many units. So where an elementwise loss is off by more than a few, the error is also
given in units in the last place of what the inputs can move it by: of the sum of the magnitudes of
each input times the derivative in it. That excuses nothing: it tells what only more digits inside
could mend from what is computed badly.
"""

import argparse
import functools
import importlib
import json
import math
import os
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks import exact
from benchmarks.extremes import extreme
from benchmarks.precise import DIGITS, MANY_DIGITS, context, double, precise
from jaxloss import catalogue
from tests.inputs import positional
from tests.oracles import Row

GOOD = 4.0
"""units in the last place that need no explanation"""


class Truth(NamedTuple):
    """A loss and its gradient at some inputs, in float64; NaN where there is none."""

    value: np.ndarray
    gradient: np.ndarray


class Accuracy(NamedTuple):
    """How a library does on one loss."""

    value: float
    """largest error in units in the last place"""
    gradient: float
    nans: int
    """numbers that are NaN where the truth is not, or infinite where it is finite"""
    conditioned_value: float = math.nan
    """largest error in units in the last place of what the inputs, rounded, can move the loss by"""
    conditioned_gradient: float = math.nan


class Outcome(NamedTuple):
    """How everybody does on one loss."""

    name: str
    options: dict[str, Any]
    points: int
    accuracies: dict[str, Accuracy]


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure what was asked for, and print a line for each library on each loss."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.accuracy", description=__doc__)
    parser.add_argument("names", nargs="*", help="losses whose name contains one of these")
    parser.add_argument("--points", type=int, default=200, help="inputs of each loss")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the results there, too")
    options = parser.parse_args(arguments)
    outcomes, skipped = [], []
    for family in catalogue.families():
        for row in rows(family):
            name = f"{family}.{row.loss.__name__}"
            if options.names and not any(part in name for part in options.names):
                continue
            outcome = measured(family, name, row, options.points)
            if outcome is None:
                skipped.append(name)
                continue
            outcomes.append(outcome)
            print(lines(outcome), flush=True)
    if skipped:
        print("no formula that is exact:", ", ".join(dict.fromkeys(skipped)))
    if options.json:
        options.json.write_text(json.dumps([as_json(o) for o in outcomes], indent=2) + "\n")


def rows(family: str) -> list[Row]:
    """The oracles of a family; of a formula that only float64 can do, the exact one instead."""
    known: dict[Any, Any] = exact.FORMULAS
    given = importlib.import_module(f"tests.oracles.{family}").ROWS
    return [row._replace(oracle=known.get(row.loss, row.oracle)) for row in given]


def measured(
    family: str, name: str, row: Row, points: int, *, peers: bool = True
) -> Outcome | None:
    """How everybody does on ``row``; ``None`` if its formula can not be computed exactly."""
    inputs = extreme(row.loss, points)
    truth = truth_of(row, inputs)
    if truth is None:
        return None
    contestants = {"jaxloss": with_jax(functools.partial(row.loss, reduction="none"))}
    for peer in importlib.import_module(f"tests.peers.{family}").PEERS if peers else ():
        if peer.loss is row.loss and dict(peer.options) == dict(row.options):
            with_library = with_torch if peer.oracle.__name__.startswith("torch") else with_jax
            contestants[peer.oracle.__name__] = with_library(peer.oracle)
    results = {who: attempted(c, inputs, dict(row.options)) for who, c in contestants.items()}
    results = {who: found for who, found in results.items() if found is not None}
    accuracies = {who: accuracy(found, truth) for who, found in results.items()}
    if any(a.value > GOOD or a.gradient > GOOD for a in accuracies.values()):
        condition = condition_of(row, inputs, truth)
        if condition is not None:
            accuracies = {who: accuracy(f, truth, condition) for who, f in results.items()}
    return Outcome(name, dict(row.options), truth.value.size, accuracies)


# The truth


def truth_of(row: Row, inputs: Sequence[np.ndarray]) -> Truth | None:
    """Value and gradient in the first argument by the oracle, exactly."""
    with context.workdps(digits(row.loss)):
        return _truth_of(row, inputs)


def digits(loss: Callable[..., Any]) -> int:
    """How many its formula needs: many where it subtracts from 1 the exponential of a logit."""
    names = {argument.name for argument in positional(loss)}
    return MANY_DIGITS if names & {"logits", "zero_logits", "scores"} else DIGITS


def _truth_of(row: Row, inputs: Sequence[np.ndarray]) -> Truth | None:
    first, *rest = map(precise, inputs)
    options = {name: in_digits(value) for name, value in row.options.items()}
    try:
        value = row.oracle(first, *rest, **options)
        if np.asarray(value).dtype != object:
            return None
        slopes = np.full(first.shape, math.nan)
        for index, direction in directions(first.shape, np.shape(value)):
            step = direction * context.mpf(10) ** -40
            ahead, behind = (row.oracle(first + s * step, *rest, **options) for s in (1, -1))
            rise, fall = double((ahead - value) * 10**40), double((value - behind) * 10**40)
            smooth = np.abs(rise - fall) <= 1e-15 * np.maximum(np.abs(rise), np.abs(fall)) + 1e-35
            slopes[index] = np.where(smooth, double((ahead - behind) * 10**40 / 2), math.nan)
    except (TypeError, ValueError, AttributeError, ZeroDivisionError, OverflowError):
        return None
    return Truth(double(value), slopes)


def condition_of(row: Row, inputs: Sequence[np.ndarray], truth: Truth) -> Truth | None:
    """How far value and gradient move, were each input to move by its size; if elementwise."""
    if any(np.shape(x) != truth.value.shape for x in inputs):
        return None
    options = {name: in_digits(value) for name, value in row.options.items()}
    value, gradient = np.zeros(truth.value.shape), np.zeros(truth.value.shape)
    with context.workdps(digits(row.loss)):
        exact, step = [precise(x) for x in inputs], context.mpf(10) ** -40

        def loss(index: int, move: int, shift: int) -> Any:
            moved = list(exact)
            moved[index] = moved[index] * (1 + move * step)
            moved[0] = moved[0] + shift * step
            return row.oracle(*moved, **options)

        def slope(index: int, move: int) -> Any:
            return (loss(index, move, 1) - loss(index, move, -1)) / (2 * step)

        for index, x in enumerate(inputs):
            if np.issubdtype(x.dtype, np.floating):
                value += np.abs(double((loss(index, 1, 0) - loss(index, -1, 0)) / (2 * step)))
                gradient += np.abs(double((slope(index, 1) - slope(index, -1)) / (2 * step)))
    return Truth(value, gradient)


def in_digits(option: Any) -> Any:
    """An option as the loss sees it, in float32, and exactly."""
    if isinstance(option, float):
        return context.mpf(float(np.float32(option)))
    return precise(np.float32(option)) if isinstance(option, np.ndarray) else option


def directions(
    shape: tuple[int, ...], loss_shape: tuple[int, ...]
) -> Iterator[tuple[Any, np.ndarray]]:
    """Which entries of the first argument to move at once, so that each loss feels only one."""
    inner = shape[len(loss_shape) :]
    for index in np.ndindex(*inner):
        direction = np.zeros(shape, dtype=int)
        direction[(..., *index)] = 1
        yield (..., *index), direction


# The contestants

Contestant = Callable[[Sequence[np.ndarray], dict[str, Any]], tuple[np.ndarray, np.ndarray | None]]


def with_jax(loss: Callable[..., Any]) -> Contestant:
    """A loss that JAX can differentiate; or just its value, if it can not."""

    def run(
        inputs: Sequence[np.ndarray], options: dict[str, Any]
    ) -> tuple[np.ndarray, np.ndarray | None]:
        with jax.numpy_dtype_promotion("standard"):
            value = np.asarray(loss(*inputs, **options))
            try:
                slope = jax.grad(lambda x: jnp.sum(loss(x, *inputs[1:], **options)))(
                    jnp.asarray(inputs[0])
                )
            except (TypeError, ValueError, jax.errors.JAXTypeError):
                return value, None
        return value, np.asarray(slope)

    return run


def with_torch(loss: Callable[..., Any]) -> Contestant:
    """A loss of torch."""

    def run(
        inputs: Sequence[np.ndarray], options: dict[str, Any]
    ) -> tuple[np.ndarray, np.ndarray | None]:
        torch = importlib.import_module("torch")
        value = np.asarray(loss(*inputs, **options))
        first = torch.tensor(inputs[0], requires_grad=True)
        try:
            loss(first, *inputs[1:], **options).sum().backward()
        except (TypeError, RuntimeError, AttributeError):
            return value, None
        return value, None if first.grad is None else first.grad.numpy()

    return run


def attempted(
    contestant: Contestant, inputs: Sequence[np.ndarray], options: dict[str, Any]
) -> tuple[np.ndarray, np.ndarray | None] | None:
    """What it gives; ``None`` where the library is missing or refuses the inputs."""
    import pytest

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return contestant(inputs, options)
        except (pytest.skip.Exception, ImportError, ValueError, TypeError, RuntimeError):
            return None


# The errors


def accuracy(
    found: tuple[np.ndarray, np.ndarray | None], truth: Truth, condition: Truth | None = None
) -> Accuracy:
    """How far ``found`` is from the truth, also in the light of how steep that is."""
    value, gradient = found
    worst, wrong = ulps(value, truth.value, np.abs(truth.value))
    of_value = of_gradient = math.nan
    if condition is not None:
        of_value, _ = ulps(value, truth.value, largest(truth.value, condition.value))
    if gradient is None:
        return Accuracy(worst, math.nan, wrong, of_value)
    if condition is not None:
        of_gradient, _ = ulps(gradient, truth.gradient, largest(truth.gradient, condition.gradient))
    size = np.abs(truth.gradient)
    if inner := tuple(range(truth.value.ndim, size.ndim)):
        size = np.broadcast_to(np.nanmax(size, inner, keepdims=True), size.shape)
    steepest, bad = ulps(gradient, truth.gradient, size)
    return Accuracy(worst, steepest, wrong + bad, of_value, of_gradient)


def largest(truth: np.ndarray, condition: np.ndarray) -> np.ndarray:
    """The size of a number, or of what can move it."""
    return np.fmax(np.abs(truth), np.where(np.isfinite(condition), condition, 0))


def ulps(found: np.ndarray, truth: np.ndarray, size: np.ndarray) -> tuple[float, int]:
    """The largest error in units in the last place of ``size``, and how many are not finite."""
    kind = np.finfo(np.float32)
    tiny = float(kind.tiny)
    counted = np.isfinite(truth) & (np.abs(truth) < float(kind.max))
    found, truth, size = (np.asarray(x, np.float64)[counted] for x in (found, truth, size))
    wrong = ~np.isfinite(found)
    unit = np.spacing(np.maximum(size, tiny).astype(np.float32)).astype(np.float64)
    errors = np.where(wrong, 0, np.abs(found - truth)) / unit
    flushed = (np.abs(truth) < tiny) & (np.abs(found) <= tiny)
    return float(np.where(flushed, 0, errors).max(initial=0)), int(wrong.sum())


# The report


def lines(outcome: Outcome) -> str:
    """One loss as text."""
    options = ", ".join(f"{k}={v}" for k, v in outcome.options.items())
    said = [f"{outcome.name}({options})  {outcome.points} points"]
    for who, a in outcome.accuracies.items():
        nans = f"  {a.nans} not finite" if a.nans else ""
        told = f"  {who:32} value {a.value:10.3g} ulp   gradient {a.gradient:10.3g} ulp"
        if not math.isnan(a.conditioned_value):
            told += f"   conditioned {a.conditioned_value:.3g} / {a.conditioned_gradient:.3g}"
        said.append(told + nans)
    return "\n".join(said)


def as_json(outcome: Outcome) -> dict[str, Any]:
    """One loss to keep."""
    accuracies = {who: accuracy._asdict() for who, accuracy in outcome.accuracies.items()}
    options = {name: str(value) for name, value in outcome.options.items()}
    return outcome._asdict() | {"options": options, "accuracies": accuracies}


if __name__ == "__main__":
    os.environ.setdefault("KERAS_BACKEND", "jax")
    main()
