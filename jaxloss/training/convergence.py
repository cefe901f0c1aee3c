"""When to stop: criteria that run on the device, inside the compiled step.

A :class:`Criterion` looks at one value after another, a loss or a validation score, and says when
it has seen enough. Lower is better: negate an accuracy. Its state is a small pytree of arrays, so
it works in ``jit``, ``scan``, ``while_loop`` and ``vmap``, and is saved with the rest of a run.

A value that is NaN or infinite never counts as an improvement, nor touches any state but that of
:func:`nonfinite`. A gain is one that exceeds ``atol + rtol * |best|``, right for any sign.
"""

from collections.abc import Callable
from enum import IntEnum
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from jaxloss.core.inputs import Scalar
from jaxloss.training import history

CAPACITY = 64
"""Blocks that :func:`plateau` keeps of a run."""
MIN_BLOCKS = 32
"""Blocks it wants to see before it judges."""


class Observation(NamedTuple):
    """A value, the same on every device and host, and how many steps had been taken by then."""

    value: Float[Array, ""]
    step: Int[Array, ""]


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


def explain(verdict: Verdict) -> str:
    """Say in words why a run stopped.

    Example:
        >>> explain(patience(3).update(patience(3).init(), Observation(1.0, 0))[1])
        'running: no criterion has been met'
    """
    reason = Reason(int(verdict.code))
    statistic, threshold = float(verdict.statistic), float(verdict.threshold)
    if reason is Reason.PLATEAU and statistic < -threshold:
        words = "the loss is rising, by {loss:.2g} at least were training to go on"
    else:
        words = {
            Reason.RUNNING: "no criterion has been met",
            Reason.CONVERGED: "all {threshold:.0f} criteria have been met",
            Reason.PLATEAU: "training on would gain {statistic:.2g} at most, "
            "and {threshold:.2g} is wanted",
            Reason.PATIENCE: "no gain in {statistic:.0f} checks in a row, {threshold:.0f} allowed",
            Reason.TARGET: "the value {statistic:.4g} is no more than the wanted {threshold:.4g}",
            Reason.BUDGET: "step {statistic:.0f} has been reached, of {threshold:.0f} allowed",
            Reason.NONFINITE: "the loss, its gradient or the update was NaN or infinite "
            "{statistic:.0f} times in a row, {threshold:.0f} allowed",
            Reason.STEPS: "all {threshold:.0f} steps asked for were taken",
            Reason.EXHAUSTED: "the batches ended after {statistic:.0f} steps",
            Reason.INTERRUPTED: "from the keyboard after {statistic:.0f} steps",
        }[reason]
    said = words.format(statistic=statistic, threshold=threshold, loss=-statistic)
    return f"{reason.name.lower()}: {said}"


