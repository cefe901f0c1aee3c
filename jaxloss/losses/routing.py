"""Losses on the routers of mixtures of experts: that all experts are used, and logits stay small.

A router gives each token one logit per expert. The tokens among which an expert's share is balanced
are those along the last but one axis: ``(batch, tokens, experts)`` balances each sequence by
itself, and reshaped to ``(batch * tokens, experts)`` the whole batch.
"""

import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Bool, Float, Int, Real

from jaxloss.core.checks import (
    poison_unless_class,
    require_floating,
    require_integer,
    require_rank,
    require_shape,
)
from jaxloss.core.classes import is_label, softmax, squared_log_partition
from jaxloss.core.compiling import compiled
from jaxloss.core.inputs import masked, selection
from jaxloss.core.reducing import Reduction, reduce


@compiled("reduction")
def load_balancing(
    logits: Float[ArrayLike, "*batch tokens experts"],
    labels: Int[ArrayLike, "*batch tokens choices"],
    *,
    where: Bool[ArrayLike, "*#batch #tokens"] | None = None,
    weights: Real[ArrayLike, "..."] | None = None,
    reduction: Reduction = "mean",
) -> Float[Array, "..."]:
    r"""How unevenly tokens are spread over experts, as a product that a router can lower.

    .. math::
        \ell = E \sum_e f_e P_e, \qquad
        f_e = \frac{\#\{\text{choices of } e\}}{T k}, \qquad
        P_e = \frac1T \sum_t p_{te}, \qquad p_t = \operatorname{softmax}(z_t)

    One if either the choices or the probabilities are even; near :math:`E/k` if all tokens agree on
    the same :math:`k` experts. Only :math:`P` carries gradient: it lowers the logits of experts
    that are chosen more than others. Mixed in with a weight of about 0.01. The unreduced shape is
    ``*batch``.

    Args:
        labels: the :math:`k` experts that each token was sent to, as
            ``jax.lax.top_k(logits, k)[1]`` gives them.
        where: which tokens exist.
        weights, reduction: see :func:`jaxloss.core.reducing.reduce`; they act on groups of tokens.
            A label outside [0, E) gives NaN, unless its token does not exist.

    Example:
        >>> logits = jnp.array([[2.0, 0.0, 0.0], [0.0, 2.0, 0.0]])
        >>> load_balancing(logits, jnp.array([[0], [0]]))
        Array(1.34023..., dtype=float32)

    Reference:
        Fedus, Zoph and Shazeer, "Switch Transformers: Scaling to Trillion Parameter Models with
        Simple and Efficient Sparsity", 2022.
    """
    name = "load_balancing"
    chosen = jnp.asarray(labels)
    p, exists = _routed(name, logits, where)
    require_integer(name, labels=chosen)
    require_rank(name, 2, wanted="of shape (*batch, tokens, choices)", labels=chosen)
    wanted = "the choices of each token, of shape"
    require_shape(name, (*p.shape[:-1], chosen.shape[-1]), wanted=wanted, labels=chosen)
    chosen = masked(chosen, exists)
    experts = p.shape[-1]
    poison = poison_unless_class(name, chosen, experts).prod((-2, -1))
    chosen = chosen.clip(0, experts - 1).astype(jnp.int32)
    one_hot = is_label(jnp.broadcast_to(p[..., None, :], (*chosen.shape, experts)), chosen)
    choices = one_hot.mean(-2, dtype=p.dtype)
    share, probability = _mean_over_tokens(choices, exists), _mean_over_tokens(p, exists)
    loss = experts * (share * probability).sum(-1) * poison
    return reduce(name, loss, _any_token(exists), weights, reduction)


