r"""What a loss needs to know of a row of logits, put together from any division of its columns.

A row :math:`z` is seen from its maximum :math:`m`, through sums of non-negative terms:

.. math::
    o = \sum_{v \ne \text{leader}} e^{z_v - m}, \qquad
    \log \sum_v e^{z_v} = m + \log(1 + o), \qquad
    -\log p_y = (m - z_y) + \log(1 + o)

so that a sure model's loss keeps its digits. A single column is a row whose :math:`o` is 0; parts
of a row, be they columns, slices or what another device holds, are merged by one rule: each is seen
from the common maximum, then they are added. And whatever function of the statistics a loss is, its
gradient in a logit is

.. math::
    \frac{\partial \ell}{\partial z_v}
        = p_v\, (A - B \log p_v + C p_v) + D + E z_v, \qquad
    p_v = e^{(z_v - m) - \log(1 + o)}

with five numbers per row, and an entry of its own at the label: one pass over the logits.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Shaped

from jaxloss.core.classes import below, times
from jaxloss.core.summing import row_sum


class Statistics(NamedTuple):
    """Of each row of logits, what was asked for; the rest is None."""

    log_sum_exp: Float[Array, "*rows"] | None = None
    nll: Float[Array, "*rows"] | None = None
    """minus the log-probability of the label"""
    even_nll: Float[Array, "*rows"] | None = None
    """minus the log-probabilities of all columns, on average"""
    entropy: Float[Array, "*rows"] | None = None
    rivals: Float[Array, "*rows"] | None = None
    """sum of the squared probabilities of all columns but the label"""
    squares: Float[Array, "*rows"] | None = None
    """sum of the squared logits"""
    prediction: Int[Array, "*rows"] | None = None
    """the first of the largest logits; without a gradient"""


class Columns(NamedTuple):
    """Which columns of the vocabulary a tile of logits has: a stretch of each part of it.

    The parts are equally large. Where devices hold one or more parts each, all of them have their
    share in every tile.
    """

    start: Int[Array, ""] | int
    """of the stretch, within a part"""
    length: int
    """of the stretch"""
    parts: int
    size: int
    """of a part"""
    before: Int[Array, ""] | int = 0
    """how many columns other devices hold before the first one here"""
    classes: int | None = None
    """how many columns exist; the others are padding. None: all"""

    @property
    def ids(self) -> Int[Array, "1 columns"]:
        """Of the columns, ascending."""
        part, place = jnp.divmod(jnp.arange(self.parts * self.length, dtype=jnp.int32), self.length)
        return (self.before + part * self.size + self.start + place).astype(jnp.int32)[None]

    @property
    def exist(self) -> Bool[Array, "1 columns"] | None:
        """Which of them do; None: all."""
        return None if self.classes is None else self.ids < self.classes

    def of(self, x: Shaped[Array, "*lead parts size"]) -> Shaped[Array, "*lead columns"]:
        """These columns of an array whose last two axes are the parts and what is in them."""
        some = jax.lax.dynamic_slice_in_dim(x, self.start, self.length, -1)
        return some.reshape(*x.shape[:-2], -1)

    def put(
        self, x: Shaped[Array, "*lead parts size"], some: Shaped[Array, "*lead columns"]
    ) -> Shaped[Array, "*lead parts size"]:
        """``x`` with these columns replaced."""
        some = some.reshape(*x.shape[:-1], self.length).astype(x.dtype)
        return jax.lax.dynamic_update_slice_in_dim(x, some, self.start, -1)

    def pick(self, z: Float[Array, "rows columns"], labels: Array | None) -> Float[Array, " rows"]:
        """The label's logit where the tile has it, or else 0.

        A gather: to compare with every column would read the tile once more, and keep XLA from
        rewriting it in place.
        """
        part, place = jnp.divmod(jnp.asarray(labels) - self.before, self.size)
        place = place - self.start
        here = (place >= 0) & (place < self.length) & (part >= 0) & (part < self.parts)
        index = jnp.where(here, part * self.length + place, 0)[:, None]
        found = jnp.take_along_axis(z, index, axis=-1, mode="clip").squeeze(-1)
        return jnp.where(here, found, 0)

    def at(self, labels: Array | None) -> Bool[Array, "rows columns"]:
        """Which entries of the tile are those of the labels."""
        return self.ids == jnp.asarray(labels)[:, None]


class State(NamedTuple):
    """Rows as far as they are known: seen from their maximum so far."""

    maximum: Float[Array, "*rows"]
    others: Float[Array, "*rows"]
    """sum of e^-gap over all columns but one leader, the gap being how far below the maximum"""
    score: Float[Array, "*rows"] | None = None
    """the label's logit; 0 if it has not been seen"""
    width: Float[Array, "*rows"] | None = None
    """how many columns"""
    gaps: Float[Array, "*rows"] | None = None
    """sum of the gaps"""
    surprise: Float[Array, "*rows"] | None = None
    """sum of e^-gap times the gap"""
    rivals: Float[Array, "*rows"] | None = None
    """sum of e^-2gap over all columns but the label"""
    squares: Float[Array, "*rows"] | None = None
    """sum of the squared logits"""
    leader: Int[Array, "*rows"] | None = None
    """the first column at the maximum"""


