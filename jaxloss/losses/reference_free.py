r"""Losses on which of two answers is preferred that need no reference.

Each answer is given by its log-probability: :math:`\log p`, the mean over its tokens for
:func:`orpo`, :func:`simpo` and :func:`alpha_po`, which compare answers of different length, and the
sum for :func:`cpo`. A reward model gives rewards instead, for :func:`bradley_terry`.
"""

import math

import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Bool, Float, Real

from jaxloss.core.classes import times
from jaxloss.core.compiling import compiled
from jaxloss.core.exponentials import complement, difference, softplus
from jaxloss.core.inputs import Scalar, elements, masked, selection
from jaxloss.core.preconditions import check
from jaxloss.core.preferences import bent_difference, positive
from jaxloss.core.reducing import Reduction, broadcast, reduce


@compiled("reduction")
def orpo(
    chosen_log_probabilities: Float[ArrayLike, "*batch"],
    rejected_log_probabilities: Float[ArrayLike, "*batch"],
    *,
    odds_weight: Scalar = 0.1,
    where: Bool[ArrayLike, "*#batch"] | None = None,
    weights: Real[ArrayLike, "..."] | None = None,
    reduction: Reduction = "mean",
) -> Float[Array, "..."]:
    r"""Cross-entropy of the chosen answer, and that it has better odds than the rejected one.

    .. math::
        \ell = -\log p^+ - \lambda \log \sigma\!\left(
            \log \frac{p^+}{1 - p^+} - \log \frac{p^-}{1 - p^-} \right)

    Fine-tuning and preference in one: what the cross-entropy makes likely in the rejected answer as
    well, the odds ratio holds down. The unreduced shape is ``*batch``.

    Args:
        chosen_log_probabilities, rejected_log_probabilities: means over tokens, not positive.
        odds_weight: :math:`\lambda`, not negative.
        where, weights, reduction: see :func:`jaxloss.core.reducing.reduce`.

    Example:
        >>> chosen, rejected = jnp.log(jnp.array([[0.75], [0.5]]))
        >>> orpo(chosen, rejected, odds_weight=1.0)  # log(4/3) + log(1 + 1/3)
        Array(0.57536..., dtype=float32)

    Reference:
        Hong, Lee and Thorne, "ORPO: Monolithic Preference Optimization without Reference Model",
        2024.
    """
    name = "orpo"
    chosen, rejected = _answers(name, where, chosen_log_probabilities, rejected_log_probabilities)
    must = f"{name}: log-probabilities must not be positive"
    chosen, rejected = (check(x, x <= 0, must) for x in (chosen, rejected))
    loss = times(jnp.asarray(odds_weight, chosen.dtype), _log_odds_ratio(chosen, rejected))
    return reduce(name, loss - chosen, where, weights, reduction)


@compiled("reduction")
def simpo(
    chosen_log_probabilities: Float[ArrayLike, "*batch"],
    rejected_log_probabilities: Float[ArrayLike, "*batch"],
    *,
    scale: Scalar = 2.0,
    margin: Scalar = 1.0,
    where: Bool[ArrayLike, "*#batch"] | None = None,
    weights: Real[ArrayLike, "..."] | None = None,
    reduction: Reduction = "mean",
) -> Float[Array, "..."]:
    r"""Negative log-probability that the chosen answer leads by more than a margin.

    .. math::
        \ell = -\log \sigma\big( \beta (\log p^+ - \log p^-) - \gamma \big)

    The reward of an answer is what decides how it is generated, its mean log-probability; so long
    answers are not preferred for their length. The unreduced shape is ``*batch``.

    Args:
        chosen_log_probabilities, rejected_log_probabilities: means over tokens.
        scale: :math:`\beta`, positive.
        margin: :math:`\gamma`, by how much the chosen answer shall lead.
        where, weights, reduction: see :func:`jaxloss.core.reducing.reduce`.

    Example:
        >>> simpo(jnp.array([-1.0]), jnp.array([-2.0]), scale=2.0, margin=1.0)  # log(1 + 1/e)
        Array(0.31326..., dtype=float32)

    Reference:
        Meng, Xia and Chen, "SimPO: Simple Preference Optimization with a Reference-Free Reward",
        2024.
    """
    name = "simpo"
    chosen, rejected = _answers(name, where, chosen_log_probabilities, rejected_log_probabilities)
    loss = softplus(margin - positive(name, scale) * difference(chosen, rejected))
    return reduce(name, loss, where, weights, reduction)


