r"""Losses on two answers that care how likely each has become, or what keeps the policy in place.

Arguments and symbols are those of :mod:`jaxloss.losses.preference`: four log-probabilities for each
pair, and :math:`r = \log (\pi(y) / \pi_0(y))` of the chosen and of the rejected answer.
"""

import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Bool, Float, Real

from jaxloss.core.checks import check_positive
from jaxloss.core.compiling import compiled
from jaxloss.core.exponentials import difference, sigmoid, softplus
from jaxloss.core.inputs import Scalar
from jaxloss.core.preferences import bent_difference, log_ratios, positive
from jaxloss.core.reducing import Reduction, reduce


@compiled("reduction")
def nca(
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
    r"""Noise contrastive alignment: the chosen answer shall become likelier, not only the likelier.

    .. math::
        \ell = -\log \sigma(\beta r^+) - \tfrac12 \log \sigma(-\beta r^+)
               - \tfrac12 \log \sigma(-\beta r^-)

    Tells both answers from samples of the reference. The least is lost at a reward of
    :math:`\log 2` for the chosen answer, so that its likelihood does not fall. The unreduced shape
    is ``*batch``.

    Args:
        scale: :math:`\beta`, positive; the larger, the closer the policy stays to the reference.
        where, weights, reduction: see :func:`jaxloss.core.reducing.reduce`.

    Example:
        >>> policy, reference = jnp.array([[-1.0], [-2.0]]), jnp.array([[-2.0], [-2.0]])
        >>> nca(*policy, *reference, scale=1.0)
        Array(1.31646..., dtype=float32)

    Reference:
        Chen et al., "Noise Contrastive Alignment of Language Models with Explicit Rewards", 2024.
    """
    name = "nca"
    ratios = log_ratios(
        name,
        where,
        chosen_log_probabilities,
        rejected_log_probabilities,
        reference_chosen_log_probabilities,
        reference_rejected_log_probabilities,
    )
    chosen, rejected = ratios.rewards(positive(name, scale))
    loss = softplus(-chosen) + (softplus(chosen) + softplus(rejected)) / 2
    return reduce(name, loss, where, weights, reduction)


@compiled("reduction")
def bco_pair(
    chosen_log_probabilities: Float[ArrayLike, "*batch"],
    rejected_log_probabilities: Float[ArrayLike, "*batch"],
    reference_chosen_log_probabilities: Float[ArrayLike, "*batch"],
    reference_rejected_log_probabilities: Float[ArrayLike, "*batch"],
    *,
    scale: Scalar = 0.1,
    shift: Scalar = 0.0,
    where: Bool[ArrayLike, "*#batch"] | None = None,
    weights: Real[ArrayLike, "..."] | None = None,
    reduction: Reduction = "mean",
) -> Float[Array, "..."]:
    r"""Binary cross-entropy of telling which answers are chosen and which rejected.

    .. math::
        \ell = -\log \sigma(\beta r^+ - \delta) - \log \sigma(-(\beta r^- - \delta))

    Each answer is judged by itself, against a threshold :math:`\delta`. For answers that do not
    come in pairs, and for the threshold, see :func:`jaxloss.losses.unpaired_preference.bco`. The
    unreduced shape is ``*batch``.

    Args:
        scale: :math:`\beta`, positive; the larger, the closer the policy stays to the reference.
        shift: :math:`\delta`, the reward that divides the good from the bad.
        where, weights, reduction: see :func:`jaxloss.core.reducing.reduce`.

    Example:
        >>> policy, reference = jnp.array([[-1.0], [-2.0]]), jnp.array([[-2.0], [-2.0]])
        >>> bco_pair(*policy, *reference, scale=1.0)
        Array(1.00640..., dtype=float32)

    Reference:
        Jung et al., "Binary Classifier Optimization for Large Language Model Alignment", 2024.
    """
    name = "bco_pair"
    ratios = log_ratios(
        name,
        where,
        chosen_log_probabilities,
        rejected_log_probabilities,
        reference_chosen_log_probabilities,
        reference_rejected_log_probabilities,
    )
    chosen, rejected = ratios.rewards(positive(name, scale))
    loss = softplus(shift - chosen) + softplus(rejected - shift)
    return reduce(name, loss, where, weights, reduction)


@compiled("reduction")
def sppo(
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
    r"""Squared distance of both log-ratios from what winning and losing for sure would make them.

    .. math::
        \ell = \left( r^+ - \frac{1}{2 \beta} \right)^2 + \left( r^- + \frac{1}{2 \beta} \right)^2

    Self-play preference optimization with the preference as given, in place of an estimated
    probability. Unlike :func:`jaxloss.losses.preference.ipo` it fixes both ratios and not only
    their difference. The unreduced shape is ``*batch``.

    Args:
        scale: :math:`\beta`, positive; the larger, the closer the policy stays to the reference.
        where, weights, reduction: see :func:`jaxloss.core.reducing.reduce`.

    Example:
        >>> policy, reference = jnp.array([[-1.0], [-2.0]]), jnp.array([[-2.0], [-2.0]])
        >>> sppo(*policy, *reference, scale=1.0)
        Array(0.5, dtype=float32)

    Reference:
        Wu et al., "Self-Play Preference Optimization for Language Model Alignment", 2025.
    """
    name = "sppo"
    ratios = log_ratios(
        name,
        where,
        chosen_log_probabilities,
        rejected_log_probabilities,
        reference_chosen_log_probabilities,
        reference_rejected_log_probabilities,
    )
    half = 1 / (2 * positive(name, scale))
    loss = jnp.square(ratios.chosen - half) + jnp.square(ratios.rejected + half)
    return reduce(name, loss, where, weights, reduction)


@compiled("reduction")
def apo_zero(
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
    r"""Anchored preference: the chosen answer shall become likelier, the rejected less likely.

    .. math::
        \ell = \sigma(-\beta r^+) + \sigma(\beta r^-)

    For chosen answers that are better than what the model would say. Each ratio is anchored at one,
    and bounded in what it costs. The unreduced shape is ``*batch``.

    Args:
        scale: :math:`\beta`, positive; the larger, the closer the policy stays to the reference.
        where, weights, reduction: see :func:`jaxloss.core.reducing.reduce`.

    Example:
        >>> policy, reference = jnp.array([[-1.0], [-2.0]]), jnp.array([[-2.0], [-2.0]])
        >>> apo_zero(*policy, *reference, scale=1.0)
        Array(0.76894..., dtype=float32)

    Reference:
        D'Oosterlinck et al., "Anchored Preference Optimization and Contrastive Revisions:
        Addressing Underspecification in Alignment", 2025.
    """
    name = "apo_zero"
    ratios = log_ratios(
        name,
        where,
        chosen_log_probabilities,
        rejected_log_probabilities,
        reference_chosen_log_probabilities,
        reference_rejected_log_probabilities,
    )
    chosen, rejected = ratios.rewards(positive(name, scale))
    loss = sigmoid(-chosen) + sigmoid(rejected)
    return reduce(name, loss, where, weights, reduction)


@compiled("reduction")
def apo_down(
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
    r"""Anchored preference: both answers shall become less likely, the rejected one more so.

    .. math::
        \ell = \sigma(\beta r^+) + \sigma(-\beta \Delta), \qquad \Delta = r^+ - r^-

    For chosen answers that are worse than what the model would say. The unreduced shape is
    ``*batch``.

    Args:
        scale: :math:`\beta`, positive; the larger, the closer the policy stays to the reference.
        where, weights, reduction: see :func:`jaxloss.core.reducing.reduce`.

    Example:
        >>> policy, reference = jnp.array([[-1.0], [-2.0]]), jnp.array([[-2.0], [-2.0]])
        >>> apo_down(*policy, *reference, scale=1.0)
        Array(1., dtype=float32)

    Reference:
        D'Oosterlinck et al., "Anchored Preference Optimization and Contrastive Revisions:
        Addressing Underspecification in Alignment", 2025.
    """
    name = "apo_down"
    ratios = log_ratios(
        name,
        where,
        chosen_log_probabilities,
        rejected_log_probabilities,
        reference_chosen_log_probabilities,
        reference_rejected_log_probabilities,
    )
    beta = positive(name, scale)
    loss = sigmoid(beta * ratios.chosen) + sigmoid(-beta * ratios.lead)
    return reduce(name, loss, where, weights, reduction)


@compiled("reduction")
def alpha_dpo(
    chosen_log_probabilities: Float[ArrayLike, "*batch"],
    rejected_log_probabilities: Float[ArrayLike, "*batch"],
    reference_chosen_log_probabilities: Float[ArrayLike, "*batch"],
    reference_rejected_log_probabilities: Float[ArrayLike, "*batch"],
    *,
    scale: Scalar = 0.1,
    order: Scalar = 0.5,
    where: Bool[ArrayLike, "*#batch"] | None = None,
    weights: Real[ArrayLike, "..."] | None = None,
    reduction: Reduction = "mean",
) -> Float[Array, "..."]:
    r"""DPO of a policy that is kept near the reference by an alpha divergence.

    .. math::
        \ell = -\log \sigma\!\left( \beta\,
            \frac{e^{(\alpha - 1) r^+} - e^{(\alpha - 1) r^-}}{\alpha - 1} \right)

    One of the f-divergences of f-DPO. At order 1 it is :func:`jaxloss.losses.preference.dpo`, from
    the reverse Kullback-Leibler divergence; at order 0 it comes from the forward one. Below 1, what
    has become unlikely counts most. The unreduced shape is ``*batch``.

    Args:
        scale: :math:`\beta`, positive; the larger, the closer the policy stays to the reference.
        order: :math:`\alpha`, any number.
        where, weights, reduction: see :func:`jaxloss.core.reducing.reduce`.

    Example:
        >>> policy, reference = jnp.array([[-1.0], [-2.0]]), jnp.array([[-2.0], [-2.0]])
        >>> alpha_dpo(*policy, *reference, scale=1.0, order=0.0)  # of 1 - 1/e
        Array(0.42622..., dtype=float32)

    Reference:
        Wang et al., "Beyond Reverse KL: Generalizing Direct Preference Optimization with Diverse
        Divergence Constraints", 2024.
    """
    name = "alpha_dpo"
    ratios = log_ratios(
        name,
        where,
        chosen_log_probabilities,
        rejected_log_probabilities,
        reference_chosen_log_probabilities,
        reference_rejected_log_probabilities,
    )
    lead = bent_difference(ratios.chosen, ratios.rejected, order - 1)
    loss = softplus(-positive(name, scale) * lead)
    return reduce(name, loss, where, weights, reduction)


@compiled("reduction")
def jensen_shannon_dpo(
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
    r"""DPO of a policy that is kept near the reference by the Jensen-Shannon divergence.

    .. math::
        \ell = -\log \sigma\big( \beta \log \sigma(r^+) - \beta \log \sigma(r^-) \big)

    One of the f-divergences of f-DPO. What has become much likelier already brings no more reward,
    so a pair is parted by the rejected answer. The unreduced shape is ``*batch``.

    Args:
        scale: :math:`\beta`, positive; the larger, the closer the policy stays to the reference.
        where, weights, reduction: see :func:`jaxloss.core.reducing.reduce`.

    Example:
        >>> policy, reference = jnp.array([[-1.0], [-2.0]]), jnp.array([[-2.0], [-2.0]])
        >>> jensen_shannon_dpo(*policy, *reference, scale=1.0)
        Array(0.52113..., dtype=float32)

    Reference:
        Wang et al., "Beyond Reverse KL: Generalizing Direct Preference Optimization with Diverse
        Divergence Constraints", 2024.
    """
    name = "jensen_shannon_dpo"
    ratios = log_ratios(
        name,
        where,
        chosen_log_probabilities,
        rejected_log_probabilities,
        reference_chosen_log_probabilities,
        reference_rejected_log_probabilities,
    )
    lead = difference(-softplus(-ratios.chosen), -softplus(-ratios.rejected))
    loss = softplus(-positive(name, scale) * lead)
    return reduce(name, loss, where, weights, reduction)


@compiled("reduction")
def chi_po(
    chosen_log_probabilities: Float[ArrayLike, "*batch"],
    rejected_log_probabilities: Float[ArrayLike, "*batch"],
    reference_chosen_log_probabilities: Float[ArrayLike, "*batch"],
    reference_rejected_log_probabilities: Float[ArrayLike, "*batch"],
    *,
    scale: Scalar = 0.1,
    bound: Scalar | None = None,
    where: Bool[ArrayLike, "*#batch"] | None = None,
    weights: Real[ArrayLike, "..."] | None = None,
    reduction: Reduction = "mean",
) -> Float[Array, "..."]:
    r"""DPO of a policy that is kept near the reference by a chi-squared divergence as well.

    .. math::
        \ell = -\log \sigma\Big( \operatorname{clip}\big(
            \beta (\varphi^+ - \varphi^-), -2R, 2R \big) \Big), \qquad
        \varphi^\pm = e^{r^\pm} + r^\pm

    The exponential makes it costly to leave the reference where it said little, where a few
    preferences prove nothing. The unreduced shape is ``*batch``.

    Args:
        scale: :math:`\beta`, positive; the larger, the closer the policy stays to the reference.
        bound: :math:`R`, what rewards lie within; positive. None is no bound.
        where, weights, reduction: see :func:`jaxloss.core.reducing.reduce`.

    Example:
        >>> policy, reference = jnp.array([[-1.0], [-2.0]]), jnp.array([[-2.0], [-2.0]])
        >>> chi_po(*policy, *reference, scale=1.0)  # of e
        Array(0.06390..., dtype=float32)

    Reference:
        Huang et al., "Correcting the Mythos of KL-Regularization: Direct Alignment without
        Overoptimization via Chi-Squared Preference Optimization", 2025.
    """
    name = "chi_po"
    ratios = log_ratios(
        name,
        where,
        chosen_log_probabilities,
        rejected_log_probabilities,
        reference_chosen_log_probabilities,
        reference_rejected_log_probabilities,
    )
    lead = bent_difference(ratios.chosen, ratios.rejected, 1.0) + ratios.lead
    lead = positive(name, scale) * lead
    if bound is not None:
        widest = 2 * check_positive(name, "bound", bound).astype(lead.dtype)
        lead = jnp.clip(lead, -widest, widest)
    loss = softplus(-lead)
    return reduce(name, loss, where, weights, reduction)
