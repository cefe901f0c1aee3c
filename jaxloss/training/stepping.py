"""The train step: one compiled function that updates, guards, watches and stops."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.core import Tracer
from jax.sharding import NamedSharding, PartitionSpec
from jaxtyping import Array, Bool, Float, Int, PyTree

from jaxloss.compose.balancing import Balancer
from jaxloss.core.checks import require_option
from jaxloss.core.inputs import Scalar, at_least_float32
from jaxloss.training.accumulating import (
    UNNAMED,
    Division,
    Problem,
    value_and_gradient,
    value_only,
)
from jaxloss.training.balancing import (
    Balance,
    Balanced,
    balanced_gradient,
    first_balance,
    require_balance,
)
from jaxloss.training.branching import update_few_if, update_if
from jaxloss.training.convergence import Criterion, Observation, Reason, running, select, verdict
from jaxloss.training.guarding import next_scale, squared_length, stay_finite
from jaxloss.training.measuring import measure_of
from jaxloss.training.optimizing import Optimizer, extra_arguments
from jaxloss.training.packing import Packed, pack, unpack
from jaxloss.training.state import (
    Best,
    Counters,
    StepReport,
    TrainState,
    TrainStep,
    copied,
    first_packed,
    packed_layout,
    unpacked,
)


class Recipe(NamedTuple):
    """The arguments of :func:`make_train_step`."""

    objective: Callable[..., Any]
    optimizer: Optimizer
    tracker: Criterion | None
    division: Division
    balance: Balance | None
    has_aux: bool
    has_model_state: bool
    extras: tuple[str, ...]
    max_bad: Scalar
    guard_update: bool
    keep_best: bool
    ema_decay: Scalar | None
    loss_scale: float | None
    scale_window: Scalar
    differentiate: Callable[[PyTree], PyTree] | None
    eval_params: Callable[[PyTree, PyTree], PyTree] | None


def make_train_step(
    objective: Callable[..., Any],
    optimizer: Optimizer,
    *,
    tracker: Criterion | None = None,
    accumulate: int = 1,
    balancer: Balancer | None = None,
    balanced: tuple[str, ...] = (),
    has_aux: bool = False,
    has_model_state: bool = False,
    extras: tuple[str, ...] = (),
    max_bad: Scalar = 10,
    guard_update: bool = False,
    keep_best: bool = False,
    ema_decay: Scalar | None = None,
    loss_scale: float | None = None,
    scale_window: Scalar = 2000,
    differentiate: Callable[[PyTree], PyTree] | None = None,
    eval_params: Callable[[PyTree, PyTree], PyTree] | None = None,
    axis_name: str | tuple[str, ...] | None = None,
) -> TrainStep:
    """Build the step that trains ``params`` on batch after batch.

    The step is compiled once and never waits for the host. It updates the state in place: pass each
    state once, and go on with the one returned. ``init`` copies the params, which stay yours.

    A step whose loss, gradient or model state is not finite changes neither params, optimizer nor
    model state. Once the tracker says stop, or ``max_bad`` steps in a row were not finite, further
    steps leave the whole state bit for bit as it is; so it does no harm to notice late.

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
            What compares the examples of a batch, a contrastive loss or BatchNorm, compares only
            those of a micro-batch.
        balancer: of :mod:`jaxloss.compose`, which in every step gives each of the terms that are
            ``balanced`` a weight beside its coefficient. The loss that is reported and tracked
            stays the sum without these weights, which change; the optimizer's is the one with them.
            A balancer that needs gradients takes a backward pass and the memory of a gradient for
            each term, any other a second forward pass if ``accumulate`` is more than 1.
        balanced: names of terms of the ``WeightedSum`` that the objective returns. Others, such as
            a penalty, keep their coefficients.
        has_aux: whether the objective returns a pair, of the above and anything else.
        has_model_state: whether it is called with ``(params, model_state, batch)`` and returns the
            next model state second: ``(loss, model_state)``, or ``(loss, model_state, aux)``.
        extras: what the objective wants as keyword arguments: ``"step"``, the steps taken, and
            ``"key"``, ``fold_in(key, step)``, folded in with the number of the micro-batch or
            device if there are several.
        max_bad: how many steps in a row may be not finite, the last of them stopping.
        guard_update: whether to leave out an update that is not finite, too, though the gradient
            was. That takes a second copy of params and optimizer state for the time of the update.
        keep_best: whether to keep, in ``state.best``, the params with the lowest loss.
        ema_decay: of a moving average of the params in ``state.ema``, early on no more than
            (1 + n) / (10 + n) after n updates.
        loss_scale: for float16, what to multiply the loss with before it is differentiated, to
            begin with. It is halved whenever the gradient overflows, which is not counted as bad
            until it is down to 1, and doubled after ``scale_window`` good steps in a row.
        differentiate: ``params`` to the part of them that the objective takes and the gradient is
            of: with ``optax.lookahead``, ``lambda params: params.fast``.
        eval_params: ``(opt_state, params)`` to the params to evaluate, instead of the moving
            average: ``optax.contrib.schedule_free_eval_params``.
        axis_name: of a mesh axis, if the step is mapped over it by ``jax.shard_map``, with the
            batch split and the state not. Plain ``jit`` of sharded arrays needs no name.

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
    recipe = Recipe(
        objective=objective,
        optimizer=optimizer,
        tracker=tracker,
        division=Division(accumulate, axis_name),
        balance=require_balance(balancer, balanced),
        has_aux=has_aux,
        has_model_state=has_model_state,
        extras=extras,
        max_bad=max_bad,
        guard_update=guard_update,
        keep_best=keep_best,
        ema_decay=ema_decay,
        loss_scale=loss_scale,
        scale_window=scale_window,
        differentiate=differentiate,
        eval_params=eval_params,
    )
    step = partial(take_step, recipe)

    def multi_step(state: TrainState, batches: PyTree) -> tuple[TrainState, StepReport]:
        return jax.lax.scan(step, state, batches)

    return TrainStep(
        init=partial(first_state, recipe),
        step=jax.jit(step, donate_argnums=0),
        multi_step=jax.jit(multi_step, donate_argnums=0),
        eval_params=partial(params_to_evaluate, recipe),
        tracker=tracker,
    )


