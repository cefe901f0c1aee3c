"""When the loss has left for good where it was, and when a single value is out of line."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from jaxloss.core.inputs import Scalar
from jaxloss.training.convergence.contract import (
    Criterion,
    Observation,
    Reason,
    Verdict,
    finite_only,
    running,
    verdict,
)

LEAST_LEVELS = 8
"""Levels there must be before anything is judged."""


class DivergenceState(NamedTuple):
    """The open window, and what is remembered of the levels so far."""

    window: Float[Array, " window"]
    filled: Int[Array, ""]
    changes: Float[Array, " memory"]
    """sizes of the last changes from level to level, NaN where there was none yet"""
    levels: Int[Array, ""]
    first: Float[Array, ""]
    last: Float[Array, ""]
    lowest: Float[Array, ""]
    since: Int[Array, ""]
    """levels since the lowest"""
    hits: Int[Array, ""]


def divergence(
    *,
    window: int = 8,
    memory: int = 32,
    lost: Scalar = 0.2,
    noise: Scalar = 6.0,
    rtol: Scalar = 0.02,
    wander: Scalar = 8.0,
    hits: Scalar = 2,
) -> Criterion:
    r"""Stop once the loss is far above its lowest level, and noise cannot have taken it there.

    The level :math:`l` is the median of each ``window`` values, and the noise :math:`s` the median
    change between neighboring ones. It stops when

    .. math::
        l - l_{min} > \max(\text{lost} \cdot (l_0 - l_{min}),\;
            \text{noise} \cdot s \sqrt{m},\; \text{rtol} \cdot |l_{min}|)

    where :math:`m` is 1 if the run has fallen by more than a random walk with steps :math:`s`
    would, and otherwise the levels since the lowest: a loss that never fell may just wander. The
    noise is measured before, not while, the loss is up. A change of the data that raises the loss
    looks the same: see :func:`reset_when`. On a training loss use it within :func:`averaged`.

    Args:
        window: values to a level.
        memory: over how many levels the noise is measured.
        lost: the share of the descent so far that must be lost.
        noise: how many times the noise must be exceeded.
        rtol: the share of the lowest level that must be exceeded.
        wander: a run has fallen if it did so by ``wander * s * sqrt(levels)``.
        hits: levels in a row, the last of them stopping.

    Example:
        >>> from jaxloss.training.convergence import explain
        >>> criterion = divergence(window=1)
        >>> state = criterion.init()
        >>> for step, value in enumerate([4.0, 3.0, 2.5, 2.2, 2.1, 2.0, 1.9, 1.9, 9.0, 9.0]):
        ...     state, judged = criterion.update(state, Observation(value, step))
        >>> explain(judged)
        'diverged: the loss is 7.1 above its lowest level, where at most ... can be explained'
    """

    def init() -> DivergenceState:
        zero, unknown = jnp.int32(0), jnp.float32(jnp.nan)
        return DivergenceState(
            window=jnp.zeros(window, jnp.float32),
            filled=zero,
            changes=jnp.full(memory, jnp.nan, jnp.float32),
            levels=zero,
            first=unknown,
            last=unknown,
            lowest=jnp.float32(jnp.inf),
            since=zero,
            hits=zero,
        )

    def update(state: DivergenceState, observation: Observation) -> tuple[DivergenceState, Verdict]:
        values = state.window.at[state.filled].set(observation.value)
        filled = state.filled + 1

        def close() -> tuple[DivergenceState, Verdict]:
            level = jnp.median(values)
            levels = state.levels.astype(jnp.float32)
            fallen = state.first - state.lowest
            step = jnp.nan_to_num(jnp.nanmedian(state.changes), nan=jnp.inf)
            since = state.since + 1
            fell = fallen > wander * step * jnp.sqrt(levels)
            apart = jnp.where(fell, 1, since).astype(jnp.float32)
            risen = level - state.lowest
            limit = jnp.maximum(lost * fallen, noise * step * jnp.sqrt(apart))
            limit = jnp.maximum(limit, rtol * jnp.abs(state.lowest))
            up = (state.levels >= LEAST_LEVELS) & (risen > limit)
            found = jnp.where(up, state.hits + 1, 0)

            # the change to the first level is NaN, and overwritten in its time
            at = (state.levels - 1) % memory
            change = jnp.where(up, state.changes[at], jnp.abs(level - state.last))
            lower = level < state.lowest
            updated = DivergenceState(
                window=values,
                filled=jnp.int32(0),
                changes=state.changes.at[at].set(change),
                levels=state.levels + 1,
                first=jnp.where(state.levels == 0, level, state.first),
                last=level,
                lowest=jnp.where(lower, level, state.lowest),
                since=jnp.where(lower, 0, since),
                hits=found,
            )
            return updated, verdict(found >= hits, Reason.DIVERGED, risen, limit)

        def leave_open() -> tuple[DivergenceState, Verdict]:
            return state._replace(window=values, filled=filled), running()

        return jax.lax.cond(filled >= window, close, leave_open)

    return finite_only(Criterion(init, update))


class SpikeState(NamedTuple):
    """The accepted values, and spikes in a row."""

    accepted: Float[Array, " window"]
    """NaN where there is none yet"""
    seen: Int[Array, ""]
    row: Int[Array, ""]


class Spike(NamedTuple):
    """Whether a value is out of line, and how far, in robust standard deviations."""

    found: Bool[Array, ""]
    score: Float[Array, ""]


class SpikeDetector(NamedTuple):
    """A watch over single values: a pair of pure functions. It is no rule for stopping."""

    init: Callable[[], SpikeState]
    """``() -> state``"""
    update: Callable[[SpikeState, Float[Array, ""]], tuple[SpikeState, Spike]]
    """``(state, value) -> (state, spike)``"""


def spikes(
    *, window: int = 128, limit: Scalar = 8.0, longest: Scalar = 32, warm_up: Scalar = 32
) -> SpikeDetector:
    r"""Tell which values of a loss or of a gradient norm are spikes, worth a skipped update.

    With the median :math:`m` of the last accepted values and the median :math:`d` of those
    distances from it that lie above, a value :math:`x` is a spike if it is not finite or

    .. math::
        \frac{x - m}{1.4826\, d} > \text{limit}

    Spikes are not accepted, so that one does not hide the next. After ``longest`` in a row the loss
    is somewhere else, and everything is learnt anew.

    Args:
        window: how many accepted values are remembered.
        limit: robust standard deviations above the median that are still in line.
        longest: spikes in a row that are believed.
        warm_up: values before which no finite one is a spike.

    Example:
        >>> detector = spikes(warm_up=3)
        >>> state = detector.init()
        >>> for value in [1.0, 1.2, 1.1, 1.3, 9.0]:
        ...     state, spike = detector.update(state, jnp.float32(value))
        >>> bool(spike.found)
        True
    """

    def init() -> SpikeState:
        return SpikeState(jnp.full(window, jnp.nan, jnp.float32), jnp.int32(0), jnp.int32(0))

    def update(state: SpikeState, value: Float[Array, ""]) -> tuple[SpikeState, Spike]:
        value = jnp.float32(value)
        finite = jnp.isfinite(value)
        middle = jnp.nanmedian(state.accepted)
        above = state.accepted - middle
        spread = 1.4826 * jnp.nanmedian(jnp.where(above > 0, above, jnp.nan))
        least = 1e-4 * jnp.abs(middle) + 1e-30
        score = (value - middle) / jnp.fmax(spread, least)
        high = finite & (score > limit) & (state.seen >= warm_up)
        row = jnp.where(high, state.row + 1, jnp.where(finite, 0, state.row))
        moved = row >= longest
        found = ~finite | (high & ~moved)

        kept = jnp.where(moved, jnp.nan, state.accepted)
        seen = jnp.where(moved, 0, state.seen)
        entry = jnp.where(found, kept[seen % window], value)
        updated = SpikeState(
            accepted=kept.at[seen % window].set(entry),
            seen=seen + (~found).astype(jnp.int32),
            row=jnp.where(moved, 0, row),
        )
        return updated, Spike(found, jnp.where(state.seen > 0, score, jnp.nan))

    return SpikeDetector(init, update)
