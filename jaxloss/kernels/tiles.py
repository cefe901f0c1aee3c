"""Sums over all pairs of two sets of vectors, a tile of their scores at a time.

The score of a pair is the inner product of its vectors, times a scale of each, plus a shift of its
column. A tile has some rows and all columns, and is forgotten once it has been added up: the
memory is that of the tile and of the vectors, not of all pairs. The gradient makes the scores once
more; with that, two more products give the gradients of both sets, four in all.
"""

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from jaxloss.core.summing import row_sum
from jaxloss.kernels.operands import carried
from jaxloss.kernels.reverse import reverse_only
from jaxloss.kernels.sides import Kind, Side, Sum, among, inner, product, scores


def sums(kind: Kind, rows: Side, columns: Side) -> tuple[Array, ...]:
    """All sums of a kind; of two passes those of the second one.

    Differentiable once, in reverse, in everything but who the vectors are.
    """
    forward, backward = functools.partial(_forward, kind), functools.partial(_backward, kind)
    results = slice(len(kind.sums) if kind.later else 0, None)
    value = functools.partial(found, kind)
    function = reverse_only(lambda x: value(*x)[results], forward, backward, instead_of(kind))
    return function(divided(kind, (rows, columns)))


def divided(kind: Kind, operands: Any) -> Any:
    """The same, as they are divided over a mesh."""
    return operands if kind.placed is None else kind.placed.divided(kind.name, operands)


def instead_of(kind: Kind) -> str:
    """The end of a message."""
    return f"of the tiled {kind.name}: jaxloss.losses.{kind.dense} has both"


def found(kind: Kind, rows: Side, columns: Side) -> tuple[Array, ...]:
    """All sums, those of a first pass too."""
    if kind.placed is not None:
        return kind.placed.found(kind, rows, columns)

    def absorb(sums: tuple[Sum, ...], given: Array | None) -> tuple[Any, ...]:
        return absorbed(kind, sums, blank(sums, rows, columns), rows, columns, given)

    return in_passes(kind, absorb)


def in_passes(
    kind: Kind, absorb: Callable[[tuple[Sum, ...], Array | None], tuple[Any, ...]]
) -> tuple[Array, ...]:
    """All sums, from what makes their states, of later ones given the first."""
    first = finished(kind.sums, absorb(kind.sums, None))
    return (*first, *finished(kind.later, absorb(kind.later, first[0]))) if kind.later else first


def _forward(kind: Kind, operands: Any, wanted: Any) -> tuple[Any, Any]:
    rows, columns = operands
    every = found(kind, rows, columns)
    return every[len(kind.sums) if kind.later else 0 :], (rows, columns, every)


def _backward(kind: Kind, kept: Any, slopes: Any, wanted: Any) -> list[Array]:
    rows, columns, every = kept
    slopes = chained(kind, every, slopes)
    needed = Needed.of(wanted, rows, columns)
    of_rows, of_columns, _ = gradient(kind, needed, rows, columns, every, slopes)
    return needed.chosen(of_rows, of_columns)


def chained(kind: Kind, found: tuple[Array, ...], slopes: tuple[Array, ...]) -> tuple[Array, ...]:
    """The slopes in all sums, given those in the results: an excess depends on the first sum."""
    if not kind.later:
        return slopes
    excess, pull = slopes[0], found[-1]
    unused = [jnp.zeros_like(x) for x in found[1 : len(kind.sums)]]
    return excess * pull, *unused, *slopes


# Adding up


def blank(sums: tuple[Sum, ...], rows: Side, columns: Side) -> tuple[Any, ...]:
    """The state of sums over nothing."""

    def of(one: Sum) -> Any:
        zero = jnp.zeros_like((rows if one.axis else columns).scale)
        return (jnp.full_like(zero, -jnp.inf), zero) if one.term == "exponential" else zero

    return tuple(map(of, sums))


def finished(sums: tuple[Sum, ...], states: tuple[Any, ...]) -> tuple[Array, ...]:
    """The sums; the logarithm of the sum of exponentials, ``-inf`` for none."""

    def of(one: Sum, state: Any) -> Array:
        if one.term != "exponential":
            return state
        top, total = state
        return jnp.where(total > 0, top + jnp.log(jnp.where(total > 0, total, 1)), -jnp.inf)

    return tuple(map(of, sums, states))


def absorbed(
    kind: Kind,
    sums: tuple[Sum, ...],
    states: tuple[Any, ...],
    rows: Side,
    columns: Side,
    given: Float[Array, " batch"] | None,
) -> tuple[Any, ...]:
    """The states of the sums, once these columns have been added."""
    columns = columns._replace(vectors=columns.vectors.astype(kind.dtype))
    of_rows, of_columns = parted(sums, states)

    def step(of_columns: Any, part: Any) -> tuple[Any, Any]:
        rows, of_rows, given = part
        z = scores(inner(kind, rows, columns), rows, columns)
        new: dict[int, list[Any]] = {0: [], 1: []}
        old = {0: list(of_columns), 1: list(of_rows)}
        for one in sums:
            state = old[one.axis].pop(0)
            new[one.axis].append(_added(one, state, z, among(one.over, rows, columns), given))
        return tuple(new[0]), tuple(new[1])

    of_columns, of_rows = in_tiles(step, of_columns, (rows, of_rows, given), kind.tile)
    return joined(sums, of_rows, of_columns)


