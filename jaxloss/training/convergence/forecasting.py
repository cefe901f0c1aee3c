"""Stop when the curves that explain the run so far agree that the rest of it is not worth it."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int

from jaxloss.core.inputs import Scalar
from jaxloss.training import extrapolation, history
from jaxloss.training.convergence.contract import (
    Criterion,
    Observation,
    Reason,
    Verdict,
    finite_only,
    running,
    verdict,
)

CAPACITY = 64
"""Blocks that are kept of a run."""
MIN_BLOCKS = 32
"""Blocks there must be before anything is judged."""
LEARNT = 10
"""Margins a run must have fallen by to be judged before it is ``min_observations`` long."""


class ForecastState(NamedTuple):
    """The run so far, the step it began at, and block closings in a row that found it settled."""

    blocks: history.BlockHistory
    began: Int[Array, ""]
    hits: Int[Array, ""]


def forecast(
    *,
    atol: Scalar = 0.0,
    rtol: Scalar = 1e-2,
    horizon: Scalar = 1.5,
    budget: Scalar | None = None,
    min_observations: Scalar = 200,
    resolution: Scalar = 4.0,
    confidence: Scalar = 0.95,
    hits: Scalar = 2,
) -> Criterion:
    r"""Stop once every likely continuation of the curve so far gains too little.

    A dictionary of decaying curves, and what the noise leaves undecided between them, is fitted to
    the run at the closing of each block: see :func:`jaxloss.training.extrapolation.outlook`. It
    stops when the probability that the loss would yet fall by more than

    .. math::
        \max(\text{atol} + \text{rtol}\, |\text{level}|,\; \text{resolution} \cdot s)

    is at most ``1 - confidence``, where :math:`s` is the standard error of the mean of the last
    half of the run: noise hides a smaller gain from anybody. It waits while what the curves leave
    over does not look like noise, as just after a drop; a cycle it sees through after three periods
    of some blocks each.

    What noise hides, it cannot foresee. Of values with noise :math:`\sigma` each, the slope of a
    line is known to within :math:`\sigma \sqrt{12 / n^3}` after :math:`n`, so that a slope
    :math:`b` is told from none, with 5 % of errors either way, only after

    .. math::
        n \approx (3.3 \sqrt{12}\, \sigma / b)^{2/3}

    values, and later still if the loss has also fallen otherwise. Any rule that stops most settled
    runs by twice the time it took them to settle stops some such lines too early. With a larger
    ``confidence`` it waits for more of them, and is later everywhere.

    Nor can it foresee a drop after a long flat stretch, such as a cut of the learning rate: see
    :func:`default`, which can be told the schedule. A loss that goes to zero is never within 1 % of
    what it will become: give it an ``atol``. On a training loss use it within :func:`averaged`.

    Args:
        atol, rtol: the gain that would be worth going on for, ``atol + rtol * |level|``.
        horizon: how far ahead to look, as a share of the steps so far.
        budget: the steps the run is meant to have; it then looks ahead to their end instead.
        min_observations: no verdict before that many on a run that has hardly fallen: not by ten
            times the gain that is wanted.
        resolution: how many standard errors a gain must have to be worth anything; with 0 the
            noisiest run is judged by ``atol`` and ``rtol`` alone, and may never end.
        confidence: of the verdict.
        hits: how often in a row, at the closing of a block, it must be found.

    Example:
        >>> from jaxloss.training.convergence import explain
        >>> criterion = forecast()
        >>> state, update = criterion.init(), jax.jit(criterion.update)
        >>> for step in range(1, 400):
        ...     state, judged = update(state, Observation(2 + 3 * 0.97**step, step))
        ...     if judged.code != Reason.RUNNING:
        ...         break
        >>> explain(judged)
        'settled: the curves that fit the run so far agree that training on would gain ...'
        >>> bool(170 < step < 340)  # 3 * 0.97**165 is 1 % of 2
        True
    """

    def init() -> ForecastState:
        return ForecastState(history.empty(CAPACITY), jnp.int32(0), jnp.int32(0))

    def update(state: ForecastState, observation: Observation) -> tuple[ForecastState, Verdict]:
        began = jnp.where(state.blocks.seen == 0, observation.step, state.began)
        blocks, closed = history.push(state.blocks, observation.value)
        seen = blocks.seen.astype(jnp.float32)

        def judge() -> tuple[ForecastState, Verdict]:
            ahead = jnp.float32(horizon)
            if budget is not None:
                # the first observation ended a stretch of steps as long as any other
                taken = (observation.step - began).astype(jnp.float32) * seen / (seen - 1)
                left = jnp.maximum(budget - observation.step, 1).astype(jnp.float32)
                ahead = left / jnp.maximum(taken, 1)
            found = extrapolation.outlook(blocks, ahead, atol, rtol, resolution)
            early = (seen < min_observations) & (found.fallen < LEARNT * found.margin)
            settled = found.trusted & (found.risk <= 1 - confidence) & ~early
            hits_ = jnp.where(settled, state.hits + 1, 0)
            judged = verdict(hits_ >= hits, Reason.SETTLED, found.gain, found.margin)
            return ForecastState(blocks, began, hits_), judged

        def wait() -> tuple[ForecastState, Verdict]:
            return ForecastState(blocks, began, state.hits), running()

        return jax.lax.cond(closed & (blocks.blocks >= MIN_BLOCKS), judge, wait)

    return finite_only(Criterion(init, update))
