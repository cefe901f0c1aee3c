"""Losses of survival models whose hazards are proportional, and known only relative to each other.

Whoever is observed until a time is at risk until then. Sums over those at risk are cumulative sums
in the order of time; they are kept as a largest exponent and a sum scaled by it, and no element is
ever subtracted from one, so that a small sum survives beside a large one.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Bool, Float, Int, Real, Shaped

from jaxloss.core.checks import (
    require_integer,
    require_rank,
    require_real,
    require_same_shape,
)
from jaxloss.core.compiling import compiled
from jaxloss.core.inputs import at_least_float32, masked, promoted, selection
from jaxloss.core.preconditions import check
from jaxloss.core.reducing import Reduction, reduce


@compiled("reduction")
def cox_breslow(
    log_hazards: Real[ArrayLike, " batch"],
    times: Real[ArrayLike, " batch"],
    events: Bool[ArrayLike, " batch"] | Real[ArrayLike, " batch"],
    *,
    strata: Int[ArrayLike, " batch"] | None = None,
    entry_times: Real[ArrayLike, " batch"] | None = None,
    where: Bool[ArrayLike, " #batch"] | None = None,
    weights: Real[ArrayLike, "..."] | None = None,
    reduction: Reduction = "mean",
) -> Float[Array, "..."]:
    r"""Negative log partial likelihood of Cox, where tied events compete one by one.

    With :math:`R_i` the examples at risk when event :math:`i` happens:

    .. math::
        \ell_i = \log \sum_{j \in R_i} e^{h_j - h_i}, \qquad R_i = \{ j : t_j \ge t_i \}

    Only the order of the times matters, and log-hazards count up to a constant. With many ties,
    as in times by the day, :func:`cox_efron` is closer to the exact likelihood; without ties they
    are equal. A batch stands for the whole data: make it large. The unreduced shape is ``batch``,
    zero where nothing happened; ``weights=events`` makes the mean one over events.

    Args:
        times: of the event, or of the last observation.
        events: 1 where the event happened, 0 where observation ended without.
        strata: any integers; examples are compared only within a stratum.
        entry_times: since when each is observed, less than ``times``: at risk is who has entered
            before :math:`t_i`. Covariates that change are one example per interval.
        where: which examples exist; the others are not at risk either.
        weights, reduction: see :func:`jaxloss.core.reducing.reduce`; a weight of zero leaves an
            example at risk for others.

    Example:
        >>> times, events = jnp.array([1.0, 2.0, 3.0]), jnp.array([1, 1, 0])
        >>> cox_breslow(jnp.zeros(3), times, events, reduction="none")
        Array([1.0986123, 0.6931472, 0.       ], dtype=float32)

    Reference:
        Cox, "Regression Models and Life-Tables", 1972; Breslow, "Covariance Analysis of Censored
        Survival Data", 1974.
    """
    name = "cox_breslow"
    given = _inputs(name, where, log_hazards, times, events, strata, entry_times)
    loss = _in_order_of_time(given, thinned=False)
    return reduce(name, loss, where, weights, reduction)


@compiled("reduction")
def cox_efron(
    log_hazards: Real[ArrayLike, " batch"],
    times: Real[ArrayLike, " batch"],
    events: Bool[ArrayLike, " batch"] | Real[ArrayLike, " batch"],
    *,
    strata: Int[ArrayLike, " batch"] | None = None,
    entry_times: Real[ArrayLike, " batch"] | None = None,
    where: Bool[ArrayLike, " #batch"] | None = None,
    weights: Real[ArrayLike, "..."] | None = None,
    reduction: Reduction = "mean",
) -> Float[Array, "..."]:
    r"""Negative log partial likelihood of Cox, where tied events leave the risk set in turn.

    With :math:`D_i` the :math:`d` events at the time of event :math:`i`, itself included:

    .. math::
        \ell_i = \frac1d \Bigl( \sum_{k=0}^{d-1}
            \log \bigl( \textstyle\sum_{j \in R_i} e^{h_j}
            - \frac{k}{d} \sum_{j \in D_i} e^{h_j} \bigr) - \sum_{j \in D_i} h_j \Bigr)

    The usual choice for tied times; without ties it is :func:`cox_breslow`. Events that are tied
    share their loss evenly. The unreduced shape is ``batch``, zero where nothing happened;
    ``weights=events`` makes the mean one over events.

    Args:
        times: of the event, or of the last observation.
        events, strata, entry_times, where: see :func:`cox_breslow`.
        weights, reduction: see :func:`jaxloss.core.reducing.reduce`; a weight of zero leaves an
            example at risk for others.

    Example:
        >>> cox_efron(jnp.zeros(3), jnp.array([1.0, 1.0, 3.0]), jnp.array([1, 1, 0]))
        Array(0.59725...

    Reference:
        Efron, "The Efficiency of Cox's Likelihood Function for Censored Data", 1977.
    """
    name = "cox_efron"
    given = _inputs(name, where, log_hazards, times, events, strata, entry_times)
    loss = _in_order_of_time(given, thinned=True)
    return reduce(name, loss, where, weights, reduction)


class _Given(NamedTuple):
    """What the caller passed, checked and clean."""

    log_hazards: Float[Array, " batch"]  # -inf where there is no example
    times: Real[Array, " batch"]
    events: Bool[Array, " batch"]
    strata: Int[Array, " batch"]
    entry_times: Real[Array, " batch"] | None


def _inputs(
    name: str,
    where: ArrayLike | None,
    log_hazards: ArrayLike,
    times: ArrayLike,
    events: ArrayLike,
    strata: ArrayLike | None,
    entry_times: ArrayLike | None,
) -> _Given:
    require_real(name, log_hazards=log_hazards, times=times)
    require_rank(name, 1, wanted="of shape (batch,)", exact=True, log_hazards=log_hazards)
    require_same_shape(name, log_hazards=log_hazards, times=times, events=events)
    log_hazard, time = at_least_float32(log_hazards), jnp.asarray(times)
    event, stratum, entry = jnp.asarray(events), jnp.zeros(time.shape, jnp.int32), None
    selected = selection(name, where, time.shape)
    if strata is not None:
        require_integer(name, strata=strata)
        require_same_shape(name, log_hazards=log_hazards, strata=strata)
        stratum = masked(jnp.asarray(strata), selected)
    if entry_times is not None:
        require_real(name, entry_times=entry_times)
        require_same_shape(name, log_hazards=log_hazards, entry_times=entry_times)
        entry = jnp.asarray(entry_times)
        if entry.dtype != time.dtype:
            time, entry = promoted(time, entry)
        time, entry = masked(time, selected, fill=1), masked(entry, selected)
        entry = check(entry, entry < time, f"{name}: entry_times must be less than times")
    event = masked(event.astype(jnp.int32) if event.dtype == jnp.bool_ else event, selected)
    event = check(event, (event == 0) | (event == 1), f"{name}: events must be 0 or 1")
    log_hazard = masked(log_hazard, selected, fill=-jnp.inf)
    return _Given(log_hazard, masked(time, selected), event != 0, stratum, entry)


class _Sum(NamedTuple):
    """``scaled * exp(peak)``, a sum of exponentials; the peak is a constant to derivatives."""

    peak: Float[Array, " batch"]
    scaled: Float[Array, " batch"]

    def plus(self, other: "_Sum") -> "_Sum":
        peak = jnp.maximum(self.peak, other.peak)
        scaled = self.scaled * _shrunk(self.peak, peak) + other.scaled * _shrunk(other.peak, peak)
        return _Sum(peak, scaled)


def _shrunk(peak: Float[Array, "*shape"], to: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """``exp(peak - to)``, and 1 between equal infinities."""
    return jnp.exp(jnp.where(peak == to, 0, peak - to))


def _in_order_of_time(given: _Given, *, thinned: bool) -> Float[Array, " batch"]:
    """The loss of each example, found in the order of stratum and then time, from last to first.

    At one time events come last: before the first of them is everyone else at risk.
    """
    size = given.times.size
    if not size:
        return given.log_hazards
    order = jnp.lexsort((~given.events, given.times, given.strata))[::-1]
    log_hazard, time, event, stratum = (x[order] for x in given[:4])
    new_stratum = _changes(stratum)
    starts = new_stratum | _changes(time) | _changes(event)
    ends = jnp.append(starts[1:], True)
    position = jnp.arange(size)
    first = jax.lax.cummax(jnp.where(starts, position, 0))
    last = jax.lax.cummin(jnp.where(ends, position, size), reverse=True)

    peak = jax.lax.stop_gradient(log_hazard)
    absent = peak == -jnp.inf
    alone = jnp.exp(jnp.where(jnp.isfinite(peak), log_hazard - peak, 0))
    each = _Sum(peak, jnp.where(absent, 0, alone))
    if given.entry_times is None:
        rest = _before(each, new_stratum)
    else:
        rest = _since_entry(each, _until(given, order))
    rest = jax.tree.map(lambda x: x[first], rest)
    after = jax.tree.map(jnp.flip, _before(jax.tree.map(jnp.flip, each), jnp.flip(ends)))
    tied = _before(each, starts).plus(after)
    gone = jnp.zeros_like(log_hazard)
    if thinned:
        gone = ((position - first) / (last - first + 1)).astype(log_hazard.dtype)
    others = rest.plus(tied._replace(scaled=(1 - gone) * tied.scaled))
    loss = jnp.where(event, _surprise(jnp.where(event, log_hazard, 0), others, gone), 0)
    if thinned:
        shared = jax.ops.segment_sum(loss, first, size)[first]
        loss = shared / (last - first + 1).astype(loss.dtype)
    return jnp.zeros_like(loss).at[order].set(loss)


def _surprise(
    log_hazard: Float[Array, " batch"], others: _Sum, gone: Float[Array, " batch"]
) -> Float[Array, " batch"]:
    """``log(1 - gone + others / hazard)``, exact also where the hazard is all there is."""
    gap = others.peak - log_hazard
    ahead = gap > 0
    behind = jnp.exp(jnp.where(ahead, 0, gap)) * others.scaled
    far = jnp.where(ahead, gap, 0)
    overtaken = jnp.where(ahead, others.scaled + (1 - gone) * jnp.exp(-far), 1)
    return jnp.where(ahead, far + jnp.log(overtaken), jnp.log1p(jnp.where(ahead, 0, behind - gone)))


def _changes(x: Shaped[Array, " batch"]) -> Bool[Array, " batch"]:
    """Whether each element differs from the one before; true for the first."""
    return jnp.concatenate([jnp.ones(1, bool), x[1:] != x[:-1]])


def _before(each: _Sum, starts: Bool[Array, " batch"]) -> _Sum:
    """The sum over the elements before each, from the nearest of the ``starts`` on."""

    def add(left: tuple[Array, _Sum], right: tuple[Array, _Sum]) -> tuple[Array, _Sum]:
        both = left[1].plus(right[1])
        return left[0] | right[0], jax.tree.map(
            lambda x, y: jnp.where(right[0], x, y), right[1], both
        )

    _, total = jax.lax.associative_scan(add, (starts, each))
    peak = jnp.where(starts, -jnp.inf, jnp.roll(total.peak, 1))
    return _Sum(peak, jnp.where(starts, 0, jnp.roll(total.scaled, 1)))


def _until(given: _Given, order: Int[Array, " batch"]) -> Int[Array, " batch"]:
    """How many come before each entry, in the order of stratum and time."""
    assert given.entry_times is not None
    size = order.size
    is_entry = jnp.arange(2 * size) >= size
    moments = jnp.concatenate([given.times, given.entry_times])
    merged = jnp.lexsort((is_entry, moments, jnp.tile(given.strata, 2)))[::-1]
    passed = jnp.cumsum(~is_entry[merged])
    return jnp.zeros_like(passed).at[merged].set(passed)[size:][order]


def _since_entry(each: _Sum, until: Int[Array, " batch"]) -> _Sum:
    """The sum, at each position, over the elements before that are there until after it.

    By a segment tree: each element is put in the few nodes that make up its range, and each
    position collects the nodes above it.
    """
    size = each.peak.size
    position = jnp.arange(size)
    low, high, leaf = position + 1 + size, until.astype(position.dtype) + size, position + size
    found = _Sum(jnp.full_like(each.peak, -jnp.inf), jnp.zeros_like(each.scaled))
    for _ in range((2 * size - 1).bit_length()):
        opens, closes = (low < high) & (low % 2 == 1), (low < high) & (high % 2 == 1)
        node = jnp.concatenate([jnp.where(opens, low, 0), jnp.where(closes, high - 1, 0)])
        peak, scaled = (jnp.tile(x, 2) for x in each)
        top = jax.ops.segment_max(peak, node, 2 * size)
        scaled = scaled * _shrunk(peak, top[node])
        level = _Sum(top[leaf], jax.ops.segment_sum(scaled, node, 2 * size)[leaf])
        here = leaf > 0
        empty = _Sum(jnp.full_like(each.peak, -jnp.inf), jnp.zeros_like(each.scaled))
        found = found.plus(
            jax.tree.map(lambda x, y, here=here: jnp.where(here, x, y), level, empty)
        )
        low, high, leaf = (low + 1) // 2, high // 2, leaf // 2
    return found
