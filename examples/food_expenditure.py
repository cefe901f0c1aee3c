"""Quantile regression: what households spend on food, and how that spreads as they earn more.

The data of Engel (1857), 235 Belgian working-class households, as statsmodels ships them. The mean
says little: rich households differ far more from each other than poor ones. All quantiles are
fitted at once, a line for each, by one loss; Engel's law is that the share of food falls.

Prints the line of each quantile, and for what share of the households it is enough.

    python examples/food_expenditure.py
"""

import itertools
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import statsmodels.api as sm

from jaxloss import scoring
from jaxloss.training import fit, make_train_step

LEVELS = (0.05, 0.25, 0.5, 0.75, 0.95)
STEPS = 4000
UNIT = 1000.0  # Belgian francs


class Lines(NamedTuple):
    """Expenditure by income, for each quantile."""

    intercepts: jax.Array
    slopes: jax.Array


class Households(NamedTuple):
    """In thousands of francs a year; income as the difference from its mean."""

    income: jax.Array
    food: jax.Array


def load() -> tuple[Households, float]:
    """The households, and their mean income."""
    table = sm.datasets.engel.load_pandas()["data"] / UNIT
    mean = float(table["income"].mean())
    income, food = (jnp.float32(table[name].to_numpy()) for name in ("income", "foodexp"))
    return Households(income - mean, food), mean


def spending(lines: Lines, income: jax.Array) -> jax.Array:
    """What each quantile spends, at each income."""
    return lines.intercepts[None] + income[:, None] * lines.slopes[None]


def main(levels: Sequence[float] = LEVELS) -> np.ndarray:
    """Fit all lines and print them: intercept and slope of each."""
    households, mean = load()
    wanted = jnp.float32(levels)

    def objective(lines: Lines, batch: Households) -> jax.Array:
        return scoring.quantiles(spending(lines, batch.income), batch.food, wanted)

    middle = jnp.full(len(levels), jnp.median(households.food))
    schedule = optax.cosine_decay_schedule(0.02, STEPS)
    train_step = make_train_step(objective, optax.adam(schedule))
    start = train_step.init(Lines(middle, jnp.full(len(levels), 0.5)))
    batches = itertools.repeat(households)
    lines = fit(train_step, start, batches, steps=STEPS, progress=False).state.params

    print(f"{'quantile':>8} {'intercept':>10} {'slope':>7} {'enough for':>11}")
    enough = (households.food[:, None] <= spending(lines, households.income)).mean(0)
    intercepts = UNIT * (lines.intercepts - mean * lines.slopes)
    for level, intercept, slope, share in zip(
        levels, intercepts, lines.slopes, enough, strict=True
    ):
        print(f"{level:8.2f} {intercept:10.1f} {slope:7.3f} {share:11.3f}")
    return np.column_stack([intercepts, lines.slopes])


if __name__ == "__main__":
    main()
