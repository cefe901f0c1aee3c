"""When a validation value gets worse: the criteria of Prechelt.

Reference:
    Prechelt, "Early Stopping - But When?", 1998.
"""

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from jaxloss.core.inputs import Scalar
from jaxloss.training.convergence.combining import measured
from jaxloss.training.convergence.contract import (
    Criterion,
    Observation,
    Reason,
    Verdict,
    finite_only,
    verdict,
)

TINY = 1e-30
"""Keeps a ratio of two zeros at zero."""


def prechelt_gl(percent: Scalar) -> Criterion:
    r"""Stop once the generalization loss exceeds ``percent``.

    .. math::
        GL = 100 \left(\frac{E - E_{opt}}{|E_{opt}|}\right)

    with :math:`E_{opt}` the lowest value so far. It takes noise for overfitting as soon as that is
    ``percent`` large: average first, or use :func:`patience`.

    Example:
        >>> from jaxloss.training.convergence import explain
        >>> criterion = prechelt_gl(5.0)
        >>> state = criterion.init()
        >>> for step, value in enumerate([2.0, 1.0, 1.25]):
        ...     state, judged = criterion.update(state, Observation(value, step))
        >>> explain(judged)
        'overfit: the validation value has worsened since its best, by 25 in the measure ...'
    """

    def init() -> Array:
        return jnp.float32(jnp.inf)

    def update(best: Array, observation: Observation) -> tuple[Array, Verdict]:
        best = jnp.minimum(best, observation.value)
        lost = generalization_loss(observation.value, best)
        return best, verdict(lost > percent, Reason.OVERFIT, lost, percent)

    return finite_only(Criterion(init, update))


class QuotientState(NamedTuple):
    """The lowest value, and the training values of the open strip."""

    best: Float[Array, ""]
    total: Float[Array, ""]
    lowest: Float[Array, ""]
    counted: Int[Array, ""]
    """training values that were finite"""
    seen: Int[Array, ""]
    """observations"""


def prechelt_pq(quotient: Scalar, *, strip: int = 5, train: str = "train") -> Criterion:
    r"""Stop once the generalization loss exceeds ``quotient`` times the progress of training.

    .. math::
        \frac{GL}{P_k} > \text{quotient} \qquad
        P_k = 1000 \left(\frac{\text{mean } E_{tr} - \min E_{tr}}{|\min E_{tr}|}\right)

    over the last ``strip`` observations, at whose end it is judged. While training gets ahead fast,
    a worse validation value may be a passing one.

    Args:
        quotient: the limit; 0.5 to 3 in the reference.
        strip: :math:`k`, how many observations to a strip.
        train: the name in ``aux`` of the loss on the training data.
    """

    def init() -> QuotientState:
        zero, infinite = jnp.int32(0), jnp.float32(jnp.inf)
        return QuotientState(infinite, jnp.float32(0), infinite, zero, zero)

    def update(state: QuotientState, observation: Observation) -> tuple[QuotientState, Verdict]:
        best = jnp.minimum(state.best, observation.value)
        training = jnp.float32(measured("prechelt_pq", train, observation))
        finite = jnp.isfinite(training)
        total = state.total + jnp.where(finite, training, 0)
        lowest = jnp.minimum(state.lowest, jnp.where(finite, training, jnp.inf))
        counted = state.counted + finite.astype(jnp.int32)
        seen = state.seen + 1

        at_end = seen >= strip
        mean = total / jnp.maximum(counted, 1).astype(jnp.float32)
        progress = 1000 * (mean - lowest) / jnp.maximum(jnp.abs(lowest), TINY)
        ratio = generalization_loss(observation.value, best) / jnp.maximum(progress, TINY)
        judged = verdict(
            at_end & (counted > 0) & (ratio > quotient), Reason.OVERFIT, ratio, quotient
        )
        updated = QuotientState(
            best=best,
            total=jnp.where(at_end, 0, total),
            lowest=jnp.where(at_end, jnp.inf, lowest),
            counted=jnp.where(at_end, 0, counted),
            seen=jnp.where(at_end, 0, seen),
        )
        return updated, judged

    return finite_only(Criterion(init, update))


class UpsState(NamedTuple):
    """The value at the end of the last strip, and strips in a row that ended higher."""

    last: Float[Array, ""]
    ups: Int[Array, ""]
    seen: Int[Array, ""]


def prechelt_up(strips: Scalar, *, strip: int = 5) -> Criterion:
    """Stop once ``strips`` strips in a row each ended higher than the one before.

    Args:
        strips: how many in a row.
        strip: how many observations to a strip.
    """

    def init() -> UpsState:
        return UpsState(jnp.float32(jnp.inf), jnp.int32(0), jnp.int32(0))

    def update(state: UpsState, observation: Observation) -> tuple[UpsState, Verdict]:
        seen = state.seen + 1
        at_end = seen >= strip
        higher = jnp.where(observation.value > state.last, state.ups + 1, 0)
        ups = jnp.where(at_end, higher, state.ups)
        last = jnp.where(at_end, observation.value, state.last)
        judged = verdict(at_end & (ups >= strips), Reason.OVERFIT, ups, strips)
        return UpsState(last, ups, jnp.where(at_end, 0, seen)), judged

    return finite_only(Criterion(init, update))


def generalization_loss(value: Float[Array, ""], best: Float[Array, ""]) -> Float[Array, ""]:
    """By how many percent of its size the best value has been lost."""
    return 100 * (value - best) / jnp.maximum(jnp.abs(best), TINY)
