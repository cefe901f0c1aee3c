"""Learning a hyper-parameter of a loss: Huber's delta, from the noise that is in the data.

Lowering the loss itself is of no use: whatever the data, it falls to 0 as delta shrinks, or as
sigma, the unit of the errors, grows. Divided by its integral, however, exp(-huber(error / sigma))
is a density, a Gaussian center with exponential tails that begin at delta. Its negative
log-likelihood

    mean of huber(error / sigma, delta) + log sigma + log Z(delta)

makes both of them pay, and has its minimum, for enough data, at the true delta, sigma and line. All
four are found at once by L-BFGS, since every number of a loss may be differentiated.

Three sets of data lie about the same line, with noise from that very density at delta 0.8, from a
Gaussian, which is the limit of a large delta, and from a Laplace distribution, that of a small one,
where only sigma / delta has a meaning, as its scale. Prints what was found for each, what becomes
of delta and sigma if the plain loss is minimized, and why each run stopped.

    python examples/learned_delta.py
"""

import itertools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.scipy.stats import norm

from jaxloss import regression
from jaxloss.training import TrainStep, fit, make_train_step
from jaxloss.training.convergence import any_of, budget, patience

SLOPE, INTERCEPT, SIGMA = 2.0, -1.0, 0.5
DELTA = 0.8
POINTS = 20_000


class Model(NamedTuple):
    """A line, and the noise about it; the logarithms keep sigma and delta positive."""

    slope: jax.Array
    intercept: jax.Array
    log_sigma: jax.Array
    log_delta: jax.Array


class Points(NamedTuple):
    """Points about the line."""

    x: jax.Array
    y: jax.Array


def center_and_tails(delta: jax.Array | float) -> tuple[jax.Array, jax.Array]:
    """The two parts of Z, the integral of exp(-huber(error, delta)) over all errors."""
    center = jnp.sqrt(2 * jnp.pi) * (norm.cdf(delta) - norm.cdf(-delta))
    return center, 2 / delta * jnp.exp(-(delta**2) / 2)


def huber_noise(random: np.random.Generator, count: int) -> np.ndarray:
    """Errors of density exp(-huber(error, DELTA)) / Z, by inverting its distribution function."""
    grid = np.linspace(-30, 30, 100_001)
    density = np.exp(-regression.huber(grid, np.zeros_like(grid), delta=DELTA, reduction="none"))
    return np.interp(random.random(count), np.cumsum(density) / density.sum(), grid)


NOISES = {
    "huber": huber_noise,
    "gaussian": np.random.Generator.standard_normal,
    "laplace": lambda random, count: random.laplace(size=count),
}


def points_about_line(noise: str) -> Points:
    """The data."""
    random = np.random.default_rng(0)
    x = random.normal(size=POINTS)
    y = SLOPE * x + INTERCEPT + SIGMA * NOISES[noise](random, POINTS)
    return Points(jnp.float32(x), jnp.float32(y))


def plain_loss(model: Model, points: Points) -> jax.Array:
    """Huber's loss in units of sigma."""
    sigma, delta = jnp.exp(model.log_sigma), jnp.exp(model.log_delta)
    predictions = model.slope * points.x + model.intercept
    return regression.huber(predictions / sigma, points.y / sigma, delta=delta)


def likelihood_loss(model: Model, points: Points) -> jax.Array:
    """The same made a negative log-likelihood."""
    center, tails = center_and_tails(jnp.exp(model.log_delta))
    return plain_loss(model, points) + model.log_sigma + jnp.log(center + tails)


def minimizing(objective: Callable[[Model, Points], jax.Array]) -> TrainStep:
    """A step of L-BFGS on all points at once."""
    tracker = any_of(flat=patience(10, rtol=1e-6), end=budget(100))
    return make_train_step(objective, optax.lbfgs(), tracker=tracker)


def learn(train_step: TrainStep, points: Points) -> tuple[Model, str]:
    """Find all four numbers, from delta 2; also tells why it stopped."""
    zero = jnp.zeros(())
    start = Model(slope=zero, intercept=zero, log_sigma=zero, log_delta=jnp.log(2.0))
    batches = itertools.repeat(points)
    result = fit(train_step, train_step.init(start), batches, progress=False)
    return result.state.params, result.explanation


def main() -> dict[str, Model]:
    """Learn from each kind of noise, and print what was found."""
    print(f"true: slope {SLOPE}, intercept {INTERCEPT}, sigma {SIGMA}; delta {DELTA} of huber")
    print(f"{'noise':9} {'minimized':10} {'delta':>6} {'sigma':>8} {'sigma/delta':>11}", end=" ")
    print(f"{'slope':>6} {'intercept':>9}  stopped by")
    most_likely, plain = minimizing(likelihood_loss), minimizing(plain_loss)
    found = {}
    for noise in NOISES:
        found[noise], explanation = learn(most_likely, points_about_line(noise))
        print_row(noise, "likelihood", found[noise], explanation)
    found["plain"], explanation = learn(plain, points_about_line("huber"))
    print_row("huber", "plain loss", found["plain"], explanation)
    return found


def print_row(noise: str, minimized: str, model: Model, explanation: str) -> None:
    """One line of the table."""
    delta, sigma = jnp.exp(model.log_delta), jnp.exp(model.log_sigma)
    print(f"{noise:9} {minimized:10} {delta:6.3f} {sigma:8.3g} {sigma / delta:11.3g}", end=" ")
    print(f"{model.slope:6.3f} {model.intercept:9.3f}  {explanation}", flush=True)


if __name__ == "__main__":
    main()
