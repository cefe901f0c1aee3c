"""The loop: batches in, a trained state and its curves out. What matters is in the step."""

import contextlib
import importlib
import importlib.util
import itertools
import signal
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float, Int, PyTree

from jaxloss.compose.weighting import term_value
from jaxloss.core.reducing import PartialMean
from jaxloss.training.convergence import (
    Criterion,
    Observation,
    Reason,
    Verdict,
    explain,
    running,
)
from jaxloss.training.state import Best, StepReport, TrainState, TrainStep, better
from jaxloss.training.stepping import copied

IN_FLIGHT = 2
"""Steps that the host may be ahead of the device."""


class History(NamedTuple):
    """The curves of a run, as numpy arrays of one element per step, or per evaluation."""

    step: np.ndarray
    """steps taken before the loss was measured"""
    loss: np.ndarray
    terms: dict[str, np.ndarray]
    evaluation_step: np.ndarray
    """steps taken before the evaluation"""
    evaluation: np.ndarray


class Fit(NamedTuple):
    """Where a run ended, and why."""

    state: TrainState
    history: History
    reason: Reason
    explanation: str
    best_params: PyTree
    """of the lowest evaluation; without evaluations those that ``keep_best`` kept, or None"""
    best_value: float | None


class Measurement(NamedTuple):
    """What the history keeps of a step."""

    loss: Float[ArrayLike, ""]
    terms: dict[str, Any]


class Validation(NamedTuple):
    """What the evaluations have shown so far."""

    value: Float[Array, ""]
    verdict: Verdict
    tracker: PyTree
    best: Best


def fit(
    train_step: TrainStep,
    state: TrainState,
    batches: Iterable[PyTree],
    *,
    steps: int | None = None,
    evaluate: Callable[[PyTree], Any] | None = None,
    evaluate_every: int = 100,
    tracker: Criterion | None = None,
    poll_every: int = 10,
    progress: bool = True,
    callbacks: Sequence[Callable[[int, TrainState, StepReport], Any]] = (),
) -> Fit:
    """Train until the batches end, or something says stop.

    The host keeps up to two steps ahead of the device and never makes it wait, but for the verdict
    on an evaluation. It looks at verdicts at fixed steps, so that all hosts of a cluster stop at
    the same one. The first Ctrl-C ends the run as if it had been told to, with all it has so far.

    Args:
        train_step: what updates the state; it holds the tracker that is fed with the loss.
        state: from ``train_step.init``, or of an earlier run, which is then continued. It is used
            up: go on with the one returned.
        batches: of any length; they may be numpy arrays. A few more may be drawn than are used,
            should the run stop early.
        steps: how many to take at most.
        evaluate: ``params`` to a scalar or a ``PartialMean``, the lower the better; called every
            ``evaluate_every`` steps and at the end. What it returns may still be on the device.
        evaluate_every: steps between evaluations, counted from the beginning of the whole run.
        tracker: what stops the run, fed with the evaluations.
        poll_every: steps between looks at the verdict on the loss, counted likewise.
        progress: whether to show a bar, if tqdm is installed.
        callbacks: each is called as ``callback(step, state, report)`` after every step, where
            ``step`` counts the steps taken. It waits for the device only if it looks at a value.

    Example:
        >>> import optax
        >>> from jaxloss.training import make_train_step
        >>> train = make_train_step(lambda x, batch: (x - batch) ** 2, optax.sgd(0.25))
        >>> state = train.init(jnp.float32(3.0))
        >>> result = fit(train, state, [jnp.float32(1.0)] * 3, progress=False)
        >>> result.history.loss, result.explanation
        (array([4.  , 1.  , 0.25], dtype=float32), 'exhausted: the batches ended after 3 steps')
    """
    require_counts(steps=steps, evaluate_every=evaluate_every, poll_every=poll_every)
    if tracker is not None and evaluate is None:
        raise ValueError("fit: tracker needs evaluate, whose values it is fed with, got None")
    start = taken = int(jax.device_get(state.step))
    stopped = is_verdict(state.progress.verdict.code)
    in_flight: list[StepReport] = []
    measured: list[Measurement] = []
    evaluations: dict[int, Array] = {}
    begin = jax.jit(lambda params: first_validation(tracker, params))
    update = jax.jit(lambda *seen: next_validation(tracker, *seen), donate_argnums=0)
    validation = None if evaluate is None else begin(state.params)

    def validate(evaluate: Callable[[PyTree], Any]) -> Validation:
        value = jax.device_put((evaluate(state.params), np.int32(taken)))
        validated = update(validation, state.params, *value)
        evaluations[taken] = validated.value
        return validated

    with interruptible() as interrupt, progress_bar(progress, steps) as bar:
        try:
            for batch in itertools.islice(batches, 0 if stopped else steps):
                state, report = train_step.step(state, jax.device_put(batch))
                taken += 1
                in_flight.append(report._replace(aux=None))
                if len(in_flight) > IN_FLIGHT:
                    jax.block_until_ready(in_flight[-1 - IN_FLIGHT].loss)
                for callback in callbacks:
                    callback(taken, state, report)

                if taken % poll_every == 0:
                    arrived, in_flight = in_flight[:-IN_FLIGHT], in_flight[-IN_FLIGHT:]
                    measured += fetched(arrived)
                    stopped = any(is_verdict(report.code) for report in arrived[-1:])
                    show(bar, measured)
                if evaluate is not None and taken % evaluate_every == 0:
                    validation = validate(evaluate)
                    if tracker is not None:
                        stopped |= is_verdict(validation.verdict.code)
                if stopped or interrupt.is_set():
                    break
        except KeyboardInterrupt:
            interrupt.set()
        measured += fetched(in_flight)
        show(bar, measured)

    # steps dispatched after the verdict left the state as it was: they are no part of the run
    taken = int(jax.device_get(state.step))
    measured = measured[: taken - start]
    evaluations = {step: value for step, value in evaluations.items() if step <= taken}
    if evaluate is not None and not interrupt.is_set() and taken not in evaluations:
        validation = validate(evaluate)

    verdict = jax.device_get(state.progress.verdict)
    if verdict.code == Reason.RUNNING and validation is not None:
        verdict = jax.device_get(validation.verdict)
    if verdict.code == Reason.RUNNING:
        verdict = ended(taken - start, steps, interrupt.is_set())
    best = state.progress.best if validation is None else validation.best
    return Fit(
        state=state,
        history=history_of(start, measured, evaluations),
        reason=Reason(int(verdict.code)),
        explanation=explain(verdict),
        best_params=None if best is None else jax.jit(copied)(best.params),
        best_value=None if best is None else float(jax.device_get(best.value)),
    )