def parted(sums: tuple[Sum, ...], states: Sequence[Any]) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
    """What belongs to the sums of rows, and to those of columns."""
    pairs = list(zip(sums, states, strict=True))
    return tuple(x for one, x in pairs if one.axis), tuple(x for one, x in pairs if not one.axis)


def joined(
    sums: tuple[Sum, ...], of_rows: Sequence[Any], of_columns: Sequence[Any]
) -> tuple[Any, ...]:
    """The reverse."""
    remaining = {0: iter(of_columns), 1: iter(of_rows)}
    return tuple(next(remaining[one.axis]) for one in sums)


def _added(
    one: Sum,
    state: Any,
    z: Float[Array, "rows columns"],
    where: Bool[Array, "rows columns"] | None,
    given: Float[Array, " rows"] | None,
) -> Any:
    """A state, once a tile has been added."""
    if one.term == "exponential":
        top, total = state
        z = z if where is None else jnp.where(where, z, -jnp.inf)
        higher = jnp.maximum(top, z.max(one.axis))
        level = jnp.where(jnp.isneginf(higher), 0, higher)
        terms = jnp.exp(z - jnp.expand_dims(level, one.axis))
        return higher, total * jnp.exp(top - level) + _total(terms, one.axis)
    terms = _term(one, z, given)
    terms = terms if where is None else jnp.where(where, terms, 0)
    return state + _total(terms, one.axis)


def _term(
    one: Sum, z: Float[Array, "rows columns"], given: Float[Array, " rows"] | None
) -> Float[Array, "rows columns"]:
    if one.term in ("excess", "pull"):
        assert given is not None
        above = given[:, None] - z
        return jax.nn.softplus(above) if one.term == "excess" else jax.nn.sigmoid(above)
    if one.term == "softplus":
        return jax.nn.softplus(z)
    return z if one.term == "itself" else jnp.ones_like(z)


def _total(x: Float[Array, "rows columns"], axis: int) -> Float[Array, " rest"]:
    return row_sum(x) if axis else x.sum(0)


# The gradient


class Needed(NamedTuple):
    """What is differentiated, of the rows and of the columns."""

    row_vectors: bool
    row_scale: bool
    column_vectors: bool
    column_scale: bool
    column_shift: bool

    @staticmethod
    def of(wanted: tuple[bool, ...], rows: Side, columns: Side) -> "Needed":
        """From what is wanted of the leaves of rows and columns."""
        of_rows, of_columns = jax.tree.unflatten(jax.tree.structure((rows, columns)), wanted)
        return Needed(
            bool(of_rows.vectors),
            bool(of_rows.scale),
            bool(of_columns.vectors),
            bool(of_columns.scale),
            bool(of_columns.shift),
        )

    def chosen(self, of_rows: Any, of_columns: Any) -> list[Array]:
        """The gradients that are wanted."""
        return [x for x in (*of_rows, *of_columns) if x is not None]


def blank_gradient(needed: Needed, columns: Side) -> tuple[Any, ...]:
    """Of the vectors, scale and shift of columns, over no rows."""
    zero = functools.partial(jnp.zeros_like)
    return (
        zero(columns.vectors) if needed.column_vectors else None,
        zero(columns.scale) if needed.column_scale else None,
        zero(columns.scale) if needed.column_shift else None,
    )


def gradient(
    kind: Kind,
    needed: Needed,
    rows: Side,
    columns: Side,
    found: tuple[Array, ...],
    slopes: tuple[Array, ...],
) -> tuple[tuple[Any, ...], tuple[Any, ...], Float[Array, " batch"] | None]:
    """Of the vectors and scale of rows, and of columns."""
    if kind.placed is not None:
        return kind.placed.gradient(kind, needed, rows, columns, found, slopes)
    blank = blank_gradient(needed, columns)
    return gradients(kind, needed, rows, columns, found, slopes, blank)


