"""Transducers: at each frame, after each label, a softmax chooses the next label or the next frame.

Of all classes only three matter in each cell of the grid of frames and labels: the blank, the label
that comes next, and the others, together. What goes to the others is lost, and so is a text that
the frames end before; their sum is the loss of a sure model, free of cancellation.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from jaxloss.core import lattices, wide
from jaxloss.core.inputs import Scalar, at_least_float32
from jaxloss.core.lattices import Steps
from jaxloss.core.wide import Wide


class Cells(NamedTuple):
    """Of each frame and number of labels so far: logits, or something else of each of the three."""

    blank: Any
    label: Any  # minus infinity where no label comes next
    other: Any


class Grid(NamedTuple):
    """Which part of an array of cells exists."""

    present: Bool[Array, "batch time"] | None
    length: Int[Array, " batch"]  # of the text


@jax.custom_jvp
def transducer_nll(cells: Cells, grid: Grid, fast_emit: Scalar | None) -> Float[Array, " batch"]:
    """Minus the log-probability of each text, and how unlikely its labels are in their cells."""
    if fast_emit is not None:
        return _value_and_gradient(cells, grid, fast_emit)[0]
    chances = _chances(cells)
    to = lattices.paths(_steps(chances, grid))
    return _nll(to, chances, grid)


@transducer_nll.defjvp
def _transducer_nll_jvp(primals: tuple[Any, ...], tangents: tuple[Any, ...]) -> tuple[Array, Array]:
    cells, grid, fast_emit = primals
    value, slopes, extra = _value_and_gradient(cells, grid, fast_emit)
    products = [(x * dx).sum((1, 2)) for x, dx in zip(slopes, tangents[0], strict=True)]
    tangent = wide.sum_of(products)
    if fast_emit is not None:
        tangent += extra * jnp.asarray(tangents[2]).astype(extra.dtype)
    return value, tangent


def _value_and_gradient(
    cells: Cells, grid: Grid, fast_emit: Scalar | None
) -> tuple[Float[Array, " batch"], Cells, Float[Array, " batch"]]:
    chances = _chances(cells)
    _, shares, to = lattices.paths_and_shares(_steps(chances, grid))
    value, extra = _nll(to, chances, grid), jnp.zeros_like(cells.blank[:, 0, 0])
    blank = shares.down
    label = jnp.pad(shares.right[:, :-1], ((0, 0), (0, 0), (0, 1)))
    if grid.present is not None:
        here = grid.present[..., None]
        blank, label = jnp.where(here, blank, 0), jnp.where(here, label, 0)
    p = Cells(*map(wide.to_float, chances))
    if fast_emit is not None:
        held = jax.lax.stop_gradient(label)
        surprise = jnp.where(held > 0, -wide.log(chances.label), 0)
        extra = (held * jnp.where(held > 0, surprise, 0)).sum((1, 2))
        more = jnp.asarray(fast_emit).astype(extra.dtype)
        value, label = value + more * extra, label + more * held
    return (
        value,
        Cells(
            label * p.blank - blank * (p.label + p.other),
            blank * p.label - label * (p.blank + p.other),
            (blank + label) * p.other,
        ),
        extra,
    )


def _chances(cells: Cells) -> Cells:
    """The probability of each of the three."""
    top = jax.lax.stop_gradient(jnp.maximum(jnp.maximum(*cells[:2]), cells.other))
    odds = [wide.from_log(from_top(x, top)) for x in cells]
    scale = 1 / wide.sum_of([wide.to_float(x) for x in odds])
    return Cells(*(wide.times(x, Wide(scale, jnp.zeros_like(scale))) for x in odds))


def _steps(chances: Cells, grid: Grid) -> Steps:
    """Frames that do not exist are passed for free, and so is, at the end, what is not text."""
    down, right = chances.blank, Wide(*(x[..., :-1] for x in chances.label))
    if grid.present is not None:
        here = jnp.broadcast_to(grid.present[..., None], down.fraction.shape)
        one = jnp.ones_like(down.fraction)
        down = wide.where(here, down, Wide(one, jnp.zeros_like(one)))
        right = wide.where(here[..., :-1], right)
    beyond = _position(right.fraction) >= grid.length[:, None]
    one = jnp.ones_like(right.fraction[:, 0])
    last = wide.where(beyond, Wide(one, jnp.zeros_like(one)))
    right = jax.tree.map(lambda x, y: jnp.concatenate([x, y[:, None]], 1), right, last)
    return Steps(down, right)


def _nll(to: Wide, chances: Cells, grid: Grid) -> Float[Array, " batch"]:
    """From the probability of the text or, if that is less, of all else."""
    kept = Wide(*(x[:, -1, -1] for x in to))
    here, end = (Wide(*(x[:, rows] for x in to)) for rows in (slice(-1), -1))
    lost = wide.to_float(here) * wide.to_float(chances.other)
    if grid.present is not None:
        lost = jnp.where(grid.present[..., None], lost, 0)
    early = _position(end.fraction[:, None]) < grid.length[:, None]
    lost = lost.sum((1, 2)) + jnp.where(early, wide.to_float(end), 0).sum(-1)
    likely = wide.to_float(kept) > 0.5
    return jnp.where(likely, -jnp.log1p(-jnp.where(likely, lost, 0)), -wide.log(kept))


def _position(x: Float[Array, "batch time positions"]) -> Int[Array, "1 positions"]:
    return jnp.arange(x.shape[-1])[None]


@jax.custom_jvp
def cells_of_logits(
    logits: Float[Array, "batch time positions classes"],
    following: Int[Array, "batch positions"],
    blank: Int[Array, ""],
) -> Cells:
    """Of each row the logit of the blank, that of the following label if any, and the others'."""
    is_blank, is_label = _which(logits, following, blank)
    return Cells(
        at_least_float32(jnp.where(is_blank, logits, -jnp.inf).max(-1)),
        at_least_float32(jnp.where(is_label, logits, -jnp.inf).max(-1)),
        _log_sum(jnp.where(is_blank | is_label, -jnp.inf, at_least_float32(logits)))[0],
    )


