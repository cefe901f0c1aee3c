"""Means of the values: shown to another criterion, or compared with each other."""

import math
from typing import Any, NamedTuple

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
    margin,
    running,
    verdict,
)


class AveragedState(NamedTuple):
    """The state of the averaged criterion, and the mean of the values it has not seen yet."""

    inner: Any
    mean: Float[Array, ""]
    gathered: Int[Array, ""]


def averaged(every: Scalar, criterion: Criterion) -> Criterion:
    """Show ``criterion`` the mean of each ``every`` finite values instead of the values.

    What ``criterion`` counts, such as checks or a budget of observations, are then means. Step and
    ``aux`` are those of the last value.
    """

    def init() -> AveragedState:
        return AveragedState(criterion.init(), jnp.float32(0), jnp.int32(0))

    def update(state: AveragedState, observation: Observation) -> tuple[AveragedState, Verdict]:
        gathered = state.gathered + 1
        mean = state.mean + (observation.value - state.mean) / gathered.astype(jnp.float32)

        def show() -> tuple[AveragedState, Verdict]:
            inner, judged = criterion.update(state.inner, observation._replace(value=mean))
            return AveragedState(inner, jnp.float32(0), jnp.int32(0)), judged

        def gather() -> tuple[AveragedState, Verdict]:
            return AveragedState(state.inner, mean, gathered), running()

        # what is shown is seldom and may be dear to judge, so that a choice between both costs more
        return jax.lax.cond(gathered >= every, show, gather)

    return finite_only(Criterion(init, update))


class WindowState(NamedTuple):
    """The mean of the last full window and of the open one, and windows in a row without a gain."""

    mean: Float[Array, ""]
    open_mean: Float[Array, ""]
    open_length: Int[Array, ""]
    hits: Int[Array, ""]


def window_gain(
    window: Scalar, *, atol: Scalar = 0.0, rtol: Scalar = 1e-3, hits: Scalar = 2
) -> Criterion:
    """Stop when the means of successive windows no longer fall by the margin.

    Simple, and early where noise is small and the loss falls fast and then no more. It stops the
    more often by luck the noisier the windows are, and always on a slow enough descent.

    Args:
        window: how many values to a window.
        atol, rtol: a gain is a fall of at least ``atol + rtol * |mean|`` between two windows.
        hits: windows in a row without a gain, the last of them stopping.

    Example:
        >>> from jaxloss.training.convergence import explain
        >>> criterion = window_gain(2, hits=1)
        >>> state = criterion.init()
        >>> for step, value in enumerate([3.0, 1.0, 2.0, 2.0]):
        ...     state, judged = criterion.update(state, Observation(value, step))
        >>> explain(judged)
        'stalled: the last stretch has gained 0, and 0.002 is wanted'
    """

    def init() -> WindowState:
        return WindowState(jnp.float32(jnp.inf), jnp.float32(0), jnp.int32(0), jnp.int32(0))

    def update(state: WindowState, observation: Observation) -> tuple[WindowState, Verdict]:
        length = state.open_length + 1
        share = 1 / length.astype(jnp.float32)
        mean = state.open_mean + (observation.value - state.open_mean) * share
        full = length >= window
        gain = state.mean - mean
        wanted = margin(state.mean, atol, rtol)
        found = jnp.where(full, jnp.where(gain < wanted, state.hits + 1, 0), state.hits)
        updated = WindowState(
            mean=jnp.where(full, mean, state.mean),
            open_mean=jnp.where(full, 0, mean),
            open_length=jnp.where(full, 0, length),
            hits=found,
        )
        return updated, verdict(full & (found >= hits), Reason.STALLED, gain, wanted)

    return finite_only(Criterion(init, update))


class CrossingState(NamedTuple):
    """Two running means of different memory, and values in a row at which they nearly met."""

    fast: Float[Array, ""]
    slow: Float[Array, ""]
    seen: Int[Array, ""]
    hits: Int[Array, ""]


def ema_crossing(
    fast: float = 200.0,
    slow: float = 2000.0,
    *,
    atol: Scalar = 0.0,
    rtol: Scalar = 2e-3,
    hits: Scalar = 200,
) -> Criterion:
    """Stop when a slow running mean is no longer above a fast one by the margin.

    Their distance is about the fall of the loss over ``(slow - fast) / log(2)`` values. Nothing is
    judged before ``3 * slow`` values.

    Args:
        fast, slow: the half-lives of the two means, in values.
        atol, rtol: they have met if they are within ``atol + rtol * |slow mean|``.
        hits: how many values in a row they must have met at.
    """
    require_half_lives(fast, slow)
    shares = [-math.expm1(math.log(0.5) / half_life) for half_life in (fast, slow)]

    def init() -> CrossingState:
        return CrossingState(jnp.float32(0), jnp.float32(0), jnp.int32(0), jnp.int32(0))

    def update(state: CrossingState, observation: Observation) -> tuple[CrossingState, Verdict]:
        seen = state.seen + 1
        newest = 1 / seen.astype(jnp.float32)  # an ordinary mean until there is enough to forget
        means = [
            mean + jnp.maximum(share, newest) * (observation.value - mean)
            for mean, share in zip((state.fast, state.slow), shares, strict=True)
        ]
        gain = means[1] - means[0]
        wanted = margin(means[1], atol, rtol)
        met: Bool[Array, ""] = (gain < wanted) & (seen.astype(jnp.float32) >= 3 * slow)
        found = jnp.where(met, state.hits + 1, 0)
        judged = verdict(met & (found >= hits), Reason.STALLED, gain, wanted)
        return CrossingState(means[0], means[1], seen, found), judged

    return finite_only(Criterion(init, update))


def require_half_lives(fast: float, slow: float) -> None:
    """Raise ``ValueError`` unless both are positive and the slow one is longer."""
    if not 0 < fast < slow:
        raise ValueError(
            f"ema_crossing: fast must be positive and less than slow, got {fast} and {slow}"
        )