def gradients(
    kind: Kind,
    needed: Needed,
    rows: Side,
    columns: Side,
    found: tuple[Array, ...],
    slopes: tuple[Array, ...],
    of_columns: tuple[Any, ...],
) -> tuple[tuple[Any, ...], tuple[Any, ...], Float[Array, " batch"] | None]:
    """Of the vectors and scale of rows, and, added to what there is, of the columns.

    A sum of softplus needs not have been found: it is made together with its gradient, and is the
    third result then.
    """
    every = kind.sums + kind.later
    at_once = not found
    columns = columns._replace(vectors=columns.vectors.astype(kind.dtype))
    known: tuple[Array | None, ...] = found or (None,) * len(every)
    pairs = list(zip(every, known, slopes, strict=True))
    by_row = [(x, slope) for one, x, slope in pairs if one.axis]

    def step(of_columns: Any, part: Any) -> tuple[Any, Any]:
        rows, by_row = part
        products = inner(kind, rows, columns)
        z = scores(products, rows, columns)
        own, slope_of = iter(by_row), jnp.zeros_like(z)
        for one, x, slope in pairs:
            x, slope = next(own) if one.axis else (x, slope)
            given = by_row[0][0]
            where = among(one.over, rows, columns)
            slope_of += _slope(one, z, x, slope, where, given)
        value = None
        if at_once:
            (only, _, _), *_ = pairs
            where, term = among(only.over, rows, columns), _term(only, z, None)
            value = row_sum(term if where is None else jnp.where(where, term, 0))
        left, right = rows.scale[:, None], columns.scale[None, :]
        moved = slope_of * left * right
        vectors, scale, shift = of_columns
        of_rows = (
            product(kind, moved, columns.vectors, (1, 0)) if needed.row_vectors else None,
            row_sum(slope_of * products * right) if needed.row_scale else None,
        )
        if vectors is not None:
            vectors += product(kind, moved, rows.vectors, (0, 0))
        if scale is not None:
            scale += (slope_of * products * left).sum(0)
        if shift is not None:
            shift += slope_of.sum(0)
        return (vectors, scale, shift), (of_rows, value)

    of_columns, (of_rows, value) = in_tiles(step, of_columns, (rows, by_row), kind.tile)
    return of_rows, of_columns, value


def _slope(
    one: Sum,
    z: Float[Array, "rows columns"],
    found: Any,
    slope: Array,
    where: Bool[Array, "rows columns"] | None,
    given: Any,
) -> Float[Array, "rows columns"]:
    """How a sum changes with each score, times the slope in the sum."""
    slope = jnp.expand_dims(slope, one.axis)
    if one.term == "exponential":
        none = jnp.isneginf(found)
        share = jnp.exp(z - jnp.expand_dims(jnp.where(none, 0, found), one.axis))
        slope = slope * jnp.where(jnp.expand_dims(none, one.axis), 0, share)
    elif one.term == "softplus":
        slope = slope * jax.nn.sigmoid(z)
    elif one.term == "excess":
        slope = -slope * jax.nn.sigmoid(given[:, None] - z)
    elif one.term != "itself":
        return jnp.zeros_like(z)
    return jnp.broadcast_to(slope, z.shape) if where is None else jnp.where(where, slope, 0)


def softplus_total(
    kind: Kind, rows: Side, columns: Side, weights: Float[Array, " batch"]
) -> Float[Array, ""]:
    """The weighted sum over rows of a sum of softplus: value and gradient in one pass.

    Three products in all, where the gradient of :func:`sums` takes a fourth.
    """
    (one,) = kind.sums
    assert one.term == "softplus"

    def value(operands: Any) -> Float[Array, ""]:
        rows, columns, weights = operands
        return (weights * found(kind, rows, columns)[0]).sum()

    def forward(operands: Any, wanted: Any) -> tuple[Any, Any]:
        rows, columns, weights = operands
        needed = Needed.of(wanted[:-1], rows, columns)
        of_rows, of_columns, losses = gradient(kind, needed, rows, columns, (), (weights,))
        kept = needed.chosen(of_rows, of_columns)
        return (weights * losses).sum(), kept + ([losses] if wanted[-1] else [])

    def backward(kept: Any, slope: Any, wanted: Any) -> list[Array]:
        return [slope * x for x in kept]

    operands = divided(kind, (rows, columns, weights))
    return reverse_only(value, forward, backward, instead_of(kind))(operands)


def in_tiles(
    step: Callable[[Any, Any], tuple[Any, Any]], start: Any, rows: Any, most: int
) -> tuple[Any, Any]:
    """``step(total, some rows) -> (total, entries)`` over all rows, at most so many at a time.

    The rows of a tile lie far apart, so that each device has its share of every tile if the rows
    are divided among several.
    """
    count = jax.tree.leaves(rows)[0].shape[0]
    tiles = max(1, math.ceil(count / most))
    size = count // tiles
    if tiles == 1:
        return step(start, rows)
    whole = jax.tree.map(lambda x: x[: size * tiles].reshape(size, tiles, *x.shape[1:]), rows)

    def one(total: Any, index: Int[Array, ""]) -> tuple[Any, Any]:
        at = functools.partial(jax.lax.dynamic_index_in_dim, index=index, axis=1, keepdims=False)
        return step(total, jax.tree.map(at, whole))

    start = carried(start, lambda total: one(total, jnp.arange(1)[0])[0])
    total, entries = jax.lax.scan(one, start, jnp.arange(tiles))
    entries = jax.tree.map(
        lambda x: jnp.swapaxes(x, 0, 1).reshape(size * tiles, *x.shape[2:]), entries
    )
    if size * tiles == count:
        return total, entries
    total, rest = step(total, jax.tree.map(lambda x: x[size * tiles :], rows))
    return total, jax.tree.map(lambda *x: jnp.concatenate(x), entries, rest)
