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
from jaxloss.core.exponentials import difference
from jaxloss.core.inputs import at_least_float32
from jaxloss.core.lattices import Steps
from jaxloss.core.summing import row_sum


class Text(NamedTuple):
    """What is to be read."""

    following: Int[Array, "batch positions"]  # the label that comes next, in range; -1 for none
    blank: Int[Array, ""]

    @property
    def exists(self) -> Bool[Array, "batch positions"]:
        """Which positions there are: one more than labels."""
        label = self.following >= 0
        return jnp.concatenate([jnp.ones_like(label[:, :1]), label[:, :-1]], 1)


class _Cells(NamedTuple):
    """What can be chosen after each frame and label: logits relative to the largest of the cell."""

    blank: Float[Array, "batch time positions"]
    label: Float[Array, "batch time positions"]  # minus infinity where no label comes next
    top: Float[Array, "batch time positions 1"]
    others: Float[Array, "batch time positions"]  # the sum of their exponentials
    total: Float[Array, "batch time positions"]  # that of all


@jax.custom_jvp
def transducer_nll(
    logits: Float[Array, "batch time positions classes"],
    text: Text,
    present: Bool[Array, "batch time"] | None,
) -> Float[Array, " batch"]:
    """Minus the log-probability of each text, infinite for what cannot be read from the frames."""
    exists = jnp.broadcast_to(_exists(text, present), logits.shape[:3])
    return _nll(_cells_by_frame(logits, text, exists), text, exists)


@transducer_nll.defjvp
def _transducer_nll_jvp(primals: tuple[Any, ...], tangents: tuple[Any, ...]) -> tuple[Array, Array]:
    logits, text, present = primals
    exists = jnp.broadcast_to(_exists(text, present), logits.shape[:3])
    cells = _cells_by_frame(logits, text, exists)
    slope = _gradient(_slopes(cells, text, exists), cells, logits, text, exists)
    tangent = (slope * at_least_float32(tangents[0])).sum((1, 2, 3))
    return _nll(cells, text, exists), tangent


@jax.custom_jvp
def additive_nll(
    frames: Float[Array, "batch time classes"],
    positions: Float[Array, "batch positions classes"],
    text: Text,
    present: Bool[Array, "batch time"] | None,
) -> Float[Array, " batch"]:
    """:func:`transducer_nll` of logits that are sums, of which one frame exists at a time."""
    exists = jnp.broadcast_to(_exists(text, present), (*frames.shape[:2], positions.shape[1]))
    return _nll(_cells_of_sums(frames, positions, text, exists), text, exists)


@additive_nll.defjvp
def _additive_nll_jvp(primals: tuple[Any, ...], tangents: tuple[Any, ...]) -> tuple[Array, Array]:
    frames, positions, text, present = primals
    exists = jnp.broadcast_to(_exists(text, present), (*frames.shape[:2], positions.shape[1]))
    cells = _cells_of_sums(frames, positions, text, exists)
    slopes = _slopes(cells, text, exists)

    def add(total: Array, inputs: Any) -> tuple[Array, Array]:
        frame, exists, cells, slopes = inputs
        slope = _gradient(slopes, cells, _sums(frame, positions), text, exists)[:, 0]
        return total + slope, slope.sum(1)

    inputs = jax.tree.map(_frame_by_frame, (frames[:, :, None], exists, cells, slopes))
    start = jnp.zeros_like(at_least_float32(positions))
    in_positions, in_frames = jax.lax.scan(add, start, inputs)
    tangent = (jnp.moveaxis(in_frames, 0, 1) * at_least_float32(tangents[0])).sum((1, 2))
    tangent += (in_positions * at_least_float32(tangents[1])).sum((1, 2))
    return _nll(cells, text, exists), tangent


def _cells_by_frame(
    logits: Float[Array, "batch time positions classes"],
    text: Text,
    exists: Bool[Array, "batch time positions"],
) -> _Cells:
    """All at once, exponentials as large as the logits would be stored on a CPU."""

    def each(_: None, inputs: tuple[Array, Array]) -> tuple[None, _Cells]:
        index, exists = inputs
        return None, _cells(jax.lax.dynamic_index_in_dim(logits, index, 1), text, exists)

    inputs = jnp.arange(logits.shape[1]), _frame_by_frame(exists)
    _, cells = jax.lax.scan(each, None, inputs)
    return jax.tree.map(lambda x: jnp.moveaxis(x.squeeze(2), 0, 1), cells)


def _cells_of_sums(
    frames: Float[Array, "batch time classes"],
    positions: Float[Array, "batch positions classes"],
    text: Text,
    exists: Bool[Array, "batch time positions"],
) -> _Cells:
    def each(_: None, inputs: tuple[Array, Array]) -> tuple[None, _Cells]:
        frame, exists = inputs
        return None, _cells(_sums(frame, positions), text, exists)

    inputs = _frame_by_frame(frames[:, :, None]), _frame_by_frame(exists)
    _, cells = jax.lax.scan(each, None, inputs)
    return jax.tree.map(lambda x: jnp.moveaxis(x.squeeze(2), 0, 1), cells)


def _sums(
    frame: Float[Array, "batch 1 1 classes"], positions: Float[Array, "batch positions classes"]
) -> Float[Array, "batch 1 positions classes"]:
    return at_least_float32(frame) + at_least_float32(positions)[:, None]


