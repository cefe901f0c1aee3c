"""What an optimizer of optax wants to be called with, besides the gradient."""

from collections.abc import Mapping
from functools import partial
from typing import Any

import jax
import optax
from jaxtyping import PyTree

Optimizer = optax.GradientTransformation | optax.MultiSteps
"""What updates params."""
MENUS = (("value", "grad", "value_fn"), ("grad_fn",), ("value",))
"""There is no set that suits all of optax: line searches refuse ``grad_fn``, sharpness-aware
minimization refuses ``value``, and a plain optimizer refuses both."""


def extra_arguments(
    optimizer: Optimizer,
    gradient: PyTree,
    opt_state: PyTree,
    params: PyTree,
    offered: Mapping[str, Any],
) -> dict[str, Any]:
    """The keyword arguments, of those offered, that ``optimizer.update`` takes; by tracing it."""
    for names in MENUS:
        chosen = {name: offered[name] for name in names}
        try:
            jax.eval_shape(partial(optimizer.update, **chosen), gradient, opt_state, params)
        except (TypeError, ValueError):
            continue
        return chosen
    return {}  # if that does not suit either, what the optimizer says of it is raised
