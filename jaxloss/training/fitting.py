"""The loop: batches in, a trained state and its curves out. What matters is in the step."""

import contextlib
import itertools
import logging
import signal
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec
from jaxtyping import PyTree

from jaxloss.training.checkpointing import Checkpoints, Restored, Saver
from jaxloss.training.convergence import Criterion, Reason, Verdict, explain
from jaxloss.training.feeding import Batches, batches_from, require_resumable
from jaxloss.training.interrupting import agreed, interruptible, is_cluster
from jaxloss.training.recording import History, Recorder, progress_bar, show
from jaxloss.training.state import StepReport, TrainState, TrainStep, copied, is_verdict, steps_of
from jaxloss.training.validating import Validator

IN_FLIGHT = 2
"""Calls of the step that the host may be ahead of the device."""
LOGGER = logging.getLogger("jaxloss.training")


class Fit(NamedTuple):
    """Where a run ended, and why."""

    state: TrainState
    history: History
    reason: Reason
    explanation: str
    best_params: PyTree
    """of the lowest evaluation; without evaluations those that ``keep_best`` kept, or None"""
    best_value: float | None
    best_model_state: PyTree
    restored: Restored | None
    """what the run was continued from, without its arrays"""


def fit(
    train_step: TrainStep,
    state: TrainState,
    batches: Batches,
    *,
    steps: int | None = None,
    evaluate: Callable[..., Any] | None = None,
    evaluate_every: int = 100,
    tracker: Criterion | None = None,
    poll_every: int = 10,
    steps_per_call: int = 1,
    sharding: NamedSharding | None = None,
    checkpoints: Checkpoints | None = None,
    progress: bool = True,
    callbacks: Sequence[Callable[[int, TrainState, StepReport], Any]] = (),
) -> Fit:
    """Train until the batches end, or something says stop.

    The host keeps up to two steps ahead of the device and never makes it wait, but for the verdict
    on an evaluation. It looks at verdicts at fixed steps, so that all hosts of a cluster stop at
    the same one. The first Ctrl-C or SIGTERM ends the run, on all hosts, as if it had been told to,
    with all it has so far.

    Between two steps comes first the evaluation, then its tracker, then the checkpoint. So a run
    that is killed, and started again by the same call, goes on as if nothing had happened, and
    ends in the same state bit for bit.

    Args:
        train_step: what updates the state; it holds the tracker that is fed with the loss.
        state: from ``train_step.init``, or of an earlier run, which is then continued. It is used
            up: go on with the one returned.
        batches: an iterable of any length, or a function of the steps taken in the whole run; of
            numpy arrays, perhaps. A few more may be drawn than are used, should the run stop early.
        steps: how many to take at most, those of a run found in ``checkpoints`` included.
        evaluate: ``params``, or ``(params, model_state)`` if there is one, to a scalar or a
            ``PartialMean``, the lower the better; called every ``evaluate_every`` steps and at the
            end. What it returns may still be on the device.
        evaluate_every: steps between evaluations, counted from the beginning of the whole run.
        tracker: what stops the run, fed with the evaluations.
        poll_every: steps between looks at the verdict on the loss, counted likewise.
        steps_per_call: how many steps to take in one compiled program, with as many batches at
            once. Nothing else happens between these.
        sharding: where to put a batch; with several processes each gives its own rows of it.
        checkpoints: where to save the run. If one is there already, it is continued, and ``state``
            tells only what is wanted; ``batches`` must then be a function, a sequence, or an
            iterator with ``get_state`` and ``set_state``.
        progress: whether to show a bar, if tqdm is installed.
        callbacks: each is called as ``callback(step, state, report)`` after every call of the step,
            where ``step`` counts the steps taken. It waits for the device only if it looks at a
            value.

    Example:
        >>> import optax
        >>> from jaxloss.training import make_train_step
        >>> train = make_train_step(lambda x, batch: (x - batch) ** 2, optax.sgd(0.25))
        >>> state = train.init(jnp.float32(3.0))
        >>> result = fit(train, state, [jnp.float32(1.0)] * 3, progress=False)
        >>> result.history.loss, result.explanation
        (array([4.  , 1.  , 0.25], dtype=float32), 'exhausted: the batches ended after 3 steps')
    """
    require_counts(
        steps=steps,
        evaluate_every=evaluate_every,
        poll_every=poll_every,
        steps_per_call=steps_per_call,
    )
    if tracker is not None and evaluate is None:
        raise ValueError("fit: tracker needs evaluate, whose values it is fed with, got None")
    if checkpoints is not None:
        require_resumable(batches)
        require_counts(None, **{"checkpoints.every": checkpoints.every})
    begun = steps_of(state)
    validator = None if evaluate is None else Validator(train_step, state, evaluate, tracker)
    with contextlib.ExitStack() as stack:
        interrupt = stack.enter_context(interruptible())
        saver = restored = None
        if checkpoints is not None:
            saver = stack.enter_context(Saver(checkpoints, train_step, batches))
            state, restored = saver.restore(state, validator)
        start = taken = steps_of(state)
        limit = None if steps is None else max(start, begun + steps)
        bar = stack.enter_context(progress_bar(progress, steps))
        recorder, asked = Recorder(IN_FLIGHT), None
        stopped = is_verdict(state.progress.verdict.code)
        stopped |= validator is not None and validator.has_stopped()
        left = 0 if stopped else None if limit is None else limit - taken
        feed = calls(batches_from(batches, begun, start), left, steps_per_call)
        try:
            for batch, count in feed:
                step = train_step.step if count == 1 else train_step.multi_step
                state, report = step(state, placed(batch, sharding, count))
                before, taken = taken, taken + count
                recorder.add(report)
                for callback in callbacks:
                    callback(taken, state, report)

                if is_due(poll_every, before, taken):
                    stopped = recorder.poll()
                    show(bar, start - begun, recorder)
                    if is_cluster():
                        asked = agreed(interrupt)
                if validator is not None and is_due(evaluate_every, before, taken):
                    stopped |= validator.evaluate(state)
                if not is_cluster():
                    asked = interrupt.signal
                if stopped or asked or taken == limit:
                    break
                if saver is not None and is_due(saver.every, before, taken):
                    saver.save(taken, state, validator)
        except KeyboardInterrupt:
            if is_cluster():
                raise
            asked = signal.SIGINT
        recorder.finish()
        show(bar, start - begun, recorder)

        # steps dispatched after the verdict left the state as it was: they are no part of the run
        dispatched, taken = taken, steps_of(state)
        if validator is not None and not asked:
            validator.finish(state)
        if saver is not None:
            saver.save(dispatched, state, validator)

    verdict = jax.device_get(state.progress.verdict)
    if verdict.code == Reason.RUNNING and validator is not None:
        verdict = jax.device_get(validator.validation.verdict)
    if verdict.code == Reason.RUNNING:
        verdict = ended(taken - begun, taken == limit, asked)
    best = state.best if validator is None else validator.validation.best
    best = None if best is None else jax.jit(copied)(best)
    result = Fit(
        state=state,
        history=recorder.history(start, taken, {} if validator is None else validator.values()),
        reason=Reason(int(verdict.code)),
        explanation=explained(verdict, asked),
        best_params=None if best is None else best.params,
        best_value=None if best is None else float(jax.device_get(best.value)),
        best_model_state=None if best is None else best.model_state,
        restored=restored,
    )
    LOGGER.info("%s", result.explanation)
    return result