def first_state(
    recipe: Recipe, params: PyTree, *, key: Array | None = None, model_state: PyTree = None
) -> TrainState:
    """A run that has not begun."""
    if "key" in recipe.extras and key is None:
        raise ValueError("make_train_step: init must be given a key, as extras has 'key'")
    if recipe.has_model_state and model_state is None:
        raise ValueError(
            "make_train_step: init must be given a model_state, as has_model_state is True"
        )
    params, infinite = copied(params), jnp.array(jnp.inf, float)
    state = TrainState(
        params=params,
        opt_state=recipe.optimizer.init(params),
        model_state=model_state,
        ema=None if recipe.ema_decay is None else jax.tree.map(at_least_float32, params),
        best=Best(infinite, params, model_state) if recipe.keep_best else None,
        key=key,
        balance=first_balance(recipe.balance),
        packed=first_packed(recipe.tracker, recipe.loss_scale),
    )
    return placed_beside(params, copied(state))


def take_step(recipe: Recipe, state: TrainState, batch: PyTree) -> tuple[TrainState, StepReport]:
    """Measure, update, watch: no update unless all is finite, and nothing at all after the stop."""
    before, _ = unpacked(recipe.tracker, state)
    live = before.verdict.code == Reason.RUNNING
    problem = problem_at(recipe, state, before, batch)
    scale = None if recipe.loss_scale is None else before.scale.scale
    at = differentiated(recipe, state.params)
    balanced = balanced_gradient(recipe.balance, state.balance, problem, at, scale)
    found, gradient = balanced.found, balanced.gradient
    loss, squares = found.terms.value(), squared_length(gradient)
    finite = jnp.isfinite(loss) & jnp.isfinite(squares)
    finite &= stay_finite(state.model_state, found.model_state)

    best, go = state.best, live & finite
    if best is not None:
        candidate = Best(loss.astype(best.value.dtype), state.params, state.model_state)
        best = update_if(go & (candidate.value < best.value), lambda _: candidate, best)
        go &= ~jnp.isnan(best.value)  # always so, but lets nothing be updated before it is copied

    params, opt_state, model_state, ema, _, key, balance, _ = state
    old = Changing(params, opt_state, model_state, ema, balance, jnp.bool_(False))
    change = partial(changed, recipe, before, balanced, like(at, gradient))
    new = update_if(go, change, old)
    finite &= new.made | ~live

    watch = partial(watched, recipe, *jax.lax.stop_gradient((loss, squares)), finite)
    packed = update_few_if(live, watch, jax.lax.stop_gradient(state.packed))
    params, opt_state, model_state, ema, balance, _ = new
    stepped = TrainState(params, opt_state, model_state, ema, best, key, balance, packed)
    report = StepReport(
        loss=jnp.where(live, loss, jnp.nan),
        terms={name: value for name, value in found.terms.values().items() if name != UNNAMED},
        weights=balanced.weights,
        gradient_norm=jnp.sqrt(squares),
        finite=finite,
        code=stepped.progress.verdict.code,
        aux=found.aux,
    )
    return stepped, report


class Changing(NamedTuple):
    """What an update changes, and whether it was made."""

    params: PyTree
    opt_state: PyTree
    model_state: PyTree
    ema: PyTree
    balance: PyTree
    made: Bool[Array, ""]


