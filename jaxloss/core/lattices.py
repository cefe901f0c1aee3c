"""Sums over all monotone paths through a grid, each weighed by the product of what is on it.

Cells with the same sum of coordinates do not depend on each other: a scan goes from one such
diagonal to the next, over arrays sheared so that their diagonals come one after the other. A second
one, backwards, finds what part of the sum goes through each step or cell.
"""

import functools
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
    """What part of the sum over the paths from the first cell to the last takes each step.

    Of the part of a cell, each step that leads there has what it has of the sum up to there.
    """
    down, right = (_sheared(x, -jnp.inf) for x in steps)
    _, sums = jax.lax.scan(
        lambda sums, x: (_after(sums, *x), sums), _first(down[0]), (down[:-1], right[:-1])
    )

    def back(parts: Array, inputs: Any) -> tuple[Array, Steps]:
        sums, down, right = inputs
        onward = _previous(wide.times(sums, wide.from_log(right)))
        down, right = _parts(wide.times(sums, wide.from_log(down)), onward)
        shares = Steps(parts * down, _next(parts * right))
        return shares.down + shares.right, shares

    column = jax.lax.broadcasted_iota(jnp.int32, down.shape[1:], 1)
    end = jnp.where(column == down.shape[2] - 1, jnp.ones_like(down[0]), 0)
    _, shares = jax.lax.scan(back, end, (sums, down[:-1], right[:-1]), reverse=True)
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
    (last, _), _ = _to_cells(scores, start, keep=False)
    return _log(Wide(*(x[:, -1] for x in last)))


@sum_by_cells.defjvp
def _sum_by_cells_jvp(primals: tuple[Any, ...], tangents: tuple[Any, ...]) -> tuple[Sum, Sum]:
    scores, start = primals
    whole, shares = cell_shares(scores, start)
    slope = (shares * tangents[0]).sum((1, 2))
    return _log(whole), Sum(slope, jnp.zeros_like(slope))


def cell_shares(
    scores: Float[Array, "batch rows columns"],
    start: tuple[Int[Array, " batch"], Int[Array, " batch"]],
) -> tuple[Wide, Float[Array, "batch rows columns"]]:
    """The sum itself, and what part of it goes through each cell."""
    (last, before_last), earlier = _to_cells(scores, start, keep=True)

    def back(
        later: tuple[Array, Array, Wide], earlier: Wide
    ) -> tuple[tuple[Array, Array, Wide], Array]:
        share, jumped, near = later
        parts = _parts(near, _previous(near), _previous(earlier))
        down, right, both = (share * part for part in parts)
        return (down + _next(right) + jumped, _next(both), earlier), share

    column = jax.lax.broadcasted_iota(jnp.int32, last.fraction.shape, 1)
    one = jnp.ones_like(last.fraction)
    end = jnp.where(column == column.shape[1] - 1, one, 0)
    _, shares = jax.lax.scan(back, (end, 0 * one, before_last), earlier, reverse=True)
    return Wide(*(x[:, -1] for x in last)), _upright(shares)


def _log(x: Wide) -> Sum:
    return Sum(jnp.log(x.fraction), x.exponent)


def _to_cells(
    scores: Float[Array, "batch rows columns"],
    start: tuple[Int[Array, " batch"], Int[Array, " batch"]],
    *,
    keep: bool,
) -> tuple[tuple[Wide, Wide], Any]:
    """The sums over the paths to the last two diagonals; if wanted, to those two before each."""
    weights = _sheared(scores, -jnp.inf)
    column = jax.lax.broadcasted_iota(jnp.int32, weights.shape[1:], 1)
    row_of, column_of = (x[:, None] for x in start)
    one, none = jnp.ones_like(weights[0]), wide.zeros(weights[0])

    def advance(
        earlier: tuple[Wide, Wide], inputs: tuple[Array, Array]
    ) -> tuple[tuple[Wide, Wide], Any]:
        (last, before), (diagonal, weight) = earlier, inputs
        starts = (column == column_of) & (diagonal == row_of + column_of)
        start = wide.where(starts, Wide(one, jnp.zeros_like(one)))
        to = wide.add(last, _previous(last), _previous(before), start)
        return (wide.times(to, wide.from_log(weight)), last), before if keep else None

    diagonals = jnp.arange(weights.shape[0], dtype=jnp.int32)
    return jax.lax.scan(advance, (none, none), (diagonals, weights))


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
    pairs = zip(x, (0, LOWEST), strict=True)
    return Wide(*(jnp.concatenate([jnp.full_like(y[:, :1], z), y[:, :-1]], 1) for y, z in pairs))


def _next(x: Float[Array, "batch columns"]) -> Float[Array, "batch columns"]:
    """What the next column has; the last has zero."""
    return jnp.concatenate([x[:, 1:], jnp.zeros_like(x[:, :1])], 1)


def _parts(*terms: Wide) -> list[Float[Array, "batch columns"]]:
    """What part each number is of their sum, 0 if that is 0, however large the exponents are."""
    top = functools.reduce(jnp.maximum, (x.exponent for x in terms))
    scaled = [x.fraction * wide.power_of_two(x.exponent - top) for x in terms]
    whole = wide.sum_of(scaled)
    return [x / jnp.where(whole == 0, 1, whole) for x in scaled]
