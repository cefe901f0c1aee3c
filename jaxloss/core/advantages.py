r"""How much better an action was than expected: what the losses of policies are weighed with.

Everything returned is data: no gradient flows into rewards or values. Time is the last axis, and so
are the members of a group, the answers to one prompt. An option for each step may be one number for
all, or an array; where an episode ends, the discount is 0.
"""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Bool, Float, Real

from jaxloss.core.inputs import elements, masked, selection
from jaxloss.core.reducing import broadcast, mean_of_existing
from jaxloss.core.vectors import norm


def discounted_returns(
    rewards: Float[ArrayLike, "*batch steps"],
    *,
    discounts: Real[ArrayLike, "..."] = 0.99,
    bootstrap: Real[ArrayLike, "..."] = 0.0,
    where: Bool[ArrayLike, "*#batch #steps"] | None = None,
) -> Float[Array, "*batch steps"]:
    r"""The sum of all rewards from each step on: :math:`G_t = r_t + \gamma_t G_{t+1}`.

    Args:
        discounts: :math:`\gamma`, one number or one per step.
        bootstrap: the value of the state after the last step; 0 if there the episode is over.
        where: which steps exist.

    Example:
        >>> discounted_returns(jnp.array([0.0, 0.0, 1.0]), discounts=0.5)
        Array([0.25, 0.5 , 1.  ], dtype=float32)
    """
    name = "discounted_returns"
    (reward,) = elements(name, where, rewards=rewards)
    after = broadcast(name, "bootstrap", bootstrap, reward.shape[:-1]).astype(reward.dtype)
    decay = _per_step(name, "discounts", discounts, reward, where)
    reward = reward.at[..., -1].add(decay[..., -1] * after)
    return jax.lax.stop_gradient(_accumulated(reward, decay))


def gae(
    rewards: Float[ArrayLike, "*batch steps"],
    values: Real[ArrayLike, "*batch steps"],
    *,
    discounts: Real[ArrayLike, "..."] = 0.99,
    trace_decay: Real[ArrayLike, "..."] = 0.95,
    bootstrap: Real[ArrayLike, "..."] = 0.0,
    where: Bool[ArrayLike, "*#batch #steps"] | None = None,
) -> Float[Array, "*batch steps"]:
    r"""Generalized advantage estimates: decaying sums of the surprises to come.

    .. math::
        A_t = \delta_t + \gamma_t \lambda A_{t+1}, \qquad
        \delta_t = r_t + \gamma_t v_{t+1} - v_t

    With :math:`\lambda` 0 they rely on the values alone, with 1 on the rewards. ``values`` plus
    these are the returns that values should have.

    Args:
        discounts: :math:`\gamma`, one number or one per step.
        trace_decay: :math:`\lambda`, one number or one per step.
        bootstrap: the value of the state after the last step; 0 if there the episode is over.
        where: which steps exist; the value after the last of these is 0.

    Example:
        >>> gae(jnp.array([0.0, 1.0]), jnp.array([0.5, 0.5]), discounts=1.0, trace_decay=0.5)
        Array([0.25, 0.5 ], dtype=float32)

    Reference:
        Schulman et al., "High-Dimensional Continuous Control Using Generalized Advantage
        Estimation", 2016.
    """
    name = "gae"
    reward, value = elements(name, where, rewards=rewards, values=values)
    gamma = _per_step(name, "discounts", discounts, reward, where)
    decay = _per_step(name, "trace_decay", trace_decay, reward, where)
    surprise = reward + gamma * _next(name, value, bootstrap) - value
    return jax.lax.stop_gradient(_accumulated(surprise, gamma * decay))


class VTrace(NamedTuple):
    """What values should be, and the advantages of the actions."""

    targets: Float[Array, "*batch steps"]
    advantages: Float[Array, "*batch steps"]


