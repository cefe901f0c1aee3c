r"""Losses that teach a policy which of two answers is preferred, by the lead of the chosen one.

All take four log-probabilities per pair, each the sum over the tokens of an answer: what the policy
gives to the chosen and to the rejected answer, and what the reference does, a constant as a rule.
With :math:`r = \log (\pi(y) / \pi_0(y))`, what matters here is the lead
:math:`\Delta = r^+ - r^-`. Losses that care for either :math:`r` are in
:mod:`jaxloss.losses.preference_variants`; those without a reference in
:mod:`jaxloss.losses.reference_free`, those without pairs in
:mod:`jaxloss.losses.unpaired_preference`.

What the peers have further options for is said in the arguments: for normalization by length, give
means over tokens; to weigh pairs by how likely the policy is to say such things, as WPO does, or by
how sure the preference is, give ``weights``.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Bool, Float, Real

from jaxloss.core.checks import check_positive, check_unit_interval
from jaxloss.core.classes import times
from jaxloss.core.compiling import compiled
from jaxloss.core.distributions import relative
from jaxloss.core.exponentials import sigmoid, softplus
from jaxloss.core.inputs import Scalar
from jaxloss.core.preferences import check_rate, log_ratios, positive
from jaxloss.core.reducing import Reduction, reduce


@compiled("reduction")
def dpo(
    chosen_log_probabilities: Float[ArrayLike, "*batch"],
    rejected_log_probabilities: Float[ArrayLike, "*batch"],
    reference_chosen_log_probabilities: Float[ArrayLike, "*batch"],
    reference_rejected_log_probabilities: Float[ArrayLike, "*batch"],
    *,
    scale: Scalar = 0.1,
    where: Bool[ArrayLike, "*#batch"] | None = None,
    weights: Real[ArrayLike, "..."] | None = None,
    reduction: Reduction = "mean",
) -> Float[Array, "..."]:
    r"""Negative log-probability of the preference, by rewards that a policy implies.

    .. math::
        \ell = -\log \sigma(\beta \Delta), \qquad
        \Delta = \log \frac{\pi(y^+)}{\pi_0(y^+)} - \log \frac{\pi(y^-)}{\pi_0(y^-)}

    Direct preference optimization: among the policies that stay near the reference, this one is the
    best for rewards of :math:`\beta \log (\pi / \pi_0)`, so these shall explain the preference. It
    does not care how likely either answer is; both may become unlikely. The unreduced shape is
    ``*batch``.

    Args:
        scale: :math:`\beta`, positive; the larger, the closer the policy stays to the reference.
        where, weights, reduction: see :func:`jaxloss.core.reducing.reduce`.

    Example:
        >>> policy, reference = jnp.array([[-1.0], [-2.0]]), jnp.array([[-2.0], [-2.0]])
        >>> dpo(*policy, *reference, scale=1.0)
        Array(0.31326..., dtype=float32)

    Reference:
        Rafailov et al., "Direct Preference Optimization: Your Language Model is Secretly a Reward
        Model", 2023.
    """
    name = "dpo"
    ratios = log_ratios(
        name,
        where,
        chosen_log_probabilities,
        rejected_log_probabilities,
        reference_chosen_log_probabilities,
        reference_rejected_log_probabilities,
    )
    loss = softplus(-positive(name, scale) * ratios.lead)
    return reduce(name, loss, where, weights, reduction)


@compiled("reduction")
def conservative_dpo(
    chosen_log_probabilities: Float[ArrayLike, "*batch"],
    rejected_log_probabilities: Float[ArrayLike, "*batch"],
    reference_chosen_log_probabilities: Float[ArrayLike, "*batch"],
    reference_rejected_log_probabilities: Float[ArrayLike, "*batch"],
    *,
    scale: Scalar = 0.1,
    flip_rate: Scalar = 0.1,
    where: Bool[ArrayLike, "*#batch"] | None = None,
    weights: Real[ArrayLike, "..."] | None = None,
    reduction: Reduction = "mean",
) -> Float[Array, "..."]:
    r"""DPO that expects some preferences to be given the wrong way round.

    .. math::
        \ell = -(1 - \varepsilon) \log \sigma(\beta \Delta)
               - \varepsilon \log \sigma(-\beta \Delta), \qquad \Delta = r^+ - r^-

    Known as cDPO. The least is lost at :math:`\sigma(\beta \Delta) = 1 - \varepsilon`: no
    preference is worth being sure of. The unreduced shape is ``*batch``.

    Args:
        scale: :math:`\beta`, positive; the larger, the closer the policy stays to the reference.
        flip_rate: :math:`\varepsilon`, how often the preference is given the wrong way round; from
            0 to less than 1/2.
        where, weights, reduction: see :func:`jaxloss.core.reducing.reduce`.

    Example:
        >>> policy, reference = jnp.array([[-1.0], [-2.0]]), jnp.array([[-2.0], [-2.0]])
        >>> conservative_dpo(*policy, *reference, scale=1.0, flip_rate=0.25)
        Array(0.56326..., dtype=float32)

    Reference:
        Mitchell, "A Note on DPO with Noisy Preferences and Relationship to IPO", 2023.
    """
    name = "conservative_dpo"
    ratios = log_ratios(
        name,
        where,
        chosen_log_probabilities,
        rejected_log_probabilities,
        reference_chosen_log_probabilities,
        reference_rejected_log_probabilities,
    )
    rate, lead = check_rate(name, flip_rate), positive(name, scale) * ratios.lead
    loss = times(1 - rate, softplus(-lead)) + times(rate, softplus(lead))
    return reduce(name, loss, where, weights, reduction)


@compiled("reduction")
def robust_dpo(
    chosen_log_probabilities: Float[ArrayLike, "*batch"],
    rejected_log_probabilities: Float[ArrayLike, "*batch"],
    reference_chosen_log_probabilities: Float[ArrayLike, "*batch"],
    reference_rejected_log_probabilities: Float[ArrayLike, "*batch"],
    *,
    scale: Scalar = 0.1,
    flip_rate: Scalar = 0.1,
    where: Bool[ArrayLike, "*#batch"] | None = None,
    weights: Real[ArrayLike, "..."] | None = None,
    reduction: Reduction = "mean",
) -> Float[Array, "..."]:
    r"""DPO whose expectation is what it would be without the preferences that are wrong.

    .. math::
        \ell = \frac{-(1 - \varepsilon) \log \sigma(\beta \Delta)
                     + \varepsilon \log \sigma(-\beta \Delta)}{1 - 2 \varepsilon},
        \qquad \Delta = r^+ - r^-

    Known as rDPO. Unbiased if preferences are flipped at just this rate. Not bounded below: a pair
    may be driven apart without end. The unreduced shape is ``*batch``.

    Args:
        scale: :math:`\beta`, positive; the larger, the closer the policy stays to the reference.
        flip_rate: :math:`\varepsilon`, how often the preference is given the wrong way round; from
            0 to less than 1/2.
        where, weights, reduction: see :func:`jaxloss.core.reducing.reduce`.

    Example:
        >>> policy, reference = jnp.array([[-1.0], [-2.0]]), jnp.array([[-2.0], [-2.0]])
        >>> robust_dpo(*policy, *reference, scale=1.0, flip_rate=0.25)
        Array(-0.18673..., dtype=float32)

    Reference:
        Chowdhury, Kini and Natarajan, "Provably Robust DPO: Aligning Language Models with Noisy
        Feedback", 2024.
    """
    name = "robust_dpo"
    ratios = log_ratios(
        name,
        where,
        chosen_log_probabilities,
        rejected_log_probabilities,
        reference_chosen_log_probabilities,
        reference_rejected_log_probabilities,
    )
    rate, lead = check_rate(name, flip_rate), positive(name, scale) * ratios.lead
    loss = softplus(-lead) - times(rate / (1 - 2 * rate), lead)
    return reduce(name, loss, where, weights, reduction)


@compiled("reduction")
def hinge(
    chosen_log_probabilities: Float[ArrayLike, "*batch"],
    rejected_log_probabilities: Float[ArrayLike, "*batch"],
    reference_chosen_log_probabilities: Float[ArrayLike, "*batch"],
    reference_rejected_log_probabilities: Float[ArrayLike, "*batch"],
    *,
    scale: Scalar = 0.1,
    margin: Scalar = 1.0,
    where: Bool[ArrayLike, "*#batch"] | None = None,
    weights: Real[ArrayLike, "..."] | None = None,
    reduction: Reduction = "mean",
) -> Float[Array, "..."]:
    r"""How much less than a margin the chosen answer is ahead.

    .. math::
        \ell = \max(0,\; m - \beta \Delta), \qquad \Delta = r^+ - r^-

    The loss of SLiC, on the rewards of :func:`dpo`: a pair that is far enough apart is left alone.
    The unreduced shape is ``*batch``.

    Args:
        scale: :math:`\beta`, positive; the larger, the closer the policy stays to the reference.
        margin: :math:`m`, positive.
        where, weights, reduction: see :func:`jaxloss.core.reducing.reduce`.

    Example:
        >>> policy, reference = jnp.array([[-1.0], [-2.0]]), jnp.array([[-2.0], [-2.0]])
        >>> hinge(*policy, *reference, scale=0.25)
        Array(0.75, dtype=float32)

    Reference:
        Zhao et al., "SLiC-HF: Sequence Likelihood Calibration with Human Feedback", 2023; Liu et
        al., "Statistical Rejection Sampling Improves Preference Optimization", 2024.
    """
    name = "hinge"
    ratios = log_ratios(
        name,
        where,
        chosen_log_probabilities,
        rejected_log_probabilities,
        reference_chosen_log_probabilities,
        reference_rejected_log_probabilities,
    )
    loss = jax.nn.relu(margin - positive(name, scale) * ratios.lead)
    return reduce(name, loss, where, weights, reduction)


@compiled("reduction")
def ipo(
    chosen_log_probabilities: Float[ArrayLike, "*batch"],
    rejected_log_probabilities: Float[ArrayLike, "*batch"],
    reference_chosen_log_probabilities: Float[ArrayLike, "*batch"],
    reference_rejected_log_probabilities: Float[ArrayLike, "*batch"],
    *,
    scale: Scalar = 0.1,
    where: Bool[ArrayLike, "*#batch"] | None = None,
    weights: Real[ArrayLike, "..."] | None = None,
    reduction: Reduction = "mean",
) -> Float[Array, "..."]:
    r"""Squared distance of the lead of the chosen answer from what it should be.

    .. math::
        \ell = \left( \Delta - \frac{1}{2 \beta} \right)^2, \qquad \Delta = r^+ - r^-

    Where :func:`dpo` drives a pair apart without end if the preference is never contradicted, this
    one stops. As the target does not grow with the answers, their log-probabilities are better the
    mean than the sum over tokens. The unreduced shape is ``*batch``.

    Args:
        scale: :math:`\beta`, positive; the larger, the closer the policy stays to the reference.
        where, weights, reduction: see :func:`jaxloss.core.reducing.reduce`.

    Example:
        >>> policy, reference = jnp.array([[-1.0], [-2.0]]), jnp.array([[-2.0], [-2.0]])
        >>> ipo(*policy, *reference, scale=1.0)
        Array(0.25, dtype=float32)

    Reference:
        Azar et al., "A General Theoretical Paradigm to Understand Learning from Human Preferences",
        2024.
    """
    name = "ipo"
    ratios = log_ratios(
        name,
        where,
        chosen_log_probabilities,
        rejected_log_probabilities,
        reference_chosen_log_probabilities,
        reference_rejected_log_probabilities,
    )
    error = ratios.lead - 1 / (2 * positive(name, scale))
    loss = error * error
    return reduce(name, loss, where, weights, reduction)


@compiled("reduction")
def exo(
    chosen_log_probabilities: Float[ArrayLike, "*batch"],
    rejected_log_probabilities: Float[ArrayLike, "*batch"],
    reference_chosen_log_probabilities: Float[ArrayLike, "*batch"],
    reference_rejected_log_probabilities: Float[ArrayLike, "*batch"],
    *,
    scale: Scalar = 0.1,
    flip_rate: Scalar = 1e-3,
    where: Bool[ArrayLike, "*#batch"] | None = None,
    weights: Real[ArrayLike, "..."] | None = None,
    reduction: Reduction = "mean",
) -> Float[Array, "..."]:
    r"""Divergence of the preference as the policy sees it from the preference as given.

    .. math::
        \ell = p \log \frac{p}{1 - \varepsilon} + (1 - p) \log \frac{1 - p}{\varepsilon}, \qquad
        p = \sigma(\beta \Delta), \quad \Delta = r^+ - r^-

    The reverse of the divergence behind :func:`conservative_dpo`, as in reinforcement learning: it
    seeks a mode. Bounded, with a gradient that fades for a pair that is hopelessly wrong. The
    unreduced shape is ``*batch``.

    Args:
        scale: :math:`\beta`, positive; the larger, the closer the policy stays to the reference.
        flip_rate: :math:`\varepsilon`, the probability that the preference is the other way; from
            0 to 1.
        where, weights, reduction: see :func:`jaxloss.core.reducing.reduce`.

    Example:
        >>> policy, reference = jnp.array([[-1.0], [-2.0]]), jnp.array([[-2.0], [-2.0]])
        >>> exo(*policy, *reference, scale=1.0, flip_rate=0.25)
        Array(0.00094..., dtype=float32)

    Reference:
        Ji et al., "Towards Efficient Exact Optimization of Language Model Alignment", 2024.
    """
    name = "exo"
    ratios = log_ratios(
        name,
        where,
        chosen_log_probabilities,
        rejected_log_probabilities,
        reference_chosen_log_probabilities,
        reference_rejected_log_probabilities,
    )
    lead = positive(name, scale) * ratios.lead
    rate = check_unit_interval(name, "flip_rate", jnp.asarray(flip_rate, lead.dtype))
    yes, no = -softplus(-lead), -softplus(lead)
    loss = relative(yes, jnp.log1p(-rate), jnp.log1p(-rate) - yes)
    loss += relative(no, jnp.log(rate), jnp.log(rate) - no)
    return reduce(name, loss, where, weights, reduction)


@compiled("reduction")
def discopop(
    chosen_log_probabilities: Float[ArrayLike, "*batch"],
    rejected_log_probabilities: Float[ArrayLike, "*batch"],
    reference_chosen_log_probabilities: Float[ArrayLike, "*batch"],
    reference_rejected_log_probabilities: Float[ArrayLike, "*batch"],
    *,
    scale: Scalar = 0.1,
    temperature: Scalar = 0.05,
    where: Bool[ArrayLike, "*#batch"] | None = None,
    weights: Real[ArrayLike, "..."] | None = None,
    reduction: Reduction = "mean",
) -> Float[Array, "..."]:
    r"""Logistic loss where the policy is wrong, exponential where it is right: found by a search.

    .. math::
        \ell = (1 - m) \log(1 + e^{-\beta \Delta}) + m\, e^{-\beta \Delta}, \qquad
        m = \sigma(\beta \Delta / \tau), \quad \Delta = r^+ - r^-

    Proposed by a language model and selected by results; not convex around zero. The unreduced
    shape is ``*batch``.

    Args:
        scale: :math:`\beta`, positive; the larger, the closer the policy stays to the reference.
        temperature: :math:`\tau`, positive; how gradually one loss becomes the other.
        where, weights, reduction: see :func:`jaxloss.core.reducing.reduce`.

    Example:
        >>> policy, reference = jnp.array([[-1.0], [-2.0]]), jnp.array([[-2.0], [-2.0]])
        >>> discopop(*policy, *reference, scale=1.0)
        Array(0.36787..., dtype=float32)

    Reference:
        Lu et al., "Discovering Preference Optimization Algorithms with and for Large Language
        Models", 2024.
    """
    name = "discopop"
    ratios = log_ratios(
        name,
        where,
        chosen_log_probabilities,
        rejected_log_probabilities,
        reference_chosen_log_probabilities,
        reference_rejected_log_probabilities,
    )
    tau = check_positive(name, "temperature", temperature)
    lead = positive(name, scale) * ratios.lead
    wrong = lead < 0
    modulation = sigmoid(-jnp.where(jnp.isinf(lead), jax.lax.stop_gradient(lead), lead) / tau)
    # The logarithm of m e^-lead, in which large numbers of opposite sign would meet.
    log_exponential = jnp.where(wrong, times(1 / tau - 1, lead), -lead)
    log_exponential -= jnp.log1p(jnp.exp(jnp.where(wrong, lead, -lead) / tau))
    loss = modulation * softplus(-lead) + jnp.exp(log_exponential)
    return reduce(name, loss, where, weights, reduction)