@compiled("reduction")
def alpha_po(
    chosen_log_probabilities: Float[ArrayLike, "*batch"],
    rejected_log_probabilities: Float[ArrayLike, "*batch"],
    *,
    scale: Scalar = 2.0,
    margin: Scalar = 1.0,
    bend: Scalar = 0.25,
    where: Bool[ArrayLike, "*#batch"] | None = None,
    weights: Real[ArrayLike, "..."] | None = None,
    reduction: Reduction = "mean",
) -> Float[Array, "..."]:
    r"""SimPO with a reward that is bent.

    .. math::
        \ell = -\log \sigma(r^+ - r^- - \gamma), \qquad r = \beta\, \frac{1 - p^{-\alpha}}{\alpha}

    At a bend of 0 it is :func:`simpo`. Above, what is unlikely counts more, so a pair is parted
    by the rejected answer rather than by making both less likely. The unreduced shape is
    ``*batch``.

    Args:
        chosen_log_probabilities, rejected_log_probabilities: means over tokens.
        scale: :math:`\beta`, positive.
        margin: :math:`\gamma`, by how much the chosen answer shall lead.
        bend: :math:`\alpha`, any number.
        where, weights, reduction: see :func:`jaxloss.core.reducing.reduce`.

    Example:
        >>> chosen, rejected = jnp.log(jnp.array([[0.5], [0.25]]))
        >>> alpha_po(chosen, rejected, scale=1.0, margin=1.0, bend=1.0)  # rewards of -1 and -3
        Array(0.31326..., dtype=float32)

    Reference:
        Gupta et al., "AlphaPO: Reward Shape Matters for LLM Alignment", 2025.
    """
    name = "alpha_po"
    chosen, rejected = _answers(name, where, chosen_log_probabilities, rejected_log_probabilities)
    lead = bent_difference(chosen, rejected, -jnp.asarray(bend, chosen.dtype))
    loss = softplus(margin - positive(name, scale) * lead)
    return reduce(name, loss, where, weights, reduction)


@compiled("reduction")
def cpo(
    chosen_log_probabilities: Float[ArrayLike, "*batch"],
    rejected_log_probabilities: Float[ArrayLike, "*batch"],
    *,
    scale: Scalar = 0.1,
    nll_weight: Scalar = 1.0,
    where: Bool[ArrayLike, "*#batch"] | None = None,
    weights: Real[ArrayLike, "..."] | None = None,
    reduction: Reduction = "mean",
) -> Float[Array, "..."]:
    r"""Contrastive preference: that the chosen answer is the likelier, and that it is likely.

    .. math::
        \ell = -\log \sigma\big( \beta (\log p^+ - \log p^-) \big) - \lambda \log p^+

    DPO with a reference that finds all answers equally likely, and the cross-entropy of the chosen
    answers to keep the policy near these. The unreduced shape is ``*batch``.

    Args:
        scale: :math:`\beta`, positive.
        nll_weight: :math:`\lambda`, not negative.
        where, weights, reduction: see :func:`jaxloss.core.reducing.reduce`.

    Example:
        >>> cpo(jnp.array([-1.0]), jnp.array([-2.0]), scale=1.0)  # log(1 + 1/e) + 1
        Array(1.31326..., dtype=float32)

    Reference:
        Xu et al., "Contrastive Preference Optimization: Pushing the Boundaries of LLM Performance
        in Machine Translation", 2024.
    """
    name = "cpo"
    chosen, rejected = _answers(name, where, chosen_log_probabilities, rejected_log_probabilities)
    loss = softplus(-positive(name, scale) * difference(chosen, rejected))
    loss -= times(jnp.asarray(nll_weight, chosen.dtype), chosen)
    return reduce(name, loss, where, weights, reduction)