def vtrace(
    rewards: Float[ArrayLike, "*batch steps"],
    values: Real[ArrayLike, "*batch steps"],
    log_ratios: Real[ArrayLike, "*batch steps"],
    *,
    discounts: Real[ArrayLike, "..."] = 0.99,
    trace_decay: Real[ArrayLike, "..."] = 1.0,
    bootstrap: Real[ArrayLike, "..."] = 0.0,
    ratio_cap: float = 1.0,
    trace_cap: float = 1.0,
    where: Bool[ArrayLike, "*#batch #steps"] | None = None,
) -> VTrace:
    r"""Targets and advantages for a policy that has moved on from the one that acted.

    .. math::
        u_t = v_t + \rho_t \delta_t + \gamma_t c_t (u_{t+1} - v_{t+1}), \qquad
        A_t = \rho_t (r_t + \gamma_t u_{t+1} - v_t)

    where :math:`\rho_t` and, times :math:`\lambda`, :math:`c_t` are the ratio of the two policies,
    up to a cap each. Without any difference, and :math:`\lambda` 1, these are ``values`` plus
    :func:`gae`.

    Args:
        log_ratios: :math:`\log (\pi / \pi_{\text{old}})` of the actions.
        discounts, bootstrap, where: see :func:`gae`.
        trace_decay: :math:`\lambda`, a factor of :math:`c`.
        ratio_cap: the largest :math:`\rho`; it decides of which policy these are the values.
        trace_cap: the largest :math:`c`; it decides how fast they are reached.

    Example:
        >>> rewards, values = jnp.array([0.0, 1.0]), jnp.array([0.5, 0.5])
        >>> vtrace(rewards, values, jnp.log(jnp.array([0.5, 2.0])), discounts=1.0)
        VTrace(targets=Array([0.75, 1.  ], ...), advantages=Array([0.25, 0.5 ], ...))

    Reference:
        Espeholt et al., "IMPALA: Scalable Distributed Deep-RL with Importance Weighted
        Actor-Learner Architectures", 2018.
    """
    name = "vtrace"
    reward, value, log_ratio = elements(
        name, where, rewards=rewards, values=values, log_ratios=log_ratios
    )
    gamma = _per_step(name, "discounts", discounts, reward, where)
    decay = _per_step(name, "trace_decay", trace_decay, reward, where)
    weight, trace = (jnp.exp(jnp.minimum(log_ratio, math.log(x))) for x in (ratio_cap, trace_cap))
    surprise = reward + gamma * _next(name, value, bootstrap) - value
    targets = value + _accumulated(weight * surprise, gamma * decay * trace)
    advantages = weight * (reward + gamma * _next(name, targets, bootstrap) - value)
    selected = selection(name, where, reward.shape)
    held = (jax.lax.stop_gradient(masked(x, selected)) for x in (targets, advantages))
    return VTrace(*held)


def group_centered(
    rewards: Float[ArrayLike, "*batch members"],
    *,
    where: Bool[ArrayLike, "*#batch #members"] | None = None,
) -> Float[Array, "*batch members"]:
    """Rewards less the mean of their group.

    Args:
        where: which answers exist.

    Example:
        >>> group_centered(jnp.array([[1.0, 0.0, 0.0, 1.0]]))
        Array([[ 0.5, -0.5, -0.5,  0.5]], dtype=float32)

    Reference:
        Liu et al., "Understanding R1-Zero-Like Training: A Critical Perspective", 2025.
    """
    return _centered("group_centered", rewards, where)[0]


def group_normalized(
    rewards: Float[ArrayLike, "*batch members"],
    *,
    where: Bool[ArrayLike, "*#batch #members"] | None = None,
) -> Float[Array, "*batch members"]:
    """Rewards less the mean of their group, in units of its standard deviation.

    That of a sample, with one less than its size in the denominator, as the libraries have it; but
    with nothing added to it: a group whose rewards are all equal has advantages of 0. For a whole
    batch as one group, reshape.

    Args:
        where: which answers exist.

    Example:
        >>> group_normalized(jnp.array([[1.0, 3.0]]))
        Array([[-0.70710677,  0.70710677]], dtype=float32)

    Reference:
        Shao et al., "DeepSeekMath: Pushing the Limits of Mathematical Reasoning in Open Language
        Models", 2024.
    """
    centered, count = _centered("group_normalized", rewards, where)
    length = norm(centered)[..., None]
    spread = length / jnp.sqrt(jnp.maximum(count - 1, 1))
    return jnp.where(length == 0, 0, centered / jnp.where(length == 0, 1, spread))


