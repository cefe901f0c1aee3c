"""Losses on how a list of items is ordered by its scores, given how relevant each item is.

Here a whole list is one event; over pairs of items see :mod:`jaxloss.losses.pairwise_ranking`.
Pointwise ranking needs no function of its own: it is ``classification.sigmoid_cross_entropy`` or
``regression.squared`` of the scores.

Several lists end to end in one flat array, with ``segments`` that say which list an item is in,
are told apart by a mask, at the price of as many copies as there are lists::

    where = segments[None] == jnp.arange(number_of_lists)[:, None]
    scores, relevance = (jnp.broadcast_to(x, where.shape) for x in (scores, relevance))
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Bool, Float, Real

from jaxloss.core.classes import soft_nll
from jaxloss.core.classes import softmax as probabilities_of
from jaxloss.core.compiling import compiled
from jaxloss.core.inputs import Scalar
from jaxloss.core.lists import Sums, gain, graded_lists, log_ratio_plus_one, order, sums_from
from jaxloss.core.reducing import Reduction, broadcast, reduce


@compiled("reduction")
def softmax(
    scores: Real[ArrayLike, "*batch items"],
    relevance: Real[ArrayLike, "*batch items"],
    *,
    where: Bool[ArrayLike, "*#batch #items"] | None = None,
    weights: Real[ArrayLike, "..."] | None = None,
    reduction: Reduction = "mean",
) -> Float[Array, "..."]:
    r"""Cross-entropy between a list's relevance and a softmax over its scores.

    .. math::
        \ell = -\sum_i \frac{y_i}{\sum_j y_j} \log \frac{e^{s_i}}{\sum_k e^{s_k}}

    Listwise: the whole list is one choice among its items. It bounds the mean reciprocal rank,
    and with graded relevance the normalized discounted cumulative gain. A list in which nothing is
    relevant states no preference and does not count. Other libraries leave out the division by the
    list's total relevance: ``weights=relevance.sum(-1)``. With ``jnp.exp2(relevance) - noise`` for
    relevance, of fresh uniform noise in [0, 1), it is XE-NDCG. The unreduced shape is ``*batch``.

    Args:
        relevance: grades, not negative.
        where: which items exist; lists may then have different lengths.
        weights, reduction: see :func:`jaxloss.core.reducing.reduce`; they act on whole lists.

    Example:
        >>> softmax(jnp.array([0.0, 0.0, 5.0]), jnp.array([1, 0, 0]))
        Array(5.0133..., dtype=float32)

    Reference:
        Cao et al., "Learning to Rank: From Pairwise Approach to Listwise Approach", 2007; for
        XE-NDCG Bruch, "An Alternative Cross Entropy Loss for Learning-to-Rank", 2021.
    """
    scored, targets, graded = _choices("softmax", scores, relevance, where)
    return reduce("softmax", soft_nll(scored, targets), graded, weights, reduction)


@compiled("reduction")
def poly1_softmax(
    scores: Real[ArrayLike, "*batch items"],
    relevance: Real[ArrayLike, "*batch items"],
    *,
    linear_weight: Scalar = 1.0,
    where: Bool[ArrayLike, "*#batch #items"] | None = None,
    weights: Real[ArrayLike, "..."] | None = None,
    reduction: Reduction = "mean",
) -> Float[Array, "..."]:
    r"""Softmax cross-entropy over a list, plus how much probability the relevant items lack.

    .. math::
        \ell = -\sum_i t_i \log p_i + w \Bigl(1 - \sum_i t_i p_i\Bigr),
        \qquad t_i = \frac{y_i}{\sum_j y_j}, \quad p_i = \frac{e^{s_i}}{\sum_k e^{s_k}}

    The cross-entropy's series in :math:`1 - p` with another weight for its first term; a weight of
    0 gives :func:`softmax`. A list in which nothing is relevant does not count. The unreduced
    shape is ``*batch``.

    Args:
        relevance: grades, not negative.
        linear_weight: :math:`w`, at least -1.
        where: which items exist.
        weights, reduction: see :func:`jaxloss.core.reducing.reduce`; they act on whole lists.

    Example:
        >>> poly1_softmax(jnp.zeros(4), jnp.array([1, 0, 0, 0]), linear_weight=2.0)
        Array(2.88629..., dtype=float32)

    Reference:
        Leng et al., "PolyLoss: A Polynomial Expansion Perspective of Classification Loss
        Functions", 2022.
    """
    name = "poly1_softmax"
    scored, targets, graded = _choices(name, scores, relevance, where)
    lacking = ((1 - targets) * probabilities_of(scored)).sum(-1)
    loss = soft_nll(scored, targets) + linear_weight * lacking
    return reduce(name, loss, graded, weights, reduction)


@compiled("reduction")
def listmle(
    scores: Real[ArrayLike, "*batch items"],
    relevance: Real[ArrayLike, "*batch items"],
    *,
    position_weights: Real[ArrayLike, "..."] | None = None,
    where: Bool[ArrayLike, "*#batch #items"] | None = None,
    weights: Real[ArrayLike, "..."] | None = None,
    reduction: Reduction = "mean",
) -> Float[Array, "..."]:
    r"""Negative log-likelihood of the order by relevance, drawn item by item by a softmax.

    With :math:`\pi(k)` the item in place :math:`k` by descending relevance:

    .. math::
        \ell = -\sum_k c_k \log \frac{e^{s_{\pi(k)}}}{\sum_{l \ge k} e^{s_{\pi(l)}}}

    The likelihood of Plackett and Luce: draw the first item by a softmax over all, the second over
    the rest, and so on. Equally relevant items count as ordered as they come; if their order means
    nothing, shuffle the list. With few grades, :func:`unique_softmax` needs no such order. Takes
    :math:`O(n \log n)`. The unreduced shape is ``*batch``.

    Args:
        relevance: grades, not negative; only their order matters.
        position_weights: :math:`c_k`, how much each place counts, the first in front: an array of
            shape (items,), say ``1 / jnp.log2(jnp.arange(items) + 2.0)``; by default one.
        where: which items exist.
        weights, reduction: see :func:`jaxloss.core.reducing.reduce`; they act on whole lists.

    Example:
        >>> listmle(jnp.zeros(3), jnp.array([2, 1, 0]))  # one order of six
        Array(1.79175..., dtype=float32)

    Reference:
        Xia et al., "Listwise Approach to Learning to Rank: Theory and Algorithm", 2008; for
        position weights Lan et al., "Position-Aware ListMLE: A Sequential Learning Process for
        Ranking", 2014.
    """
    name = "listmle"
    scored, grades, exists = graded_lists(name, scores, relevance, where)
    sorting = order(~exists, -grades)
    scored, present = (jnp.take_along_axis(x, sorting, -1) for x in (scored, exists))
    losses = jnp.where(present, log_ratio_plus_one(_after(sums_from(scored, present)), scored), 0)
    if position_weights is not None:
        each = broadcast(name, "position_weights", position_weights, losses.shape)
        losses *= jnp.where(present, each.astype(losses.dtype), 0)
    return reduce(name, losses.sum(-1), exists.any(-1), weights, reduction)


@compiled("reduction")
def unique_softmax(
    scores: Real[ArrayLike, "*batch items"],
    relevance: Real[ArrayLike, "*batch items"],
    *,
    where: Bool[ArrayLike, "*#batch #items"] | None = None,
    weights: Real[ArrayLike, "..."] | None = None,
    reduction: Reduction = "mean",
) -> Float[Array, "..."]:
    r"""Cross-entropy of choosing each relevant item among itself and all that are less relevant.

    .. math::
        \ell = -\sum_i (2^{y_i} - 1) \log
            \frac{e^{s_i}}{e^{s_i} + \sum_{j:\, y_j < y_i} e^{s_j}}

    Items of the same grade do not compete, as they do in :func:`softmax`. For other gains than
    :math:`2^y - 1` give ``jnp.log2(1 + gains)`` as relevance. A list in which nothing is relevant
    does not count. Takes :math:`O(n \log n)`. The unreduced shape is ``*batch``.

    Args:
        relevance: grades, not negative.
        where: which items exist.
        weights, reduction: see :func:`jaxloss.core.reducing.reduce`; they act on whole lists.

    Example:
        >>> unique_softmax(jnp.zeros(3), jnp.array([1, 1, 0]))  # twice log 2
        Array(1.38629..., dtype=float32)

    Reference:
        Zhu & Klabjan, "Listwise Learning to Rank by Exploring Unique Ratings", 2020.
    """
    name = "unique_softmax"
    scored, grades, exists = graded_lists(name, scores, relevance, where)
    sorting = order(~exists, -grades)
    scored, grades, present = (
        jnp.take_along_axis(x, sorting, -1) for x in (scored, grades, exists)
    )
    rivals = _after(sums_from(scored, present))
    last = _next(grades, fill=-1) != grades  # of its grade; what follows is less relevant
    items = jnp.broadcast_to(jnp.arange(grades.shape[-1]), grades.shape)
    end = jnp.where(last, items, grades.shape[-1])
    end = jnp.flip(jax.lax.cummin(jnp.flip(end, -1), axis=grades.ndim - 1), -1)
    rivals = Sums(*(jnp.take_along_axis(x, end, -1) for x in rivals))
    losses = gain(grades) * jnp.where(present, log_ratio_plus_one(rivals, scored), 0)
    return reduce(name, losses.sum(-1), (grades > 0).any(-1), weights, reduction)


def _choices(
    name: str,
    scores: Real[ArrayLike, "*batch items"],
    relevance: Real[ArrayLike, "*batch items"],
    where: Bool[ArrayLike, "..."] | None,
) -> tuple[Float[Array, "*batch items"], Float[Array, "*batch items"], Bool[Array, "*batch"]]:
    """Scores, -inf for what does not exist; relevance as a distribution; where there is any."""
    scored, grades, exists = graded_lists(name, scores, relevance, where)
    total = grades.sum(-1)
    graded = total > 0
    targets = grades / jnp.where(graded, total, 1)[..., None]
    return jnp.where(exists, scored, -jnp.inf), targets, graded


def _after(sums: Sums) -> Sums:
    """Without the item itself."""
    return Sums(_next(sums.maximum, fill=-jnp.inf), _next(sums.scaled, fill=0))


def _next(x: Float[Array, "*batch items"], fill: int | float) -> Float[Array, "*batch items"]:
    """What comes next in the list, ``fill`` at its end."""
    return jnp.concatenate([x[..., 1:], jnp.full_like(x[..., :1], fill)], -1)
