"""Any loss on logits, some tokens at a time: gradients are made together with the value.

As soon as a tile of logits exists, so can the gradient in it, and with that the two products that
give the gradients in what came in and in the kernel. So the logits are made once: three products in
all, two for a kernel that is held constant, one without gradients. The gradients then wait for the
number that they are still to be multiplied with.
"""

import functools
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.custom_derivatives import SymbolicZero
from jaxtyping import Array, Float

from jaxloss.kernels.operands import (
    Operands,
    Product,
    add_up,
    alike,
    carried,
    chosen,
    constant_weights,
    logits,
    product,
    replaced,
    unit_of,
    waiting,
    wide,
)
from jaxloss.kernels.plans import Plan, block_of, blocks_of, chunks_of
from jaxloss.kernels.reverse import ONE_BY_ONE, reverse_only

Rule = Callable[[Array, Any, Any, Any], Array]
"""``(logits, rows, options, link) -> one loss per row``; hashable."""


@functools.partial(jax.custom_jvp, nondiff_argnums=(0, 1))
def total(rule: Rule, plan: Plan, operands: Operands) -> Float[Array, ""]:
    """The weighted sum of the losses of all tokens.

    Differentiable in both modes, and more than once.
    """
    return weighed_sum(losses(rule, plan, operands), operands.weights)


def _total_jvp(
    rule: Rule, plan: Plan, primals: tuple[Any, ...], tangents: tuple[Any, ...]
) -> tuple[Array, Array]:
    (operands,), (moving,) = primals, tangents
    wanted = jax.tree.map(lambda t: not isinstance(t, SymbolicZero), moving)
    found, gradient = losses_and_gradient(rule, plan, wanted, operands)
    value = weighed_sum(found, operands.weights)
    slopes = zip(gradient, chosen(moving, wanted), strict=True)
    terms = [(g.astype(value.dtype) * t.astype(value.dtype)).sum() for g, t in slopes]
    return value, sum(terms, jnp.zeros_like(value))


total.defjvp(_total_jvp, symbolic_zeros=True)


def per_token(rule: Rule, plan: Plan, operands: Operands) -> Float[Array, "*batch"]:
    """The loss of each token, not weighed; for its gradient, logits are made a second time.

    Differentiable more than once, but only in reverse.
    """

    def forward(operands: Operands, wanted: tuple[bool, ...]) -> tuple[Array, Operands]:
        return losses(rule, plan, operands), operands

    def backward(operands: Operands, slope: Array, wanted: tuple[bool, ...]) -> list[Array]:
        flags = jax.tree.unflatten(jax.tree.structure(operands), wanted)
        weighed = operands._replace(weights=slope)
        _, gradient = losses_and_gradient(rule, plan, flags, weighed)
        results = zip(gradient, chosen(operands, flags), strict=True)
        return [g.astype(x.dtype) for g, x in results]

    value = functools.partial(losses, rule, plan)
    function = reverse_only(value, forward, backward, ONE_BY_ONE, again=True)
    return function(constant_weights(alike(operands)))


def losses(rule: Rule, plan: Plan, operands: Operands) -> Float[Array, "*batch"]:
    """The loss of each token, not weighed."""
    if plan.placed is not None:
        return plan.placed.losses(rule, plan, operands)
    flat, batch = operands.flat(), operands.weights.shape
    dtype = jnp.dtype(plan.dtype or wide(flat.hidden))
    most = plan.tokens
    if dtype != flat.hidden.dtype:
        row = math.prod(flat.hidden.shape[1:-1])
        most = min(most or flat.hidden.shape[0], block_of(row, flat.kernel.shape[1], dtype))

    def tile(part: tuple[Array, Any]) -> tuple[tuple[()], Array]:
        hidden, rows = part
        z = logits(hidden, flat.kernel, flat.bias, dtype)
        return (), rule(z.astype(wide(hidden)), rows, flat.options, flat.link)

    return add_up(tile, (flat.hidden, flat.rows), most)[1].reshape(batch)


