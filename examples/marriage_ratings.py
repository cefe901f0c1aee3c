"""Ordered classes: how women rate their marriage, from 1 (very poor) to 5 (very good).

A survey of 6,366 women (Fair, 1978), as statsmodels ships it. A softmax does not know that 4 lies
between 3 and 5 and spends a row of weights on each class. The proportional odds model has one
direction and four cut points. The squared error takes the grades to be equally far apart.

Prints, on a fifth of the data that was held out and for few and for many women to learn from, the
mean negative log-likelihood and by how many grades the median of each prediction is off.

    python examples/marriage_ratings.py
"""

import itertools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import statsmodels.api as sm

from jaxloss import classification, ordinal, regression
from jaxloss.training import fit, make_train_step
from jaxloss.training.convergence import patience

GRADES = 5
SIZES = (40, 5092)  # women to learn from
Params = dict[str, jax.Array]


class Women(NamedTuple):
    """Standardized properties, and the grade from 0."""

    properties: jax.Array
    grades: jax.Array


def load(seed: int = 0) -> tuple[Women, Women]:
    """Those to learn from and those to test on."""
    table = sm.datasets.fair.load_pandas()["data"]
    grades = table.pop("rate_marriage").to_numpy().astype(int) - 1
    properties = table.to_numpy(float)
    properties = (properties - properties.mean(0)) / properties.std(0)
    order = np.random.default_rng(seed).permutation(len(grades))
    test, train = (
        Women(jnp.float32(properties[rows]), jnp.int32(grades[rows]))
        for rows in np.split(order, [len(grades) // 5])
    )
    return train, test


def softmax(params: Params, women: Women) -> jax.Array:
    """A logit for each grade."""
    logits = women.properties @ params["each"] + params["bias"][None]
    return classification.softmax_cross_entropy(logits, women.grades, reduction="none")


def proportional_odds(params: Params, women: Women) -> jax.Array:
    """One direction, cut into grades."""
    cuts = ordinal.cut_points(params["cuts"])
    direction = women.properties @ params["one"]
    return ordinal.cumulative_link(direction, women.grades, cuts, reduction="none")


def squared(params: Params, women: Women) -> jax.Array:
    """A number near the grade."""
    mean = women.properties @ params["one"] + params["bias"][0]
    return regression.squared(mean, women.grades, reduction="none")


Model = Callable[[Params, Women], jax.Array]
MODELS: dict[str, Model] = {
    "softmax": softmax,
    "proportional odds": proportional_odds,
    "squared error": squared,
}


class Row(NamedTuple):
    """How a model does on the test set."""

    log_loss: float
    off: float
    """mean distance of the median grade from the true one"""


def learn(model: Model, women: Women) -> Params:
    """The parameters with the lowest loss, by L-BFGS on everybody at once."""
    width = women.properties.shape[-1]
    start = {
        "each": jnp.zeros((width, GRADES)),
        "one": jnp.zeros(width),
        "bias": jnp.zeros(GRADES),
        "cuts": jnp.zeros(GRADES - 1).at[0].set(-2.0),
    }
    train_step = make_train_step(
        lambda params, batch: model(params, batch).mean(),
        optax.lbfgs(),
        tracker=patience(5, rtol=1e-6),
    )
    batches = itertools.repeat(women)
    return fit(train_step, train_step.init(start), batches, steps=200, progress=False).state.params


def tested(model: Model, params: Params, women: Women) -> Row:
    """The mean loss, and how far the median of the predicted grades is off."""
    if model is squared:
        mean = women.properties @ params["one"] + params["bias"][0]
        median = jnp.clip(jnp.round(mean), 0, GRADES - 1)
        log_loss = float("nan")
    else:
        log_loss = float(model(params, women).mean())
        shares = jnp.stack(
            [
                jnp.exp(-model(params, women._replace(grades=jnp.full_like(women.grades, k))))
                for k in range(GRADES)
            ]
        )
        median = (jnp.cumsum(shares, 0) < 0.5).sum(0)
    return Row(log_loss, float(jnp.abs(median - women.grades).mean()))


def main() -> dict[tuple[str, int], Row]:
    """Fit every model to few and to many, and print the table."""
    train, test = load()
    print(f"{'':20}" + "".join(f"{size:>9} women{'':8}" for size in SIZES))
    print(f"{'':20}" + f"{'log-loss':>12}{'off by':>11}" * len(SIZES))
    table = {}
    for name, model in MODELS.items():
        line = f"{name:20}"
        for size in SIZES:
            some = Women(*(x[:size] for x in train))
            table[name, size] = row = tested(model, learn(model, some), test)
            line += f"{row.log_loss:12.3f}{row.off:11.3f}"
        print(line)
    return table


if __name__ == "__main__":
    main()
