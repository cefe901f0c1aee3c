r"""Losses of policies that learn from rewards, and of the value functions beside them.

A policy is given by the log-probabilities :math:`\log \pi` of the actions that were taken, be they
moves or tokens. The more an advantage exceeds zero, the likelier its action shall become; what
estimates advantages is in :mod:`jaxloss.core.advantages`. Advantages, and the log-probabilities of
the policy that acted, are data: no gradient should flow into what they were computed from.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Bool, Float, Real

from jaxloss.core.checks import check_positive, require_floating, require_rank
from jaxloss.core.classes import soft_nll, softmax, times
from jaxloss.core.compiling import compiled
from jaxloss.core.exponentials import bounded_exp, difference, exponential_series
from jaxloss.core.inputs import Scalar, at_least_float32, elements, masked, selection
from jaxloss.core.policies import clipped_log_ratio
from jaxloss.core.reducing import Reduction, reduce


@compiled("reduction")
def policy_gradient(
    log_probabilities: Float[ArrayLike, "*shape"],
    advantages: Real[ArrayLike, "*shape"],
    *,
    where: Bool[ArrayLike, "*#shape"] | None = None,
    weights: Real[ArrayLike, "..."] | None = None,
    reduction: Reduction = "mean",
) -> Float[Array, "..."]:
    r"""Negative log-probability of each action, times its advantage.

    .. math::
        \ell = -A \log \pi

    Its gradient is an estimate of that of the expected reward, if the actions are the policy's own;
    its value means nothing. With returns as advantages it is REINFORCE, with those over a value
    function the actor of A2C. For actions of a policy that has since moved on, see :func:`ppo`. The
    unreduced shape is that of ``log_probabilities``.

    Args:
        where, weights, reduction: see :func:`jaxloss.core.reducing.reduce`.

    Example:
        >>> policy_gradient(jnp.array([-1.0, -2.0]), jnp.array([2.0, -0.5]), reduction="none")
        Array([ 2., -1.], dtype=float32)

    Reference:
        Williams, "Simple Statistical Gradient-Following Algorithms for Connectionist Reinforcement
        Learning", 1992.
    """
    name = "policy_gradient"
    log_p, advantage = elements(
        name, where, log_probabilities=log_probabilities, advantages=advantages
    )
    return reduce(name, -times(advantage, log_p), where, weights, reduction)


@compiled("reduction")
def ppo(
    log_probabilities: Float[ArrayLike, "*shape"],
    old_log_probabilities: Float[ArrayLike, "*shape"],
    advantages: Real[ArrayLike, "*shape"],
    *,
    clip_low: Scalar = 0.2,
    clip_high: Scalar = 0.2,
    ratio_cap: Scalar | None = None,
    where: Bool[ArrayLike, "*#shape"] | None = None,
    weights: Real[ArrayLike, "..."] | None = None,
    reduction: Reduction = "mean",
) -> Float[Array, "..."]:
    r"""Advantage times how much likelier an action has become, but no more than so much likelier.

    .. math::
        \ell = -\min\big( \rho A,\;
               \operatorname{clip}(\rho, 1 - \varepsilon_l, 1 + \varepsilon_h) A \big), \qquad
        \rho = \frac{\pi}{\pi_{\text{old}}}

    Proximal policy optimization: several steps with the same actions, each of which stops to learn
    once its ratio has moved far enough in the direction of its advantage. A higher
    :math:`\varepsilon_h` lets unlikely actions rise, as in DAPO. The unreduced shape is that of
    ``log_probabilities``.

    Args:
        old_log_probabilities: of the same actions, under the policy that took them.
        clip_low, clip_high: :math:`\varepsilon_l`, from 0 to 1, and :math:`\varepsilon_h`, not
            negative.
        ratio_cap: the largest ratio that counts where the advantage is negative; above one. Known
            as dual clip. None is no cap.
        where, weights, reduction: see :func:`jaxloss.core.reducing.reduce`.

    Example:
        Of two good actions, one has become likelier already:

        >>> now, old = jnp.log(jnp.array([[0.5, 0.5], [0.25, 0.5]]))
        >>> ppo(now, old, jnp.array([1.0, 1.0]), reduction="none")
        Array([-1.2, -1. ], dtype=float32)

    Reference:
        Schulman et al., "Proximal Policy Optimization Algorithms", 2017; for the cap Ye et al.,
        "Mastering Complex Control in MOBA Games with Deep Reinforcement Learning", 2020; for two
        sides Yu et al., "DAPO: An Open-Source LLM Reinforcement Learning System at Scale", 2025.
    """
    name = "ppo"
    now, old, advantage = elements(
        name,
        where,
        log_probabilities=log_probabilities,
        old_log_probabilities=old_log_probabilities,
        advantages=advantages,
    )
    ratio = difference(now, old)
    ratio = clipped_log_ratio(name, ratio, advantage, clip_low, clip_high, ratio_cap)
    return reduce(name, -advantage * bounded_exp(ratio), where, weights, reduction)


@compiled("reduction")
def clipped_value(
    values: Float[ArrayLike, "*shape"],
    returns: Real[ArrayLike, "*shape"],
    old_values: Real[ArrayLike, "*shape"],
    *,
    clip: Scalar = 0.2,
    where: Bool[ArrayLike, "*#shape"] | None = None,
    weights: Real[ArrayLike, "..."] | None = None,
    reduction: Reduction = "mean",
) -> Float[Array, "..."]:
    r"""Half the squared error of a value function that shall not move far in one go.

    .. math::
        \ell = \tfrac12 \max\big( (v - R)^2,\; (v_c - R)^2 \big), \qquad
        v_c = v_{\text{old}} + \operatorname{clip}(v - v_{\text{old}}, -\varepsilon, \varepsilon)

    What :func:`ppo` does to ratios, done to values: once a value has moved by :math:`\varepsilon`
    towards the return, it has no gradient. The unreduced shape is that of ``values``.

    Args:
        returns: what the values should be.
        old_values: what they were when the actions were taken.
        clip: :math:`\varepsilon`, positive, in the units of the returns.
        where, weights, reduction: see :func:`jaxloss.core.reducing.reduce`.

    Example:
        >>> clipped_value(jnp.array([2.0]), jnp.array([2.0]), jnp.array([1.0]), clip=0.5)
        Array(0.125, dtype=float32)

    Reference:
        Schulman et al., "High-Dimensional Continuous Control Using Generalized Advantage
        Estimation", 2016; as implemented for "Proximal Policy Optimization Algorithms", 2017.
    """
    name = "clipped_value"
    value, target, old = elements(
        name, where, values=values, returns=returns, old_values=old_values
    )
    bound = check_positive(name, "clip", clip).astype(value.dtype)
    moved = value - old
    near = jnp.where(moved > bound, bound, jnp.where(moved < -bound, -bound, moved))
    free, held = value - target, near - (target - old)
    error = jnp.where(held * held > free * free, held, free)
    return reduce(name, error * error / 2, where, weights, reduction)


@compiled("reduction")
def negative_entropy(
    logits: Float[ArrayLike, "*batch classes"],
    *,
    where: Bool[ArrayLike, "*#batch"] | None = None,
    weights: Real[ArrayLike, "..."] | None = None,
    reduction: Reduction = "mean",
) -> Float[Array, "..."]:
    r"""Minus the entropy of a policy: a bonus for what is not yet decided.

    .. math::
        \ell = \sum_a \pi_a \log \pi_a, \qquad \pi = \operatorname{softmax}(z)

    Mixed in with a small weight, it keeps a policy exploring. Between :math:`-\log C` and 0; an
    action with a logit of ``-inf`` is not allowed, and counts nothing. The unreduced shape is
    ``*batch``.

    Args:
        where, weights, reduction: see :func:`jaxloss.core.reducing.reduce`.

    Example:
        >>> negative_entropy(jnp.array([[0.0, 0.0, -jnp.inf], [50.0, 0.0, 0.0]]), reduction="none")
        Array([-6.931472e-01, -1.967...e-20], dtype=float32)

    Reference:
        Williams and Peng, "Function Optimization Using Connectionist Reinforcement Learning
        Algorithms", 1991.
    """
    name = "negative_entropy"
    require_floating(name, logits=logits)
    require_rank(name, 1, wanted="one row of actions per state", logits=logits)
    scores = at_least_float32(logits)
    scores = masked(scores, selection(name, where, scores.shape[:-1]))
    return reduce(name, -soft_nll(scores, softmax(scores)), where, weights, reduction)


@compiled("reduction")
def kl_k1(
    log_probabilities: Float[ArrayLike, "*shape"],
    reference_log_probabilities: Float[ArrayLike, "*shape"],
    *,
    where: Bool[ArrayLike, "*#shape"] | None = None,
    weights: Real[ArrayLike, "..."] | None = None,
    reduction: Reduction = "mean",
) -> Float[Array, "..."]:
    r"""Unbiased estimate of the divergence from a reference, from one action: the log-ratio.

    .. math::
        \ell = \log \pi - \log \pi_0

    Its mean over the policy's own actions is :math:`\operatorname{KL}(\pi \,\|\, \pi_0)`, but a
    single one may be negative, and the variance is large. Its gradient is zero in the mean: it
    belongs into rewards, not into a loss. The unreduced shape is that of ``log_probabilities``.

    Args:
        where, weights, reduction: see :func:`jaxloss.core.reducing.reduce`.

    Example:
        >>> kl_k1(jnp.array([-1.0]), jnp.array([-1.5]))
        Array(0.5, dtype=float32)

    Reference:
        Schulman, "Approximating KL Divergence", 2020.
    """
    ratio = _log_ratio("kl_k1", log_probabilities, reference_log_probabilities, where)
    return reduce("kl_k1", ratio, where, weights, reduction)


@compiled("reduction")
def kl_k2(
    log_probabilities: Float[ArrayLike, "*shape"],
    reference_log_probabilities: Float[ArrayLike, "*shape"],
    *,
    where: Bool[ArrayLike, "*#shape"] | None = None,
    weights: Real[ArrayLike, "..."] | None = None,
    reduction: Reduction = "mean",
) -> Float[Array, "..."]:
    r"""Estimate of the divergence from a reference whose gradient is unbiased.

    .. math::
        \ell = \tfrac12 (\log \pi - \log \pi_0)^2

    As a value it is biased, though little where the two are near. Its gradient, over the policy's
    own actions, is that of :math:`\operatorname{KL}(\pi \,\|\, \pi_0)`. The unreduced shape is that
    of ``log_probabilities``.

    Args:
        where, weights, reduction: see :func:`jaxloss.core.reducing.reduce`.

    Example:
        >>> kl_k2(jnp.array([-1.0]), jnp.array([-1.5]))
        Array(0.125, dtype=float32)

    Reference:
        Schulman, "Approximating KL Divergence", 2020.
    """
    ratio = _log_ratio("kl_k2", log_probabilities, reference_log_probabilities, where)
    return reduce("kl_k2", ratio * ratio / 2, where, weights, reduction)


@compiled("reduction")
def kl_k3(
    log_probabilities: Float[ArrayLike, "*shape"],
    reference_log_probabilities: Float[ArrayLike, "*shape"],
    *,
    where: Bool[ArrayLike, "*#shape"] | None = None,
    weights: Real[ArrayLike, "..."] | None = None,
    reduction: Reduction = "mean",
) -> Float[Array, "..."]:
    r"""Unbiased estimate of the divergence from a reference that is never negative.

    .. math::
        \ell = \frac{\pi_0}{\pi} - 1 - \log \frac{\pi_0}{\pi}

    What GRPO adds to its loss. As a value it is unbiased and varies little; its gradient is that of
    :math:`\operatorname{KL}(\pi_0 \,\|\, \pi)`, the other direction. The unreduced shape is that of
    ``log_probabilities``.

    Args:
        where, weights, reduction: see :func:`jaxloss.core.reducing.reduce`.

    Example:
        >>> kl_k3(jnp.array([-1.0]), jnp.array([-1.5]))
        Array(0.10653..., dtype=float32)

    Reference:
        Schulman, "Approximating KL Divergence", 2020.
    """
    ratio = _log_ratio("kl_k3", log_probabilities, reference_log_probabilities, where)
    return reduce("kl_k3", _k3(ratio), where, weights, reduction)


@compiled("reduction")
def kl_k3_straight_through(
    log_probabilities: Float[ArrayLike, "*shape"],
    reference_log_probabilities: Float[ArrayLike, "*shape"],
    *,
    where: Bool[ArrayLike, "*#shape"] | None = None,
    weights: Real[ArrayLike, "..."] | None = None,
    reduction: Reduction = "mean",
) -> Float[Array, "..."]:
    r"""The value of :func:`kl_k3` with the gradient of :func:`kl_k2`: both unbiased.

    .. math::
        \ell = \operatorname{sg}\left( \frac{\pi_0}{\pi} - 1 - \log \frac{\pi_0}{\pi} \right)
             + k_2 - \operatorname{sg}(k_2), \qquad k_2 = \tfrac12 (\log \pi - \log \pi_0)^2

    The unreduced shape is that of ``log_probabilities``.

    Args:
        where, weights, reduction: see :func:`jaxloss.core.reducing.reduce`.

    Example:
        >>> jax.value_and_grad(kl_k3_straight_through)(jnp.array([-1.0]), jnp.array([-1.5]))
        (Array(0.10653..., dtype=float32), Array([0.5], dtype=float32))

    Reference:
        Liu et al., "Rethinking KL Regularization in RLHF: From Value Estimation to Gradient
        Optimization", 2025.
    """
    name = "kl_k3_straight_through"
    ratio = _log_ratio(name, log_probabilities, reference_log_probabilities, where)
    finite = jnp.where(jnp.isfinite(ratio), ratio, 0)
    squared = finite * finite / 2
    gradient = jnp.where(jnp.isfinite(squared), squared, 0)
    loss = jax.lax.stop_gradient(_k3(ratio) - gradient) + gradient
    return reduce(name, loss, where, weights, reduction)


def _log_ratio(
    name: str,
    log_probabilities: Float[ArrayLike, "*shape"],
    reference_log_probabilities: Float[ArrayLike, "*shape"],
    where: Bool[ArrayLike, "*#shape"] | None,
) -> Float[Array, "*shape"]:
    """``log(pi / pi_0)``, checked and masked."""
    policy, reference = elements(
        name,
        where,
        log_probabilities=log_probabilities,
        reference_log_probabilities=reference_log_probabilities,
    )
    return difference(policy, reference)


def _k3(ratio: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    near = jnp.abs(ratio) < 1
    small, large = jnp.where(near, ratio, 0), jnp.where(near, 1, ratio)
    close = small * small * exponential_series(2, -small)
    return jnp.where(near, close, bounded_exp(-large) - 1 + large)
