"""Statistics of logits, some columns at a time: as little memory as one likes.

A slice of the kernel gives a slice of the logits, of which the statistics keep a few numbers per
token. Their gradient makes each slice again: four matrix products in all, and of the gradient in
the kernel each slice is written once.
"""

import functools
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxloss.kernels.operands import (
    Operands,
    add_up,
    alike,
    carried,
    chosen,
    constant_weights,
    logits,
    product,
    unit_of,
    wide,
)
from jaxloss.kernels.plans import Plan, chunks_of
from jaxloss.kernels.reverse import ONE_BY_ONE, reverse_only
from jaxloss.kernels.statistics import (
    Columns,
    Known,
    State,
    Statistics,
    empty,
    finished,
    merged,
    merged_over,
    of_tile,
    slope,
)

PARTS = 16
"""Into how many equal parts the vocabulary is divided, if it can be; axes of meshes divide it."""


class Measure(NamedTuple):
    """What is to be known of the rows of logits."""

    wanted: tuple[str, ...]
    """names of :class:`Statistics`"""
    classes: int | None = None
    """how many columns exist; None: all"""
    axis: Any = None
    """the mesh axis over which the columns are divided"""

    def before(self, here: int) -> Array | int:
        """How many columns come before those of this device, if each has as many."""
        return 0 if self.axis is None else jax.lax.axis_index(self.axis) * here

    def completed(self, state: State) -> Known:
        """The statistics of rows of which all columns here are known."""
        whole = state if self.axis is None else merged_over(self.axis, state)
        return finished(whole, self.wanted)


def link(z: Float[Array, "*shape"], options: dict[str, Any]) -> Float[Array, "*shape"]:
    """What becomes of each logit by itself: bounded by a softcap, then divided by a temperature."""
    if options["softcap"] is not None:
        z = options["softcap"] * jnp.tanh(z / options["softcap"])
    return z if options["temperature"] is None else z / options["temperature"]


def row_statistics(measure: Measure, z: Float[Array, "rows columns"], labels: Any) -> Statistics:
    """Of whole rows of logits, or of what this device has of them along a mesh axis."""
    found: Any = _row_statistics(measure, z, labels)
    return found


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _row_statistics(measure: Measure, z: Array, labels: Any) -> Statistics:
    return _rows_forward(measure, z, labels)[0]


def _rows_forward(measure: Measure, z: Array, labels: Any) -> tuple[Statistics, Any]:
    found = measure.completed(of_tile(z, labels, _all(measure, z), measure.wanted))
    return found.statistics, (z, labels, found)


def _rows_backward(measure: Measure, kept: Any, cotangent: Statistics) -> tuple[Array, None]:
    z, labels, found = kept
    cotangent = cotangent._replace(prediction=None)
    return slope(z, labels, _all(measure, z), found, cotangent), None


def _all(measure: Measure, z: Array) -> Columns:
    here = z.shape[1]
    return Columns(0, here, 1, here, measure.before(here), measure.classes)


_row_statistics.defvjp(_rows_forward, _rows_backward)


def statistics(measure: Measure, plan: Plan, operands: Operands) -> Statistics:
    """Of the logits of each token, made some columns at a time.

    Differentiable more than once, but only in reverse.
    """

    def forward(operands: Operands, wanted: tuple[bool, ...]) -> tuple[Statistics, Any]:
        found = known(measure, plan, operands)
        return found.statistics, (operands, found)

    def backward(kept: Any, cotangent: Statistics, wanted: tuple[bool, ...]) -> list[Array]:
        operands, found = kept
        flags = jax.tree.unflatten(jax.tree.structure(operands), wanted)
        return pulled_back(measure, plan, flags, operands, found, cotangent)

    def value(operands: Operands) -> Statistics:
        return known(measure, plan, operands).statistics

    function = reverse_only(value, forward, backward, ONE_BY_ONE, again=True)
    return function(constant_weights(alike(operands)))


def known(measure: Measure, plan: Plan, operands: Operands) -> Known:
    """The statistics, and what their gradient needs again."""
    if plan.placed is not None:
        return plan.placed.known(measure, plan, operands)
    flat, batch = operands.flat(), operands.weights.shape
    start = empty(flat.weights.shape, wide(flat.hidden), measure.wanted)
    before = measure.before(flat.kernel.shape[1])
    found = measure.completed(seen(measure, plan, flat, start, before))
    return jax.tree.map(lambda x: x.reshape(batch), found)


def seen(measure: Measure, plan: Plan, flat: Operands, state: State, before: Array | int) -> State:
    """What is known of the rows after the columns here, of which so many come before."""
    apart = _apart(flat)

    def tile(part: tuple[Array, Any, State]) -> tuple[tuple[()], State]:
        hidden, rows, state = part

        def more(state: State, columns: Columns) -> State:
            z = _slice(apart, hidden, columns, plan)
            z = link(z.astype(wide(hidden)), flat.link)
            return merged(state, of_tile(z, rows["labels"], columns, measure.wanted))

        return (), _over_slices(more, state, measure, plan, apart.kernel, before)

    return add_up(tile, (flat.hidden, flat.rows, state), plan.tokens)[1]


