"""A loss of your own, with the masks, weights, reductions and errors of all others.

At what hour does a household use most power? Hours are a circle: 23.5 is one hour from 0.5, not 23.
No loss for real numbers knows that, so here is one that does. It stands on the two functions that
every loss of jaxloss stands on: ``residual`` checks the shapes and cleans what ``where`` leaves
out, and ``reduce`` weighs, masks and reduces. What lies between is the mathematics.

The data are made up: the peak depends linearly on three measurements of the household, often
falls after midnight, and in a third of the cases was not recorded (NaN). Prints, for the loss below
and for the squared error, how far off the predicted peaks are, around the clock.

    python examples/custom_loss.py
"""

import itertools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, ArrayLike, Bool, Float, Real

from jaxloss import regression
from jaxloss.core.inputs import Scalar, residual
from jaxloss.core.reducing import Reduction, reduce
from jaxloss.training import fit, make_train_step
from jaxloss.training.convergence import any_of, averaged, budget, plateau


def circular(
    predictions: Real[ArrayLike, "*shape"],
    targets: Real[ArrayLike, "*shape"],
    *,
    period: Scalar,
    where: Bool[ArrayLike, "*#shape"] | None = None,
    weights: Real[ArrayLike, "..."] | None = None,
    reduction: Reduction = "mean",
) -> Float[Array, "..."]:
    """Distance around a circle: 0 for equal phases, 2 for opposite ones."""
    angle = residual("circular", predictions, targets, where) * (2 * jnp.pi / period)
    loss = 2 * jnp.sin(angle / 2) ** 2  # 1 - cos(angle), of which little is left near 0
    return reduce("circular", loss, where, weights, reduction)


class Line(NamedTuple):
    """A linear model of the peak hour."""

    slopes: jax.Array
    intercept: jax.Array


class Households(NamedTuple):
    """Three measurements each, and the hour of the peak, NaN if it was not recorded."""

    measured: jax.Array
    peak: jax.Array


def survey(seed: int, count: int) -> Households:
    """Peaks around 22 o'clock, give or take a few hours; those past midnight begin at 0 again."""
    random = np.random.default_rng(seed)
    measured = random.normal(size=(count, 3))
    hour = 22 + measured @ [2.0, -1.0, 1.5] + random.normal(size=count)
    recorded = random.random(count) < 2 / 3
    return Households(jnp.float32(measured), jnp.float32(np.where(recorded, hour % 24, np.nan)))


def predict(line: Line, measured: jax.Array) -> jax.Array:
    """The hour of the peak; it may be above 24 or below 0."""
    return measured @ line.slopes + line.intercept


def circular_day(predictions: jax.Array, targets: jax.Array, *, where: jax.Array) -> jax.Array:
    """The loss above for hours."""
    return circular(predictions, targets, period=24.0, where=where)


def train(loss: Callable[..., jax.Array], households: Households) -> Line:
    """The line that ``loss`` leads to."""

    def objective(line: Line, batch: Households) -> jax.Array:
        recorded = ~jnp.isnan(batch.peak)
        return loss(predict(line, batch.measured), batch.peak, where=recorded)

    train_step = make_train_step(
        objective,
        optax.adam(0.1),
        tracker=any_of(flat=averaged(5, plateau(rtol=1e-3)), end=budget(2000)),
    )
    start = Line(jnp.zeros(3), jnp.float32(12))
    batches = itertools.repeat(households)
    result = fit(train_step, train_step.init(start), batches, progress=False)
    print(f"  stopped at step {len(result.history.loss)} by {result.explanation}")
    return result.state.params


def main() -> dict[str, float]:
    """Train with both losses and print how many hours the predictions are off."""
    households, test = survey(seed=0, count=600), survey(seed=1, count=600)
    hours_off = {}
    for name, loss in {"circular": circular_day, "squared": regression.squared}.items():
        print(name)
        line = train(loss, households)
        apart = jnp.abs(predict(line, test.measured) - test.peak) % 24
        hours_off[name] = float(jnp.nanmean(jnp.minimum(apart, 24 - apart)))
        print(f"  predictions are {hours_off[name]:.2f} hours off on average")
    return hours_off


if __name__ == "__main__":
    main()