@compiled("reduction")
def importance_balancing(
    logits: Float[ArrayLike, "*batch tokens experts"],
    *,
    where: Bool[ArrayLike, "*#batch #tokens"] | None = None,
    weights: Real[ArrayLike, "..."] | None = None,
    reduction: Reduction = "mean",
) -> Float[Array, "..."]:
    r"""Squared coefficient of variation of the probability that all experts get.

    .. math::
        \ell = \frac1E \sum_e (E P_e - 1)^2, \qquad
        P_e = \frac1T \sum_t p_{te}, \qquad p_t = \operatorname{softmax}(z_t)

    Zero if every expert gets the same, :math:`E - 1` if one gets all. It does not ask which experts
    were chosen; :func:`load_balancing` does. The unreduced shape is ``*batch``.

    Args:
        where: which tokens exist.
        weights, reduction: see :func:`jaxloss.core.reducing.reduce`; they act on groups of tokens.

    Example:
        >>> importance_balancing(jnp.log(jnp.array([[0.75, 0.25], [0.5, 0.5]])))
        Array(0.0625, dtype=float32)

    Reference:
        Shazeer et al., "Outrageously Large Neural Networks: The Sparsely-Gated Mixture-of-Experts
        Layer", 2017; Riquelme et al., "Scaling Vision with Sparse Mixture of Experts", 2021.
    """
    name = "importance_balancing"
    p, exists = _routed(name, logits, where)
    importance = _mean_over_tokens(p, exists) * p.shape[-1]
    loss = jnp.square(importance - 1).mean(-1)
    return reduce(name, loss, _any_token(exists), weights, reduction)


@compiled("reduction")
def router_z(
    logits: Float[ArrayLike, "*batch experts"],
    *,
    where: Bool[ArrayLike, "*#batch"] | None = None,
    weights: Real[ArrayLike, "..."] | None = None,
    reduction: Reduction = "mean",
) -> Float[Array, "..."]:
    r"""Square of the logarithm by which the softmax of a router is normalized.

    .. math::
        \ell = \Big( \log \sum_e e^{z_e} \Big)^2

    Low precision rounds large logits, and with them the choice of experts. The formula is that of
    the z-loss of a language model, :func:`jaxloss.losses.language.z_loss`. Mixed in with a weight
    of about 0.001. The unreduced shape is ``*batch``.

    Args:
        where, weights, reduction: see :func:`jaxloss.core.reducing.reduce`.

    Example:
        >>> router_z(jnp.array([[0.0, 0.0]]))  # log(2)^2
        Array(0.480453, dtype=float32)

    Reference:
        Zoph et al., "ST-MoE: Designing Stable and Transferable Sparse Expert Models", 2022.
    """
    require_floating("router_z", logits=logits)
    require_rank("router_z", 1, wanted="one row of experts per token", logits=logits)
    scores = jnp.asarray(logits)
    scores = masked(scores, selection("router_z", where, scores.shape[:-1]))
    return reduce("router_z", squared_log_partition(scores), where, weights, reduction)


def _routed(
    name: str,
    logits: Float[ArrayLike, "*batch tokens experts"],
    where: Bool[ArrayLike, "*#batch #tokens"] | None,
) -> tuple[Float[Array, "*batch tokens experts"], Bool[Array, "*batch tokens"] | None]:
    """The probability of each expert for each token, and which tokens exist."""
    require_floating(name, logits=logits)
    require_rank(name, 2, wanted="of shape (*batch, tokens, experts)", logits=logits)
    scores = jnp.asarray(logits)
    exists = selection(name, where, scores.shape[:-1])
    return softmax(masked(scores, exists)), exists


def _mean_over_tokens(
    x: Float[Array, "*batch tokens experts"], exists: Bool[Array, "*batch tokens"] | None
) -> Float[Array, "*batch experts"]:
    """What each expert gets from the mean token; 0 if there is none."""
    if exists is None:
        return x.mean(-2)
    tokens = exists.sum(-1, keepdims=True, dtype=x.dtype)
    return masked(x, exists).sum(-2) / jnp.where(tokens == 0, 1, tokens)


def _any_token(exists: Bool[Array, "*batch tokens"] | None) -> Bool[Array, "*batch"] | None:
    """Whether there is a token in each group."""
    return None if exists is None else exists.any(-1)
