"""Regression of counts: how often people see a doctor, and why Poisson is too sure of it.

The RAND health insurance experiment, as statsmodels ships it: 20,190 person-years, of which three
in ten have no visit at all and some have dozens. A Poisson distribution has its mean for variance.
A negative binomial one may vary more; a zero-inflated one knows people who never go.

Prints, on a fifth of the data that was held out, the mean negative log-likelihood of each model,
and how many people without, and with ten or more visits it expects, beside how many there were.

    python examples/doctor_visits.py
"""

import itertools
from collections.abc import Callable, Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import statsmodels.api as sm

from jaxloss import counts
from jaxloss.training import fit, make_train_step
from jaxloss.training.convergence import patience

MANY = 10  # visits
Params = dict[str, jax.Array]


class People(NamedTuple):
    """Standardized properties with a leading 1, and visits in a year."""

    properties: jax.Array
    visits: jax.Array


def load(seed: int = 0) -> tuple[People, People]:
    """Those to fit, and those to test on."""
    table = sm.datasets.randhie.load_pandas()["data"]
    visits = table.pop("mdvis").to_numpy()
    properties = table.to_numpy(float)
    properties = (properties - properties.mean(0)) / properties.std(0)
    properties = np.column_stack([np.ones(len(visits)), properties])
    order = np.random.default_rng(seed).permutation(len(visits))
    test, train = (
        People(jnp.float32(properties[rows]), jnp.int32(visits[rows]))
        for rows in np.split(order, [len(visits) // 5])
    )
    return train, test


def poisson(params: Params, properties: jax.Array, visits: jax.Array) -> jax.Array:
    """Each visit comes by itself."""
    return counts.poisson(properties @ params["rate"], visits, reduction="none")


def negative_binomial(params: Params, properties: jax.Array, visits: jax.Array) -> jax.Array:
    """People differ by more than what is known of them."""
    log_rates = properties @ params["rate"]
    concentrations = jnp.full(log_rates.shape, jnp.exp(params["log_concentration"]))
    return counts.negative_binomial(log_rates, concentrations, visits, reduction="none")


def zero_inflated(params: Params, properties: jax.Array, visits: jax.Array) -> jax.Array:
    """And some never go."""
    log_rates = properties @ params["rate"]
    concentrations = jnp.full(log_rates.shape, jnp.exp(params["log_concentration"]))
    zero_logits = properties @ params["never"]
    return counts.zero_inflated_negative_binomial(
        log_rates, concentrations, zero_logits, visits, reduction="none"
    )


Model = Callable[[Params, jax.Array, jax.Array], jax.Array]
MODELS: Mapping[str, Model] = {
    "Poisson": poisson,
    "negative binomial": negative_binomial,
    "zero-inflated": zero_inflated,
}


class Row(NamedTuple):
    """How a model does on the test set."""

    log_loss: float
    none: float
    """expected share of people without visits"""
    many: float
    """and with ten or more"""


def regress(model: Model, people: People) -> Params:
    """The most likely parameters, by L-BFGS on everybody at once."""
    width = people.properties.shape[-1]
    mean = jnp.log(people.visits.astype(jnp.float32).mean())
    start = {
        "rate": jnp.zeros(width).at[0].set(mean),
        "log_concentration": jnp.zeros(()),
        "never": jnp.zeros(width).at[0].set(-2.0),
    }
    train_step = make_train_step(
        lambda params, batch: model(params, *batch).mean(),
        optax.lbfgs(),
        tracker=patience(5, rtol=1e-6),
    )
    batches = itertools.repeat(people)
    return fit(train_step, train_step.init(start), batches, steps=200, progress=False).state.params


def tested(model: Model, params: Params, people: People) -> Row:
    """The mean loss, and what the model expects of the counts."""
    losses = jax.jit(model)(params, *people)
    shares = [
        jnp.exp(-jax.jit(model)(params, people.properties, jnp.full_like(people.visits, k))).mean()
        for k in range(MANY)
    ]
    return Row(float(losses.mean()), float(shares[0]), float(1 - sum(shares)))


def main() -> dict[str, Row]:
    """Fit every model and print the table."""
    train, test = load()
    print(f"{'':20} {'log-loss':>9} {'no visit':>9} {f'{MANY} or more':>11}")
    table = {}
    for name, model in MODELS.items():
        table[name] = row = tested(model, regress(model, train), test)
        print(f"{name:20} {row.log_loss:9.3f} {row.none:9.3f} {row.many:11.3f}")
    none, many = (test.visits == 0).mean(), (test.visits >= MANY).mean()
    print(f"{'in truth':20} {'':9} {none:9.3f} {many:11.3f}")
    table["in truth"] = Row(float("nan"), float(none), float(many))
    return table


if __name__ == "__main__":
    main()