def losses_and_gradient(
    rule: Rule, plan: Plan, wanted: Operands, operands: Operands
) -> tuple[Float[Array, "*batch"], list[Array]]:
    """The loss of each token, and the gradient of their weighed sum in what is wanted."""
    if plan.placed is not None:
        return plan.placed.losses_and_gradient(rule, plan, wanted, operands)
    flat = operands.flat()
    unit = unit_of(flat.hidden, flat.weights)
    tile = functools.partial(_tile, rule, plan, wanted, flat, unit)
    sums, entries = add_up(tile, (flat.hidden, flat.rows, flat.weights), plan.tokens)
    found, hidden, rows = entries
    kernel, bias, options, link = sums
    if plan.axis is not None:
        hidden, link = jax.lax.psum((hidden, link), plan.axis)
    parts = (hidden, kernel, bias, rows, [found] if wanted.weights else [], options, link)
    gradient = [g for part in parts for g in part]
    shapes = chosen(operands, wanted)
    results = zip(gradient, shapes, strict=True)
    return found.reshape(operands.weights.shape), [
        g.reshape(x.shape).astype(waiting(x)) for g, x in results
    ]


def _tile(
    rule: Rule,
    plan: Plan,
    wanted: Operands,
    operands: Operands,
    unit: Array,
    part: tuple[Array, Any, Array],
) -> tuple[Any, Any]:
    """Of some rows: what adds up over the rows, and what there is one of for each.

    The parts of the gradient are lists, empty where none is wanted.
    """
    hidden, rows, weights = part
    kernel, bias, dtype = operands.kernel, operands.bias, wide(hidden)
    tile_dtype = jnp.dtype(plan.dtype or dtype)
    sloped = bool(wanted.hidden or wanted.kernel or wanted.bias)
    make = functools.partial(logits, kernel=kernel, bias=bias, dtype=tile_dtype)
    shape = functools.partial(_slopes, rule, wanted, operands)
    order, weights = Order(1, hidden.shape[0], 0), weights / unit
    if not sloped:
        dz, found, (drows, dshared) = shape(make(hidden), rows, weights)
    elif tile_dtype == hidden.dtype:
        dz, found, (drows, dshared) = _in_place(shape, make(hidden), rows, weights)
    else:
        order, dz, found, (drows, dshared) = _narrowed(shape, make, hidden, rows, weights)
    dz = dz.astype(hidden.dtype)
    dhidden, dkernel = [], []
    if wanted.hidden:
        back = product(dz, kernel.astype(hidden.dtype), (dz.ndim - 1, 1), dtype) * unit
        back = order.restored(back)
        dhidden = [back if plan.axis is not None else back.astype(waiting(hidden))]
    if wanted.kernel:
        last = hidden.shape[0] == operands.hidden.shape[0] and kernel.dtype == hidden.dtype
        kind = waiting(hidden) if last else dtype
        dkernel = [Product(order.blocks(hidden), dz, kind, unit)]
    drows, doptions, dlink, dbias = jax.tree.map(
        lambda g: g * unit.astype(g.dtype), (drows, *dshared)
    )
    return (dkernel, dbias, doptions, dlink), (found, dhidden, drows)


def _slopes(
    rule: Rule, wanted: Operands, operands: Operands, z: Array, rows: Any, weights: Array
) -> tuple[Array, Array, Any]:
    """Of a tile of logits: the gradient in it, the losses, and the gradients in all else."""

    def weighed(z: Array, rows_: list[Array], options: list[Array], link: list[Array]) -> Any:
        found = rule(
            z.astype(wide(z)),
            replaced(rows, wanted.rows, rows_),
            replaced(operands.options, wanted.options, options),
            replaced(operands.link, wanted.link, link),
        )
        return weighed_sum(found, weights), found

    moving = (
        z,
        chosen(rows, wanted.rows),
        chosen(operands.options, wanted.options),
        chosen(operands.link, wanted.link),
    )
    gradient, found = jax.grad(weighed, argnums=(0, 1, 2, 3), has_aux=True)(*moving)
    dz, drows, *dshared = gradient
    dbias = [dz.astype(wide(z)).sum(range(z.ndim - 1))] if wanted.bias else []
    return dz, found, (drows, (*dshared, dbias))