def changed(
    recipe: Recipe, before: Counters, balanced: Balanced, gradient: PyTree, old: Changing
) -> Changing:
    """What is after one more update, with the gradient in the dtypes of the params."""
    problem = balanced.problem

    def value_at(params: PyTree, *_: Any) -> Float[Array, ""]:
        return value_only(problem, params)

    def gradient_at(params: PyTree, *_: Any) -> PyTree:
        return like(params, value_and_gradient(problem, params)[1])

    offered = {
        "value": balanced.value,
        "grad": gradient,
        "value_fn": value_at,
        "grad_fn": gradient_at,
    }
    extra = extra_arguments(recipe.optimizer, gradient, old.opt_state, old.params, offered)
    updates, opt_state = recipe.optimizer.update(gradient, old.opt_state, old.params, **extra)
    params, ema = optax.apply_updates(old.params, updates), old.ema
    if recipe.ema_decay is not None:
        ema = moving_average(ema, params, recipe.ema_decay, before.updates + 1)
    model_state = balanced.found.model_state
    new = Changing(params, opt_state, model_state, ema, balanced.state, jnp.bool_(True))
    return select(jnp.isfinite(squared_length(updates)), new, old) if recipe.guard_update else new


def watched(
    recipe: Recipe,
    loss: Float[Array, ""],
    squares: Float[Array, ""],
    finite: Bool[Array, ""],
    packed: Packed,
) -> Packed:
    """Counters, verdict, and what the tracker keeps, after one more step."""
    before, watching = unpack(packed_layout(recipe.tracker), packed)
    step, judged = before.step + 1, running()
    if recipe.tracker is not None:
        observation = Observation(jnp.where(finite, loss, jnp.nan), step)
        watching, judged = recipe.tracker.update(watching, observation)
    overflow = jnp.isfinite(loss) & ~jnp.isfinite(squares) & (before.scale.scale > 1)
    bad = jnp.where(finite, 0, before.bad + (~overflow).astype(jnp.int32))
    broken = verdict(bad >= recipe.max_bad, Reason.NONFINITE, bad, recipe.max_bad)
    judged = select(broken.code != Reason.RUNNING, broken, judged)
    scale = before.scale
    if recipe.loss_scale is not None:
        scale = next_scale(scale, finite, overflow, recipe.scale_window)
    updates = before.updates + finite.astype(jnp.int32)
    return pack((Counters(step, updates, bad, judged, scale), watching))


def problem_at(recipe: Recipe, state: TrainState, before: Counters, batch: PyTree) -> Problem:
    """What is minimized in the next step."""
    key = state.key if "key" in recipe.extras else None
    measure = measure_of(
        recipe.objective,
        has_model_state=recipe.has_model_state,
        has_aux=recipe.has_aux,
        step=before.step if "step" in recipe.extras else None,
        key=None if key is None else jax.random.fold_in(key, before.step),
        axis_name=recipe.division.axis_name,
    )
    return Problem(measure, state.model_state, batch, recipe.division)


def differentiated(recipe: Recipe, params: PyTree) -> PyTree:
    """What the objective takes, of all that the optimizer updates."""
    return params if recipe.differentiate is None else recipe.differentiate(params)


def params_to_evaluate(recipe: Recipe, state: TrainState) -> PyTree:
    """What the optimizer means by its params, or their moving average, or just the params."""
    if recipe.eval_params is not None:
        return recipe.eval_params(state.opt_state, state.params)
    params = state.params if state.ema is None else like(state.params, state.ema)
    return differentiated(recipe, params)


def moving_average(ema: PyTree, params: PyTree, decay: Scalar, updates: Int[Array, ""]) -> PyTree:
    """The moving average after so many updates, in float32 at least."""
    count = updates.astype(jnp.float32)
    share = 1 - jnp.minimum(decay, (1 + count) / (10 + count))
    return jax.tree.map(
        lambda e, p: e + share.astype(e.dtype) * (p.astype(e.dtype) - e), ema, params
    )


def like(params: PyTree, tree: PyTree) -> PyTree:
    """``tree`` in the dtypes of ``params``."""
    return jax.tree.map(lambda x, p: x.astype(p.dtype), tree, params)


def placed_beside(params: PyTree, state: PyTree) -> PyTree:
    """``state`` with all of it on the mesh of ``params``, if they are on one; what is new, copied.

    Otherwise the first step would move it there, and be compiled once more than the others.
    """
    meshes = {
        x.sharding.mesh
        for x in jax.tree.leaves(params)
        if not isinstance(x, Tracer) and isinstance(x.sharding, NamedSharding)
    }
    if len(meshes) != 1:
        return state
    replicated = NamedSharding(meshes.pop(), PartitionSpec())

    def placed(x: Array) -> Array:
        if x.sharding.device_set == replicated.device_set:
            return x
        if jnp.issubdtype(x.dtype, jax.dtypes.prng_key):
            data = placed(jax.random.key_data(x))
            return jax.random.wrap_key_data(data, impl=jax.random.key_impl(x))
        # not by device_put, which refuses NaN on several processes for not being equal to itself
        numbers = np.asarray(x)
        return jax.make_array_from_callback(x.shape, replicated, lambda index: numbers[index])

    return jax.tree.map(placed, state)