class Known(NamedTuple):
    """Rows that are known in full, and what turns a logit into a log-probability."""

    statistics: Statistics
    maximum: Float[Array, "*rows"]
    spread: Float[Array, "*rows"]
    """log(1 + others): what is to be subtracted next; in one number, the two would lose digits"""
    width: Float[Array, "*rows"] | None
    """how many columns there are"""


Wanted = tuple[str, ...]
"""Names of :class:`Statistics`."""


def empty(rows: tuple[int, ...], dtype: Any, wanted: Wanted) -> State:
    """Of no column: what leaves another state as it is when they are merged."""
    zero = jnp.zeros(rows, dtype)
    return State(
        maximum=jnp.full(rows, -jnp.inf, dtype),
        others=zero - 1,
        score=zero if "nll" in wanted else None,
        width=zero if "even_nll" in wanted else None,
        gaps=zero if "even_nll" in wanted else None,
        surprise=zero if "entropy" in wanted else None,
        rivals=zero if "rivals" in wanted else None,
        squares=zero if "squares" in wanted else None,
        leader=jnp.zeros(rows, jnp.int32) if "prediction" in wanted else None,
    )


def of_tile(
    z: Float[Array, "rows columns"],
    labels: Int[Array, " rows"] | None,
    columns: Columns,
    wanted: Wanted,
) -> State:
    """The state of rows of which only the columns of this tile are known."""
    exist = columns.exist
    seen = z if exist is None else jnp.where(exist, z, -jnp.inf)
    top = seen.max(-1, keepdims=True)
    leads, gap = seen == top, below(top, seen)
    ratio = jnp.exp(-gap)
    others = row_sum(jnp.where(leads, 0, ratio)) + (row_sum(leads.astype(z.dtype)) - 1)
    state = State(top.squeeze(-1), others)
    if "nll" in wanted:
        state = state._replace(score=columns.pick(z, labels))
    if "even_nll" in wanted:
        width = jnp.full_like(others, z.shape[-1]) if exist is None else exist.sum(-1)
        gaps = gap if exist is None else jnp.where(exist, gap, 0)
        width = jnp.broadcast_to(width, others.shape).astype(z.dtype)
        state = state._replace(width=width, gaps=row_sum(gaps))
    if "entropy" in wanted:
        state = state._replace(surprise=row_sum(jnp.where(ratio > 0, ratio * gap, 0)))
    if "rivals" in wanted:
        rivals = jnp.where(columns.at(labels), 0, ratio * ratio)
        state = state._replace(rivals=row_sum(rivals))
    if "squares" in wanted:
        existing = z if exist is None else jnp.where(exist, z, 0)
        state = state._replace(squares=row_sum(existing * existing))
    if "prediction" in wanted:
        state = state._replace(leader=columns.ids[0, seen.argmax(-1)])
    return state


def seen_from(maximum: Float[Array, "*rows"], state: State) -> State:
    """The state's sums, seen from a common ``maximum``, so that those of several states add up.

    ``others`` leaves out one leader of each state that is at the maximum; ``maximum`` counts those.
    """
    gap = below(maximum, state.maximum)
    ratio, leads = jnp.exp(-gap), gap == 0
    near = jnp.where(ratio > 0, gap, 0)
    scaled = jnp.where(leads, state.others, (1 + state.others) * ratio)
    moved = state._replace(maximum=leads.astype(gap.dtype), others=scaled, leader=None)
    if state.gaps is not None and state.width is not None:
        moved = moved._replace(gaps=state.gaps + times(state.width, gap))
    if state.surprise is not None:
        surprise = ratio * (state.surprise + near * (1 + state.others))
        moved = moved._replace(surprise=surprise)
    if state.rivals is not None:
        moved = moved._replace(rivals=state.rivals * ratio * ratio)
    return moved


