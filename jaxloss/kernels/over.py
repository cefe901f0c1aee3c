"""Any loss on logits, fused with the output layer that makes them."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Bool, Float, Real

from jaxloss.core.inputs import Scalar
from jaxloss.core.reducing import Reduction, broadcast_where
from jaxloss.kernels.plans import Plan
from jaxloss.kernels.reducing import by_rows, head, planned


def over_linear(loss: Callable[..., Any]) -> Callable[..., Array]:
    r"""Fuse any loss on rows of logits with the output layer that makes them.

    .. math::
        L = \sum_i w_i\, \ell(h_i W + b, \dots) \Big/ \sum_i w_i

    The logits of some tokens at a time are made, looked at by the loss, and turned into the
    gradients in ``hidden`` and ``kernel`` at once: three matrix products in all, and no array of
    the size of all logits. For the loss it makes no difference.

    Args:
        loss: any loss of this library that takes rows of logits, or another with the same
            conventions: called as ``loss(logits, *arrays, reduction="none", **options)``, with
            ``where=`` if that was given, it returns one number per row. It must not look from one
            row at another, nor hold arrays of its own that are differentiated.

    Returns:
        ``fused(hidden, kernel, *arrays, bias=None, classes=None, plan=None, memory=None,
        where=None, weights=None, reduction="mean", **options)``, as
        :func:`jaxloss.kernels.linear_softmax_cross_entropy`. Each of the ``arrays`` has the leading
        axes of ``hidden``; they, and the options that are numbers, may be differentiated.

    Example:
        >>> from jaxloss.losses import classification
        >>> focal = over_linear(classification.softmax_focal)
        >>> hidden, kernel, labels = jnp.ones((3, 8)), jnp.zeros((8, 2)), jnp.array([0, 1, 1])
        >>> focal(hidden, kernel, labels, gamma=2.0)  # (1/2)^2 log 2
        Array(0.1732868, dtype=float32)
    """

    def fused(
        hidden: Float[ArrayLike, "*batch features"],
        kernel: Float[ArrayLike, "features vocabulary"],
        *arrays: ArrayLike,
        bias: Float[ArrayLike, " vocabulary"] | None = None,
        classes: int | None = None,
        plan: Plan | None = None,
        memory: int | None = None,
        where: Bool[ArrayLike, "*#batch"] | None = None,
        weights: Real[ArrayLike, "..."] | None = None,
        reduction: Reduction = "mean",
        **options: Any,
    ) -> Float[Array, "..."]:
        numbers = float | jax.Array | np.ndarray | np.generic
        traced = {k: v for k, v in options.items() if isinstance(v, numbers)}
        static = tuple((k, v) for k, v in options.items() if k not in traced)
        return _fused(
            loss, plan, memory, static, classes, reduction,
            hidden, kernel, arrays, bias, where, weights, traced,
        )  # fmt: skip

    return fused


class Dense(NamedTuple):
    """A loss that looks at whole rows of logits."""

    loss: Callable[..., Any]
    static: tuple[tuple[str, Any], ...]
    """options that are no numbers"""
    classes: int | None

    def __call__(self, z: Array, rows: Any, options: Any, bounds: Any) -> Array:
        """The loss of each row."""
        z = z if self.classes is None else z[:, : self.classes]
        where = {} if rows["where"] is None else {"where": rows["where"]}
        found = self.loss(
            z, *rows["arrays"], **where, **options, **dict(self.static), reduction="none"
        )
        if jnp.shape(found) != z.shape[:1]:
            raise ValueError(
                f"over_linear: loss must return one number per row, {z.shape[:1]}, "
                f"got shape {jnp.shape(found)}"
            )
        return found.astype(z.dtype)


@functools.partial(jax.jit, static_argnums=(0, 1, 2, 3, 4, 5))
def _fused(
    loss: Callable[..., Any],
    plan: Plan | None,
    memory: int | None,
    static: tuple[tuple[str, Any], ...],
    classes: int | None,
    reduction: Reduction,
    hidden: Any,
    kernel: Any,
    arrays: Any,
    bias: Any,
    where: Any,
    weights: Any,
    options: dict[str, Scalar],
) -> Float[Array, "..."]:
    name = "over_linear"
    if plan is not None and (plan.columns or plan.axis) is not None:
        raise ValueError(f"{name}: plan must leave rows whole, as a loss sees them, got {plan}")
    layer = head(name, hidden, kernel, None, bias=bias, classes=classes, plan=plan, memory=memory,
                 where=where)  # fmt: skip
    batch = layer.poison.shape
    arrays = [jnp.asarray(array) for array in arrays]
    for position, array in enumerate(arrays):
        if array.shape[: len(batch)] != batch:
            raise ValueError(
                f"{name}: arrays[{position}] must have the leading axes of hidden, {batch}, "
                f"got shape {array.shape}"
            )
    exists = None if where is None else broadcast_where(name, where, batch)
    rows = {"arrays": arrays, "where": exists}
    operands = layer.operands._replace(rows=rows, options=options)
    plan = planned(layer, per_token=False)
    rule = Dense(loss, static, layer.classes)
    return by_rows(layer, rule, plan, operands, weights, reduction)