@compiled("reduction")
def bradley_terry(
    chosen_rewards: Float[ArrayLike, "*batch"],
    rejected_rewards: Float[ArrayLike, "*batch"],
    *,
    margin: Real[ArrayLike, "*#batch"] | None = None,
    center_weight: Scalar | None = None,
    where: Bool[ArrayLike, "*#batch"] | None = None,
    weights: Real[ArrayLike, "..."] | None = None,
    reduction: Reduction = "mean",
) -> Float[Array, "..."]:
    r"""Negative log-probability of the preference, by rewards that a model gives.

    .. math::
        \ell = -\log \sigma(r^+ - r^- - m) + \lambda (r^+ + r^-)^2

    How reward models are trained. Only differences of rewards matter, so nothing but the last term
    keeps their mean in place. The unreduced shape is ``*batch``.

    Args:
        margin: :math:`m`, one per pair: the larger, the clearer the preference.
        center_weight: :math:`\lambda`, of about 0.01.
        where, weights, reduction: see :func:`jaxloss.core.reducing.reduce`.

    Example:
        >>> chosen, rejected = jnp.array([2.0]), jnp.array([1.0])
        >>> bradley_terry(chosen, rejected)  # log(1 + 1/e)
        Array(0.31326..., dtype=float32)

    Reference:
        Bradley and Terry, "Rank Analysis of Incomplete Block Designs", 1952; for the margin Touvron
        et al., "Llama 2: Open Foundation and Fine-Tuned Chat Models", 2023; for the center
        Eisenstein et al., "Helping or Herding? Reward Model Ensembles Mitigate but do not Eliminate
        Reward Hacking", 2024.
    """
    name = "bradley_terry"
    chosen, rejected = elements(
        name, where, chosen_rewards=chosen_rewards, rejected_rewards=rejected_rewards
    )
    lead = difference(chosen, rejected)
    if margin is not None:
        wanted = broadcast(name, "margin", margin, lead.shape).astype(lead.dtype)
        lead -= masked(wanted, selection(name, where, lead.shape))
    loss = softplus(-lead)
    if center_weight is not None:
        loss += center_weight * jnp.square(chosen + rejected)
    return reduce(name, loss, where, weights, reduction)


def _answers(
    name: str,
    where: Bool[ArrayLike, "*#batch"] | None,
    chosen_log_probabilities: Float[ArrayLike, "*batch"],
    rejected_log_probabilities: Float[ArrayLike, "*batch"],
) -> list[Float[Array, "*batch"]]:
    """The log-probabilities of both answers, checked and masked."""
    return elements(
        name,
        where,
        chosen_log_probabilities=chosen_log_probabilities,
        rejected_log_probabilities=rejected_log_probabilities,
    )


def _log_odds_ratio(
    chosen: Float[Array, "*batch"], rejected: Float[Array, "*batch"]
) -> Float[Array, "*batch"]:
    """``log(1 + odds(rejected) / odds(chosen))``; constant where the rejected is certain."""
    certain = rejected == 0
    apart = difference(jnp.where(certain, -1, rejected), chosen)
    left, right = complement(-chosen), complement(-jnp.where(certain, -1, rejected))
    # Near certainty the odds are infinite, and their ratio is taken before any logarithm.
    near = chosen > -1
    ratio = jnp.where(near, jnp.exp(jnp.where(near, apart, 0)) * left, 0) / right
    far = jnp.log(jnp.where(near, 1, left)) - jnp.log(right) + jnp.where(near, 0, apart)
    loss = jnp.where(near, jnp.log1p(ratio), softplus(far))
    return jnp.where(certain, jnp.where(chosen == 0, math.log(2), jnp.inf), loss)