def verdict(
    fired: Bool[Array, ""], reason: Reason, statistic: Scalar, threshold: Scalar
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
        seen = Observation(jnp.where(finite, value, 0), jnp.int32(observation.step))
        updated, judged = criterion.update(state, seen)
        return select(finite, updated, state), select(finite, judged, running())

    return Criterion(criterion.init, update)


class PatienceState(NamedTuple):
    """The value that the next gain is measured from, and checks since the last gain."""

    reference: Float[Array, ""]
    waited: Int[Array, ""]


def patience(checks: Scalar, *, atol: Scalar = 0.0, rtol: Scalar = 0.0) -> Criterion:
    """Stop after ``checks`` values in a row without a gain.

    The reference moves only when it is beaten by the margin, so that small steady gains add up to
    one. Meant for validation values; on a noisy training loss the best of many is luck, for which
    :func:`plateau`, or ``averaged(50, patience(20))``, is better. With 0 the first value without
    a gain stops, as with 1.

    Args:
        checks: how many values in a row may pass without a gain, the last of them stopping.
        atol, rtol: a gain is a fall of more than ``atol + rtol * |reference|``.

    Example:
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


class PlateauState(NamedTuple):
    """The run so far, and block closings in a row that found it flat."""

    blocks: history.BlockHistory
    hits: Int[Array, ""]


def plateau(
    *,
    atol: Scalar = 0.0,
    rtol: Scalar = 1e-2,
    horizon: Scalar = 0.5,
    budget: Scalar | None = None,
    min_observations: Scalar | None = None,
    confidence: Scalar = 0.95,
    hits: Scalar = 2,
) -> Criterion:
    r"""Stop once training on is confidently not worth it.

    With slope :math:`b` of the last half of the run, :math:`s` its standard error and :math:`H`
    the observations still to come, it stops when

    .. math::
        (t_{n-2} s - b)\, H \le \text{atol} + \text{rtol}\, |\text{level}|

    This is a test of *equivalence*: noise makes it wait, where a rule that stops as soon as no
    trend can be shown would stop the sooner the noisier the loss. As losses flatten, a slope of
    the past overrates the gain to come, so it errs towards stopping late. It cannot foresee a drop
    after a long flat stretch, such as a scheduled cut of the learning rate: use :func:`after`, or
    ``budget``. On a training loss use it within :func:`averaged`.

    Args:
        atol, rtol: the gain that would be worth going on for, ``atol + rtol * |level|``.
        horizon: :math:`H` as a share of the observations so far.
        budget: the observations the run is meant to have; :math:`H` is then what is left of them.
        min_observations: no verdict before that many; a fifth of ``budget`` by default, else 0.
        confidence: of the bound on the gain; one-sided.
        hits: how often in a row, at the closing of a block, the bound must hold.

    Example:
        >>> criterion = plateau()
        >>> state = criterion.init()
        >>> for step in range(33):
        ...     state, judged = criterion.update(state, Observation(2.0, step))
        >>> explain(judged)
        'plateau: training on would gain 0 at most, and 0.02 is wanted'
    """
    if min_observations is None:
        min_observations = 0 if budget is None else 0.2 * budget

    def init() -> PlateauState:
        return PlateauState(history.empty(CAPACITY), jnp.int32(0))

    def update(state: PlateauState, observation: Observation) -> tuple[PlateauState, Verdict]:
        blocks, closed = history.push(state.blocks, observation.value)
        seen = blocks.seen.astype(jnp.float32)
        ahead = horizon * seen if budget is None else jnp.maximum(budget - seen, 1)
        line = history.trend(blocks)
        degrees = jnp.maximum(line.blocks.astype(jnp.float32) - 2, 1)
        quantile = history.student_quantile(confidence, degrees)
        gain = (quantile * line.standard_error - line.slope) * ahead
        wanted = margin(line.level, atol, rtol)

        tested = closed & (blocks.blocks >= MIN_BLOCKS) & (seen >= min_observations)
        found = jnp.where(tested, jnp.where(gain <= wanted, state.hits + 1, 0), state.hits)
        fired = tested & (found >= hits)
        return PlateauState(blocks, found), verdict(fired, Reason.PLATEAU, gain, wanted)

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


class AveragedState(NamedTuple):
    """The state of the averaged criterion, and the mean of the values it has not seen yet."""

    inner: Any
    mean: Float[Array, ""]
    gathered: Int[Array, ""]


def averaged(every: Scalar, criterion: Criterion) -> Criterion:
    """Show ``criterion`` the mean of each ``every`` finite values instead of the values.

    What ``criterion`` counts, such as checks or a budget of observations, are then means.
    """

    def init() -> AveragedState:
        return AveragedState(criterion.init(), jnp.float32(0), jnp.int32(0))

    def update(state: AveragedState, observation: Observation) -> tuple[AveragedState, Verdict]:
        gathered = state.gathered + 1
        mean = state.mean + (observation.value - state.mean) / gathered.astype(jnp.float32)

        def show() -> tuple[AveragedState, Verdict]:
            inner, judged = criterion.update(state.inner, Observation(mean, observation.step))
            return AveragedState(inner, jnp.float32(0), jnp.int32(0)), judged

        def gather() -> tuple[AveragedState, Verdict]:
            return AveragedState(state.inner, mean, gathered), running()

        return jax.lax.cond(gathered >= every, show, gather)

    return finite_only(Criterion(init, update))


def after(step: Scalar, criterion: Criterion) -> Criterion:
    """Let ``criterion`` watch from the beginning, but stop nothing before ``step``."""

    def update(state: Any, observation: Observation) -> tuple[Any, Verdict]:
        state, judged = criterion.update(state, observation)
        return state, select(jnp.int32(observation.step) >= step, judged, running())

    return Criterion(criterion.init, update)


def any_of(**criteria: Criterion) -> Criterion:
    """Stop when the first of several criteria does; of two at once, the one named first.

    Example:
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


class AllOfState(NamedTuple):
    """The state of each criterion, and whether it has ever been met."""

    inner: dict[str, Any]
    met: dict[str, Bool[Array, ""]]


def all_of(**criteria: Criterion) -> Criterion:
    """Stop once each of several criteria has been met, not necessarily at the same time."""
    require_criteria("all_of", criteria)

    def init() -> AllOfState:
        return AllOfState(init_each(criteria), {name: jnp.bool_(False) for name in criteria})

    def update(state: AllOfState, observation: Observation) -> tuple[AllOfState, Verdict]:
        inner, verdicts = update_each(criteria, state.inner, observation)
        met = {
            name: state.met[name] | (judged.code != Reason.RUNNING)
            for name, judged in verdicts.items()
        }
        how_many = jnp.stack(list(met.values())).sum(dtype=jnp.int32)
        judged = verdict(how_many == len(criteria), Reason.CONVERGED, how_many, len(criteria))
        return AllOfState(inner, met), judged

    return Criterion(init, update)


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