def pulled_back(
    measure: Measure,
    plan: Plan,
    wanted: Operands,
    operands: Operands,
    found: Known,
    cotangent: Statistics,
) -> list[Array]:
    """The gradient in what is wanted, from that in the statistics."""
    if plan.placed is not None:
        return plan.placed.pulled_back(measure, plan, wanted, operands, found, cotangent)
    flat = operands.flat()
    found, cotangent = jax.tree.map(lambda x: x.reshape(-1), (found, cotangent))
    before = measure.before(flat.kernel.shape[1])
    hidden, kernel, bias, bounds = slopes(measure, plan, wanted, flat, found, cotangent, before)
    if plan.axis is not None:
        hidden, bounds = jax.lax.psum((hidden, bounds), plan.axis)
    gradient = zip([*hidden, *kernel, *bias, *bounds], chosen(operands, wanted), strict=True)
    return [g.reshape(x.shape).astype(x.dtype) for g, x in gradient]


def slopes(
    measure: Measure,
    plan: Plan,
    wanted: Operands,
    flat: Operands,
    found: Known,
    cotangent: Statistics,
    before: Array | int,
) -> tuple[list[Array], list[Array], list[Array], list[Array]]:
    """The gradients in hidden states, kernel, bias and link by way of the columns here.

    Each is a list, empty if it is not wanted. The first is a share of what all columns contribute.
    """
    apart, dtype = _apart(flat), wide(flat.hidden)
    unit = unit_of(flat.hidden, cotangent)
    cotangent = jax.tree.map(lambda x: x / unit, cotangent)
    arrays = (flat.hidden, flat.rows, found, cotangent)

    def tile(columns: Columns, part: Any) -> tuple[Any, Any]:
        hidden, rows, known, cotangent = part
        raw = _slice(apart, hidden, columns, plan).astype(dtype)
        z, back = jax.vjp(link, raw, flat.link)
        draw, dlink = back(slope(z, rows["labels"], columns, known, cotangent))
        dbias = [draw.sum(0) * unit] if wanted.bias else []
        draw = draw.astype(hidden.dtype)
        dkernel, dhidden = [], []
        if wanted.kernel:
            dkernel = [product(hidden, draw, (0, 0), dtype) * unit]
        if wanted.hidden:
            part = columns.of(apart.kernel).astype(hidden.dtype)
            dhidden = [product(draw, part, (1, 1), dtype) * unit]
        dlink = [g * unit for g in chosen(dlink, wanted.link)]
        return (dkernel, dbias, dlink), dhidden

    def more(sofar: Any, columns: Columns) -> Any:
        dhidden, dkernel, dbias, dlink = sofar
        (kernel, bias, links), hidden = add_up(
            functools.partial(tile, columns), arrays, plan.tokens
        )
        dhidden, dlink = jax.tree.map(jnp.add, (dhidden, dlink), (hidden, links))
        dkernel, dbias = jax.tree.map(columns.put, (dkernel, dbias), (kernel, bias))
        return dhidden, dkernel, dbias, dlink

    start = (
        [jnp.zeros(flat.hidden.shape, dtype)] if wanted.hidden else [],
        [jnp.zeros_like(apart.kernel)] if wanted.kernel else [],
        [jnp.zeros_like(apart.bias)] if wanted.bias else [],
        [jnp.zeros_like(x) for x in chosen(flat.link, wanted.link)],
    )
    dhidden, dkernel, dbias, dlink = _over_slices(more, start, measure, plan, apart.kernel, before)
    dkernel, dbias = jax.tree.map(lambda g: g.reshape(*g.shape[:-2], -1), (dkernel, dbias))
    return dhidden, dkernel, dbias, dlink


def _slice(
    operands: Operands, hidden: Float[Array, "rows features"], columns: Columns, plan: Plan
) -> Float[Array, "rows columns"]:
    """Some logits of some tokens."""
    bias = None if operands.bias is None else columns.of(operands.bias)
    dtype = plan.dtype or wide(hidden)
    return logits(hidden, columns.of(operands.kernel), bias, dtype)


def _apart(operands: Operands) -> Operands:
    """The vocabulary as two axes: equal parts, and what is in each.

    A slice is a stretch of each part. So devices that hold whole parts have a share in every slice,
    and the kernel stays where it is.
    """
    parts = math.gcd(operands.kernel.shape[-1], PARTS)
    kernel, bias = jax.tree.map(
        lambda x: x.reshape(*x.shape[:-1], parts, -1), (operands.kernel, operands.bias)
    )
    return operands._replace(kernel=kernel, bias=bias)


def _over_slices(
    more: Callable[[Any, Columns], Any],
    start: Any,
    measure: Measure,
    plan: Plan,
    kernel: Float[Array, "features parts size"],
    before: Array | int,
) -> Any:
    """Carry something from slice to slice of the vocabulary, what is left over being the last."""
    parts, size = kernel.shape[-2:]
    most = None if plan.columns is None else max(1, plan.columns // parts)
    count, length = chunks_of(size, most)
    columns = functools.partial(
        Columns, parts=parts, size=size, before=before, classes=measure.classes
    )

    def step(sofar: Any, index: Array) -> tuple[Any, None]:
        return more(sofar, columns(index * length, length)), None

    if count == 1:
        return more(start, columns(0, size))
    start = carried(start, lambda start: more(start, columns(0, length)))
    found, _ = jax.lax.scan(step, start, jnp.arange(count, dtype=jnp.int32))
    rest = size - count * length
    return more(found, columns(count * length, rest)) if rest else found
