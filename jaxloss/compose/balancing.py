"""How much each of several losses counts: weights that follow from how the losses are doing.

A :class:`Balancer` is a pair of pure functions around a small state. It sees the values of the
losses and, if it asks for them, the lengths of their gradients and the angles between them, and
gives the weights with which the losses, or their gradients, are added up. It works under ``jit``,
for params of any structure, however they are sharded.

    losses, gradients = term_gradients(objective, params, batch)
    state, weights = balancer.update(state, losses, gram(gradients))
    gradient = combined(gradients, weights)

A balancer that needs no gradients takes ``None`` for the third, and one backward pass will do: of
``(jax.lax.stop_gradient(weights) * losses).sum()``. Fixed weights that have been tuned are hard to
beat (Xin et al., "Do Current Multi-Task Optimization Methods in Deep Learning Even Help?", 2022).
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int

from jaxloss.compose.gram import Gram
from jaxloss.core.checks import check_positive
from jaxloss.core.inputs import Scalar


class Balancer(NamedTuple):
    """A way to weigh several losses: a pair of pure functions."""

    init: Callable[[int], Any]
    """``(number of losses) -> state``"""
    update: Callable[[Any, Array, Gram | None], tuple[Any, Array]]
    """``(state, losses, gram) -> (state, weights)``"""
    needs_gradients: bool
    """whether ``gram`` must not be None"""


class LearnedState(NamedTuple):
    """Weights, in some form, that an optimizer learns."""

    learned: Float[Array, " losses"]
    opt_state: optax.OptState


def uncertainty(
    optimizer: optax.GradientTransformation | None = None, *, limit: Scalar = 10.0
) -> Balancer:
    r"""Weigh each loss by one over its noise, which is learned.

    .. math::
        \min_s \sum_k \left( e^{-s_k} \ell_k + s_k \right), \qquad w_k = e^{-s_k}

    At the minimum :math:`w_k = 1 / \ell_k`: every loss ends up near 1, whatever its unit. It begins
    with weights of 1.

    Args:
        optimizer: of the logarithms :math:`s`; ``optax.sgd(0.01)`` by default.
        limit: how far a logarithm may be from zero, since a loss that vanishes, or is negative,
            would have its weight grow without end.

    Example:
        >>> balancer = uncertainty(optax.sgd(0.5))
        >>> state = balancer.init(2)
        >>> for _ in range(50):
        ...     state, weights = balancer.update(state, jnp.array([0.5, 4.0]), None)
        >>> weights
        Array([2.  , 0.25], dtype=float32)

    Reference:
        Kendall et al., "Multi-Task Learning Using Uncertainty to Weigh Losses for Scene Geometry
        and Semantics", 2018.
    """
    optimizer = optax.sgd(0.01) if optimizer is None else optimizer

    def init(count: int) -> LearnedState:
        logarithms = jnp.zeros(count)
        return LearnedState(logarithms, optimizer.init(logarithms))

    def update(state: LearnedState, losses: Array, gram: Gram | None) -> tuple[LearnedState, Array]:
        slope = 1 - jnp.exp(-state.learned) * losses
        logarithms, opt_state = _learned(optimizer, slope, state)
        logarithms = jnp.clip(logarithms, -limit, limit)
        return LearnedState(logarithms, opt_state), jnp.exp(-logarithms)

    return Balancer(init, update, needs_gradients=False)


class AveragesState(NamedTuple):
    """The mean losses of the last two windows, and of the one that is open."""

    last: Float[Array, " losses"]
    before: Float[Array, " losses"]
    mean: Float[Array, " losses"]
    gathered: Int[Array, ""]
    windows: Int[Array, ""]


def dwa(*, temperature: Scalar = 2.0, every: int = 1) -> Balancer:
    r"""Weigh a loss the more, the less it has fallen lately: dynamic weight average.

    .. math::
        w_k = K \operatorname{softmax}_k
            \left( \frac1T \frac{\bar\ell_k(t - 1)}{\bar\ell_k(t - 2)} \right)

    The weights sum to :math:`K`, and are 1 until two windows have passed.

    Args:
        temperature: :math:`T`; the larger, the more alike the weights.
        every: how many updates to a window, over which losses are averaged: an epoch in the paper.

    Reference:
        Liu et al., "End-to-End Multi-Task Learning with Attention", 2019.
    """

    def init(count: int) -> AveragesState:
        zeros = jnp.zeros(count)
        return AveragesState(zeros, zeros, zeros, jnp.int32(0), jnp.int32(0))

    def update(
        state: AveragesState, losses: Array, gram: Gram | None
    ) -> tuple[AveragesState, Array]:
        # of the windows that had closed before these losses came
        ratio = state.last / jnp.where(state.before == 0, 1, state.before)
        known = (state.windows >= 2) & (state.before != 0)
        ratio = jnp.where(known, ratio, 1)
        weights = losses.size * jax.nn.softmax(ratio / temperature)

        gathered = state.gathered + 1
        mean = state.mean + (losses - state.mean) / gathered.astype(losses.dtype)
        closed = gathered == every
        moved = AveragesState(
            last=jnp.where(closed, mean, state.last),
            before=jnp.where(closed, state.last, state.before),
            mean=jnp.where(closed, 0, mean),
            gathered=jnp.where(closed, 0, gathered),
            windows=state.windows + closed.astype(jnp.int32),
        )
        return moved, weights

    return Balancer(init, update, needs_gradients=False)


class GradNormState(NamedTuple):
    """The weights, and the losses that there were at first; NaN before that."""

    learned: Float[Array, " losses"]
    opt_state: optax.OptState
    first: Float[Array, " losses"]


def gradnorm(
    optimizer: optax.GradientTransformation | None = None, *, restoring: Scalar = 1.5
) -> Balancer:
    r"""Make the weighted gradients as long as each loss deserves by how slowly it falls.

    .. math::
        \min_w \sum_k \left| w_k n_k - \bar n\, r_k^\alpha \right|, \qquad
        \bar n = \frac1K \sum_k w_k n_k, \qquad
        r_k = \frac{\ell_k / \ell_k(0)}{\frac1K \sum_j \ell_j / \ell_j(0)}

    with :math:`n_k` the lengths of the gradients, and the targets held fixed. The weights sum to
    :math:`K`. The losses must not be negative.

    Args:
        optimizer: of the weights; ``optax.sgd(0.025)`` by default. It is given the gradient over
            the mean length, so that the unit of the losses does not matter.
        restoring: :math:`\alpha`, how much longer the gradient of a loss that lags behind is to
            be; 0 makes all of one length.

    Reference:
        Chen et al., "GradNorm: Gradient Normalization for Adaptive Loss Balancing in Deep
        Multitask Networks", 2018.
    """
    optimizer = optax.sgd(0.025) if optimizer is None else optimizer

    def init(count: int) -> GradNormState:
        ones = jnp.ones(count)
        return GradNormState(ones, optimizer.init(ones), jnp.full(count, jnp.nan))

    def update(
        state: GradNormState, losses: Array, gram: Gram | None
    ) -> tuple[GradNormState, Array]:
        lengths = required("gradnorm", gram).lengths
        first = jnp.where(jnp.isnan(state.first), losses, state.first)
        progress = jnp.where(first == 0, 1, losses / jnp.where(first == 0, 1, first))
        mean = progress.mean()
        rate = jnp.where(mean == 0, 1, progress / jnp.where(mean == 0, 1, mean))
        unit = lengths.mean()
        sizes = lengths / jnp.where(unit == 0, 1, unit)
        weighted = state.learned * sizes
        slope = jnp.sign(weighted - weighted.mean() * rate**restoring) * sizes
        weights, opt_state = _learned(optimizer, slope, LearnedState(*state[:2]))
        weights = jnp.maximum(weights, 0)
        total = weights.sum()
        weights = jnp.where(total == 0, 1, weights * losses.size / jnp.where(total == 0, 1, total))
        return GradNormState(weights, opt_state, first), weights

    return Balancer(init, update, needs_gradients=True)


class FamoState(NamedTuple):
    """The logits of the weights, and the logarithms of the last losses; NaN before the first."""

    learned: Float[Array, " losses"]
    opt_state: optax.OptState
    last: Float[Array, " losses"]


def famo(
    optimizer: optax.GradientTransformation | None = None,
    *,
    decay: Scalar = 0.01,
    floor: Scalar | Float[Array, " losses"] = 0.0,
) -> Balancer:
    r"""Let all losses fall at the same rate, by a single backward pass.

    .. math::
        w_k \propto \frac{z_k}{\ell_k - b_k}, \qquad z = \operatorname{softmax}(\xi), \qquad
        \sum_k w_k = 1

    The logits :math:`\xi` fall where the logarithm of a loss has fallen faster than those of the
    others. What a step has gained is read from the losses of the next batch, which costs nothing,
    and with one and the same batch is what the paper has.

    Args:
        optimizer: of the logits; ``optax.sgd(0.025)`` by default, as the paper has it. Its authors'
            program uses ``optax.adam(0.025)``.
        decay: of the logits towards zero.
        floor: :math:`b`, which no loss falls below.

    Reference:
        Liu et al., "FAMO: Fast Adaptive Multitask Optimization", 2023.
    """
    optimizer = optax.sgd(0.025) if optimizer is None else optimizer

    def init(count: int) -> FamoState:
        zeros = jnp.zeros(count)
        return FamoState(zeros, optimizer.init(zeros), jnp.full(count, jnp.nan))

    def update(state: FamoState, losses: Array, gram: Gram | None) -> tuple[FamoState, Array]:
        above = check_positive("famo", "losses above their floor", losses - floor)
        logs = jnp.log(jnp.maximum(above, float(jnp.finfo(losses.dtype).tiny)))
        gain = jnp.where(jnp.isnan(state.last), 0, state.last - logs)
        shares = jax.nn.softmax(state.learned)
        slope = shares * (gain - (shares * gain).sum()) + decay * state.learned
        slope = jnp.where(jnp.isnan(state.last).any(), 0, slope)
        logits, opt_state = _learned(optimizer, slope, LearnedState(*state[:2]))
        weights = jax.nn.softmax(jax.nn.log_softmax(logits) - logs)
        return FamoState(logits, opt_state, logs), weights

    return Balancer(init, update, needs_gradients=False)


def _learned(
    optimizer: optax.GradientTransformation, slope: Array, state: LearnedState
) -> tuple[Array, optax.OptState]:
    updates, opt_state = optimizer.update(slope, state.opt_state, state.learned)
    return jnp.asarray(optax.apply_updates(state.learned, updates)), opt_state


def required(name: str, gram: Gram | None) -> Gram:
    """``gram``, or ``ValueError`` if there is none."""
    if gram is None:
        raise ValueError(f"{name}: gram must be given, as from jaxloss.compose.gram, got None")
    return gram