def _frame_by_frame(x: Array) -> Array:
    """(batch, time, ...) -> (time, batch, 1, ...)."""
    return jnp.moveaxis(x, 1, 0)[:, :, None]


def _exists(
    text: Text, present: Bool[Array, "batch time"] | None
) -> Bool[Array, "#batch #time positions"]:
    exists = text.exists[:, None]
    return exists if present is None else exists & present[..., None]


def _gradient(
    slopes: tuple[Array, Array, Array],
    cells: _Cells,
    logits: Float[Array, "batch time positions classes"],
    text: Text,
    exists: Bool[Array, "#batch #time positions"],
) -> Float[Array, "batch time positions classes"]:
    is_blank, is_label = _which(logits, text)
    blank, label, other = (x[..., None] for x in slopes)
    # Not e^(z - m) / total: XLA would keep e^(z - m), as large as the logits, from the sums.
    from_top = difference(at_least_float32(_cleaned(logits, exists, 1)), cells.top)
    p = jnp.exp(from_top - jnp.log(cells.total)[..., None])
    return jnp.where(is_blank, blank, jnp.where(is_label, label, other * p))


def _cleaned(
    x: Float[Array, "batch time positions some"],
    exists: Bool[Array, "#batch #time positions"],
    fill: int | float,
) -> Float[Array, "batch time positions some"]:
    """With ``fill`` where nothing exists: another one each time, or XLA would keep what it made."""
    return jnp.where(exists[..., None], x, fill)


def _which(
    logits: Float[Array, "batch time positions classes"], text: Text
) -> tuple[Bool[Array, "1 1 1 classes"], Bool[Array, "batch 1 positions classes"]]:
    classes = jax.lax.broadcasted_iota(jnp.int32, (1, 1, 1, logits.shape[-1]), 3)
    return classes == text.blank, classes == text.following[:, None, :, None]


def _cells(
    logits: Float[Array, "batch time positions classes"],
    text: Text,
    exists: Bool[Array, "#batch #time positions"],
) -> _Cells:
    """Picked before what does not exist is cleaned away, or that would make a copy of all."""
    blank = jnp.take(logits, text.blank, axis=-1, mode="clip")
    index = jnp.broadcast_to(text.following[:, None].clip(0), logits.shape[:-1])
    label = jnp.take_along_axis(logits, index[..., None], -1, mode="clip").squeeze(-1)
    is_blank, is_label = _which(logits, text)
    top = jax.lax.stop_gradient(logits).max(-1, keepdims=True)
    top = at_least_float32(_cleaned(top, exists, 0))
    scaled = jnp.exp(difference(at_least_float32(_cleaned(logits, exists, 0)), top))
    others = row_sum(jnp.where(is_blank | is_label, 0, scaled))

    def from_top(x: Float[Array, "batch time positions"]) -> Float[Array, "batch time positions"]:
        return difference(at_least_float32(jnp.where(exists, x, 0)), top.squeeze(-1))

    blank, label = from_top(blank), from_top(label)
    label = jnp.where(text.following[:, None] >= 0, label, -jnp.inf)
    return _Cells(blank, label, top, others, others + jnp.exp(blank) + jnp.exp(label))


def _grid(
    cells: _Cells, text: Text, exists: Bool[Array, "#batch #time positions"]
) -> tuple[Steps, Float[Array, "batch rows positions"]]:
    """The steps from each cell, and the probability of what is lost there.

    A frame that does not exist is passed for free. So is, after the last, what is not text; there
    a text that is not finished is lost.
    """
    log_total = jnp.log(cells.total)
    unfinished = (text.following >= 0)[:, None]
    none = jnp.full_like(cells.blank[:, :1], -jnp.inf)
    down = jnp.where(exists, cells.blank - log_total, jnp.where(text.exists[:, None], 0, -jnp.inf))
    right = jnp.where(exists, cells.label - log_total, -jnp.inf)
    end = jnp.where(unfinished, -jnp.inf, 0 * cells.others[:, :1])
    leaks = jnp.where(exists, cells.others / cells.total, 0)
    early = jnp.where(unfinished, jnp.ones_like(leaks[:, :1]), 0)
    grid = Steps(jnp.concatenate([down, none], 1), jnp.concatenate([right, end], 1))
    return grid, jnp.concatenate([leaks, early], 1)


def _nll(
    cells: _Cells, text: Text, exists: Bool[Array, "#batch #time positions"]
) -> Float[Array, " batch"]:
    """From the probability of the text or, if that is less, of all else."""
    kept, lost = lattices.sum_by_steps(*_grid(cells, text, exists))
    likely = wide.to_float(kept) > 0.5
    return jnp.where(likely, -jnp.log1p(-jnp.where(likely, lost, 0)), -wide.log(kept))


def _slopes(
    cells: _Cells, text: Text, exists: Bool[Array, "#batch #time positions"]
) -> tuple[Array, Array, Array]:
    """In the logits of blank and label, and the factor of the probabilities of the others."""
    blank, label = lattices.step_shares(_grid(cells, text, exists)[0])
    blank, label = (jnp.where(exists, x[:, :-1], 0) for x in (blank, label))
    p_blank, p_label = jnp.exp(cells.blank) / cells.total, jnp.exp(cells.label) / cells.total
    p_other = cells.others / cells.total
    return (
        label * p_blank - blank * (p_label + p_other),
        blank * p_label - label * (p_blank + p_other),
        blank + label,
    )
