"""Criteria made of criteria: several at once, later, on another number, or all over again."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Bool, Float

from jaxloss.core.inputs import Scalar
from jaxloss.training.convergence.contract import (
    Criterion,
    Observation,
    Reason,
    Verdict,
    running,
    select,
    verdict,
)

Predicate = Callable[[Observation], ArrayLike]
"""Something to be told from an observation, yes or no."""


def any_of(**criteria: Criterion) -> Criterion:
    """Stop when the first of several criteria does; of two at once, the one named first.

    Example:
        >>> from jaxloss.training.convergence import averaged, budget, nonfinite, plateau
        >>> criterion = any_of(bad=nonfinite(3), flat=averaged(50, plateau()), end=budget(10_000))
    """
    require_criteria("any_of", criteria)

    def update(states: dict[str, Any], observation: Observation) -> tuple[dict[str, Any], Verdict]:
        states, verdicts = update_each(criteria, states, observation)
        first = running()
        for judged in reversed(verdicts.values()):
            first = select(judged.code != Reason.RUNNING, judged, first)
        return states, first

    return Criterion(lambda: init_each(criteria), update)


class LatchedState(NamedTuple):
    """The state of each criterion, and whether it has ever been met."""

    inner: dict[str, Any]
    met: dict[str, Bool[Array, ""]]


def all_of(**criteria: Criterion) -> Criterion:
    """Stop once each of several criteria has been met, not necessarily at the same time."""
    require_criteria("all_of", criteria)
    return k_of_n(len(criteria), **criteria)


def k_of_n(k: int, /, **criteria: Criterion) -> Criterion:
    """Stop once ``k`` of several criteria have been met, not necessarily at the same time."""
    require_criteria("k_of_n", criteria)
    if not 1 <= k <= len(criteria):
        raise ValueError(f"k_of_n: k must be between 1 and {len(criteria)}, got {k}")

    def init() -> LatchedState:
        return LatchedState(init_each(criteria), {name: jnp.bool_(False) for name in criteria})

    def update(state: LatchedState, observation: Observation) -> tuple[LatchedState, Verdict]:
        inner, verdicts = update_each(criteria, state.inner, observation)
        met = {
            name: state.met[name] | (judged.code != Reason.RUNNING)
            for name, judged in verdicts.items()
        }
        how_many = jnp.stack(list(met.values())).sum(dtype=jnp.int32)
        return LatchedState(inner, met), verdict(how_many >= k, Reason.CONVERGED, how_many, k)

    return Criterion(init, update)


def after(step: Scalar, criterion: Criterion) -> Criterion:
    """Let ``criterion`` watch from the beginning, but stop nothing before ``step``."""
    return unless(lambda observation: observation.step < step, criterion)


def unless(predicate: Predicate, criterion: Criterion) -> Criterion:
    """Let ``criterion`` watch always, but stop nothing while ``predicate(observation)`` holds.

    Example:
        >>> from jaxloss.training.convergence import patience
        >>> warming_up = lambda observation: observation.aux["learning_rate"] < 0.01
        >>> criterion = unless(warming_up, patience(10))
    """

    def update(state: Any, observation: Observation) -> tuple[Any, Verdict]:
        state, judged = criterion.update(state, observation)
        return state, select(jnp.asarray(predicate(observation)), running(), judged)

    return Criterion(criterion.init, update)


def on(metric: str, criterion: Criterion) -> Criterion:
    """Show ``criterion`` the number ``aux[metric]`` in place of the value.

    Example:
        >>> from jaxloss.training.convergence import patience
        >>> criterion = on("error_rate", patience(1))
        >>> state = criterion.init()
        >>> for step, rate in enumerate([0.5, 0.5]):
        ...     observation = Observation(1.0, step, {"error_rate": rate})
        ...     state, judged = criterion.update(state, observation)
        >>> Reason(int(judged.code))
        <Reason.PATIENCE: 3>
    """

    def update(state: Any, observation: Observation) -> tuple[Any, Verdict]:
        value = measured("on", metric, observation)
        return criterion.update(state, observation._replace(value=value))

    return Criterion(criterion.init, update)


def reset_when(predicate: Predicate, criterion: Criterion) -> Criterion:
    """Let ``criterion`` begin anew with each observation for which ``predicate`` holds.

    What was learnt of a run is worth nothing after the data have been switched. Put it outside
    of :func:`averaged`, which passes on the last of many observations only.

    Example:
        >>> from jaxloss.training.convergence import averaged, plateau
        >>> switched = lambda observation: observation.step == 5000
        >>> criterion = reset_when(switched, averaged(50, plateau()))
    """

    def update(state: Any, observation: Observation) -> tuple[Any, Verdict]:
        begin_anew = jnp.asarray(predicate(observation))
        state = jax.lax.cond(begin_anew, criterion.init, lambda: state)
        return criterion.update(state, observation)

    return Criterion(criterion.init, update)


class RegimeState(NamedTuple):
    """The state of the criterion, and the quantity in whose regime it has begun."""

    inner: Any
    quantity: Float[Array, ""]


def reset_on_change(
    quantity: Callable[[Observation], ArrayLike], criterion: Criterion, *, factor: Scalar = 2.0
) -> Criterion:
    """Let ``criterion`` begin anew whenever a quantity has changed by ``factor``, up or down.

    The change is counted from when it last began: a learning rate that decays smoothly begins a new
    regime each time it has halved.

    Args:
        quantity: of an observation; positive, as a learning rate is.
        criterion: what is reset.
        factor: the ratio, greater than 1, that makes a new regime.

    Example:
        >>> import optax
        >>> from jaxloss.training.convergence import averaged, forecast
        >>> schedule = optax.piecewise_constant_schedule(0.1, {30_000: 0.1})
        >>> criterion = reset_on_change(lambda seen: schedule(seen.step), averaged(50, forecast()))
    """

    def init() -> RegimeState:
        return RegimeState(criterion.init(), jnp.float32(jnp.nan))

    def update(state: RegimeState, observation: Observation) -> tuple[RegimeState, Verdict]:
        now = jnp.float32(quantity(observation))
        ratio = jnp.maximum(now, state.quantity) / jnp.minimum(now, state.quantity)
        changed = ratio >= factor  # false at the first one, where the ratio is NaN
        inner = jax.lax.cond(changed, criterion.init, lambda: state.inner)
        inner, judged = criterion.update(inner, observation)
        known = ~jnp.isnan(state.quantity) & ~changed
        return RegimeState(inner, jnp.where(known, state.quantity, now)), judged

    return Criterion(init, update)


def measured(name: str, metric: str, observation: Observation) -> Any:
    """``observation.aux[metric]``, or a ``ValueError`` that says what there is."""
    aux = observation.aux or {}
    if metric not in aux:
        raise ValueError(f"{name}: observation.aux must hold {metric!r}, got {sorted(aux)}")
    return aux[metric]


def require_criteria(name: str, criteria: dict[str, Criterion]) -> None:
    """Raise ``ValueError`` if there are none."""
    if not criteria:
        raise ValueError(f"{name}: criteria must be given by name, got none")


def init_each(criteria: dict[str, Criterion]) -> dict[str, Any]:
    """The first state of each criterion."""
    return {name: criterion.init() for name, criterion in criteria.items()}


def update_each(
    criteria: dict[str, Criterion], states: dict[str, Any], observation: Observation
) -> tuple[dict[str, Any], dict[str, Verdict]]:
    """The next state and the verdict of each criterion."""
    updated = {
        name: criterion.update(states[name], observation) for name, criterion in criteria.items()
    }
    states = {name: state for name, (state, _) in updated.items()}
    return states, {name: judged for name, (_, judged) in updated.items()}