def leave_one_out(
    rewards: Float[ArrayLike, "*batch members"],
    *,
    where: Bool[ArrayLike, "*#batch #members"] | None = None,
) -> Float[Array, "*batch members"]:
    """Rewards less the mean of the others of their group, which is no estimate of themselves.

    An answer alone in its group has an advantage of 0.

    Args:
        where: which answers exist.

    Example:
        >>> leave_one_out(jnp.array([[1.0, 0.0, 0.5]]))
        Array([[ 0.75, -0.75,  0.  ]], dtype=float32)

    Reference:
        Ahmadian et al., "Back to Basics: Revisiting REINFORCE-Style Optimization for Learning from
        Human Feedback in LLMs", 2024.
    """
    centered, count = _centered("leave_one_out", rewards, where)
    return centered * (count / jnp.maximum(count - 1, 1))


def length_weighted(
    rewards: Float[ArrayLike, "*batch members"],
    lengths: Real[ArrayLike, "*batch members"],
    *,
    where: Bool[ArrayLike, "*#batch #members"] | None = None,
) -> Float[Array, "*batch members"]:
    """Rewards less the mean of their group by length: the baseline of least variance.

    Args:
        lengths: the number of tokens of each answer.
        where: which answers exist.

    Example:
        >>> length_weighted(jnp.array([[1.0, 0.0]]), jnp.array([[1, 3]]))
        Array([[ 0.75, -0.25]], dtype=float32)

    Reference:
        Hao et al., "On-Policy RL with Optimal Reward Baseline", 2025.
    """
    reward, length = elements("length_weighted", where, rewards=rewards, lengths=lengths)
    whole = length.sum(-1, keepdims=True)
    baseline = (reward * length).sum(-1, keepdims=True) / jnp.where(whole == 0, 1, whole)
    advantage = masked(reward - baseline, selection("length_weighted", where, reward.shape))
    return jax.lax.stop_gradient(advantage)


def _centered(
    name: str,
    rewards: Float[ArrayLike, "*batch members"],
    where: Bool[ArrayLike, "*#batch #members"] | None,
) -> tuple[Float[Array, "*batch members"], Float[Array, "*batch 1"]]:
    """Rewards less their mean, constant, and how many there are."""
    (reward,) = elements(name, where, rewards=rewards)
    exists = selection(name, where, reward.shape)
    # Seen from the largest, equal rewards are zero, and rounding their mean makes no difference.
    reward -= masked(reward, exists, -jnp.inf).max(-1, keepdims=True, initial=-jnp.inf)
    mean, _ = mean_of_existing(reward, exists)
    advantage = masked(reward - mean[..., None], exists)
    count = jnp.ones_like(reward) if exists is None else exists.astype(reward.dtype)
    return jax.lax.stop_gradient(advantage), count.sum(-1, keepdims=True)


def _per_step(
    name: str,
    argument: str,
    option: Real[ArrayLike, "..."],
    reward: Float[Array, "*batch steps"],
    where: Bool[ArrayLike, "*#batch #steps"] | None,
) -> Float[Array, "*batch steps"]:
    """An option at every step, 0 where there is none."""
    spread = broadcast(name, argument, option, reward.shape).astype(reward.dtype)
    return masked(spread, selection(name, where, reward.shape))


def _next(
    name: str, values: Float[Array, "*batch steps"], bootstrap: Real[ArrayLike, "..."]
) -> Float[Array, "*batch steps"]:
    """The value of the state that follows."""
    after = broadcast(name, "bootstrap", bootstrap, values.shape[:-1]).astype(values.dtype)
    return jnp.concatenate([values[..., 1:], after[..., None]], -1)


def _accumulated(
    x: Float[Array, "*batch steps"], decay: Float[Array, "*batch steps"]
) -> Float[Array, "*batch steps"]:
    """``y[t] = x[t] + decay[t] y[t + 1]``, in logarithmic time."""

    def join(later: tuple[Array, Array], earlier: tuple[Array, Array]) -> tuple[Array, Array]:
        return earlier[0] + earlier[1] * later[0], earlier[1] * later[1]

    return jax.lax.associative_scan(join, (x, decay), reverse=True, axis=x.ndim - 1)[0]