@cells_of_logits.defjvp
def _cells_of_logits_jvp(
    primals: tuple[Any, ...], tangents: tuple[Any, ...]
) -> tuple[Cells, Cells]:
    """As sums over all classes, whose transposes are read in one pass over the gradient."""
    logits, following, blank = primals
    is_blank, is_label = _which(logits, following, blank)
    other = _log_sum(jnp.where(is_blank | is_label, -jnp.inf, at_least_float32(logits)))[1]
    tangent = at_least_float32(tangents[0])
    return cells_of_logits(*primals), Cells(
        jnp.where(is_blank, tangent, 0).sum(-1),
        jnp.where(is_label, tangent, 0).sum(-1),
        (other * tangent).sum(-1),
    )


def _which(
    logits: Float[Array, "batch time positions classes"],
    following: Int[Array, "batch positions"],
    blank: Int[Array, ""],
) -> tuple[Bool[Array, "1 1 1 classes"], Bool[Array, "batch 1 positions classes"]]:
    classes = jnp.arange(logits.shape[-1])[None, None, None]
    return classes == blank, classes == following[:, None, :, None]


def _log_sum(
    x: Float[Array, "*shape classes"],
) -> tuple[Float[Array, "*shape"], Float[Array, "*shape classes"]]:
    """The logarithm of the sum of the exponentials, and the share of each; of nothing none."""
    top = jax.lax.stop_gradient(x.max(-1, keepdims=True))
    scaled = jnp.where(top == -jnp.inf, 0, jnp.exp(from_top(x, top)))
    total = scaled.sum(-1, keepdims=True)
    some = total > 0
    total = jnp.where(some, total, 1)
    return jnp.where(some, top + jnp.log(total), -jnp.inf).squeeze(-1), scaled / total


@jax.custom_jvp
def log_matmul(
    x: Float[Array, "batch rows classes"], y: Float[Array, "batch columns classes"]
) -> Float[Array, "batch rows columns"]:
    """The logarithm of ``exp(x) @ exp(y).T``.

    By a product of matrices if nothing vanishes there, else row by row.
    """
    return _log_matmul(x, y)[0]


@log_matmul.defjvp
def _log_matmul_jvp(primals: tuple[Any, ...], tangents: tuple[Any, ...]) -> tuple[Array, Array]:
    (x, y), (dx, dy) = primals, tangents
    value, vanishes = _log_matmul(x, y)

    def fast(dx: Array, dy: Array) -> Array:
        (x_, _), (y_, _) = _scaled(x), _scaled(y)
        total = _product(x_, y_)
        change = _product(x_ * dx, y_) + _product(x_, y_ * dy)
        return jnp.where(total > 0, change / jnp.where(total > 0, total, 1), 0)

    def slow(dx: Array, dy: Array) -> Array:
        def row(_: None, inputs: tuple[Array, Array]) -> tuple[None, Array]:
            x, dx = inputs
            share = _log_sum(x[:, None] + y)[1]
            return None, (share * (dx[:, None] + dy)).sum(-1)

        rows = jnp.moveaxis(x, 1, 0), jnp.moveaxis(dx, 1, 0)
        return jnp.moveaxis(jax.lax.scan(row, None, rows)[1], 0, 1)

    return value, jax.lax.cond(vanishes, slow, fast, dx, dy)


def _log_matmul(
    x: Float[Array, "batch rows classes"], y: Float[Array, "batch columns classes"]
) -> tuple[Float[Array, "batch rows columns"], Bool[Array, ""]]:
    """Also whether anything vanishes in the product of matrices."""
    (x_, top_x), (y_, top_y) = _scaled(x), _scaled(y)
    total = _product(x_, y_)
    exists = (top_x > -jnp.inf) & jnp.swapaxes(top_y > -jnp.inf, 1, 2)
    vanishes = (exists & (total < float(jnp.finfo(total.dtype).tiny) * 1e8)).any()

    def fast() -> Array:
        top = jnp.where(exists, top_x + jnp.swapaxes(top_y, 1, 2), 0)
        return jnp.where(exists, top + jnp.log(jnp.where(exists, total, 1)), -jnp.inf)

    def slow() -> Array:
        def row(_: None, x: Array) -> tuple[None, Array]:
            return None, _log_sum(x[:, None] + y)[0]

        return jnp.moveaxis(jax.lax.scan(row, None, jnp.moveaxis(x, 1, 0))[1], 0, 1)

    return jax.lax.cond(vanishes, slow, fast), vanishes


def _scaled(
    x: Float[Array, "batch rows classes"],
) -> tuple[Float[Array, "batch rows classes"], Float[Array, "batch rows 1"]]:
    top = jax.lax.stop_gradient(x.max(-1, keepdims=True))
    return jnp.where(top == -jnp.inf, 0, jnp.exp(from_top(x, top))), top


def _product(x: Array, y: Array) -> Float[Array, "batch rows columns"]:
    return jnp.einsum("brc,bsc->brs", x, y, precision="highest")


def from_top(x: Float[Array, "*shape"], top: Float[Array, "*#shape"]) -> Float[Array, "*shape"]:
    """``x - top``, and 0, and not NaN, between equal infinities."""
    return jnp.where(jnp.isinf(top) & (x == top), 0, x - top)
