"""Sums over all pairs of two sets of vectors, a tile of their scores at a time.

The score of a pair is the inner product of its vectors, times a scale of each, plus a shift of its
column. A tile has some rows and all columns, and is forgotten once it has been added up: the
memory is that of the tile and of the vectors, not of all pairs. The gradient makes the scores once
more; with that, two more products give the gradients of both sets, four in all.
"""

import functools
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from jaxloss.core.summing import row_sum
from jaxloss.kernels.operands import carried
from jaxloss.kernels.reverse import reverse_only


class Side(NamedTuple):
    """The rows or the columns: vectors, and who they are."""

    vectors: Float[Array, "batch features"]
    scale: Float[Array, " batch"]
    shift: Float[Array, " batch"] | None
    """of columns"""
    exists: Bool[Array, " batch"] | None
    """None: all do; or it does not matter, since those of a row are nobody else's sums"""
    things: Int[Array, " batch"]
    """what they show"""
    indices: Int[Array, " batch"]
    """which example they are"""


class Sum(NamedTuple):
    """What is added up over the columns of each row, or over the rows of each column."""

    term: str
    """of a score: ``"exponential"``, of whose sum the logarithm is taken, ``"softplus"``,
    ``"itself"``, ``"one"``; or its ``"excess"``, the softplus of how far the first sum is above it,
    and ``"pull"``, the slope of that"""
    over: str
    """``"different"`` things, ``"alike"`` ones, all ``"others"``, or ``"all"``"""
    axis: int = 1
    """0 for the sums of columns"""


class Kind(NamedTuple):
    """Which sums, how exact, and how many rows at a time."""

    sums: tuple[Sum, ...]
    later: tuple[Sum, ...] = ()
    """sums that need to know the first one, in a second pass; no one else sees it then"""
    dtype: str = "float32"
    """of the vectors in products"""
    tile: int = 1024
    name: str = ""
    """of the loss, for messages"""
    dense: str = ""
    """the loss that has every derivative"""


def sums(kind: Kind, rows: Side, columns: Side) -> tuple[Array, ...]:
    """All sums of a kind; of two passes those of the second one.

    Differentiable once, in reverse, in everything but who the vectors are.
    """
    forward, backward = functools.partial(_forward, kind), functools.partial(_backward, kind)
    results = slice(len(kind.sums) if kind.later else 0, None)
    value = functools.partial(_found, kind)
    function = reverse_only(lambda x: value(*x)[results], forward, backward, instead_of(kind))
    return function((rows, columns))


def instead_of(kind: Kind) -> str:
    """The end of a message."""
    return f"of the tiled {kind.name}: jaxloss.losses.{kind.dense} has both"


def _found(kind: Kind, rows: Side, columns: Side) -> tuple[Array, ...]:
    states = absorbed(kind, kind.sums, blank(kind.sums, rows, columns), rows, columns, None)
    first = finished(kind.sums, states)
    if not kind.later:
        return first
    states = blank(kind.later, rows, columns)
    states = absorbed(kind, kind.later, states, rows, columns, first[0])
    return *first, *finished(kind.later, states)


def _forward(kind: Kind, operands: Any, wanted: Any) -> tuple[Any, Any]:
    rows, columns = operands
    found = _found(kind, rows, columns)
    return found[len(kind.sums) if kind.later else 0 :], (rows, columns, found)


def _backward(kind: Kind, kept: Any, slopes: Any, wanted: Any) -> list[Array]:
    rows, columns, found = kept
    slopes = chained(kind, found, slopes)
    needed = Needed.of(wanted, rows, columns)
    blank = blank_gradient(needed, columns)
    of_rows, of_columns, _ = gradients(kind, needed, rows, columns, found, slopes, blank)
    return needed.chosen(of_rows, of_columns)


def chained(kind: Kind, found: tuple[Array, ...], slopes: tuple[Array, ...]) -> tuple[Array, ...]:
    """The slopes in all sums, given those in the results: an excess depends on the first sum."""
    if not kind.later:
        return slopes
    excess, pull = slopes[0], found[-1]
    unused = [jnp.zeros_like(x) for x in found[1 : len(kind.sums)]]
    return excess * pull, *unused, *slopes


# Who is compared with whom


def among(over: str, rows: Side, columns: Side) -> Bool[Array, "rows columns"] | None:
    """Which pairs are meant."""
    same = rows.things[:, None] == columns.things[None, :]
    itself = rows.indices[:, None] == columns.indices[None, :]
    which = {"different": ~same, "alike": same & ~itself, "others": ~itself, "all": None}[over]
    for exists in (
        None if rows.exists is None else rows.exists[:, None],
        None if columns.exists is None else columns.exists[None, :],
    ):
        if exists is not None:
            which = jnp.broadcast_to(exists, same.shape) if which is None else which & exists
    return which


def inner(kind: Kind, rows: Side, columns: Side) -> Float[Array, "rows columns"]:
    """Products of the vectors, added up in float32 at least."""
    return _product(kind, rows.vectors, columns.vectors, (1, 1))


def _product(kind: Kind, x: Array, y: Array, over: tuple[int, int]) -> Array:
    exact = None if kind.dtype == "bfloat16" else "highest"
    wide = x.dtype if kind.dtype != "bfloat16" else jnp.float32
    x, y = x.astype(kind.dtype), y.astype(kind.dtype)
    dimensions = (((over[0],), (over[1],)), ((), ()))
    return jax.lax.dot_general(x, y, dimensions, precision=exact, preferred_element_type=wide)


def scores(
    products: Float[Array, "rows columns"], rows: Side, columns: Side
) -> Float[Array, "rows columns"]:
    """Products, scaled and shifted."""
    z = products * rows.scale[:, None] * columns.scale[None, :]
    return z if columns.shift is None else z + columns.shift[None, :]


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
    of_rows = tuple(s for one, s in zip(sums, states, strict=True) if one.axis)
    of_columns = tuple(s for one, s in zip(sums, states, strict=True) if not one.axis)

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
    remaining = {0: list(of_columns), 1: list(of_rows)}
    return tuple(remaining[one.axis].pop(0) for one in sums)


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
            _product(kind, moved, columns.vectors, (1, 0)) if needed.row_vectors else None,
            row_sum(slope_of * products * right) if needed.row_scale else None,
        )
        if vectors is not None:
            vectors += _product(kind, moved, rows.vectors, (0, 0))
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
        return (weights * _found(kind, rows, columns)[0]).sum()

    def forward(operands: Any, wanted: Any) -> tuple[Any, Any]:
        rows, columns, weights = operands
        needed = Needed.of(wanted[:-1], rows, columns)
        blank = blank_gradient(needed, columns)
        of_rows, of_columns, losses = gradients(kind, needed, rows, columns, (), (weights,), blank)
        kept = needed.chosen(of_rows, of_columns)
        return (weights * losses).sum(), kept + ([losses] if wanted[-1] else [])

    def backward(kept: Any, slope: Any, wanted: Any) -> list[Array]:
        return [slope * x for x in kept]

    operands = (rows, columns, weights)
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
