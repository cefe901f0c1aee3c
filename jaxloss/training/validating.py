"""What the evaluations of a run have shown: the best params, and whether to stop."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PyTree

from jaxloss.compose.weighting import term_value
from jaxloss.training.convergence import Criterion, Observation, Verdict, running, select
from jaxloss.training.state import (
    Best,
    TrainState,
    TrainStep,
    better,
    copied,
    is_verdict,
    steps_of,
    watching,
)


class Validation(NamedTuple):
    """What the evaluations have shown so far."""

    step: Int[Array, ""]
    """steps taken before the last evaluation; -1 if there has been none"""
    verdict: Verdict
    tracker: PyTree
    """what the tracker keeps of them"""
    best: Best


def first_validation(tracker: Criterion | None, params: PyTree, model_state: PyTree) -> Validation:
    """No evaluation has been made yet."""
    return Validation(
        step=jnp.int32(-1),
        verdict=running(),
        tracker=watching(tracker),
        best=copied(Best(jnp.array(jnp.inf, float), params, model_state)),
    )


def next_validation(
    tracker: Criterion | None,
    validation: Validation,
    params: PyTree,
    model_state: PyTree,
    value: Float[Array, ""],
    step: Int[Array, ""],
) -> Validation:
    """One more evaluation has been made, after so many steps; if it is new."""
    verdict, watching = running(), validation.tracker
    if tracker is not None:
        watching, verdict = tracker.update(validation.tracker, Observation(value, step))
    best = better(validation.best, Best(value, params, model_state))
    updated = Validation(step, verdict, watching, best)
    return select(step > validation.step, updated, validation)


def reopened(validation: Validation) -> Validation:
    """The same as if it had stopped nothing."""
    return validation._replace(verdict=running())


class Validator:
    """The evaluations of a run."""

    validation: Validation

    def __init__(
        self,
        train_step: TrainStep,
        state: TrainState,
        evaluate: Callable[..., Any],
        tracker: Criterion | None,
    ) -> None:
        def update(
            validation: Validation, state: TrainState, evaluation: Any
        ) -> tuple[Validation, tuple[Array, Array]]:
            params, model_state = train_step.eval_params(state), state.model_state
            value, step = term_value(evaluation), state.step
            validation = next_validation(tracker, validation, params, model_state, value, step)
            return validation, (step, value)

        self._params = jax.jit(train_step.eval_params)
        self._update = jax.jit(update, donate_argnums=0)
        self._evaluate = evaluate
        self._watches = tracker is not None
        self._values: list[tuple[Array, Array]] = []
        begin = jax.jit(partial(first_validation, tracker))
        self.validation = begin(self._params(state), state.model_state)

    def evaluate(self, state: TrainState) -> bool:
        """Evaluate, and tell whether that says stop."""
        states = () if state.model_state is None else (state.model_state,)
        evaluation = self._evaluate(self._params(state), *states)
        evaluation = jax.tree.map(partial(beside, state.packed.integers), evaluation)
        self.validation, value = self._update(self.validation, state, evaluation)
        self._values.append(value)
        return self.has_stopped()

    def has_stopped(self) -> bool:
        """Whether the last evaluation said stop; it is waited for if there is a tracker."""
        return self._watches and is_verdict(self.validation.verdict.code)

    def finish(self, state: TrainState) -> None:
        """Evaluate, unless that has been done since the last step."""
        if int(jax.device_get(self.validation.step)) < steps_of(state):
            self.evaluate(state)

    def values(self) -> dict[int, float]:
        """The evaluations by the number of steps taken before."""
        values: dict[int, float] = {}
        for step, value in jax.device_get(self._values):
            values.setdefault(int(step), float(value))
        return values


def beside(there: Array, value: Any) -> Array:
    """``value`` on the devices of a replicated array, unless it is on some already."""
    return value if isinstance(value, jax.Array) else jax.device_put(value, there.sharding)
