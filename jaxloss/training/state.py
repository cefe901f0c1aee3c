"""What a run is at one moment, as one pytree of arrays, and what a step tells of itself."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, PyTree

from jaxloss.training.convergence import Criterion, Reason, Verdict, running, select
from jaxloss.training.guarding import Scale
from jaxloss.training.packing import Layout, Packed, layout_of, pack, unpack


class Best(NamedTuple):
    """The lowest value so far, and the params it was measured at."""

    value: Float[Array, ""]
    params: PyTree
    model_state: PyTree


def better(best: Best, other: Best) -> Best:
    """``other`` if its value is finite and lower, else ``best``."""
    value = other.value.astype(best.value.dtype)
    lower = jnp.isfinite(value) & (value < best.value)
    return select(lower, other._replace(value=value), best)


class Counters(NamedTuple):
    """The numbers every run keeps, whatever watches it; the first in :class:`TrainState`."""

    step: Int[Array, ""]
    updates: Int[Array, ""]
    bad: Int[Array, ""]
    verdict: Verdict
    scale: Scale


class Progress(NamedTuple):
    """How the run is going. Once the verdict is in, the whole state stays as it is."""

    verdict: Verdict
    bad: Int[Array, ""]
    """steps in a row in which something was not finite"""
    best: Best | None
    """kept if ``keep_best``"""


class TrainState(NamedTuple):
    """A run as one pytree of arrays: what a checkpoint saves."""

    params: PyTree
    opt_state: PyTree
    model_state: PyTree
    """what the model carries along and no gradient reaches, such as the means of BatchNorm"""
    ema: PyTree
    """the moving average of the params, in float32 at least, if there is one"""
    best: Best | None
    key: Array | None
    """never split: the key of step t is ``fold_in(key, t)``"""
    balance: PyTree
    """what the balancer keeps, if there is one"""
    packed: Packed
    """counters, verdict and what the tracker keeps; see :func:`unpacked`"""

    @property
    def step(self) -> Int[Array, "*seeds"]:
        """Steps taken, including those whose update was left out."""
        return _at(self.packed.integers, 0)

    @property
    def updates(self) -> Int[Array, "*seeds"]:
        """Updates made."""
        return _at(self.packed.integers, 1)

    @property
    def progress(self) -> Progress:
        """How the run is going."""
        integers, floats = self.packed.integers, self.packed.floats
        verdict = Verdict(_at(integers, 3), _at(floats, 0), _at(floats, 1))
        return Progress(verdict, _at(integers, 2), self.best)

    @property
    def loss_scale(self) -> Float[Array, "*seeds"]:
        """What the loss is multiplied with before it is differentiated; 1 unless asked for."""
        return _at(self.packed.floats, 2)


class StepReport(NamedTuple):
    """What one step tells, all of it measured before its update."""

    loss: Float[Array, ""]
    """NaN once the run has stopped"""
    terms: dict[str, Float[Array, ""]]
    """of a :class:`~jaxloss.compose.WeightedSum`, each without its coefficient; else empty"""
    weights: dict[str, Float[Array, ""]]
    """what the balancer multiplied the terms and their coefficients with, if there is one"""
    gradient_norm: Float[Array, ""]
    finite: Bool[Array, ""]
    """whether all that is guarded was; if not, the update was left out"""
    code: Int[Array, ""]
    """the :class:`~jaxloss.training.convergence.Reason` to stop, or ``RUNNING``"""
    aux: PyTree
    """what the objective returned beside; with micro-batches, stacked"""


class TrainStep(NamedTuple):
    """A way to train: a handful of functions."""

    init: Callable[..., TrainState]
    """``(params, *, key=None, model_state=None) -> state``"""
    step: Callable[[TrainState, PyTree], tuple[TrainState, StepReport]]
    """``(state, batch) -> (state, report)``, compiled; the state that is passed in is used up"""
    multi_step: Callable[[TrainState, PyTree], tuple[TrainState, StepReport]]
    """as many steps as the first axis of every array of ``batch`` is long, in one program"""
    eval_params: Callable[[TrainState], PyTree]
    """the params to evaluate: the moving average, or what the optimizer means by it"""
    tracker: Criterion | None


def first_counters(scale: float | None) -> Counters:
    """Those of a run that has not begun."""
    zero = jnp.int32(0)
    start = Scale(jnp.float32(1 if scale is None else scale), zero)
    return Counters(zero, zero, zero, running(), start)


def unpacked(tracker: Criterion | None, state: TrainState) -> tuple[Counters, PyTree]:
    """The counters of ``state``, and what ``tracker`` keeps."""
    return unpack(packed_layout(tracker), state.packed)


def opened(tracker: Criterion | None, state: TrainState) -> dict[str, PyTree]:
    """``state`` with a name for everything in it, as it is saved."""
    counters, watching = unpacked(tracker, state)
    rest = {name: part for name, part in state._asdict().items() if name != "packed"}
    return rest | {"counters": counters, "tracker": watching}


def closed(parts: dict[str, PyTree], *, reopen: bool) -> TrainState:
    """The state that was opened; if ``reopen``, as if nothing had stopped it."""
    rest = {name: part for name, part in parts.items() if name in TrainState._fields}
    counters: Counters = parts["counters"]
    if reopen:
        counters = counters._replace(verdict=running(), bad=jnp.int32(0))
    return TrainState(**rest, packed=pack((counters, parts["tracker"])))


def packed_layout(tracker: Criterion | None) -> Layout:
    """Where counters and what ``tracker`` keeps are found in a state."""
    return layout_of(jax.eval_shape(lambda: (first_counters(None), watching(tracker))))


def first_packed(tracker: Criterion | None, scale: float | None) -> Packed:
    """The counters, and what ``tracker`` keeps, of a run that has not begun."""
    return pack((first_counters(scale), watching(tracker)))


def watching(tracker: Criterion | None) -> PyTree:
    """What ``tracker`` keeps of a run that has not begun."""
    return None if tracker is None else jax.tree.map(jnp.asarray, tracker.init())


def copied(tree: PyTree) -> PyTree:
    """Every leaf as an array in a buffer of its own, so that it may be donated."""
    return jax.tree.map(lambda x: jnp.array(x, dtype=jnp.result_type(x), copy=True), tree)


def is_verdict(code: Array) -> bool:
    """Whether ``code``, which is waited for, says stop."""
    return bool(jax.device_get(code) != Reason.RUNNING)


def steps_of(state: TrainState) -> int:
    """How many steps have been taken; they are waited for."""
    return int(jax.device_get(state.step))


def _at(vector: Array, i: int) -> Array:
    """One number of a packed vector; its index is static, so that none goes to the device."""
    return jax.lax.index_in_dim(vector, i, axis=-1, keepdims=False)
