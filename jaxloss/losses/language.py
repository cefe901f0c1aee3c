r"""Losses of models that give each token of a sequence a distribution over classes.

The label of a token is what the model shall predict there, so it is the token that follows. How
tokens are averaged is a matter of the weights:

- all tokens alike: ``classification.softmax_cross_entropy(logits, labels, where=exists)``;
- all sequences alike, whatever their lengths: :func:`sequence_cross_entropy`;
- the sum over tokens, in the mean over sequences: the first with ``reduction="sum"``, divided by
  the number of sequences.

What is averaged over is always what is counted.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Bool, Float, Int, Real

from jaxloss.core.checks import (
    check_unit_interval,
    require_floating,
    require_integer,
    require_rank,
    require_shape,
)
from jaxloss.core.classes import (
    is_label,
    label_nll,
    log_partition,
    smoothed_nll,
    softmax,
    squared_log_partition,
    times,
)
from jaxloss.core.compiling import compiled
from jaxloss.core.exponentials import difference, softplus
from jaxloss.core.inputs import Scalar, labeled, masked, rows, selection
from jaxloss.core.reducing import Reduction, mean_of_existing, reduce


@compiled("reduction")
def sequence_cross_entropy(
    logits: Float[ArrayLike, "*batch tokens classes"],
    labels: Int[ArrayLike, "*batch tokens"],
    *,
    label_smoothing: Scalar | None = None,
    where: Bool[ArrayLike, "*#batch #tokens"] | None = None,
    weights: Real[ArrayLike, "..."] | None = None,
    reduction: Reduction = "mean",
) -> Float[Array, "..."]:
    r"""Cross-entropy of each sequence: the mean over its tokens.

    .. math::
        \ell = \frac{1}{T} \sum_t -\log p_{t y_t}, \qquad p_t = \operatorname{softmax}(z_t)

    Its exponential is the perplexity of the sequence. A long sequence counts no more than a short
    one, unless its length is its weight, which gives the mean over all tokens. A sequence without
    tokens counts nothing. The unreduced shape is ``*batch``.

    Args:
        label_smoothing: the probability mass taken from the label and spread evenly over all
            classes; in [0, 1].
        where: which tokens exist; :math:`T` counts these.
        weights, reduction: see :func:`jaxloss.core.reducing.reduce`; they act on sequences. A label
            whose ``where`` is false may hold any integer; any other outside [0, C) gives NaN.

    Example:
        One token of the first sequence, three of the second:

        >>> labels = jnp.array([[1, -1, -1], [0, 0, 1]])
        >>> logits = jnp.zeros((2, 3, 2)).at[0].set(5.0)
        >>> sequence_cross_entropy(logits, labels, where=labels >= 0, reduction="none")
        Array([0.6931472, 0.6931472], dtype=float32)

    Reference:
        Sutskever, Vinyals and Le, "Sequence to Sequence Learning with Neural Networks", 2014.
    """
    name = "sequence_cross_entropy"
    require_rank(name, 2, wanted="of shape (*batch, tokens, classes)", logits=logits)
    logits, labels, poison = labeled(name, logits, labels, where)
    loss = smoothed_nll(logits, labels, label_smoothing) * poison
    loss, any_token = mean_of_existing(loss, selection(name, where, labels.shape))
    return reduce(name, loss, any_token, weights, reduction)


@compiled("reduction")
def z_loss(
    logits: Float[ArrayLike, "*batch classes"],
    *,
    where: Bool[ArrayLike, "*#batch"] | None = None,
    weights: Real[ArrayLike, "..."] | None = None,
    reduction: Reduction = "mean",
) -> Float[Array, "..."]:
    r"""Square of the logarithm by which a softmax is normalized.

    .. math::
        \ell = \Big( \log \sum_c e^{z_c} \Big)^2

    A softmax does not change if all its logits grow alike. This keeps them from drifting away, to
    where low precision has no digits left for their differences. Zero for logits that are already
    log-probabilities. Mixed in with a weight of about 1e-4, as :func:`z_cross_entropy` does. The
    unreduced shape is ``*batch``.

    Args:
        where, weights, reduction: see :func:`jaxloss.core.reducing.reduce`.

    Example:
        >>> z_loss(jnp.array([[0.0, 0.0]]))  # log(2)^2
        Array(0.480453, dtype=float32)

    Reference:
        Chowdhery et al., "PaLM: Scaling Language Modeling with Pathways", 2022.
    """
    require_floating("z_loss", logits=logits)
    require_rank("z_loss", 1, wanted="rows of classes", logits=logits)
    scores = jnp.asarray(logits)
    scores = masked(scores, selection("z_loss", where, scores.shape[:-1]))
    return reduce("z_loss", squared_log_partition(scores), where, weights, reduction)


@compiled("reduction")
def z_cross_entropy(
    logits: Float[ArrayLike, "*batch classes"],
    labels: Int[ArrayLike, "*batch"],
    *,
    z_loss: Scalar = 1e-4,
    label_smoothing: Scalar | None = None,
    where: Bool[ArrayLike, "*#batch"] | None = None,
    weights: Real[ArrayLike, "..."] | None = None,
    reduction: Reduction = "mean",
) -> Float[Array, "..."]:
    r"""Cross-entropy that keeps the logits from drifting away together.

    .. math::
        \ell = -\log p_y + w \Big( \log \sum_c e^{z_c} \Big)^2, \qquad
        p = \operatorname{softmax}(z)

    The cross-entropy plus :func:`z_loss`. The unreduced shape is ``*batch``.

    Args:
        z_loss: :math:`w`, not negative.
        label_smoothing: the probability mass taken from the label and spread evenly over all
            classes; in [0, 1].
        where, weights, reduction: see :func:`jaxloss.core.reducing.reduce`. A label whose
            ``where`` is false may hold any integer; any other label outside [0, C) gives NaN.

    Example:
        >>> z_cross_entropy(jnp.array([[3.0, 3.0]]), jnp.array([0]), z_loss=0.1)
        Array(2.05708..., dtype=float32)

    Reference:
        Chowdhery et al., "PaLM: Scaling Language Modeling with Pathways", 2022.
    """
    name = "z_cross_entropy"
    logits, labels, poison = labeled(name, logits, labels, where)
    loss = smoothed_nll(logits, labels, label_smoothing) * poison
    loss += times(jnp.asarray(z_loss, loss.dtype), squared_log_partition(logits))
    return reduce(name, loss, where, weights, reduction)


@compiled("reduction")
def multi_token_prediction(
    logits: Float[ArrayLike, "*batch tokens depths classes"],
    labels: Int[ArrayLike, "*batch tokens"],
    *,
    where: Bool[ArrayLike, "*#batch #tokens"] | None = None,
    weights: Real[ArrayLike, "..."] | None = None,
    reduction: Reduction = "mean",
) -> Float[Array, "..."]:
    r"""Cross-entropy of several tokens ahead, each predicted by a head of its own.

    .. math::
        \ell_{td} = -\log p_{td y_{t + d}}, \qquad p_{td} = \operatorname{softmax}(z_{td})

    Head 0 predicts the label of its token, as in any language model; head :math:`d` the label of
    :math:`d` tokens later. Where that is past the end, nothing is lost, and the mean does not count
    it. The unreduced shape is ``*batch tokens depths``.

    Args:
        logits: one row for each token and head.
        where: which tokens exist; a prediction counts if the token where it is made and the one
            whose label it predicts do.
        weights, reduction: see :func:`jaxloss.core.reducing.reduce`. One weight for each head
            broadcasts: ``jnp.array([1.0, 0.3])``. A label whose ``where`` is false may hold any
            integer; any other label outside [0, C) gives NaN.

    Example:
        Two heads and three tokens make five predictions:

        >>> losses = multi_token_prediction(
        ...     jnp.zeros((3, 2, 4)), jnp.array([0, 1, 2]), reduction="none"
        ... )
        >>> (losses > 0).sum()
        Array(5, dtype=int32)

    Reference:
        Gloeckle et al., "Better & Faster Large Language Models via Multi-token Prediction", 2024.
    """
    name = "multi_token_prediction"
    logits, labels = jnp.asarray(logits), jnp.asarray(labels)
    require_integer(name, labels=labels)
    require_rank(name, 3, wanted="of shape (*batch, tokens, depths, classes)", logits=logits)
    require_shape(name, logits.shape[:-2], wanted="one class id per token,", labels=labels)
    tokens, depths = logits.shape[-3:-1]
    ahead = jnp.add(*jnp.indices((tokens, depths), sparse=True))
    exists = jnp.broadcast_to(ahead < tokens, logits.shape[:-1])
    selected = selection(name, where, labels.shape)
    if selected is not None:
        later = jnp.take(selected, ahead, axis=-1, mode="clip")
        exists &= selected[..., None] & later
    later = jnp.take(labels, ahead, axis=-1, mode="clip")
    logits, labels, poison = labeled(name, logits, later, exists)
    return reduce(name, label_nll(logits, labels) * poison, exists, weights, reduction)


@compiled("reduction")
def dynamic_fine_tuning(
    logits: Float[ArrayLike, "*batch classes"],
    labels: Int[ArrayLike, "*batch"],
    *,
    where: Bool[ArrayLike, "*#batch"] | None = None,
    weights: Real[ArrayLike, "..."] | None = None,
    reduction: Reduction = "mean",
) -> Float[Array, "..."]:
    r"""Cross-entropy of each token times the probability that the token already has.

    .. math::
        \ell = -\operatorname{sg}(p_y) \log p_y, \qquad p = \operatorname{softmax}(z)

    Seen as a policy gradient, the cross-entropy rewards a token by :math:`1/p_y`. The factor, which
    is held constant, cancels this: the gradient is that of :math:`1 - p_y`. For fine-tuning: what
    the model finds absurd is not forced upon it. The unreduced shape is ``*batch``.

    Args:
        where, weights, reduction: see :func:`jaxloss.core.reducing.reduce`. A label whose
            ``where`` is false may hold any integer; any other label outside [0, C) gives NaN.

    Example:
        >>> logits = jnp.log(jnp.array([[0.5, 0.5], [0.01, 0.99]]))
        >>> dynamic_fine_tuning(logits, jnp.array([0, 0]), reduction="none")
        Array([0.3465736, 0.0460517], dtype=float32)

    Reference:
        Wu et al., "On the Generalization of SFT: A Reinforcement Learning Perspective with Reward
        Rectification", 2025.
    """
    name = "dynamic_fine_tuning"
    logits, labels, poison = labeled(name, logits, labels, where)
    loss = label_nll(logits, labels)
    loss = times(jax.lax.stop_gradient(jnp.exp(-loss)), loss) * poison
    return reduce(name, loss, where, weights, reduction)


@compiled("reduction")
def unlikelihood(
    logits: Float[ArrayLike, "*batch classes"],
    targets: Real[ArrayLike, "*batch classes"],
    *,
    where: Bool[ArrayLike, "*#batch"] | None = None,
    weights: Real[ArrayLike, "..."] | None = None,
    reduction: Reduction = "mean",
) -> Float[Array, "..."]:
    r"""Negative log-probability of *not* choosing any of the tokens that would be wrong.

    .. math::
        \ell = -\sum_c t_c \log(1 - p_c), \qquad p = \operatorname{softmax}(z)

    Against repetition, for example, with the tokens that came before as the wrong ones; added to
    the cross-entropy. Its gradient pushes a wrong token down the harder, the likelier it is. The
    unreduced shape is ``*batch``.

    Args:
        targets: 1 for each class that would be wrong, 0 for the others; in between, how wrong.
        where, weights, reduction: see :func:`jaxloss.core.reducing.reduce`.

    Example:
        >>> wrong = jnp.array([[1, 1, 0]])
        >>> unlikelihood(jnp.log(jnp.array([[0.5, 0.25, 0.25]])), wrong)  # log(2) + log(4/3)
        Array(0.98082924, dtype=float32)

    Reference:
        Welleck et al., "Neural Text Generation with Unlikelihood Training", 2020.
    """
    name = "unlikelihood"
    scores, wrong = rows(name, where, logits=logits, targets=targets)
    wrong = check_unit_interval(name, "targets", wrong)
    # The leader may have a probability of one; every other one has at most a half.
    leader = scores.argmax(-1).astype(jnp.int32)
    leads = is_label(scores, leader)
    others = log_partition(jnp.where(leads, -jnp.inf, scores))
    lead = difference(jnp.take_along_axis(scores, leader[..., None], -1).squeeze(-1), others)
    trailing = -jnp.log1p(-jnp.where(leads, 0, softmax(scores)))
    each = jnp.where(leads, softplus(lead)[..., None], trailing)
    return reduce(name, times(wrong, each).sum(-1), where, weights, reduction)


def sequence_log_probabilities(
    logits: Float[ArrayLike, "*batch tokens classes"],
    labels: Int[ArrayLike, "*batch tokens"],
    *,
    where: Bool[ArrayLike, "*#batch #tokens"] | None = None,
) -> Float[Array, "*batch"]:
    """The log-probability of each sequence: the sum over its tokens.

    What :mod:`jaxloss.losses.preference` compares. Divided by the number of tokens, it is the mean
    that some of these losses want.

    Args:
        where: which tokens exist, as a rule those of the answer and not those of the prompt.

    Example:
        >>> sequence_log_probabilities(jnp.zeros((1, 3, 2)), jnp.array([[0, 1, 1]]))
        Array([-2.0794415], dtype=float32)
    """
    name = "sequence_log_probabilities"
    require_rank(name, 2, wanted="of shape (*batch, tokens, classes)", logits=logits)
    logits, labels, poison = labeled(name, logits, labels, where)
    selected = selection(name, where, labels.shape)
    return -masked(label_nll(logits, labels) * poison, selected).sum(-1)
