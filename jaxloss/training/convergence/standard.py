"""The criterion to begin with."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Bool

from jaxloss.core.inputs import Scalar
from jaxloss.training.convergence.averaging import averaged
from jaxloss.training.convergence.combining import any_of, reset_on_change, unless
from jaxloss.training.convergence.contract import Criterion, Observation
from jaxloss.training.convergence.diverging import divergence
from jaxloss.training.convergence.forecasting import forecast
from jaxloss.training.convergence.waiting import budget as stop_at
from jaxloss.training.convergence.waiting import nonfinite

UNQUESTIONED = 0.3
"""The share of a budget that is taken in any case."""
DROP = 2.0
"""A learning rate that falls by that factor may let the loss fall again."""
FAR_AHEAD = 10.0
"""How far ahead a drop is looked for, in steps taken so far, if there is no budget."""
GLANCES = 64
"""At how many steps between now and then."""


def default(
    *,
    every: Scalar = 50,
    atol: Scalar = 0.0,
    rtol: Scalar = 1e-2,
    budget: Scalar | None = None,
    schedule: Callable[[Array], ArrayLike] | None = None,
    times: Scalar = 10,
) -> Criterion:
    """Stop a training loss that is not finite, has diverged, or has nothing left to gain.

    It is :func:`nonfinite`, and :func:`divergence` and :func:`forecast` within :func:`averaged`.
    Nothing is judged before ``32 * every`` steps, and a loss that hardly falls not before
    ``200 * every``. The gain is what would come in 1.5 times the steps so far, or with ``budget``
    in the rest of it, whose first three tenths are always taken.

    A cut of the learning rate lets a settled loss fall again, which no look at the loss can
    foresee. Told the ``schedule``, it does not call a run settled while the learning rate is yet
    going to be halved, within the budget or within ten times the steps so far, and forgets what it
    has seen whenever that happens.

    Args:
        every: values of which it takes the mean, before it looks: such that a run has some
            hundred times as many.
        atol, rtol: the gain that is worth going on for, ``atol + rtol * |level|``.
        budget: the steps at which to stop in any case.
        schedule: steps taken to learning rate, as in optax.
        times: how many values in a row may be NaN or infinite, the last of them stopping.

    Example:
        >>> import optax
        >>> schedule = optax.piecewise_constant_schedule(0.1, {30_000: 0.1})
        >>> criterion = default(budget=50_000, schedule=schedule)
    """
    settled = forecast(atol=atol, rtol=rtol, budget=budget)
    if budget is not None:
        settled = unless(lambda observation: observation.step < UNQUESTIONED * budget, settled)
    if schedule is not None:
        settled = unless(lambda observation: drop_ahead(schedule, observation, budget), settled)
    watched = any_of(diverged=divergence(), settled=settled)
    if schedule is not None:
        watched = reset_on_change(lambda seen: schedule(seen.step), watched, factor=DROP)
    criteria = {"broken": nonfinite(times), "watched": averaged(every, watched)}
    if budget is not None:
        criteria["end"] = stop_at(budget)
    return any_of(**criteria)


def drop_ahead(
    schedule: Callable[[Array], ArrayLike], observation: Observation, budget: Scalar | None
) -> Bool[Array, ""]:
    """Whether the learning rate is yet going to fall to half of what it is."""
    step = jnp.float32(observation.step)
    end = FAR_AHEAD * step if budget is None else jnp.maximum(jnp.float32(budget) - 1, step)
    steps = step + (end - step) * jnp.linspace(0.0, 1.0, GLANCES, dtype=jnp.float32)
    rates = jax.vmap(lambda at: jnp.float32(schedule(at)))(jnp.round(steps).astype(jnp.int32))
    return rates.min() * DROP <= rates[0]
