"""Linear regression with outliers: what a robust loss is for.

The diabetes data of scikit-learn (442 patients, ten measurements, progression after a year), in
which one in ten training targets is replaced by a gross error, far too high. The test targets are
left as they are. Errors are in units of a robust estimate of their spread, so that Huber's usual
delta of 1.345 applies: it costs 5 % of the efficiency if there are no outliers after all.

Prints, for each loss, the root mean squared and the mean absolute error of all test patients of ten
random splits, without and with the outliers.

    python examples/robust_regression.py
"""

import itertools
from collections.abc import Callable, Mapping
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from sklearn.datasets import load_diabetes

from jaxloss import regression
from jaxloss.training import TrainStep, fit, make_train_step
from jaxloss.training.convergence import patience

LOSSES = {
    "squared": regression.squared,
    "absolute": regression.absolute,
    "huber": partial(regression.huber, delta=1.345),
    "log_cosh": regression.log_cosh,
}
TEST = 142  # patients
OUTLIERS = 30  # of the other 300


class Patients(NamedTuple):
    """Standardized measurements, and the progression of the disease."""

    measured: jax.Array
    progression: jax.Array


class Errors(NamedTuple):
    """On the test set."""

    root_mean_squared: float
    mean_absolute: float


def split(seed: int, outliers: int) -> tuple[Patients, Patients]:
    """Patients to train on, of whom some were written down wrongly, and patients to test on."""
    measured, progression = map(np.array, load_diabetes(return_X_y=True))
    measured = (measured - measured.mean(0)) / measured.std(0)
    random = np.random.default_rng(seed)
    order = random.permutation(len(progression))
    progression[order[TEST : TEST + outliers]] += random.uniform(500, 1500, outliers)
    test, train = (
        Patients(jnp.float32(measured[rows]), jnp.float32(progression[rows]))
        for rows in np.split(order, [TEST])
    )
    return train, test


class Line(NamedTuple):
    """A linear model."""

    slopes: jax.Array
    intercept: jax.Array


def predict(line: Line, measured: jax.Array) -> jax.Array:
    """The progression that is expected."""
    return measured @ line.slopes + line.intercept


def regress(loss: Callable[[jax.Array, jax.Array], jax.Array]) -> TrainStep:
    """A step of L-BFGS on all patients at once; stops when ten steps have gained nothing."""

    def objective(line: Line, batch: tuple[Patients, float]) -> jax.Array:
        patients, spread = batch
        return loss(predict(line, patients.measured) / spread, patients.progression / spread)

    return make_train_step(objective, optax.lbfgs(), tracker=patience(10, rtol=1e-6))


def main(
    losses: Mapping[str, Callable[..., jax.Array]] = LOSSES, splits: int = 10
) -> dict[str, dict[str, Errors]]:
    """Fit every loss to every split and print the table."""
    print(f"{'':10} {'no outliers':^17}   {'10 % outliers':^17}")
    print(f"{'loss':10} {'RMSE':>8} {'MAE':>8}   {'RMSE':>8} {'MAE':>8}")
    table = {}
    for name, loss in losses.items():
        train_step = regress(loss)
        table[name] = {}
        for label, outliers in {"clean": 0, "outliers": OUTLIERS}.items():
            errors = np.concatenate(
                [errors_of(train_step, seed, outliers) for seed in range(splits)]
            )
            table[name][label] = Errors(np.sqrt((errors**2).mean()), np.abs(errors).mean())
        clean, dirty = table[name].values()
        print(f"{name:10} {clean[0]:8.1f} {clean[1]:8.1f}   {dirty[0]:8.1f} {dirty[1]:8.1f}")
    return table


def errors_of(train_step: TrainStep, seed: int, outliers: int) -> np.ndarray:
    """The test errors of one fit."""
    train, test = split(seed, outliers)
    middle = np.median(train.progression)
    spread = np.float32(1.483 * np.median(np.abs(train.progression - middle)))
    start = Line(jnp.zeros(train.measured.shape[1]), jnp.float32(middle))
    batches = itertools.repeat((train, spread))
    result = fit(train_step, train_step.init(start), batches, steps=500, progress=False)
    return np.asarray(predict(result.state.params, test.measured) - test.progression)


if __name__ == "__main__":
    main()
