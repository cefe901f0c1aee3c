"""Sums over all monotone paths through a grid, each weighed by the product of what is on it.

Cells with the same sum of coordinates do not depend on each other: a scan goes from one such
diagonal to the next, over arrays sheared so that their diagonals come one after the other. A second
one, backwards, finds what part of the sum goes through each step or cell.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from jaxloss.core import wide
from jaxloss.core.wide import LOWEST, Wide


class Steps(NamedTuple):
    """Of each cell, the logarithm of the weight of a step from it; or something else of the two."""

    down: Any
    right: Any


def sum_by_steps(
    steps: Steps, leaks: Float[Array, "batch rows columns"]
) -> tuple[Wide, Float[Array, " batch"]]:
    """The sum over the paths from the first cell to the last, and what is lost on the way.

    That is a sum over all cells: that of the paths that lead there, times its ``leaks``.
    """
    arrays = *(_sheared(x, -jnp.inf) for x in steps), _sheared(leaks, 0.0)
    last, lost = jax.lax.scan(
        lambda sums, x: (_after(sums, *x[:2]), (wide.to_float(sums) * x[2]).sum(-1)),
        _first(arrays[0][0]),
        jax.tree.map(lambda x: x[:-1], arrays),
    )
    end = (wide.to_float(last) * arrays[2][-1]).sum(-1)
    return Wide(*(x[:, -1] for x in last)), lost.sum(0) + end


def step_shares(steps: Steps) -> Steps:
    """What part of the sum over the paths from the first cell to the last takes each step."""
    down, right = (_sheared(x, -jnp.inf) for x in steps)
    last, before = jax.lax.scan(
        lambda sums, x: (_after(sums, *x), sums), _first(down[0]), (down[:-1], right[:-1])
    )
    whole = Wide(*(x[:, -1:] for x in last))

    def back(after: Wide, inputs: Any) -> tuple[Wide, Steps]:
        before, down, right = inputs
        down = wide.times(wide.from_log(down), after)
        right = wide.times(wide.from_log(right), _next(after))
        return wide.add(down, right), Steps(
            *(wide.ratio(wide.times(before, step), whole) for step in (down, right))
        )

    end = jnp.zeros_like(down[0]).at[:, -1].set(1)
    end = wide.where(end > 0, Wide(end, jnp.zeros_like(end)))
    _, shares = jax.lax.scan(back, end, (before, down[:-1], right[:-1]), reverse=True)
    none = jnp.zeros_like(down[:1])  # no step leads from the last cell
    return Steps(*(_upright(jnp.concatenate([x, none])) for x in shares))


def _first(like: Float[Array, "batch columns"]) -> Wide:
    """One in the first column, zero in the others."""
    one = jnp.ones_like(like)
    column = jax.lax.broadcasted_iota(jnp.int32, like.shape, 1)
    return wide.where(column == 0, Wide(one, jnp.zeros_like(one)))


def _after(
    sums: Wide, down: Float[Array, "batch columns"], right: Float[Array, "batch columns"]
) -> Wide:
    """The sums one diagonal later."""
    onward = _previous(wide.times(sums, wide.from_log(right)))
    return wide.add(wide.times(sums, wide.from_log(down)), onward)


class Sum(NamedTuple):
    """The logarithm of a sum, in two parts: ``fraction + exponent * ln 2``.

    The difference of two has the digits that that of two numbers would lose.
    """

    fraction: Float[Array, " batch"]
    exponent: Float[Array, " batch"]  # an integer, held constant


@jax.custom_jvp
def sum_by_cells(
    scores: Float[Array, "batch rows columns"],
    start: tuple[Int[Array, " batch"], Int[Array, " batch"]],
) -> Sum:
    """The logarithm of the sum over the paths from the cell ``start`` to the last.

    Steps go down, right or both; ``scores`` are the logarithms of the weights of cells.
    """
    return _log(_to_cells(scores, start, keep=False)[0])


@sum_by_cells.defjvp
def _sum_by_cells_jvp(primals: tuple[Any, ...], tangents: tuple[Any, ...]) -> tuple[Sum, Sum]:
    whole, shares = _cell_shares(*primals)
    value = _log(whole)
    return value, Sum((shares * tangents[0]).sum((-2, -1)), jnp.zeros_like(value.exponent))


def _log(x: Wide) -> Sum:
    return Sum(jnp.log(x.fraction), x.exponent)


def _cell_shares(
    scores: Float[Array, "batch rows columns"],
    start: tuple[Int[Array, " batch"], Int[Array, " batch"]],
) -> tuple[Wide, Float[Array, "batch rows columns"]]:
    """Also what part of the sum goes through each cell."""
    last, to = _to_cells(scores, start, keep=True)
    weights = _sheared(scores, -jnp.inf)
    column = jax.lax.broadcasted_iota(jnp.int32, weights.shape[1:], 1)
    one, none = jnp.ones_like(weights[0]), wide.zeros(weights[0])
    end = wide.where(column == column.shape[1] - 1, Wide(one, jnp.zeros_like(one)))

    def back(
        later: tuple[Wide, Wide, Wide], inputs: tuple[Wide, Array]
    ) -> tuple[tuple[Wide, Wide, Wide], Array]:
        (one, two, end), (to, weight) = later, inputs
        onward = wide.add(one, _next(one), _next(two), end)
        share = wide.ratio(wide.times(to, onward), Wide(*(x[:, None] for x in last)))
        return (wide.times(onward, wide.from_log(weight)), one, none), share

    _, shares = jax.lax.scan(back, (none, none, end), (to, weights), reverse=True)
    return last, _upright(shares)


def _to_cells(
    scores: Float[Array, "batch rows columns"],
    start: tuple[Int[Array, " batch"], Int[Array, " batch"]],
    *,
    keep: bool,
) -> tuple[Wide, Wide | None]:
    """The sum over the paths to the last cell, and if wanted to each, diagonal by diagonal."""
    weights = _sheared(scores, -jnp.inf)
    column = jax.lax.broadcasted_iota(jnp.int32, weights.shape[1:], 1)
    row_of, column_of = (x[:, None] for x in start)
    one, none = jnp.ones_like(weights[0]), wide.zeros(weights[0])

    def advance(
        earlier: tuple[Wide, Wide], inputs: tuple[Array, Array]
    ) -> tuple[tuple[Wide, Wide], Wide | None]:
        (last, before), (diagonal, weight) = earlier, inputs
        starts = (column == column_of) & (diagonal == row_of + column_of)
        start = wide.where(starts, Wide(one, jnp.zeros_like(one)))
        to = wide.add(last, _previous(last), _previous(before), start)
        to = wide.times(to, wide.from_log(weight))
        return (to, last), to if keep else None

    diagonals = jnp.arange(weights.shape[0])
    (last, _), sums = jax.lax.scan(advance, (none, none), (diagonals, weights))
    return Wide(*(x[:, -1] for x in last)), sums


def _sheared(x: Float[Array, "batch rows columns"], fill: float) -> Float[Array, "..."]:
    """(batch, rows, columns) -> (rows + columns - 1, batch, columns), diagonal by diagonal.

    With padding of as many columns, then cut to one less: each row slips by one more.
    """
    batch, rows, columns = x.shape
    room = ((0, 0), (0, 0), (0, columns))
    wider = jnp.pad(jnp.swapaxes(x, -1, -2), room, constant_values=fill)
    flat = wider.reshape(batch, -1)[:, : columns * (rows + columns - 1)]
    return jnp.moveaxis(flat.reshape(batch, columns, -1), -1, 0)


def _upright(x: Float[Array, "diagonals batch columns"]) -> Float[Array, "batch rows columns"]:
    """The inverse of :func:`_sheared`."""
    diagonals, batch, columns = x.shape
    flat = jnp.pad(jnp.moveaxis(x, 0, -1).reshape(batch, -1), ((0, 0), (0, columns)))
    wider = flat.reshape(batch, columns, diagonals + 1)
    return jnp.swapaxes(wider[..., : diagonals + 1 - columns], -1, -2)


def _previous(x: Wide) -> Wide:
    """What the column before has; the first has zero."""
    fills = 0, LOWEST
    pairs = zip(x, fills, strict=True)
    return Wide(*(jnp.concatenate([jnp.full_like(y[:, :1], z), y[:, :-1]], 1) for y, z in pairs))


def _next(x: Wide) -> Wide:
    """What the next column has; the last has zero."""
    fills = 0, LOWEST
    pairs = zip(x, fills, strict=True)
    return Wide(*(jnp.concatenate([y[:, 1:], jnp.full_like(y[:, :1], z)], 1) for y, z in pairs))
