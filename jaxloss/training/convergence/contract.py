"""What a criterion is, what it is shown, and what it answers."""

from collections.abc import Callable
from enum import IntEnum
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from jaxloss.core.inputs import Scalar


class Observation(NamedTuple):
    """A value, the same on every device and host, and how many steps had been taken by then."""

    value: Float[Array, ""]
    step: Int[Array, ""]
    aux: dict[str, Any] | None = None
    """what else was measured, by name: a learning rate, a score, the loss on the training data"""


class Verdict(NamedTuple):
    """A :class:`Reason` to stop, or ``RUNNING``; the number it rests on, and its limit."""

    code: Int[Array, ""]
    statistic: Float[Array, ""]
    threshold: Float[Array, ""]


class Criterion(NamedTuple):
    """A rule for stopping: a pair of pure functions."""

    init: Callable[[], Any]
    """``() -> state``"""
    update: Callable[[Any, Observation], tuple[Any, Verdict]]
    """``(state, observation) -> (state, verdict)``"""


class Reason(IntEnum):
    """Why a run stopped."""

    RUNNING = 0
    CONVERGED = 1
    PLATEAU = 2
    PATIENCE = 3
    TARGET = 4
    BUDGET = 5
    NONFINITE = 6
    STEPS = 7
    EXHAUSTED = 8
    INTERRUPTED = 9
    SETTLED = 10
    DIVERGED = 11
    OVERFIT = 12
    STATIONARY = 13
    STALLED = 14


WORDS = {
    Reason.RUNNING: "no criterion has been met",
    Reason.CONVERGED: "{statistic:.0f} criteria have been met, {threshold:.0f} are wanted",
    Reason.PLATEAU: "training on would gain {statistic:.2g} at most, and {threshold:.2g} is wanted",
    Reason.PATIENCE: "no gain in {statistic:.0f} checks in a row, {threshold:.0f} allowed",
    Reason.TARGET: "the value {statistic:.4g} is no more than the wanted {threshold:.4g}",
    Reason.BUDGET: "step {statistic:.0f} has been reached, of {threshold:.0f} allowed",
    Reason.NONFINITE: "the loss, its gradient or the update was NaN or infinite "
    "{statistic:.0f} times in a row, {threshold:.0f} allowed",
    Reason.STEPS: "all {threshold:.0f} steps asked for were taken",
    Reason.EXHAUSTED: "the batches ended after {statistic:.0f} steps",
    Reason.INTERRUPTED: "from the keyboard after {statistic:.0f} steps",
    Reason.SETTLED: "the curves that fit the run so far agree that training on would gain "
    "less than the {threshold:.2g} wanted, {statistic:.2g} on average",
    Reason.DIVERGED: "the loss is {statistic:.2g} above its lowest level, "
    "where at most {threshold:.2g} can be explained",
    Reason.OVERFIT: "the validation value has worsened since its best, "
    "by {statistic:.4g} in the measure of the criterion, with {threshold:.4g} allowed",
    Reason.STATIONARY: "the params only fluctuate: drift and fluctuation balance up to "
    "{statistic:.2g}, with {threshold:.2g} allowed",
    Reason.STALLED: "the last stretch has gained {statistic:.2g}, and {threshold:.2g} is wanted",
}
RISING = "the loss is rising, by {loss:.2g} at least were training to go on"


def explain(verdict: Verdict) -> str:
    """Say in words why a run stopped.

    Example:
        >>> explain(verdict(True, Reason.TARGET, 0.01, 0.02))
        'target: the value 0.01 is no more than the wanted 0.02'
    """
    reason = Reason(int(verdict.code))
    statistic, threshold = float(verdict.statistic), float(verdict.threshold)
    rising = reason is Reason.PLATEAU and statistic < -threshold
    words = RISING if rising else WORDS[reason]
    said = words.format(statistic=statistic, threshold=threshold, loss=-statistic)
    return f"{reason.name.lower()}: {said}"


def verdict(
    fired: bool | Bool[Array, ""], reason: Reason, statistic: Scalar, threshold: Scalar
) -> Verdict:
    """``reason`` if ``fired``, else ``RUNNING``."""
    code = jnp.where(fired, jnp.int32(reason), jnp.int32(Reason.RUNNING))
    return Verdict(code, jnp.float32(statistic), jnp.float32(threshold))


def running() -> Verdict:
    """The verdict on a run of which nothing is known yet."""
    return Verdict(jnp.int32(Reason.RUNNING), jnp.float32(jnp.nan), jnp.float32(jnp.nan))


def margin(best: Float[Array, ""], atol: Scalar, rtol: Scalar) -> Float[Array, ""]:
    """How far below ``best`` a value must be to count as a gain."""
    return jnp.float32(atol) + jnp.float32(rtol) * jnp.abs(best)


def select(predicate: Bool[Array, ""], true: Any, false: Any) -> Any:
    """One of two pytrees, leaf by leaf and bit for bit."""
    return jax.tree.map(lambda a, b: jnp.where(predicate, a, b), true, false)


def finite_only(criterion: Criterion) -> Criterion:
    """Show ``criterion`` finite values only; any other leaves its state as it is."""

    def update(state: Any, observation: Observation) -> tuple[Any, Verdict]:
        value = jnp.float32(observation.value)
        finite = jnp.isfinite(value)
        step = jnp.int32(observation.step)
        seen = observation._replace(value=jnp.where(finite, value, 0), step=step)
        return jax.lax.cond(
            finite,
            lambda: criterion.update(state, seen),
            lambda: (state, running()),
        )

    return Criterion(criterion.init, update)
