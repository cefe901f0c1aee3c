"""When stochastic gradient descent has come to rest, told from gradients and not from the loss.

In the long run the params neither grow nor shrink, and an identity between averages follows, exact
for any loss. It holds for plain gradient descent with a constant learning rate, with or without
heavy-ball momentum; not under Adam and its like.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PyTree

from jaxloss.core.inputs import Scalar
from jaxloss.training import history
from jaxloss.training.convergence.combining import measured
from jaxloss.training.convergence.contract import (
    Criterion,
    Observation,
    Reason,
    Verdict,
    finite_only,
    running,
    verdict,
)

CAPACITY = 32
"""Blocks that are kept of each of the two numbers."""
DISSIPATION = "dissipation"
FLUCTUATION = "fluctuation"
DRIFT = "drift"
DIFFUSION = "diffusion"


def balances(
    params: PyTree,
    gradient: PyTree,
    updates: PyTree,
    *,
    learning_rate: Scalar,
    momentum: Scalar = 0.0,
) -> dict[str, Float[Array, ""]]:
    r"""What :func:`fdr` and :func:`sasa` want in ``aux``, of one step of gradient descent.

    With params :math:`\theta`, gradient :math:`g` and updates :math:`u` (what is added to the
    params), learning rate :math:`\eta` and momentum :math:`\mu`: the dissipation
    :math:`\theta \cdot g` and the fluctuation :math:`(1 + \mu) |u|^2 / 2 \eta`, and the drift
    :math:`-\theta \cdot u - |u|^2 / 2` and the diffusion :math:`|u|^2 / 2`.

    Args:
        params, gradient: before the step.
        updates: of ``optax.sgd(learning_rate, momentum)``, without Nesterov's variant.
        learning_rate, momentum: those of the optimizer.

    Example:
        >>> values = balances(2.0, 1.0, -0.5, learning_rate=0.5)
        >>> {name: float(value) for name, value in values.items()}
        {'dissipation': 2.0, 'fluctuation': 0.25, 'drift': 0.875, 'diffusion': 0.125}
    """
    squared = inner_product(updates, updates)
    return {
        DISSIPATION: inner_product(params, gradient),
        FLUCTUATION: (1 + momentum) * squared / (2 * learning_rate),
        DRIFT: -inner_product(params, updates) - squared / 2,
        DIFFUSION: squared / 2,
    }


class BalanceState(NamedTuple):
    """The run so far of two numbers whose averages are compared."""

    first: history.BlockHistory
    second: history.BlockHistory
    hits: Int[Array, ""]


def fdr(
    tolerance: Scalar = 0.05, *, min_observations: Scalar = 1000, hits: Scalar = 1
) -> Criterion:
    r"""Stop once dissipation and fluctuation balance over the last half of the run.

    .. math::
        \left| \frac{\overline{\theta \cdot g}}
                    {\overline{(1 + \mu) |u|^2 / 2 \eta}} - 1 \right| \le \text{tolerance}

    Both come from :func:`balances`, through ``aux``. What has come to rest is the run at *this*
    learning rate: a lower one may gain yet. An average lags behind: on least squares whose
    curvatures differ by a factor of 1000, they balance up to a twentieth at 1.6 times the step at
    which the loss is as near to where it goes, 2.5 times that at which it is within a tenth.

    Args:
        tolerance: how far from 1 the ratio of the averages may be.
        min_observations: no verdict before that many.
        hits: how often in a row, at the closing of a block, they must balance.

    Reference:
        Yaida, "Fluctuation-dissipation relations for stochastic gradient descent", 2019.
    """

    def judge(first: history.BlockHistory, second: history.BlockHistory) -> Array:
        inside, count = last_half(first)
        return jnp.abs(
            average(first.means, inside, count) / average(second.means, inside, count) - 1
        )

    names = (DISSIPATION, FLUCTUATION)
    return balanced("fdr", names, judge, tolerance, min_observations, hits)


def sasa(
    tolerance: Scalar = 0.25,
    *,
    confidence: Scalar = 0.975,
    min_observations: Scalar = 1000,
    hits: Scalar = 1,
) -> Criterion:
    r"""Stop once the drift of the params is confidently small beside their diffusion.

    With the average drift :math:`d` over the last half of the run, its error :math:`s` by the
    means of blocks, and the average diffusion :math:`\nu`, it stops when

    .. math::
        |d| + t\, s \le \text{tolerance} \cdot \nu

    This is the stationarity of SASA turned into a test of *equivalence*: the test as published
    fires when it lacks the power to see a drift. All of it comes from :func:`balances`.

    Args:
        tolerance: the share of the diffusion that the drift may be.
        confidence: of each side of the interval.
        min_observations: no verdict before that many.
        hits: how often in a row, at the closing of a block, it must hold.

    Reference:
        Lang, Zhang and Xiao, "Using Statistics to Automate Stochastic Optimization", 2019.
    """

    def judge(first: history.BlockHistory, second: history.BlockHistory) -> Array:
        inside, count = last_half(first)
        drift = average(first.means, inside, count)
        variance = average((first.means - drift) ** 2, inside, count) / jnp.maximum(count - 1, 1)
        quantile = history.student_quantile(confidence, jnp.maximum(count - 1, 1))
        bound = jnp.abs(drift) + quantile * jnp.sqrt(variance)
        return bound / average(second.means, inside, count)

    return balanced("sasa", (DRIFT, DIFFUSION), judge, tolerance, min_observations, hits)


def balanced(
    name: str,
    names: tuple[str, str],
    judge: Callable[[history.BlockHistory, history.BlockHistory], Array],
    tolerance: Scalar,
    min_observations: Scalar,
    hits: Scalar,
) -> Criterion:
    """A criterion on what ``judge`` makes of two histories, at most ``tolerance``."""

    def init() -> BalanceState:
        return BalanceState(history.empty(CAPACITY), history.empty(CAPACITY), jnp.int32(0))

    def update(state: BalanceState, observation: Observation) -> tuple[BalanceState, Verdict]:
        values = [jnp.float32(measured(name, each, observation)) for each in names]
        first, closed = history.push(state.first, values[0])
        second, _ = history.push(state.second, values[1])

        def look() -> tuple[BalanceState, Verdict]:
            ratio = judge(first, second)
            found = jnp.where(ratio <= tolerance, state.hits + 1, 0)
            judged = verdict(found >= hits, Reason.STATIONARY, ratio, tolerance)
            return BalanceState(first, second, found), judged

        due = closed & (first.blocks >= CAPACITY // 2) & (first.seen >= min_observations)
        return jax.lax.cond(due, look, lambda: (BalanceState(first, second, state.hits), running()))

    return finite_only(Criterion(init, update))


def last_half(blocks: history.BlockHistory) -> tuple[Float[Array, " blocks"], Float[Array, ""]]:
    """Which blocks lie in the last half of a run, as ones and zeros, and how many."""
    used = (blocks.blocks + 1) // 2
    at = jnp.arange(blocks.means.size, dtype=jnp.int32)
    inside = (at >= blocks.blocks - used) & (at < blocks.blocks)
    return inside.astype(jnp.float32), used.astype(jnp.float32)


def average(
    means: Float[Array, " blocks"], inside: Float[Array, " blocks"], count: Float[Array, ""]
) -> Float[Array, ""]:
    """The mean over the blocks that are inside."""
    return (inside * means).sum() / count


def inner_product(a: PyTree, b: PyTree) -> Float[Array, ""]:
    """The sum of the products of all numbers of two like pytrees."""
    products = jax.tree.map(lambda x, y: jnp.vdot(jnp.float32(x), jnp.float32(y)), a, b)
    return sum(jax.tree.leaves(products), start=jnp.zeros((), jnp.float32))
