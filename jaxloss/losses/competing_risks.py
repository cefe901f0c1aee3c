"""Losses of survival models over intervals of time in which one of several events may happen first.

As in :mod:`jaxloss.losses.discrete_survival`, with one row of logits for each risk: whoever dies of
one cause can no longer die of another.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Bool, Float, Int, Real

from jaxloss.core.checks import (
    check_positive,
    require_floating,
    require_integer,
    require_rank,
    require_same_shape,
)
from jaxloss.core.compiling import compiled
from jaxloss.core.inputs import Scalar, at_least_float32, labeled, masked, selection
from jaxloss.core.intervals import intervals, possible_nll, survivors_excess, with_beyond
from jaxloss.core.preconditions import check
from jaxloss.core.reducing import Reduction, reduce


@compiled("reduction")
def pmf(
    logits: Float[ArrayLike, "*batch risks classes"],
    labels: Int[ArrayLike, "*batch"],
    causes: Int[ArrayLike, "*batch"],
    *,
    where: Bool[ArrayLike, "*#batch"] | None = None,
    weights: Real[ArrayLike, "..."] | None = None,
    reduction: Reduction = "mean",
) -> Float[Array, "..."]:
    r"""Negative log-likelihood of when which event happens, by one softmax over all of it.

    .. math::
        \ell = \begin{cases} -\log p_{d y} & d > 0 \\
            -\log \sum_r \sum_{k > y} p_{r k} & d = 0 \end{cases},
        \qquad p = \operatorname{softmax}(z_{11}, \dots, z_{R K}, 0)

    The last probability, of logit 0, is that of outliving all intervals; it is in the sum too. With
    one risk ``discrete_survival.pmf``. With :func:`rank` added this is DeepHit. The unreduced shape
    is ``*batch``.

    Args:
        logits: of each risk in each interval.
        labels: :math:`y`, the last interval that was seen.
        causes: :math:`d`, which of the events happened in it, from 1; 0 if it was seen through
            without any.
        where, weights, reduction: see :func:`jaxloss.core.reducing.reduce`. Labels and causes whose
            ``where`` is false may hold any integer; any other out of range gives NaN.

    Example:
        >>> logits = jnp.zeros((2, 3))  # two risks, three intervals
        >>> jnp.exp(-pmf(logits, jnp.array(1), jnp.array(2)))  # one of seven
        Array(0.142857..., dtype=float32)

    Reference:
        Lee et al., "DeepHit: A Deep Learning Approach to Survival Analysis with Competing Risks",
        2018.
    """
    name = "pmf"
    score, labels, cause, poison = _seen(name, logits, labels, causes, where)
    risk = jax.lax.broadcasted_iota(jnp.int32, score.shape, score.ndim - 2)
    last, which = labels[..., None, None], cause[..., None, None]
    interval = intervals(score)
    happened = (risk == which - 1) & (interval == last)
    possible = jnp.where(which > 0, happened, interval > last)
    batch = labels.shape
    possible = jnp.concatenate([possible.reshape(*batch, -1), (cause == 0)[..., None]], -1)
    loss = possible_nll(with_beyond(score.reshape(*batch, -1)), possible)
    return reduce(name, loss * poison, where, weights, reduction)


@compiled("reduction")
def rank(
    logits: Float[ArrayLike, "batch risks classes"],
    labels: Int[ArrayLike, " batch"],
    causes: Int[ArrayLike, " batch"],
    *,
    scale: Scalar = 0.1,
    where: Bool[ArrayLike, " #batch"] | None = None,
    weights: Real[ArrayLike, "..."] | None = None,
    reduction: Reduction = "mean",
) -> Float[Array, "..."]:
    r"""Penalty if who had an event early was not given more of its risk by then than survivors.

    With :math:`F_{i r}` the cumulative probabilities of :func:`pmf`, of event :math:`r` by each
    interval:

    .. math::
        \ell_i = \frac{[d_i > 0]}{n} \sum_{j \text{ outlived } y_i}
            \exp \frac{F_{j d_i}(y_i) - F_{i d_i}(y_i)}{\sigma}

    The second part of DeepHit, to be added to :func:`pmf` by :func:`jaxloss.compose.weighted`; with
    one risk ``discrete_survival.deephit_rank``. No array of pairs is made. The unreduced shape is
    ``batch``.

    Args:
        labels, causes: see :func:`pmf`. An example outlives an interval if its own comes later, or
            is the same one, seen through without an event.
        scale: :math:`\sigma`, a difference of probabilities that matters; positive.
        where: which examples exist, :math:`n` of them; the others are not compared with either.
        weights, reduction: see :func:`jaxloss.core.reducing.reduce`.

    Example:
        >>> rank(jnp.zeros((2, 2, 3)), jnp.array([0, 1]), jnp.array([2, 0]))
        Array(0.25, dtype=float32)

    Reference:
        Lee et al., "DeepHit: A Deep Learning Approach to Survival Analysis with Competing Risks",
        2018.
    """
    name = "rank"
    require_rank(name, 3, wanted="of shape (batch, risks, intervals)", exact=True, logits=logits)
    score, labels, cause, poison = _seen(name, logits, labels, causes, where)
    scale = check_positive(name, "scale", scale).astype(score.dtype)
    exists = selection(name, where, labels.shape)
    exists = jnp.ones(labels.shape, bool) if exists is None else exists
    p = jax.nn.softmax(with_beyond(score.reshape(labels.size, -1)), -1)[:, :-1]
    risk = jnp.cumsum(p.reshape(score.shape), -1)
    interval, last, event = intervals(score), labels[:, None, None], cause > 0
    outlived = (interval < last) | ((interval == last) & ~event[:, None, None])
    outlived &= exists[:, None, None]
    own = ((cause - 1).clip(0), labels)
    count = jnp.maximum(exists.sum(), 1).astype(p.dtype)
    loss = survivors_excess(risk, outlived, own, event, scale) / count
    return reduce(name, loss * poison, where, weights, reduction)


def _seen(
    name: str,
    logits: Float[ArrayLike, "*batch risks classes"],
    labels: Int[ArrayLike, "*batch"],
    causes: Int[ArrayLike, "*batch"],
    where: Bool[ArrayLike, "*#batch"] | None,
) -> tuple[Array, Array, Array, Array]:
    """Check and clean logits, labels and causes; and the poison."""
    require_floating(name, logits=logits)
    require_integer(name, causes=causes)
    require_rank(name, 2, wanted="one row of intervals per risk", logits=logits)
    require_same_shape(name, labels=labels, causes=causes)
    score = at_least_float32(logits)
    _, labels, poison = labeled(name, score[..., 0, :], labels, where)
    selected, risks = selection(name, where, labels.shape), score.shape[-2]
    cause = masked(jnp.asarray(causes), selected)
    known = (cause >= 0) & (cause <= risks)
    cause = check(cause, known, f"{name}: causes must lie in [0, {risks}]")
    poison = jnp.where(known, poison, jnp.nan)
    return masked(score, selected), labels, cause.clip(0, risks).astype(jnp.int32), poison