def is_verdict(code: Int[Array, ""]) -> bool:
    """Whether ``code``, which is waited for, says stop."""
    return bool(jax.device_get(code) != Reason.RUNNING)


def fetched(reports: Sequence[StepReport]) -> list[Measurement]:
    """What the history keeps of ``reports``, copied to the host all at once."""
    return jax.device_get([Measurement(report.loss, report.terms) for report in reports])


def first_validation(tracker: Criterion | None, params: PyTree) -> Validation:
    """No evaluation has been made yet."""
    return Validation(
        value=jnp.array(jnp.nan, float),
        verdict=running(),
        tracker=None if tracker is None else tracker.init(),
        best=Best(jnp.array(jnp.inf, float), copied(params)),
    )


def next_validation(
    tracker: Criterion | None,
    validation: Validation,
    params: PyTree,
    evaluation: Array | PartialMean,
    step: Int[Array, ""],
) -> Validation:
    """One more evaluation has been made, of ``params``."""
    value = term_value(evaluation)
    verdict, watching = running(), validation.tracker
    if tracker is not None:
        watching, verdict = tracker.update(validation.tracker, Observation(value, step))
    value = value.astype(validation.value.dtype)
    return Validation(value, verdict, watching, better(validation.best, Best(value, params)))


def ended(taken: int, steps: int | None, interrupted: bool) -> Verdict:
    """Why a run ended that no criterion has stopped."""
    if interrupted:
        reason = Reason.INTERRUPTED
    elif taken == steps:
        reason = Reason.STEPS
    else:
        reason = Reason.EXHAUSTED
    count = np.float32(taken)
    return Verdict(*jax.device_put((np.int32(reason), count, count)))


def history_of(
    start: int, measured: Sequence[Measurement], evaluations: dict[int, Array]
) -> History:
    """The curves of a run that began at step ``start``."""
    names = measured[0].terms if measured else ()
    return History(
        step=np.arange(start, start + len(measured)),
        loss=np.array([m.loss for m in measured]),
        terms={name: np.array([m.terms[name] for m in measured]) for name in names},
        evaluation_step=np.array(list(evaluations), int),
        evaluation=np.array(jax.device_get(list(evaluations.values())), float),
    )


def require_counts(steps: int | None, **every: int) -> None:
    """Raise ``ValueError`` unless ``steps`` is not negative and ``every`` number is positive."""
    if steps is not None and steps < 0:
        raise ValueError(f"fit: steps must not be negative, got {steps}")
    for argument, number in every.items():
        if number < 1:
            raise ValueError(f"fit: {argument} must be at least 1, got {number}")


@contextlib.contextmanager
def interruptible() -> Iterator[threading.Event]:
    """Turn the first Ctrl-C into an event, which is safe to look at between two steps.

    An exception between a step and the assignment of its result would lose the state, whose
    buffers the step has used up. The second Ctrl-C raises as usual.
    """
    event = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield event
        return
    usual = signal.getsignal(signal.SIGINT)

    def interrupt(*_: Any) -> None:
        event.set()
        signal.signal(signal.SIGINT, usual)

    signal.signal(signal.SIGINT, interrupt)
    try:
        yield event
    finally:
        signal.signal(signal.SIGINT, usual)


def progress_bar(shown: bool, steps: int | None) -> contextlib.AbstractContextManager[Any]:
    """A bar over ``steps``; a context that holds None if it is not shown, or tqdm not there."""
    if shown and importlib.util.find_spec("tqdm"):
        return importlib.import_module("tqdm.auto").tqdm(total=steps)
    return contextlib.nullcontext()


def show(bar: Any, measured: Sequence[Measurement]) -> None:
    """Move ``bar``, if there is one, on to the last of the steps ``measured``."""
    if bar is not None and measured:
        bar.set_postfix(loss=f"{measured[-1].loss:.4g}", refresh=False)
        bar.update(len(measured) - bar.n)