def calls(
    batches: Iterator[PyTree], steps: int | None, steps_per_call: int
) -> Iterator[tuple[PyTree, int]]:
    """What the step is called with, and how many steps that is: what is left over, one by one."""
    batches = itertools.islice(batches, steps)
    if steps_per_call > 1:
        while len(group := list(itertools.islice(batches, steps_per_call))) == steps_per_call:
            yield jax.tree.map(stacked, *group), steps_per_call
        batches = iter(group)
    for batch in batches:
        yield batch, 1


def stacked(*arrays: Any) -> Any:
    """Arrays along a new first axis, where they are."""
    on_device = any(isinstance(array, jax.Array) for array in arrays)
    return jnp.stack(arrays) if on_device else np.stack(arrays)


def placed(batch: PyTree, sharding: NamedSharding | None, count: int) -> PyTree:
    """A batch, or ``count`` of them stacked, on the devices."""
    if sharding is None:
        return jax.device_put(batch)
    if count > 1:
        sharding = NamedSharding(sharding.mesh, PartitionSpec(None, *sharding.spec))
    if is_cluster():
        put = partial(jax.make_array_from_process_local_data, sharding)
        return jax.tree.map(lambda x: x if isinstance(x, jax.Array) else put(x), batch)
    return jax.device_put(batch, sharding)


def is_due(every: int, before: int, after: int) -> bool:
    """Whether a multiple of ``every`` has been reached with the last steps."""
    return after // every > before // every


def ended(taken: int, at_limit: bool, asked: signal.Signals | None) -> Verdict:
    """Why a run ended that no criterion has stopped."""
    unasked = Reason.STEPS if at_limit else Reason.EXHAUSTED
    reason = Reason.INTERRUPTED if asked else unasked
    count = np.float32(taken)
    return Verdict(*jax.device_put((np.int32(reason), count, count)))


def explained(verdict: Verdict, asked: signal.Signals | None) -> str:
    """Why the run ended, in words."""
    if verdict.code == Reason.INTERRUPTED and asked == signal.SIGTERM:
        return f"interrupted: by SIGTERM after {int(verdict.statistic)} steps"
    return explain(verdict)


def require_counts(steps: int | None, **every: int) -> None:
    """Raise ``ValueError`` unless ``steps`` is not negative and ``every`` number is positive."""
    if steps is not None and steps < 0:
        raise ValueError(f"fit: steps must not be negative, got {steps}")
    for argument, number in every.items():
        if number < 1:
            raise ValueError(f"fit: {argument} must be at least 1, got {number}")
