"""Sums over all monotone paths through a grid, from its first corner to its last.

Steps go down, right, or both; the weight of a path is the product of those of its steps. Cells with
the same sum of coordinates do not depend on each other: the scan goes from one such diagonal to the
next, and an array is sheared so that its diagonals come one after the other.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxloss.core import wide
from jaxloss.core.wide import LOWEST, Wide


class Steps(NamedTuple):
    """One value for each step in a grid of (rows + 1, columns + 1) cells."""

    down: Any  # (*batch, rows, columns + 1)
    right: Any  # (*batch, rows + 1, columns)
    both: Any = None  # (*batch, rows, columns), if there are such steps


@jax.custom_jvp
def log_paths(scores: Steps) -> Float[Array, " batch"]:
    """The logarithm of the sum over all paths of e to the sum of the scores of their steps."""
    return wide.log(_corner(paths(weights(scores))))


@log_paths.defjvp
def _log_paths_jvp(primals: tuple[Any, ...], tangents: tuple[Any, ...]) -> tuple[Array, Array]:
    whole, shares, _ = paths_and_shares(weights(*primals))
    products = jax.tree.map(lambda x, y: (x * y).sum((-2, -1)), shares, tangents[0])
    return wide.log(whole), wide.sum_of(jax.tree.leaves(products))


def weights(scores: Steps) -> Steps:
    """e to the scores."""
    return jax.tree.map(wide.from_log, scores)


def paths_and_shares(steps: Steps) -> tuple[Wide, Steps, Wide]:
    """The sum over all paths, the share that each step has in it, and the sums up to each cell."""
    turned = jax.tree.map(_turned, steps)
    both = paths(jax.tree.map(lambda x, y: jnp.stack([x, y]), steps, turned))
    to, back = (jax.tree.map(lambda x, i=i: x[i], both) for i in (0, 1))
    start, whole = jax.tree.map(_turned, back), _corner(to)

    def share(step: Wide, before: Wide, after: Wide) -> Float[Array, "*batch rows columns"]:
        total = jax.tree.map(lambda x: x[..., None, None], whole)
        return wide.ratio(wide.times(wide.times(before, step), after), total)

    down = share(steps.down, _cut(to, -1, None), _cut(start, 1, None, after=True))
    right = share(steps.right, _cut(to, None, -1), _cut(start, None, 1, after=True))
    if steps.both is None:
        return whole, Steps(down, right), to
    diagonal = share(steps.both, _cut(to, -1, -1), _cut(start, 1, 1, after=True))
    return whole, Steps(down, right, diagonal), to


def paths(steps: Steps) -> Wide:
    """For each cell, the sum over the paths that lead to it: (*batch, rows + 1, columns + 1)."""
    down = _sheared(_padded(steps.down, (1, 0), (0, 0)))
    right = _sheared(_padded(steps.right, (0, 0), (1, 0)))
    both = None if steps.both is None else _sheared(_padded(steps.both, (1, 0), (1, 0)))
    column = jax.lax.broadcasted_iota(jnp.int32, down.fraction.shape[1:], down.fraction.ndim - 2)
    one = jnp.ones_like(down.fraction[0])
    start, none = wide.where(column == 0, Wide(one, jnp.zeros_like(one))), wide.zeros(one)

    def advance(last: tuple[Wide, Wide], steps: Any) -> tuple[tuple[Wide, Wide], Wide]:
        (one, two), (down, right, both) = last, steps
        terms = [wide.times(one, down), wide.times(_shifted(one), right)]
        if both is not None:
            terms.append(wide.times(_shifted(two), both))
        return (wide.add(*terms), one), one

    rest = jax.tree.map(lambda x: x[1:], (down, right, both))
    (last, _), earlier = jax.lax.scan(advance, (start, none), rest)
    diagonals = jax.tree.map(lambda x, y: jnp.concatenate([x, y[None]]), earlier, last)
    return Wide(*map(_upright, diagonals))


def _sheared(x: Wide) -> Wide:
    """(*batch, rows, columns) -> (rows + columns - 1, *batch, columns), diagonal by diagonal."""
    return Wide(_shear(x.fraction, 0), _shear(x.exponent, LOWEST))


def _shear(x: Float[Array, "*batch rows columns"], fill: int | float) -> Array:
    """With padding of as many columns, then cut to one less: each row slips by one more."""
    *batch, rows, columns = x.shape
    wanted = [(0, 0)] * (x.ndim - 1) + [(0, columns)]
    wider = jnp.pad(jnp.swapaxes(x, -1, -2), wanted, constant_values=fill)
    flat = wider.reshape(*batch, -1)[..., : columns * (rows + columns - 1)]
    sheared = flat.reshape(*batch, columns, rows + columns - 1)
    return jnp.moveaxis(sheared, -1, 0)


def _upright(x: Float[Array, "diagonals *batch columns"]) -> Float[Array, "*batch rows columns"]:
    """The inverse of :func:`_shear`."""
    diagonals, *batch, columns = x.shape
    flat = jnp.moveaxis(x, 0, -1).reshape(*batch, -1)
    flat = jnp.pad(flat, [(0, 0)] * len(batch) + [(0, columns)])
    wider = flat.reshape(*batch, columns, diagonals + 1)
    return jnp.swapaxes(wider[..., : diagonals + 1 - columns], -1, -2)


def _padded(x: Wide, rows: tuple[int, int], columns: tuple[int, int]) -> Wide:
    room = [(0, 0)] * (x.fraction.ndim - 2) + [rows, columns]
    return Wide(jnp.pad(x.fraction, room), jnp.pad(x.exponent, room, constant_values=LOWEST))


def _shifted(x: Wide) -> Wide:
    """What the column to the left has; the first has its own, from which no step leads there."""
    return Wide(*(jnp.concatenate([y[..., :1], y[..., :-1]], -1) for y in x))


def _turned(x: Array) -> Array:
    return jnp.flip(x, (-2, -1))


def _cut(x: Wide, row: int | None, column: int | None, *, after: bool = False) -> Wide:
    """All cells that a step leads from, or with ``after`` those that one leads to."""
    rows, columns = (slice(y, None) if after else slice(None, y) for y in (row, column))
    return Wide(*(y[..., rows, columns] for y in x))


def _corner(x: Wide) -> Wide:
    return Wide(*(y[..., -1, -1] for y in x))
