r"""Losses on answers of which some are good and some bad, without comparing two to one prompt.

:func:`kto` and :func:`bco` judge each answer by itself, :func:`aot` and :func:`aot_unpaired` all of
a batch together. With :math:`r = \log (\pi(y) / \pi_0(y))`, from log-probabilities that are sums
over the tokens of an answer; those of the reference are constants as a rule.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Bool, Float, Real

from jaxloss.core.checks import check_unit_interval, require_rank
from jaxloss.core.classes import times
from jaxloss.core.compiling import compiled
from jaxloss.core.exponentials import difference, sigmoid, softplus
from jaxloss.core.inputs import Scalar, elements, selection
from jaxloss.core.lists import order
from jaxloss.core.preferences import log_ratios, positive
from jaxloss.core.reducing import Reduction, partial_mean, reduce


@compiled("reduction")
def kto(
    log_probabilities: Float[ArrayLike, "*batch"],
    reference_log_probabilities: Float[ArrayLike, "*batch"],
    targets: Real[ArrayLike, "*batch"],
    *,
    scale: Scalar = 0.1,
    baseline: Scalar = 0.0,
    where: Bool[ArrayLike, "*#batch"] | None = None,
    weights: Real[ArrayLike, "..."] | None = None,
    reduction: Reduction = "mean",
) -> Float[Array, "..."]:
    r"""How little a good answer is gained, or a bad one avoided, as people value gains and losses.

    .. math::
        \ell = t\, \sigma\big( -\beta (r - z) \big) + (1 - t)\, \sigma\big( \beta (r - z) \big)

    Kahneman-Tversky optimization: the value of an answer saturates on both sides of a baseline, the
    divergence that the policy already has from the reference. The paper's :math:`\lambda_D` and
    :math:`\lambda_U` are ``weights=jnp.where(targets == 1, desirable, undesirable)``. With a
    baseline of 0 it is known as the unpaired form of APO zero. The unreduced shape is ``*batch``.

    Args:
        targets: 1 for a good answer, 0 for a bad one.
        scale: :math:`\beta`, positive.
        baseline: :math:`z`, in nats, as from :func:`kl_baseline`.
        where, weights, reduction: see :func:`jaxloss.core.reducing.reduce`.

    Example:
        >>> policy, reference = jnp.array([-1.0, -1.0]), jnp.array([-2.0, -2.0])
        >>> kto(policy, reference, jnp.array([1, 0]), scale=1.0, reduction="none")
        Array([0.2689414..., 0.7310586...], dtype=float32)

    Reference:
        Ethayarajh et al., "KTO: Model Alignment as Prospect Theoretic Optimization", 2024.
    """
    name = "kto"
    ratio, good = _judged(name, where, log_probabilities, reference_log_probabilities, targets)
    gain = positive(name, scale) * (ratio - baseline)
    loss = good * sigmoid(-gain) + (1 - good) * sigmoid(gain)
    return reduce(name, loss, where, weights, reduction)


@compiled("reduction")
def bco(
    log_probabilities: Float[ArrayLike, "*batch"],
    reference_log_probabilities: Float[ArrayLike, "*batch"],
    targets: Real[ArrayLike, "*batch"],
    *,
    scale: Scalar = 0.1,
    shift: Scalar = 0.0,
    where: Bool[ArrayLike, "*#batch"] | None = None,
    weights: Real[ArrayLike, "..."] | None = None,
    reduction: Reduction = "mean",
) -> Float[Array, "..."]:
    r"""Binary cross-entropy of telling good answers from bad by the reward that a policy implies.

    .. math::
        \ell = -t \log \sigma(\beta r - \delta) - (1 - t) \log \sigma(\delta - \beta r)

    Logistic regression on the rewards of DPO. The unreduced shape is ``*batch``.

    Args:
        targets: 1 for a good answer, 0 for a bad one.
        scale: :math:`\beta`, positive.
        shift: :math:`\delta`, the reward that divides good from bad: the mean of all rewards so
            far, a constant.
        where, weights, reduction: see :func:`jaxloss.core.reducing.reduce`.

    Example:
        The mean so far is a :class:`~jaxloss.PartialMean`, which the train step passes on:

        >>> from jaxloss import partial_mean
        >>> policy, reference = jnp.array([-1.0, -1.0]), jnp.array([-2.0, -2.0])
        >>> seen = partial_mean(jnp.zeros(2)).merge(partial_mean(1.0 * (policy - reference)))
        >>> bco(policy, reference, jnp.array([1, 0]), scale=1.0, shift=seen.value())
        Array(0.724077, dtype=float32)

    Reference:
        Jung et al., "Binary Classifier Optimization for Large Language Model Alignment", 2024.
    """
    name = "bco"
    ratio, good = _judged(name, where, log_probabilities, reference_log_probabilities, targets)
    reward = positive(name, scale) * ratio - shift
    loss = times(good, softplus(-reward)) + times(1 - good, softplus(reward))
    return reduce(name, loss, where, weights, reduction)


@compiled("reduction")
def aot(
    chosen_log_probabilities: Float[ArrayLike, " batch"],
    rejected_log_probabilities: Float[ArrayLike, " batch"],
    reference_chosen_log_probabilities: Float[ArrayLike, " batch"],
    reference_rejected_log_probabilities: Float[ArrayLike, " batch"],
    *,
    scale: Scalar = 0.1,
    where: Bool[ArrayLike, " #batch"] | None = None,
    weights: Real[ArrayLike, "..."] | None = None,
    reduction: Reduction = "mean",
) -> Float[Array, "..."]:
    r"""DPO on sorted leads: at every quantile the policy's shall exceed the reference's.

    .. math::
        \ell_i = -\log \sigma\big( \beta (x_i - y_{(k_i)}) \big), \qquad
        x = \log \frac{\pi(y^+)}{\pi(y^-)}, \quad y = \log \frac{\pi_0(y^+)}{\pi_0(y^-)}

    where :math:`k_i` is the rank of :math:`x_i` and :math:`y_{(k)}` the :math:`k`-th smallest of
    the reference: alignment by optimal transport. It compares distributions over the batch and not
    pair with pair. The unreduced loss has shape ``batch``.

    Args:
        scale: :math:`\beta`, positive.
        where: which pairs exist; the others have no rank.
        weights, reduction: see :func:`jaxloss.core.reducing.reduce`.

    Example:
        >>> zero, leads, base = jnp.zeros(2), jnp.array([1.0, 3.0]), jnp.array([2.0, 0.0])
        >>> aot(leads, zero, base, zero, scale=1.0)  # 1 over 0 and 3 over 2
        Array(0.31326..., dtype=float32)

    Reference:
        Melnyk et al., "Distributional Preference Alignment of LLMs via Optimal Transport", 2024.
    """
    chosen, rejected, reference_chosen, reference_rejected = elements(
        "aot",
        where,
        chosen_log_probabilities=chosen_log_probabilities,
        rejected_log_probabilities=rejected_log_probabilities,
        reference_chosen_log_probabilities=reference_chosen_log_probabilities,
        reference_rejected_log_probabilities=reference_rejected_log_probabilities,
    )
    lead, base = difference(chosen, rejected), difference(reference_chosen, reference_rejected)
    ahead = _ahead_by_rank("aot", lead, base, where)
    loss = softplus(-positive("aot", scale) * ahead)
    return reduce("aot", loss, where, weights, reduction)


@compiled("reduction")
def aot_unpaired(
    chosen_log_probabilities: Float[ArrayLike, " batch"],
    rejected_log_probabilities: Float[ArrayLike, " batch"],
    reference_chosen_log_probabilities: Float[ArrayLike, " batch"],
    reference_rejected_log_probabilities: Float[ArrayLike, " batch"],
    *,
    scale: Scalar = 0.1,
    where: Bool[ArrayLike, " #batch"] | None = None,
    weights: Real[ArrayLike, "..."] | None = None,
    reduction: Reduction = "mean",
) -> Float[Array, "..."]:
    r"""DPO on sorted ratios: at every quantile good answers shall have more of it than bad ones.

    .. math::
        \ell_i = -\log \sigma\big( \beta (r^+_i - r^-_{(k_i)}) \big)

    where :math:`k_i` is the rank of :math:`r^+_i` and :math:`r^-_{(k)}` the :math:`k`-th smallest
    ratio of a rejected answer. The answers need not be to the same prompts, only as many of each
    kind. The unreduced loss has shape ``batch``, that of the chosen answers.

    Args:
        scale: :math:`\beta`, positive.
        where: which answers exist, chosen and rejected alike; the others have no rank.
        weights, reduction: see :func:`jaxloss.core.reducing.reduce`.

    Example:
        >>> zero, good, bad = jnp.zeros(2), jnp.array([1.0, 3.0]), jnp.array([2.0, 0.0])
        >>> aot_unpaired(good, bad, zero, zero, scale=1.0)  # 1 over 0 and 3 over 2
        Array(0.31326..., dtype=float32)

    Reference:
        Melnyk et al., "Distributional Preference Alignment of LLMs via Optimal Transport", 2024.
    """
    name = "aot_unpaired"
    ratios = log_ratios(
        name,
        where,
        chosen_log_probabilities,
        rejected_log_probabilities,
        reference_chosen_log_probabilities,
        reference_rejected_log_probabilities,
    )
    ahead = _ahead_by_rank(name, ratios.chosen, ratios.rejected, where)
    loss = softplus(-positive(name, scale) * ahead)
    return reduce(name, loss, where, weights, reduction)


def kl_baseline(
    log_probabilities: Float[ArrayLike, "*batch"],
    reference_log_probabilities: Float[ArrayLike, "*batch"],
    *,
    where: Bool[ArrayLike, "*#batch"] | None = None,
) -> Float[Array, ""]:
    """How far the policy is from the reference, as :func:`kto` asks: a constant, not negative.

    Args:
        log_probabilities, reference_log_probabilities: of answers to *other* prompts, as when the
            answers of a batch are shifted by one. The mean of their log-ratios estimates the
            divergence.
        where: which of them exist.

    Example:
        >>> kl_baseline(jnp.array([-1.0, -1.0]), jnp.array([-2.0, -1.5]))
        Array(0.75, dtype=float32)
    """
    policy, reference = elements(
        "kl_baseline",
        where,
        log_probabilities=log_probabilities,
        reference_log_probabilities=reference_log_probabilities,
    )
    mean = partial_mean(difference(policy, reference), where=where).value()
    return jax.lax.stop_gradient(jax.nn.relu(mean))


def _judged(
    name: str,
    where: Bool[ArrayLike, "*#batch"] | None,
    log_probabilities: Float[ArrayLike, "*batch"],
    reference_log_probabilities: Float[ArrayLike, "*batch"],
    targets: Real[ArrayLike, "*batch"],
) -> tuple[Float[Array, "*batch"], Float[Array, "*batch"]]:
    """The log-ratio of each answer, and whether it is good."""
    policy, reference, good = elements(
        name,
        where,
        log_probabilities=log_probabilities,
        reference_log_probabilities=reference_log_probabilities,
        targets=targets,
    )
    return difference(policy, reference), check_unit_interval(name, "targets", good)


def _ahead_by_rank(
    name: str,
    x: Float[Array, " batch"],
    y: Float[Array, " batch"],
    where: Bool[ArrayLike, " #batch"] | None,
) -> Float[Array, " batch"]:
    """How far each ``x`` is above the ``y`` of the same rank, among those that exist."""
    require_rank(name, 1, wanted="of one axis", exact=True, chosen_log_probabilities=x)
    exists = selection(name, where, x.shape)
    missing = jnp.zeros(x.shape, bool) if exists is None else ~exists
    rank = order(order(missing, x))
    return difference(x, y[order(missing, y)][rank])