def _in_place(shape: Any, z: Array, rows: Any, weights: Array) -> tuple[Array, Array, Any]:
    """The same, block after block of the rows, the gradient in the place of the logits.

    Left to itself, XLA gives the gradient memory of its own on a GPU.
    """
    blocks = blocks_of(z.shape[0], z.size * z.dtype.itemsize)
    if blocks == 1:
        return shape(z, rows, weights)
    tile, *others = jax.tree.map(lambda x: x.reshape(-1, blocks, *x.shape[1:]), (z, rows, weights))

    def step(tile: Array, index: Array) -> tuple[Array, Any]:
        at = functools.partial(jax.lax.dynamic_index_in_dim, index=index, axis=1, keepdims=False)
        dz, *found = shape(at(tile), *jax.tree.map(at, others))
        return jax.lax.dynamic_update_index_in_dim(tile, dz, index, 1), found

    tile = carried(tile, lambda tile: step(tile, jnp.int32(0))[0])
    tile, found = jax.lax.scan(step, tile, jnp.arange(blocks, dtype=jnp.int32))
    losses, (drows, dshared) = found
    losses, drows = jax.tree.map(
        lambda x: jnp.swapaxes(x, 0, 1).reshape(-1, *x.shape[2:]), (losses, drows)
    )
    return tile.reshape(z.shape), losses, (drows, jax.tree.map(lambda g: g.sum(0), dshared))


class Order(NamedTuple):
    """Rows in blocks, of which block ``c`` of ``C`` has the rows ``c``, ``c + C``, and so on."""

    number: int
    size: int
    padding: int
    """how many of these rows there are not"""

    def apart(self, x: Array, mode: Any = "edge") -> Array:
        """Rows, with an axis of blocks that is the second one."""
        if self.padding:
            x = jnp.pad(x, [(0, self.padding), *[(0, 0)] * (x.ndim - 1)], mode)
        return x.reshape(self.size, self.number, *x.shape[1:])

    def blocks(self, x: Array) -> Array:
        """Rows, with an axis of blocks that is the first one; as they are if there is just one."""
        return x if self.number == 1 else jnp.swapaxes(self.apart(x), 0, 1)

    def restored(self, x: Array) -> Array:
        """The rows of blocks."""
        if self.number == 1:
            return x
        x = jnp.swapaxes(x, 0, 1).reshape(-1, *x.shape[2:])
        return x[: x.shape[0] - self.padding] if self.padding else x


def _narrowed(
    shape: Any, make: Callable[[Array], Array], hidden: Array, rows: Any, weights: Array
) -> tuple[Order, Array, Array, Any]:
    """The same of logits that are wider than what comes in, of which a block exists at a time.

    The gradient in all of them is as narrow as the products that it goes into; it is in blocks. A
    row that there is not weighs nothing.
    """
    total, kind = hidden.shape[0], jax.eval_shape(make, hidden[:1])
    group, vocabulary = kind.size // kind.shape[-1], kind.shape[-1]
    count, _ = chunks_of(total, block_of(group, vocabulary, kind.dtype))
    size = -(-total // count)
    order = Order(count, size, count * size - total)
    if count == 1:
        return order, *shape(make(hidden), rows, weights)
    blocks = (*jax.tree.map(order.apart, (hidden, rows)), order.apart(weights, "constant"))

    def step(tile: Array, index: Array) -> tuple[Array, Any]:
        at = functools.partial(jax.lax.dynamic_index_in_dim, index=index, axis=1, keepdims=False)
        some, *others = jax.tree.map(at, blocks)
        dz, *found = shape(make(some), *others)
        return jax.lax.dynamic_update_index_in_dim(tile, dz.astype(tile.dtype), index, 0), found

    tile = jnp.zeros((count, size, *kind.shape[1:]), hidden.dtype)
    tile = carried(tile, lambda tile: step(tile, jnp.int32(0))[0])
    tile, found = jax.lax.scan(step, tile, jnp.arange(count, dtype=jnp.int32))
    losses, (drows, dshared) = found
    losses, drows = jax.tree.map(order.restored, (losses, drows))
    return order, tile, losses, (drows, jax.tree.map(lambda g: g.sum(0), dshared))


def weighed_sum(
    losses: Float[Array, "*batch"], weights: Float[Array, "*batch"]
) -> Float[Array, ""]:
    """The sum of the losses times their weights, but for what weighs nothing."""
    return (weights * jnp.where(weights == 0, 0, losses)).sum()