def merged(one: State, other: State) -> State:
    """What is known from two parts of the rows."""
    maximum = jnp.maximum(one.maximum, other.maximum)
    total = jax.tree.map(jnp.add, seen_from(maximum, one), seen_from(maximum, other))
    leader = None
    if one.leader is not None and other.leader is not None:
        leader = jnp.minimum(_leading(maximum, one), _leading(maximum, other))
    others = total.others + (total.maximum - 1)
    return total._replace(maximum=maximum, others=others, leader=leader)


def merged_over(axis: Any, state: State) -> State:
    """What all devices along axes of a mesh know together: by a maximum and one sum."""
    maximum = jax.lax.pmax(state.maximum, axis)
    parts, structure = jax.tree.flatten(seen_from(maximum, state))
    total = jax.tree.unflatten(structure, list(jax.lax.psum(jnp.stack(parts), axis)))
    leader = None if state.leader is None else jax.lax.pmin(_leading(maximum, state), axis)
    others = total.others + (total.maximum - 1)
    return total._replace(maximum=maximum, others=others, leader=leader)


def _leading(maximum: Float[Array, "*rows"], state: State) -> Int[Array, "*rows"]:
    """The first column at the maximum, or else a number beyond all columns."""
    leads = state.maximum == maximum
    return jnp.where(leads, jnp.asarray(state.leader), jnp.iinfo(jnp.int32).max)


def finished(state: State, wanted: Wanted) -> Known:
    """The statistics of rows that are known in full."""
    spread, total = jnp.log1p(state.others), 1 + state.others
    found: dict[str, Any] = {}
    if "log_sum_exp" in wanted:
        found["log_sum_exp"] = state.maximum + spread
    if state.score is not None:
        found["nll"] = below(state.maximum, state.score) + spread
    if state.gaps is not None and state.width is not None:
        found["even_nll"] = state.gaps / state.width + spread
    if state.surprise is not None:
        found["entropy"] = state.surprise / total + spread
    if state.rivals is not None:
        found["rivals"] = state.rivals / (total * total)
    found["squares"], found["prediction"] = state.squares, state.leader
    return Known(Statistics(**found), state.maximum, spread, state.width)


def slope(
    z: Float[Array, "rows columns"],
    labels: Int[Array, " rows"] | None,
    columns: Columns,
    known: Known,
    cotangent: Statistics,
) -> Float[Array, "rows columns"]:
    """The gradient in the logits of a tile, from the gradient in the statistics of its rows."""
    found, ct = known.statistics, Statistics(*(_column(c) for c in cotangent))
    log_p = (z - _column(known.maximum)) - _column(known.spread)
    p = jnp.exp(log_p)
    rate = _total(
        ct.log_sum_exp,
        ct.even_nll,
        _product(ct.entropy, found.entropy, -1.0),
        _product(ct.rivals, found.rivals, -2.0),
    )
    total = jnp.zeros_like(z) if rate is None else p * rate
    if ct.nll is not None:
        # At the label not (p - 1), but minus what the others have.
        doubt = jnp.expm1(-_column(found.nll)) * ct.nll
        total = total + jnp.where(columns.at(labels), doubt, p * ct.nll)
    if ct.rivals is not None:
        total = total + jnp.where(columns.at(labels), 0, 2 * ct.rivals * p * p)
    if ct.entropy is not None:
        total = total - jnp.where(p > 0, p * log_p, 0) * ct.entropy
    if ct.even_nll is not None:
        total = total - ct.even_nll / _column(known.width)
    if ct.squares is not None:
        total = total + 2 * ct.squares * z
    exist = columns.exist
    return total if exist is None else jnp.where(exist, total, 0)


def _column(x: Any) -> Any:
    return None if x is None else x[:, None]


def _product(ct: Any, x: Any, factor: float = 1.0) -> Any:
    return None if ct is None else factor * ct * _column(x)


def _total(*terms: Any) -> Any:
    present = [term for term in terms if term is not None]
    return sum(present[1:], present[0]) if present else None
