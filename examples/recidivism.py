"""Survival analysis: how long until an arrest, when most were never arrested while watched.

The Rossi data of lifelines: 432 men released from prison in Maryland and followed for a year, half
of them with financial aid; 114 were arrested again. The others are censored: all that is known is
that it had not happened yet. Cox's partial likelihood says by what factor each property changes the
hazard; Weibull's likelihood also says how long it takes.

Prints the hazard ratios of both models, and for what share of all comparable pairs of men they put
the one who was arrested first ahead of the other (the concordance index).

    python examples/recidivism.py
"""

import itertools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from lifelines.datasets import load_rossi
from lifelines.utils import concordance_index

from jaxloss import failure_time, survival
from jaxloss.training import fit, make_train_step
from jaxloss.training.convergence import patience


class Men(NamedTuple):
    """What was known of each man, and what became of him."""

    properties: jax.Array
    weeks: jax.Array
    arrested: jax.Array


def load() -> tuple[Men, list[str], np.ndarray]:
    """The men, the names of the properties, and the unit of each: properties are standardized."""
    table = load_rossi()
    names = [name for name in table.columns if name not in ("week", "arrest")]
    properties = table[names].to_numpy(float)
    unit = properties.std(0)
    men = Men(
        jnp.float32((properties - properties.mean(0)) / unit),
        jnp.float32(table["week"].to_numpy()),
        jnp.int32(table["arrest"].to_numpy()),
    )
    return men, names, unit


def cox(params: dict[str, jax.Array], men: Men) -> jax.Array:
    """How likely it is that of all who were at risk, just these men were arrested, and in turn."""
    log_hazards = men.properties @ params["slopes"]
    events = men.arrested.astype(jnp.float32)
    return survival.cox_efron(log_hazards, men.weeks, men.arrested, weights=events)


def weibull(params: dict[str, jax.Array], men: Men) -> jax.Array:
    """How likely each time is; of a man who was not arrested, that it takes longer."""
    scale = jnp.exp(params["log_scale"])
    # A larger hazard is a shorter time.
    log_times = params["intercept"] - scale * (men.properties @ params["slopes"])
    upper = jnp.where(men.arrested == 1, men.weeks, jnp.inf)
    return failure_time.weibull(log_times, jnp.full(log_times.shape, scale), men.weeks, upper)


def maximize(
    objective: Callable[[dict[str, jax.Array], Men], jax.Array],
    params: dict[str, jax.Array],
    men: Men,
) -> dict[str, jax.Array]:
    """The parameters under which what happened is the most likely, by L-BFGS."""
    train_step = make_train_step(objective, optax.lbfgs(), tracker=patience(5, rtol=1e-7))
    batches = itertools.repeat(men)
    return fit(train_step, train_step.init(params), batches, steps=300, progress=False).state.params


def main() -> dict[str, np.ndarray]:
    """Fit both models and print the table."""
    men, names, unit = load()
    start = {"slopes": jnp.zeros(len(names))}
    more = {"intercept": jnp.log(men.weeks.mean()), "log_scale": jnp.zeros(())}
    found = {"cox": maximize(cox, start, men), "weibull": maximize(weibull, start | more, men)}

    slopes = {model: np.asarray(params["slopes"]) for model, params in found.items()}
    print(f"{'hazard ratio per unit':24}" + "".join(f"{model:>10}" for model in slopes))
    for i, name in enumerate(names):
        ratios = (np.exp(slope[i] / unit[i]) for slope in slopes.values())
        print(f"{name:24}" + "".join(f"{ratio:10.3f}" for ratio in ratios))
    agreements = (
        concordance_index(men.weeks, -men.properties @ slope, men.arrested)
        for slope in slopes.values()
    )
    print(f"{'concordance':24}" + "".join(f"{index:10.3f}" for index in agreements))
    return {model: slope / unit for model, slope in slopes.items()}


if __name__ == "__main__":
    main()
