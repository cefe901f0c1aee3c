"""Stop at a value, at a step, or when nothing has happened for long enough."""

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from jaxloss.core.inputs import Scalar
from jaxloss.training.convergence.contract import (
    Criterion,
    Observation,
    Reason,
    Verdict,
    finite_only,
    margin,
    verdict,
)


class PatienceState(NamedTuple):
    """The value that the next gain is measured from, and checks since the last gain."""

    reference: Float[Array, ""]
    waited: Int[Array, ""]


def patience(checks: Scalar, *, atol: Scalar = 0.0, rtol: Scalar = 0.0) -> Criterion:
    """Stop after ``checks`` values in a row without a gain.

    The reference moves only when it is beaten by the margin, so that small steady gains add up to
    one. Meant for validation values; on a noisy training loss the best of many is luck, for which
    :func:`forecast`, or ``averaged(50, patience(20))``, is better. With 0 the first value without
    a gain stops, as with 1.

    Args:
        checks: how many values in a row may pass without a gain, the last of them stopping.
        atol, rtol: a gain is a fall of more than ``atol + rtol * |reference|``.

    Example:
        >>> from jaxloss.training.convergence import explain
        >>> criterion = patience(2)
        >>> state = criterion.init()
        >>> for step, value in enumerate([3.0, 2.0, 2.5, 2.5]):
        ...     state, judged = criterion.update(state, Observation(value, step))
        >>> explain(judged)
        'patience: no gain in 2 checks in a row, 2 allowed'
    """

    def init() -> PatienceState:
        return PatienceState(jnp.float32(jnp.inf), jnp.int32(0))

    def update(state: PatienceState, observation: Observation) -> tuple[PatienceState, Verdict]:
        reference = state.reference
        wanted = reference - margin(reference, atol, rtol)
        gained = jnp.isinf(reference) | (observation.value < wanted)
        waited = jnp.where(gained, 0, state.waited + 1)
        reference = jnp.where(gained, observation.value, reference)
        fired = ~gained & (waited >= checks)
        judged = verdict(fired, Reason.PATIENCE, waited, checks)
        return PatienceState(reference, waited), judged

    return finite_only(Criterion(init, update))


def target(value: Scalar) -> Criterion:
    """Stop at the first value that is no greater than ``value``."""

    def update(state: None, observation: Observation) -> tuple[None, Verdict]:
        reached = observation.value <= value
        return state, verdict(reached, Reason.TARGET, observation.value, value)

    return finite_only(Criterion(lambda: None, update))


def budget(steps: Scalar) -> Criterion:
    """Stop once ``steps`` steps have been taken."""

    def update(state: None, observation: Observation) -> tuple[None, Verdict]:
        taken = jnp.int32(observation.step)
        return state, verdict(taken >= steps, Reason.BUDGET, taken, steps)

    return Criterion(lambda: None, update)


def nonfinite(times: Scalar = 1) -> Criterion:
    """Stop after ``times`` values in a row that are NaN or infinite."""

    def update(state: Array, observation: Observation) -> tuple[Array, Verdict]:
        run = jnp.where(jnp.isfinite(observation.value), 0, state + 1)
        return run, verdict(run >= times, Reason.NONFINITE, run, times)

    return Criterion(lambda: jnp.int32(0), update)
