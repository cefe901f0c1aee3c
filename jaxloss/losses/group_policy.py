r"""Losses of language models whose answers are rewarded as a whole, compared within a group.

They take the log-probability of each token under the policy and under the one that wrote the
answer, and one advantage per answer: as a rule its reward, less the mean of all answers to the same
prompt; see :mod:`jaxloss.core.advantages`. What distinguishes the methods is mostly how tokens are
averaged, which is a matter of weights:

========== ==========================================================================
GRPO       :func:`grpo` with ``weights=1 / lengths[:, None]``
BNPO, DAPO :func:`grpo`, the mean over all tokens; DAPO with ``clip_high=0.28``
Dr. GRPO   :func:`grpo` with ``reduction="sum"``, divided by answers times the longest
GSPO       :func:`gspo`
LUSPO      :func:`gspo` with ``weights=lengths, reduction="sum"``, divided by answers
========== ==========================================================================

A penalty for leaving a reference is a term of its own,
``kl_weight * policy.kl_k3(log_probabilities, reference_log_probabilities, ...)`` with the same
``where``, ``weights`` and ``reduction``. A correction for rollouts by another engine multiplies the
advantages of :func:`jaxloss.losses.policy.ppo`, which has one for each token.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Bool, Float, Real

from jaxloss.core.checks import check_positive, require_rank, require_real, require_shape
from jaxloss.core.classes import times
from jaxloss.core.compiling import compiled
from jaxloss.core.exponentials import bounded_exp, difference, sigmoid
from jaxloss.core.inputs import Scalar, elements, masked, promoted, selection
from jaxloss.core.policies import clipped_log_ratio
from jaxloss.core.reducing import Reduction, mean_of_existing, reduce


@compiled("reduction")
def grpo(
    log_probabilities: Float[ArrayLike, "*batch tokens"],
    old_log_probabilities: Float[ArrayLike, "*batch tokens"],
    advantages: Real[ArrayLike, "*batch"],
    *,
    clip_low: Scalar = 0.2,
    clip_high: Scalar = 0.2,
    ratio_cap: Scalar | None = None,
    where: Bool[ArrayLike, "*#batch #tokens"] | None = None,
    weights: Real[ArrayLike, "..."] | None = None,
    reduction: Reduction = "mean",
) -> Float[Array, "..."]:
    r"""Proximal policy optimization of the tokens of answers that have one advantage each.

    .. math::
        \ell_t = -\min\big( \rho_t A,\;
                 \operatorname{clip}(\rho_t, 1 - \varepsilon_l, 1 + \varepsilon_h) A \big), \qquad
        \rho_t = \frac{\pi(y_t)}{\pi_{\text{old}}(y_t)}

    The mean weighs all tokens alike, as DAPO does; the module's table has the weights of the other
    methods. The unreduced shape is ``*batch tokens``.

    Args:
        clip_low, clip_high: :math:`\varepsilon_l`, from 0 to 1, and :math:`\varepsilon_h`, not
            negative.
        ratio_cap: the largest ratio that counts where the advantage is negative; above one. None
            is no cap.
        where: which tokens exist, as a rule those of the answer and not those of the prompt.
        weights, reduction: see :func:`jaxloss.core.reducing.reduce`.

    Example:
        Two answers, of one and of two tokens:

        >>> log_p, advantages = jnp.zeros((2, 2)), jnp.array([1.0, -2.0])
        >>> exists = jnp.array([[True, False], [True, True]])
        >>> lengths = exists.sum(-1, keepdims=True)
        >>> grpo(log_p, log_p, advantages, where=exists)
        Array(1., dtype=float32)
        >>> grpo(log_p, log_p, advantages, where=exists, weights=1 / lengths)
        Array(0.5, dtype=float32)

    Reference:
        Shao et al., "DeepSeekMath: Pushing the Limits of Mathematical Reasoning in Open Language
        Models", 2024; Yu et al., "DAPO: An Open-Source LLM Reinforcement Learning System at Scale",
        2025; Liu et al., "Understanding R1-Zero-Like Training: A Critical Perspective", 2025.
    """
    name = "grpo"
    answers = _answers(name, log_probabilities, old_log_probabilities, advantages, where)
    ratio = clipped_log_ratio(
        name, answers.log_ratio, answers.advantage, clip_low, clip_high, ratio_cap
    )
    return reduce(name, -answers.advantage * bounded_exp(ratio), where, weights, reduction)


@compiled("reduction")
def gspo(
    log_probabilities: Float[ArrayLike, "*batch tokens"],
    old_log_probabilities: Float[ArrayLike, "*batch tokens"],
    advantages: Real[ArrayLike, "*batch"],
    *,
    clip_low: Scalar = 3e-4,
    clip_high: Scalar = 4e-4,
    ratio_cap: Scalar | None = None,
    where: Bool[ArrayLike, "*#batch #tokens"] | None = None,
    weights: Real[ArrayLike, "..."] | None = None,
    reduction: Reduction = "mean",
) -> Float[Array, "..."]:
    r"""Proximal policy optimization of whole answers: one ratio for each, per token.

    .. math::
        \ell = -\min\big( \rho A,\;
               \operatorname{clip}(\rho, 1 - \varepsilon_l, 1 + \varepsilon_h) A \big), \qquad
        \rho = \left( \prod_t \frac{\pi(y_t)}{\pi_{\text{old}}(y_t)} \right)^{1/T}

    What is rewarded as a whole is clipped as a whole; the ratio, a geometric mean, moves so little
    that the clips are small. The unreduced shape is ``*batch``.

    Args:
        clip_low, clip_high, ratio_cap: see :func:`grpo`.
        where: which tokens exist; :math:`T` counts these. An answer without any does not count.
        weights, reduction: see :func:`jaxloss.core.reducing.reduce`; they act on answers.

    Example:
        >>> now, old = jnp.log(jnp.array([[[0.5, 0.2]], [[0.25, 0.4]]]))
        >>> gspo(now, old, jnp.array([1.0]))  # a ratio of 2 and one of 1/2
        Array(-1., dtype=float32)

    Reference:
        Zheng et al., "Group Sequence Policy Optimization", 2025.
    """
    name = "gspo"
    answers = _answers(name, log_probabilities, old_log_probabilities, advantages, where)
    ratio, any_token = mean_of_existing(answers.log_ratio, answers.exists)
    advantage = answers.advantage.squeeze(-1)
    ratio = clipped_log_ratio(name, ratio, advantage, clip_low, clip_high, ratio_cap)
    return reduce(name, -advantage * bounded_exp(ratio), any_token, weights, reduction)


@compiled("reduction")
def gmpo(
    log_probabilities: Float[ArrayLike, "*batch tokens"],
    old_log_probabilities: Float[ArrayLike, "*batch tokens"],
    advantages: Real[ArrayLike, "*batch"],
    *,
    clip_low: Scalar = 0.33,
    clip_high: Scalar = 0.49,
    where: Bool[ArrayLike, "*#batch #tokens"] | None = None,
    weights: Real[ArrayLike, "..."] | None = None,
    reduction: Reduction = "mean",
) -> Float[Array, "..."]:
    r"""Proximal policy optimization of whole answers, by the geometric mean of clipped ratios.

    .. math::
        \ell = -A \left( \prod_t \frac{\min\big( \rho_t A,\;
            \operatorname{clip}(\rho_t, 1 - \varepsilon_l, 1 + \varepsilon_h) A \big)}{A}
            \right)^{1/T}, \qquad \rho_t = \frac{\pi(y_t)}{\pi_{\text{old}}(y_t)}

    Clipped token by token as in :func:`grpo`, but less moved by a few extreme ratios, so that wider
    clips are stable: the defaults are about :math:`e^{\pm 0.4}`. The unreduced shape is ``*batch``.

    Args:
        clip_low, clip_high: see :func:`grpo`.
        where: which tokens exist; :math:`T` counts these. An answer without any does not count.
        weights, reduction: see :func:`jaxloss.core.reducing.reduce`; they act on answers.

    Example:
        >>> now, old = jnp.log(jnp.array([[[0.5, 0.25]], [[0.25, 0.25]]]))
        >>> gmpo(now, old, jnp.array([1.0]), clip_high=0.44)  # ratios of 2, clipped, and of 1
        Array(-1.2, dtype=float32)

    Reference:
        Zhao et al., "Geometric-Mean Policy Optimization", 2025.
    """
    name = "gmpo"
    answers = _answers(name, log_probabilities, old_log_probabilities, advantages, where)
    ratio = clipped_log_ratio(name, answers.log_ratio, answers.advantage, clip_low, clip_high)
    ratio, any_token = mean_of_existing(ratio, answers.exists)
    loss = -answers.advantage.squeeze(-1) * bounded_exp(ratio)
    return reduce(name, loss, any_token, weights, reduction)


@compiled("reduction")
def cispo(
    log_probabilities: Float[ArrayLike, "*batch tokens"],
    old_log_probabilities: Float[ArrayLike, "*batch tokens"],
    advantages: Real[ArrayLike, "*batch"],
    *,
    ratio_cap: Scalar = 5.0,
    where: Bool[ArrayLike, "*#batch #tokens"] | None = None,
    weights: Real[ArrayLike, "..."] | None = None,
    reduction: Reduction = "mean",
) -> Float[Array, "..."]:
    r"""Policy gradient of tokens, weighed by how much likelier they have become, up to a cap.

    .. math::
        \ell_t = -\operatorname{sg}\big( \min(\rho_t, c) \big) A \log \pi(y_t), \qquad
        \rho_t = \frac{\pi(y_t)}{\pi_{\text{old}}(y_t)}

    The importance weight is clipped, and held constant, rather than the update: no token stops to
    learn. The unreduced shape is ``*batch tokens``.

    Args:
        ratio_cap: :math:`c`, positive.
        where, weights, reduction: see :func:`jaxloss.core.reducing.reduce`.

    Example:
        >>> now, old = jnp.array([[-1.0, -1.0]]), jnp.array([[-1.0, -9.0]])
        >>> cispo(now, old, jnp.array([1.0]), ratio_cap=4.0, reduction="none")
        Array([[1., 4.]], dtype=float32)

    Reference:
        MiniMax, "MiniMax-M1: Scaling Test-Time Compute Efficiently with Lightning Attention", 2025.
    """
    name = "cispo"
    answers = _answers(name, log_probabilities, old_log_probabilities, advantages, where)
    cap = jnp.log(check_positive(name, "ratio_cap", ratio_cap)).astype(answers.log_ratio.dtype)
    ratio = jnp.exp(jnp.minimum(jax.lax.stop_gradient(answers.log_ratio), cap))
    loss = -times(ratio * answers.advantage, answers.log_probability)
    return reduce(name, loss, where, weights, reduction)


@compiled("reduction")
def sapo(
    log_probabilities: Float[ArrayLike, "*batch tokens"],
    old_log_probabilities: Float[ArrayLike, "*batch tokens"],
    advantages: Real[ArrayLike, "*batch"],
    *,
    gain_slope: Scalar = 1.0,
    loss_slope: Scalar = 1.05,
    where: Bool[ArrayLike, "*#batch #tokens"] | None = None,
    weights: Real[ArrayLike, "..."] | None = None,
    reduction: Reduction = "mean",
) -> Float[Array, "..."]:
    r"""Advantage times a ratio that is bounded softly: no clip, but a gate that closes.

    .. math::
        \ell_t = -\frac{4}{\tau}\, \sigma\big( \tau (\rho_t - 1) \big) A, \qquad
        \tau = \begin{cases} \tau_+ & A > 0 \\ \tau_- & A \le 0 \end{cases}, \quad
        \rho_t = \frac{\pi(y_t)}{\pi_{\text{old}}(y_t)}

    Where the policy has not moved, its gradient is that of the policy gradient; it fades on both
    sides. The unreduced shape is ``*batch tokens``.

    Args:
        gain_slope, loss_slope: :math:`\tau_+` and :math:`\tau_-`, positive; how quickly the gate
            closes for tokens of good and of bad answers.
        where, weights, reduction: see :func:`jaxloss.core.reducing.reduce`.

    Example:
        >>> log_p = jnp.zeros((1, 2))
        >>> sapo(log_p, log_p, jnp.array([1.0]))
        Array(-2., dtype=float32)

    Reference:
        Gao et al., "Soft Adaptive Policy Optimization", 2025.
    """
    name = "sapo"
    answers = _answers(name, log_probabilities, old_log_probabilities, advantages, where)
    gain, loss = (
        check_positive(name, argument, slope).astype(answers.advantage.dtype)
        for argument, slope in (("gain_slope", gain_slope), ("loss_slope", loss_slope))
    )
    slope = jnp.where(answers.advantage > 0, gain, loss)
    ratio = answers.log_ratio
    near = ratio < 1
    beyond = jnp.where(near, jnp.expm1(jnp.where(near, ratio, 0)), bounded_exp(ratio) - 1)
    gate = 4 / slope * sigmoid(slope * beyond)
    return reduce(name, -gate * answers.advantage, where, weights, reduction)


@compiled("reduction")
def vespo(
    log_probabilities: Float[ArrayLike, "*batch tokens"],
    old_log_probabilities: Float[ArrayLike, "*batch tokens"],
    advantages: Real[ArrayLike, "*batch"],
    *,
    gain_power: Scalar = 2.0,
    gain_rate: Scalar = 3.0,
    loss_power: Scalar = 3.0,
    loss_rate: Scalar = 2.0,
    where: Bool[ArrayLike, "*#batch #tokens"] | None = None,
    weights: Real[ArrayLike, "..."] | None = None,
    reduction: Reduction = "mean",
) -> Float[Array, "..."]:
    r"""Policy gradient of tokens, weighed by a smooth function of the ratio of the whole answer.

    .. math::
        \ell_t = -\operatorname{sg}\big( \rho^k e^{\lambda (1 - \rho)} \big) A \log \pi(y_t), \qquad
        \rho = \prod_t \frac{\pi(y_t)}{\pi_{\text{old}}(y_t)}

    The weight, shaped like a gamma density and one where the policy has not moved, fades for
    answers that have become much likelier or less likely, without dividing by their length. The
    unreduced shape is ``*batch tokens``.

    Args:
        gain_power, gain_rate: :math:`k` and :math:`\lambda` of answers with a positive advantage.
        loss_power, loss_rate: those of the others; all are positive.
        where: which tokens exist.
        weights, reduction: see :func:`jaxloss.core.reducing.reduce`.

    Example:
        >>> now = jnp.array([[-1.0, -1.0]])
        >>> vespo(now, now, jnp.array([1.0]))
        Array(1., dtype=float32)

    Reference:
        Shen et al., "VESPO: Variational Sequence-Level Soft Policy Optimization for Stable
        Off-Policy LLM Training", 2026.
    """
    name = "vespo"
    answers = _answers(name, log_probabilities, old_log_probabilities, advantages, where)
    good, held = answers.advantage > 0, jax.lax.stop_gradient(answers.log_ratio)
    ratio = masked(held, answers.exists).sum(-1, keepdims=True)
    ratio = jnp.where(
        jnp.isnan(ratio), -jnp.inf, ratio
    )  # what is impossible for both has no weight
    ratio = jnp.minimum(ratio, 20)  # from where on it has none in any dtype
    power = jnp.where(good, gain_power, loss_power).astype(ratio.dtype)
    rate = jnp.where(good, gain_rate, loss_rate).astype(ratio.dtype)
    weight = jnp.exp(power * ratio - rate * jnp.expm1(ratio))
    loss = -times(weight * answers.advantage, answers.log_probability)
    return reduce(name, loss, where, weights, reduction)


class _Answers(NamedTuple):
    """Answers, checked and masked."""

    log_probability: Float[Array, "*batch tokens"]
    log_ratio: Float[Array, "*batch tokens"]  # to the policy that wrote them
    advantage: Float[Array, "*batch 1"]
    exists: Bool[Array, "*batch tokens"] | None


def _answers(
    name: str,
    log_probabilities: Float[ArrayLike, "*batch tokens"],
    old_log_probabilities: Float[ArrayLike, "*batch tokens"],
    advantages: Real[ArrayLike, "*batch"],
    where: Bool[ArrayLike, "*#batch #tokens"] | None,
) -> _Answers:
    now, old = elements(
        name,
        where,
        log_probabilities=log_probabilities,
        old_log_probabilities=old_log_probabilities,
    )
    require_real(name, advantages=advantages)
    require_rank(name, 1, wanted="of shape (*batch, tokens)", log_probabilities=now)
    require_shape(name, now.shape[:-1], wanted="one per answer, of shape", advantages=advantages)
    now, old, advantage = promoted(now, old, advantages)
    exists = selection(name, where, now.shape)
    advantage = masked(advantage, None if exists is None else exists.any(-1))
    return _Answers(now, difference(now, old), advantage[..., None], exists)
