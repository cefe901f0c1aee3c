"""The train step: one compiled function that updates, guards, watches and stops."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, Float, Int, PyTree

from jaxloss.compose.weighting import WeightedSum, require_scalar
from jaxloss.core.checks import require_option
from jaxloss.core.inputs import Scalar, at_least_float32
from jaxloss.core.reducing import PartialMean
from jaxloss.training.accumulating import UNNAMED, Measure, value_and_gradient, value_only
from jaxloss.training.convergence import (
    Criterion,
    Observation,
    Reason,
    Verdict,
    running,
    select,
    verdict,
)


class Best(NamedTuple):
    """The lowest value so far, and the params it was measured at."""

    value: Float[Array, ""]
    params: PyTree


class Progress(NamedTuple):
    """How the run is going. Once the verdict is in, the whole state stays as it is."""

    verdict: Verdict
    tracker: PyTree
    """the state of the tracker, if there is one"""
    bad: Int[Array, ""]
    """steps in a row in which something was not finite"""
    best: Best | None


class TrainState(NamedTuple):
    """A run as one pytree of arrays: what a checkpoint saves."""

    params: PyTree
    opt_state: PyTree
    step: Int[Array, ""]
    """steps taken, including those whose update was left out"""
    updates: Int[Array, ""]
    """updates made"""
    key: Array | None
    """never split: the key of step t is ``fold_in(key, t)``"""
    progress: Progress


class StepReport(NamedTuple):
    """What one step tells, all of it measured before its update."""

    loss: Float[Array, ""]
    """NaN once the run has stopped"""
    terms: dict[str, Float[Array, ""]]
    """of a :class:`~jaxloss.compose.WeightedSum`, each without its coefficient; else empty"""
    gradient_norm: Float[Array, ""]
    finite: Bool[Array, ""]
    """whether loss, gradient and update were; if not, the update was left out"""
    code: Int[Array, ""]
    """the :class:`~jaxloss.training.convergence.Reason` to stop, or ``RUNNING``"""
    aux: PyTree
    """what the objective returned beside; with micro-batches, stacked"""


class TrainStep(NamedTuple):
    """A way to train: a pair of functions."""

    init: Callable[..., TrainState]
    """``(params, *, key=None) -> state``"""
    step: Callable[[TrainState, PyTree], tuple[TrainState, StepReport]]
    """``(state, batch) -> (state, report)``, compiled; the state that is passed in is used up"""


def make_train_step(
    objective: Callable[..., Any],
    optimizer: optax.GradientTransformation | optax.MultiSteps,
    *,
    tracker: Criterion | None = None,
    accumulate: int = 1,
    has_aux: bool = False,
    extras: tuple[str, ...] = (),
    max_bad: Scalar = 10,
    keep_best: bool = False,
) -> TrainStep:
    """Build the step that trains ``params`` on batch after batch.

    The step is compiled once and never waits for the host. It updates the state in place: pass each
    state once, and go on with the one returned. ``init`` copies the params, which stay yours.

    A step whose loss, gradient or update is not finite changes neither params nor optimizer state.
    Once the tracker says stop, or ``max_bad`` steps in a row were not finite, further steps leave
    the state bit for bit as it is; so it does no harm to notice late.

    Args:
        objective: ``(params, batch)`` to a scalar, a
            :class:`~jaxloss.core.reducing.PartialMean`, or a
            :class:`~jaxloss.compose.WeightedSum` of these.
        optimizer: from optax; one that wants the value, the gradient or the function besides, such
            as ``optax.lbfgs``, gets them.
        tracker: what stops the run, fed with the loss, or NaN if the step was not finite.
        accumulate: in how many micro-batches to take each batch. The result is exactly that of
            the whole batch, also with masks and weights, for which the objective must return a
            ``PartialMean`` or a sum of such. Row i goes to micro-batch i modulo ``accumulate``.
        has_aux: whether the objective returns a pair, of the above and anything else.
        extras: what the objective wants as keyword arguments: ``"step"``, the steps taken, and
            ``"key"``, ``fold_in(key, step)``, folded in with the micro-batch's number if there
            are several.
        max_bad: how many steps in a row may be not finite, the last of them stopping.
        keep_best: whether to keep, in ``state.progress.best``, the params with the lowest loss.

    Example:
        >>> train = make_train_step(lambda x, batch: ((x - batch) ** 2).mean(), optax.sgd(0.5))
        >>> state = train.init(jnp.zeros(()))
        >>> state, report = train.step(state, jnp.array([1.0, 3.0]))
        >>> report.loss, state.params
        (Array(5., dtype=float32), Array(2., dtype=float32))
    """
    for extra in extras:
        require_option("make_train_step", "extras", extra, ("step", "key"))
    if accumulate < 1:
        raise ValueError(f"make_train_step: accumulate must be at least 1, got {accumulate}")

    def init(params: PyTree, *, key: Array | None = None) -> TrainState:
        if "key" in extras and key is None:
            raise ValueError("make_train_step: init must be given a key, as extras has 'key'")
        params = copied(params)
        progress = Progress(
            verdict=running(),
            tracker=None if tracker is None else tracker.init(),
            bad=jnp.int32(0),
            best=Best(jnp.array(jnp.inf, float), params) if keep_best else None,
        )
        zero = jnp.int32(0)
        return copied(TrainState(params, optimizer.init(params), zero, zero, key, progress))

    def step(state: TrainState, batch: PyTree) -> tuple[TrainState, StepReport]:
        measure = measured(objective, has_aux, extras, state)
        terms, gradient, aux = value_and_gradient(measure, state.params, batch, accumulate)
        loss, norm = terms.value(), length(gradient)
        gradient = jax.tree.map(lambda g, p: g.astype(p.dtype), gradient, state.params)

        def value_at(params: PyTree, *_: Any) -> Float[Array, ""]:
            return value_only(measure, params, batch, accumulate)

        def gradient_at(params: PyTree, *_: Any) -> PyTree:
            gradient = value_and_gradient(measure, params, batch, accumulate)[1]
            return jax.tree.map(lambda g, p: g.astype(p.dtype), gradient, params)

        extra = extra_arguments(optimizer, gradient, state, loss, value_at, gradient_at)
        updates, opt_state = optimizer.update(gradient, state.opt_state, state.params, **extra)
        params = optax.apply_updates(state.params, updates)

        finite = jnp.isfinite(loss) & jnp.isfinite(norm) & jnp.isfinite(length(updates))
        live = state.progress.verdict.code == Reason.RUNNING
        progress = watched(tracker, max_bad, state, loss, finite)
        stepped = TrainState(
            *select(live & finite, (params, opt_state), (state.params, state.opt_state)),
            step=state.step + live.astype(jnp.int32),
            updates=state.updates + (live & finite).astype(jnp.int32),
            key=state.key,
            progress=select(live, progress, state.progress),
        )
        report = StepReport(
            loss=jnp.where(live, loss, jnp.nan),
            terms={name: value for name, value in terms.values().items() if name != UNNAMED},
            gradient_norm=norm,
            finite=finite,
            code=stepped.progress.verdict.code,
            aux=aux,
        )
        return stepped, report

    return TrainStep(init, jax.jit(step, donate_argnums=0))


def measured(
    objective: Callable[..., Any], has_aux: bool, extras: tuple[str, ...], state: TrainState
) -> Measure:
    """``objective`` at the step of ``state``, as a sum of named terms."""

    def measure(
        params: PyTree, batch: PyTree, micro_batch: Int[Array, ""] | None
    ) -> tuple[WeightedSum, PyTree]:
        given = {}
        if "step" in extras:
            given["step"] = state.step
        if "key" in extras and state.key is not None:
            key = jax.random.fold_in(state.key, state.step)
            given["key"] = key if micro_batch is None else jax.random.fold_in(key, micro_batch)
        returned = objective(params, batch, **given)
        result, aux = returned if has_aux else (returned, None)
        return as_weighted_sum(result), aux

    return measure


def as_weighted_sum(result: Any) -> WeightedSum:
    """What an objective returned, in its most general form and at least float32."""
    if not isinstance(result, WeightedSum):
        if isinstance(result, tuple) and not isinstance(result, PartialMean):
            raise ValueError(
                "make_train_step: objective must return a scalar, a PartialMean or a WeightedSum, "
                f"and only with has_aux=True a pair, got a {type(result).__name__}"
            )
        require_scalar("make_train_step", "objective", result)
        result = WeightedSum({UNNAMED: result}, {UNNAMED: jnp.ones(())})
    return jax.tree.map(at_least_float32, result)


def extra_arguments(
    optimizer: optax.GradientTransformation | optax.MultiSteps,
    gradient: PyTree,
    state: TrainState,
    value: Float[Array, ""],
    value_at: Callable[..., Float[Array, ""]],
    gradient_at: Callable[..., PyTree],
) -> dict[str, Any]:
    """The keyword arguments that ``optimizer.update`` takes, found by tracing it.

    There is no set that suits all of optax: line searches refuse ``grad_fn``, sharpness-aware
    minimization refuses ``value``, and a plain optimizer refuses both.
    """
    menu = {"value": value, "grad": gradient, "value_fn": value_at, "grad_fn": gradient_at}
    for names in (("value", "grad", "value_fn"), ("grad_fn",), ("value",)):
        chosen = {name: menu[name] for name in names}
        try:
            jax.eval_shape(
                partial(optimizer.update, **chosen), gradient, state.opt_state, state.params
            )
        except (TypeError, ValueError):
            continue
        return chosen
    return {}  # if that does not suit either, what the optimizer says of it is raised


def watched(
    tracker: Criterion | None,
    max_bad: Scalar,
    state: TrainState,
    loss: Float[Array, ""],
    finite: Bool[Array, ""],
) -> Progress:
    """The progress of a run after one more step, measured at ``state``."""
    before = state.progress
    watching, judged = before.tracker, running()
    if tracker is not None:
        observation = Observation(jnp.where(finite, loss, jnp.nan), state.step + 1)
        watching, judged = tracker.update(before.tracker, observation)
    bad = jnp.where(finite, 0, before.bad + 1)
    broken = verdict(bad >= max_bad, Reason.NONFINITE, bad, max_bad)
    judged = select(broken.code != Reason.RUNNING, broken, judged)
    best = None if before.best is None else better(before.best, Best(loss, state.params))
    return Progress(judged, watching, bad, best)


def better(best: Best, other: Best) -> Best:
    """``other`` if its value is finite and lower, else ``best``."""
    value = other.value.astype(best.value.dtype)
    lower = jnp.isfinite(value) & (value < best.value)
    return select(lower, Best(value, other.params), best)


def length(tree: PyTree) -> Float[Array, ""]:
    """The Euclidean norm of all numbers in ``tree`` together.

    It is finite only if they are, and none is so large that its square is not. That square enters
    the state of Adam and its like, where it would be infinite ever after.
    """
    sizes = [at_least_float32(jnp.abs(leaf)) for leaf in jax.tree.leaves(tree)]
    # By columns first: the sum of all at once is one long chain of additions on a CPU.
    columns = [(size * size).sum(tuple(range(size.ndim - 1))) for size in sizes]
    return jnp.sqrt(sum((column.sum() for column in columns), start=jnp.zeros(())))


def copied(tree: PyTree) -> PyTree:
    """Every leaf as an array in a buffer of its own, so that it may be donated."""
    return jax.tree.map(lambda x: jnp.array(x, dtype=jnp.result_type(x), copy=True), tree)
