"""From checked inputs to a reduced loss, by whole rows or by columns, as the plan has it."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple, get_args

import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxloss.core.checks import (
    check_positive,
    poison_unless_class,
    require_floating,
    require_integer,
    require_option,
    require_rank,
    require_shape,
)
from jaxloss.core.inputs import Scalar, masked, selection
from jaxloss.core.reducing import Reduction, weighed
from jaxloss.core.summing import total as sum_of
from jaxloss.kernels import chunked, streamed
from jaxloss.kernels.operands import Operands, wide
from jaxloss.kernels.plans import Layer, Plan, fitted
from jaxloss.kernels.streamed import Measure, link, row_statistics

Options = dict[str, Scalar | None]


class Head(NamedTuple):
    """An output layer and what comes in: checked, and cleaned where nothing exists."""

    name: str
    """of the loss, for messages"""
    operands: Operands
    """with no weights yet"""
    classes: int | None
    poison: Float[Array, "*batch"]
    """NaN for a label out of range, or else 1"""
    where: Any
    plan: Plan | None
    memory: int | None


def head(
    name: str,
    hidden: Any,
    kernel: Any,
    labels: Any,
    *,
    bias: Any,
    classes: int | None,
    plan: Plan | None,
    memory: int | None,
    where: Any,
    softcap: Scalar | None = None,
    temperature: Scalar | None = None,
) -> Head:
    """Check everything that a fused loss is given, and clean it where ``where`` is false."""
    hidden, kernel = jnp.asarray(hidden), jnp.asarray(kernel)
    require_floating(name, hidden=hidden, kernel=kernel)
    require_rank(name, 1, wanted="one row of features per token", hidden=hidden)
    features, batch = hidden.shape[-1], hidden.shape[:-1]
    require_rank(name, 2, exact=True, wanted="features by classes", kernel=kernel)
    vocabulary = kernel.shape[1]
    require_shape(
        name, (features, vocabulary), wanted="one row per feature of hidden,", kernel=kernel
    )
    if bias is not None:
        bias = jnp.asarray(bias)
        require_floating(name, bias=bias)
        require_shape(name, (vocabulary,), wanted="one number per column of kernel,", bias=bias)
    if classes is not None and not 1 <= classes <= vocabulary:
        raise ValueError(f"{name}: classes must lie in [1, {vocabulary}], got {classes}")
    selected = selection(name, where, batch)
    dtype = wide(hidden)
    poison = jnp.ones(batch, dtype)
    if labels is not None:
        labels = jnp.asarray(labels)
        require_integer(name, labels=labels)
        require_shape(name, batch, wanted="one class id per row of hidden,", labels=labels)
        labels, count = masked(labels, selected), classes or vocabulary
        poison = poison_unless_class(name, labels, count).astype(dtype)
        labels = labels.clip(0, count - 1).astype(jnp.int32)
    bounds = {"softcap": softcap, "temperature": temperature}
    operands = Operands(
        hidden=masked(hidden, selected),
        kernel=kernel,
        bias=bias,
        rows={"labels": labels},
        weights=None,
        options={},
        link={
            key: None if value is None else check_positive(name, key, value).astype(dtype)
            for key, value in bounds.items()
        },
    )
    only_some = None if classes == vocabulary else classes
    return Head(name, operands, only_some, poison, where, plan, memory)


Loss = Callable[[Any, Any], Array]
"""``(statistics, options) -> one loss per row``; a function of a module, so that it is hashable."""


class Measured(NamedTuple):
    """A loss on rows of logits that only needs to know some of their statistics."""

    measure: Measure
    loss: Loss

    def __call__(self, z: Array, rows: Any, options: Any, bounds: Any) -> Array:
        """The loss of each row."""
        found = row_statistics(self.measure, link(z, bounds), rows["labels"])
        return self.loss(found, options)


def reduced(
    head: Head,
    loss: Loss,
    wanted: tuple[str, ...],
    options: Options,
    weights: Any,
    reduction: Reduction,
) -> Float[Array, "..."]:
    """A loss that follows from statistics, weighed and reduced like any other."""
    plan = planned(head, per_token=reduction == "none")
    measure = Measure(wanted, head.classes, plan.axis)
    dtype = wide(head.operands.hidden)
    given = {k: None if v is None else jnp.asarray(v).astype(dtype) for k, v in options.items()}
    operands = head.operands._replace(options=given)

    def per_token(operands: Operands) -> Float[Array, "*batch"]:
        found = streamed.statistics(measure, plan, operands._replace(options={}))
        return loss(found, operands.options)

    def total(operands: Operands) -> Float[Array, ""]:
        if plan.columns is None:
            return chunked.total(Measured(measure, loss), plan, operands)
        return chunked.weighed_sum(per_token(operands), operands.weights)

    return _reduced(head, per_token, total, operands, weights, reduction)


def by_rows(
    head: Head,
    rule: chunked.Rule,
    plan: Plan,
    operands: Operands,
    weights: Any,
    reduction: Reduction,
) -> Float[Array, "..."]:
    """A loss on whole rows of logits, weighed and reduced like any other."""
    per_token = functools.partial(chunked.per_token, rule, plan)
    total = functools.partial(chunked.total, rule, plan)
    return _reduced(head, per_token, total, operands, weights, reduction)


def _reduced(
    head: Head,
    per_token: Callable[[Operands], Array],
    total: Callable[[Operands], Array],
    operands: Operands,
    weights: Any,
    reduction: Reduction,
) -> Float[Array, "..."]:
    """As :func:`jaxloss.core.reducing.reduce` does, but with a sum that knows its weights.

    They are divided by their total beforehand: the gradient of a mean is then ready as it is made.
    """
    require_option(head.name, "reduction", reduction, get_args(Reduction))
    _, weight = weighed(head.name, jnp.zeros_like(head.poison), head.where, weights)
    if reduction == "mean":
        constant = head.where is None and weights is None  # its sum is folded, also if it is huge
        mass = weight.sum() if constant else sum_of(weight)
        weight = weight / jnp.where(mass == 0, 1, mass)
    operands = operands._replace(weights=weight * head.poison)
    if reduction == "none":
        losses = per_token(operands)
        return operands.weights * jnp.where(operands.weights == 0, 0, losses)
    return total(operands)


def planned(head: Head, *, per_token: bool) -> Plan:
    """The plan for these shapes."""
    if head.plan is not None and head.plan.placed is not None:  # and fitted, to a device's share
        return head.plan
    layer = layer_of(head.operands.hidden, head.operands.kernel)
    return fitted(head.name, layer, plan=head.plan, memory=head.memory, per_token=per_token)


def layer_of(hidden: Array, kernel: Array) -> Layer:
    """The sizes that a plan depends on."""
    return Layer(
        tokens=hidden.size // max(hidden.shape[-1], 1),
        features=hidden.shape[-1],
        vocabulary=kernel.shape[1],
        item=hidden.dtype.itemsize,
        kernel_item=kernel.dtype.itemsize,
        wide=jnp.dtype(wide(hidden)).itemsize,
    )
