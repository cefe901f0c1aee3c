"""A straight line through the end of the run, and how much it could still fall."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int

from jaxloss.core.inputs import Scalar
from jaxloss.training import history
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

CAPACITY = 64
"""Blocks that are kept of a run."""
MIN_BLOCKS = 32
"""Blocks there must be before anything is judged."""


class PlateauState(NamedTuple):
    """The run so far, and block closings in a row that found it flat."""

    blocks: history.BlockHistory
    hits: Int[Array, ""]


def plateau(
    *,
    atol: Scalar = 0.0,
    rtol: Scalar = 1e-2,
    horizon: Scalar = 0.5,
    budget: Scalar | None = None,
    min_observations: Scalar | None = None,
    confidence: Scalar = 0.95,
    hits: Scalar = 2,
    robust: bool = False,
) -> Criterion:
    r"""Stop once the slope of the last half of the run is confidently too small.

    With slope :math:`b` of the last half of the run, :math:`s` its standard error and :math:`H`
    the observations still to come, it stops when

    .. math::
        (t_{n-2} s - b)\, H \le \text{atol} + \text{rtol}\, |\text{level}|

    This is a test of *equivalence*: noise makes it wait, where a rule that stops as soon as no
    trend can be shown would stop the sooner the noisier the loss. As losses flatten, a slope of
    the past overrates the gain to come, so it errs towards stopping late; :func:`forecast` knows
    better. On a training loss use it within :func:`averaged`.

    Args:
        atol, rtol: the gain that would be worth going on for, ``atol + rtol * |level|``.
        horizon: :math:`H` as a share of the observations so far.
        budget: the observations the run is meant to have; :math:`H` is then what is left of them.
        min_observations: no verdict before that many; a fifth of ``budget`` by default, else 0.
        confidence: of the bound on the gain; one-sided.
        hits: how often in a row, at the closing of a block, the bound must hold.
        robust: whether the slope is the median of the slopes between any two blocks, with
            Kendall's bound, which outliers cannot pull at.

    Example:
        >>> from jaxloss.training.convergence import explain
        >>> criterion = plateau()
        >>> state = criterion.init()
        >>> for step in range(33):
        ...     state, judged = criterion.update(state, Observation(2.0, step))
        >>> explain(judged)
        'plateau: training on would gain 0 at most, and 0.02 is wanted'

    Reference:
        Sen, "Estimates of the Regression Coefficient Based on Kendall's Tau", 1968.
    """
    if min_observations is None:
        min_observations = 0 if budget is None else 0.2 * budget
    trend = history.robust_trend if robust else history.trend

    def init() -> PlateauState:
        return PlateauState(history.empty(CAPACITY), jnp.int32(0))

    def update(state: PlateauState, observation: Observation) -> tuple[PlateauState, Verdict]:
        blocks, closed = history.push(state.blocks, observation.value)
        seen = blocks.seen.astype(jnp.float32)

        def judge() -> tuple[PlateauState, Verdict]:
            ahead = horizon * seen if budget is None else jnp.maximum(budget - seen, 1)
            line = trend(blocks, confidence)
            gain = (0 - line.lowest_slope) * ahead  # not -0
            wanted = margin(line.level, atol, rtol)
            found = jnp.where(gain <= wanted, state.hits + 1, 0)
            judged = verdict(found >= hits, Reason.PLATEAU, gain, wanted)
            return PlateauState(blocks, found), judged

        due = closed & (blocks.blocks >= MIN_BLOCKS) & (seen >= min_observations)
        return jax.lax.cond(due, judge, lambda: (PlateauState(blocks, state.hits), running()))

    return finite_only(Criterion(init, update))
