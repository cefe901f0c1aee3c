"""What an objective of the user's is called with, and what it may return."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int, PyTree

from jaxloss.compose.weighting import WeightedSum, require_scalar
from jaxloss.core.inputs import at_least_float32
from jaxloss.core.reducing import PartialMean
from jaxloss.training.accumulating import UNNAMED, Measure, Measured


def measure_of(
    objective: Callable[..., Any],
    *,
    has_model_state: bool,
    has_aux: bool,
    step: Int[Array, ""] | None,
    key: Array | None,
    axis_name: str | tuple[str, ...] | None,
) -> Measure:
    """``objective`` as a function of params, model state, batch and the number of a micro-batch.

    It is passed ``step`` and ``key`` if they are given, and returns named terms.
    """

    def measure(
        params: PyTree, model_state: PyTree, batch: PyTree, micro_batch: Int[Array, ""] | None
    ) -> Measured:
        given: dict[str, Any] = {} if step is None else {"step": step}
        if key is not None:
            own = key if micro_batch is None else jax.random.fold_in(key, micro_batch)
            device = None if axis_name is None else jax.lax.axis_index(axis_name)
            given["key"] = own if device is None else jax.random.fold_in(own, device)
        states = (model_state,) if has_model_state else ()
        returned = objective(params, *states, batch, **given)
        wanted = 1 + has_model_state + has_aux
        if wanted == 1:
            return Measured(as_weighted_sum(returned), model_state, None)
        require_parts(returned, wanted, has_model_state, has_aux)
        if has_model_state:
            model_state = as_before(model_state, returned[1])
        aux = returned[-1] if has_aux else None
        return Measured(as_weighted_sum(returned[0]), model_state, aux)

    return measure


def as_weighted_sum(result: Any) -> WeightedSum:
    """What an objective returned, in its most general form and at least float32."""
    if not isinstance(result, WeightedSum):
        if isinstance(result, tuple) and not isinstance(result, PartialMean):
            raise ValueError(
                "make_train_step: objective must return a scalar, a PartialMean or a WeightedSum, "
                "and only with has_aux=True or has_model_state=True more than that, "
                f"got a {type(result).__name__}"
            )
        require_scalar("make_train_step", "objective", result)
        result = WeightedSum({UNNAMED: result}, {UNNAMED: jnp.ones(())})
    return jax.tree.map(at_least_float32, result)


def require_parts(returned: Any, wanted: int, has_model_state: bool, has_aux: bool) -> None:
    """Raise ``ValueError`` unless the objective returned a tuple of ``wanted``."""
    if isinstance(returned, PartialMean | WeightedSum) or not isinstance(returned, tuple):
        found = f"a {type(returned).__name__}"
    elif len(returned) != wanted:
        found = f"{len(returned)}"
    else:
        return
    parts = ["loss"] + ["model_state"] * has_model_state + ["aux"] * has_aux
    raise ValueError(
        f"make_train_step: objective must return ({', '.join(parts)}), as "
        f"has_model_state={has_model_state} and has_aux={has_aux}, got {found}"
    )


def as_before(before: PyTree, after: PyTree) -> PyTree:
    """The next model state, of the same structure, shapes and dtypes as the one before it."""
    wanted, found = jax.tree.structure(before), jax.tree.structure(after)
    if wanted != found:
        raise ValueError(
            "make_train_step: objective must return a model state of the same structure that it "
            f"was given, {wanted}, got {found}"
        )

    def same(path: Any, old: Array, new: Array) -> Array:
        if old.shape != new.shape:
            raise ValueError(
                "make_train_step: objective must return a model state of the same shapes that it "
                f"was given, {old.shape} at model_state{jax.tree_util.keystr(path)}, "
                f"got {new.shape}"
            )
        return new if new.dtype == old.dtype else new.astype(old.dtype)

    return jax.tree_util.tree_map_with_path(same, before, after)
