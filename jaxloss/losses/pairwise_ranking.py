"""Losses on the pairs of a list of which one item is more relevant than the other.

Each gives one number per list, the mean over its pairs; lists without any do not count. So a short
list counts as much as a long one. Other libraries take the mean over all pairs of all lists: that
is ``weights=pair_counts(relevance)``; with ``reduction="sum"`` it is the sum over all pairs.

``pair_weights`` say how much each pair counts: from :func:`label_difference_weights`,
:func:`dcg_weights` (which makes :func:`logistic` LambdaRank), :func:`dcg2_weights` (LambdaLoss) or
:func:`precision_weights`. They multiply the losses of the pairs, but not their number.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Bool, Float, Real

from jaxloss.core.checks import check_positive, check_unit_interval
from jaxloss.core.compiling import compiled
from jaxloss.core.inputs import Scalar
from jaxloss.core.lists import (
    Lists,
    apart,
    discount,
    excess_over_pairs,
    graded_lists,
    ordered_pairs,
    ranked,
)
from jaxloss.core.reducing import Reduction, broadcast, reduce


@compiled("reduction")
def logistic(
    scores: Real[ArrayLike, "*batch items"],
    relevance: Real[ArrayLike, "*batch items"],
    *,
    pair_weights: Real[ArrayLike, "..."] | None = None,
    where: Bool[ArrayLike, "*#batch #items"] | None = None,
    weights: Real[ArrayLike, "..."] | None = None,
    reduction: Reduction = "mean",
) -> Float[Array, "..."]:
    r"""Negative log-probability that the more relevant item of each pair is ranked first.

    .. math::
        \ell = \frac{1}{P} \sum_{y_i > y_j} w_{ij} \log \bigl(1 + e^{-(s_i - s_j)}\bigr)

    with :math:`P` the number of pairs. RankNet; with :func:`dcg_weights` LambdaRank. Takes
    :math:`O(n^2)` time and memory: for a list of a thousand items 4 MB for each array of pairs.
    The unreduced shape is ``*batch``.

    Args:
        relevance: grades, not negative; only their order matters.
        pair_weights: :math:`w_{ij}`, of shape (*batch, items, items), the more relevant item
            first; by default one.
        where: which items exist.
        weights, reduction: see :func:`jaxloss.core.reducing.reduce`; they act on whole lists.

    Example:
        >>> logistic(jnp.array([3.0, 3.0, 0.0]), jnp.array([1, 0, 0]))
        Array(0.37086..., dtype=float32)

    Reference:
        Burges et al., "Learning to Rank using Gradient Descent", 2005.
    """
    lists = graded_lists("logistic", scores, relevance, where)
    loss = _over_pairs("logistic", lists, pair_weights, lambda lead, rise: jax.nn.softplus(-lead))
    return _reduce("logistic", lists, loss, weights, reduction)


@compiled("reduction")
def hinge(
    scores: Real[ArrayLike, "*batch items"],
    relevance: Real[ArrayLike, "*batch items"],
    *,
    margin: Scalar = 1.0,
    pair_weights: Real[ArrayLike, "..."] | None = None,
    where: Bool[ArrayLike, "*#batch #items"] | None = None,
    weights: Real[ArrayLike, "..."] | None = None,
    reduction: Reduction = "mean",
) -> Float[Array, "..."]:
    r"""How much less than a margin the more relevant item of each pair is ahead.

    .. math::
        \ell = \frac{1}{P} \sum_{y_i > y_j} w_{ij} \max\bigl(0,\; m - (s_i - s_j)\bigr)

    with :math:`P` the number of pairs. The ranking support vector machine's. Takes
    :math:`O(n \log^2 n)` time and :math:`O(n \log n)` memory by sorting; with ``pair_weights``
    :math:`O(n^2)`. The unreduced shape is ``*batch``.

    Args:
        margin: :math:`m`, by how much the more relevant item shall be ahead.
        relevance, pair_weights, where, weights, reduction: see :func:`logistic`.

    Example:
        >>> hinge(jnp.array([3.0, 3.0, 0.0]), jnp.array([1, 0, 0]), margin=2.0)
        Array(1., dtype=float32)

    Reference:
        Joachims, "Optimizing Search Engines using Clickthrough Data", 2002.
    """
    lists = graded_lists("hinge", scores, relevance, where)
    if pair_weights is None:
        loss = excess_over_pairs(lists.grades, lists.exists, lists.scores + margin, lists.scores)
    else:
        loss = _over_pairs(
            "hinge", lists, pair_weights, lambda lead, rise: jax.nn.relu(margin - lead)
        )
    return _reduce("hinge", lists, loss, weights, reduction)


@compiled("reduction")
def soft_zero_one(
    scores: Real[ArrayLike, "*batch items"],
    relevance: Real[ArrayLike, "*batch items"],
    *,
    temperature: Scalar = 1.0,
    pair_weights: Real[ArrayLike, "..."] | None = None,
    where: Bool[ArrayLike, "*#batch #items"] | None = None,
    weights: Real[ArrayLike, "..."] | None = None,
    reduction: Reduction = "mean",
) -> Float[Array, "..."]:
    r"""Smoothly counts the pairs in the wrong order.

    .. math::
        \ell = \frac{1}{P} \sum_{y_i > y_j} w_{ij}\, \sigma\bigl(-(s_i - s_j) / \tau\bigr)

    with :math:`P` the number of pairs. As the temperature falls, the share of pairs in the wrong
    order: with two grades, one minus the area under the ROC curve. Bounded, so a hopeless pair
    pulls less than in :func:`logistic`. Takes :math:`O(n^2)` time and memory, 4 MB for each array
    of pairs of a thousand items. The unreduced shape is ``*batch``.

    Args:
        temperature: :math:`\tau`, positive.
        relevance, pair_weights, where, weights, reduction: see :func:`logistic`.

    Example:
        >>> soft_zero_one(jnp.array([3.0, 3.0, 0.0]), jnp.array([1, 0, 0]))
        Array(0.2737129..., dtype=float32)

    Reference:
        Yan et al., "Optimizing Classifier Performance via an Approximation to the
        Wilcoxon-Mann-Whitney Statistic", 2003.
    """
    name = "soft_zero_one"
    lists = graded_lists(name, scores, relevance, where)
    temperature = check_positive(name, "temperature", temperature)
    loss = _over_pairs(
        name, lists, pair_weights, lambda lead, rise: jax.nn.sigmoid(-lead / temperature)
    )
    return _reduce(name, lists, loss, weights, reduction)


@compiled("reduction")
def quantile(
    scores: Real[ArrayLike, "*batch items"],
    relevance: Real[ArrayLike, "*batch items"],
    *,
    quantile: Scalar = 0.5,
    pair_weights: Real[ArrayLike, "..."] | None = None,
    where: Bool[ArrayLike, "*#batch #items"] | None = None,
    weights: Real[ArrayLike, "..."] | None = None,
    reduction: Reduction = "mean",
) -> Float[Array, "..."]:
    r"""Quantile regression of the difference in relevance by the difference of the scores.

    .. math::
        \ell = \frac{1}{P} \sum_{y_i > y_j} w_{ij}
            \bigl(q \max(0, e_{ij}) + (1 - q) \max(0, -e_{ij})\bigr),
        \qquad e_{ij} = (y_i - y_j) - (s_i - s_j)

    with :math:`P` the number of pairs. A quantile of 1 asks for a lead of at least the difference
    in relevance, as :func:`hinge` does with a margin for each pair. Takes :math:`O(n \log^2 n)`
    time and :math:`O(n \log n)` memory; with ``pair_weights`` :math:`O(n^2)`. The unreduced shape
    is ``*batch``.

    Args:
        relevance: grades, not negative, on the scale of the scores.
        quantile: :math:`q` in [0, 1]: what a lead too small costs; one too large costs the rest.
        pair_weights, where, weights, reduction: see :func:`logistic`.

    Example:
        >>> quantile(jnp.array([3.0, 0.0]), jnp.array([1, 0]), quantile=0.75)
        Array(0.5, dtype=float32)

    Reference:
        Koenker & Bassett, "Regression Quantiles", 1978.
    """
    name = "quantile"
    lists = graded_lists(name, scores, relevance, where)
    share = check_unit_interval(name, "quantile", jnp.asarray(quantile, lists.scores.dtype))
    if pair_weights is None:
        rest = jnp.where(lists.exists, lists.grades - lists.scores, 0)
        short = excess_over_pairs(lists.grades, lists.exists, -rest, -rest)
        loss = share * short + (1 - share) * excess_over_pairs(
            lists.grades, lists.exists, rest, rest
        )
    else:

        def cost(lead: Array, rise: Array) -> Array:
            return share * jax.nn.relu(rise - lead) + (1 - share) * jax.nn.relu(lead - rise)

        loss = _over_pairs(name, lists, pair_weights, cost)
    return _reduce(name, lists, loss, weights, reduction)


@compiled("reduction")
def squared(
    scores: Real[ArrayLike, "*batch items"],
    relevance: Real[ArrayLike, "*batch items"],
    *,
    where: Bool[ArrayLike, "*#batch #items"] | None = None,
    weights: Real[ArrayLike, "..."] | None = None,
    reduction: Reduction = "mean",
) -> Float[Array, "..."]:
    r"""Squared error between the differences of the scores and those in relevance.

    .. math::
        \ell = \frac{1}{n (n - 1)} \sum_{i \ne j} \bigl((s_i - s_j) - (y_i - y_j)\bigr)^2
             = \frac{2}{n - 1} \sum_i (e_i - \bar e)^2, \qquad e_i = s_i - y_i

    Over all pairs, also of equal relevance: twice the variance of the errors, so it is computed in
    :math:`O(n)`. What is added to all scores of a list changes nothing. A list of one item does
    not count; over all :math:`n^2` pairs, as others count them, it is :math:`1 - 1/n` of this. The
    unreduced shape is ``*batch``.

    Args:
        relevance: grades, not negative, on the scale of the scores.
        where: which items exist.
        weights, reduction: see :func:`jaxloss.core.reducing.reduce`; they act on whole lists.

    Example:
        >>> squared(jnp.array([5.0, 3.0, 2.0]), jnp.array([2, 1, 0]))
        Array(0.6666667, dtype=float32)

    Reference:
        Sculley, "Large Scale Learning to Rank", 2009.
    """
    lists = graded_lists("squared", scores, relevance, where)
    error, items = lists.scores - lists.grades, lists.exists.sum(-1).astype(lists.scores.dtype)
    mean = error.sum(-1) / jnp.maximum(items, 1)
    spread = jnp.where(lists.exists, error - mean[..., None], 0)
    loss = 2 * jnp.square(spread).sum(-1) / jnp.maximum(items - 1, 1)
    return reduce("squared", loss, items > 1, weights, reduction)


def pair_counts(
    relevance: Real[ArrayLike, "*batch items"],
    *,
    where: Bool[ArrayLike, "*#batch #items"] | None = None,
) -> Float[Array, "*batch"]:
    """How many pairs of each list have different relevance: weights for a mean over all pairs.

    Example:
        >>> pair_counts(jnp.array([[2, 1, 0], [1, 0, 0]]))
        Array([3., 2.], dtype=float32)
    """
    lists = graded_lists("pair_counts", jnp.zeros(jnp.shape(relevance)), relevance, where)
    return ordered_pairs(lists.grades, lists.exists)


def label_difference_weights(
    relevance: Real[ArrayLike, "*batch items"],
    *,
    where: Bool[ArrayLike, "*#batch #items"] | None = None,
) -> Float[Array, "*batch items items"]:
    """Pair weights: the difference in relevance.

    Example:
        >>> label_difference_weights(jnp.array([3, 1]))
        Array([[0., 2.],
               [2., 0.]], dtype=float32)
    """
    name = "label_difference_weights"
    lists = graded_lists(name, jnp.zeros(jnp.shape(relevance)), relevance, where)
    return apart(lists.grades, lists.exists)


def dcg_weights(
    scores: Real[ArrayLike, "*batch items"],
    relevance: Real[ArrayLike, "*batch items"],
    *,
    cutoff: Scalar | None = None,
    where: Bool[ArrayLike, "*#batch #items"] | None = None,
) -> Float[Array, "*batch items items"]:
    r"""Pair weights: by how much NDCG would change if the two items swapped places (LambdaRank).

    .. math::
        w_{ij} = \frac{|2^{y_i} - 2^{y_j}|}{\text{ideal DCG}}
            \left| \frac{1}{\log_2(1 + r_i)} - \frac{1}{\log_2(1 + r_j)} \right|

    with ranks :math:`r` by descending score, equal scores as they come. Weights are constants: no
    gradient flows through them. For other gains give ``jnp.log2(1 + gains)`` as relevance.

    Args:
        cutoff: for NDCG of so many items in front; by default all.
        where: which items exist.

    Example:
        >>> scores, relevance = jnp.array([2.0, 1.0]), jnp.array([0, 1])
        >>> dcg_weights(scores, relevance)[1, 0]
        Array(0.36907..., dtype=float32)

    Reference:
        Burges, Ragno & Le, "Learning to Rank with Nonsmooth Cost Functions", 2006.
    """
    lists, ranks, worth = ranked("dcg_weights", scores, relevance, cutoff, where)
    kept = discount(ranks)
    if cutoff is not None:
        kept = jnp.where(ranks <= cutoff, kept, 0)
    return jax.lax.stop_gradient(worth * apart(kept, lists.exists))


def dcg2_weights(
    scores: Real[ArrayLike, "*batch items"],
    relevance: Real[ArrayLike, "*batch items"],
    *,
    where: Bool[ArrayLike, "*#batch #items"] | None = None,
) -> Float[Array, "*batch items items"]:
    r"""Pair weights under which the logistic loss bounds NDCG more tightly (LambdaLoss).

    .. math::
        w_{ij} = \frac{|2^{y_i} - 2^{y_j}|}{\text{ideal DCG}}
            \left( \frac{1}{\log_2(1 + |r_i - r_j|)}
                 - \frac{1}{\log_2(2 + |r_i - r_j|)} \right)

    as :func:`dcg_weights`, of the distance of the two ranks only. No gradient flows through them.

    Args:
        where: which items exist.

    Example:
        >>> scores, relevance = jnp.array([2.0, 1.0]), jnp.array([0, 1])
        >>> dcg2_weights(scores, relevance)[1, 0]
        Array(0.36907..., dtype=float32)

    Reference:
        Wang et al., "The LambdaLoss Framework for Ranking Metric Optimization", 2018.
    """
    lists, ranks, worth = ranked("dcg2_weights", scores, relevance, None, where)
    distance = jnp.maximum(apart(ranks, lists.exists), 1)
    return jax.lax.stop_gradient(worth * (discount(distance) - discount(distance + 1)))


def precision_weights(
    scores: Real[ArrayLike, "*batch items"],
    relevance: Real[ArrayLike, "*batch items"],
    *,
    cutoff: Scalar,
    where: Bool[ArrayLike, "*#batch #items"] | None = None,
) -> Float[Array, "*batch items items"]:
    r"""Pair weights: by how much precision would change if the two items swapped places.

    That is :math:`1/k` if one of the two is relevant and just one is among the first :math:`k`,
    and else 0. No gradient flows through them.

    Args:
        cutoff: :math:`k`, how many items in front count; positive.
        where: which items exist.

    Example:
        >>> scores, relevance = jnp.array([2.0, 1.0, 0.0]), jnp.array([0, 1, 0])
        >>> precision_weights(scores, relevance, cutoff=1)[1]
        Array([1., 0., 0.], dtype=float32)

    Reference:
        Burges, Ragno & Le, "Learning to Rank with Nonsmooth Cost Functions", 2006.
    """
    lists, ranks, _ = ranked("precision_weights", scores, relevance, None, where)
    relevant = (lists.grades > 0).astype(ranks.dtype)
    front = (ranks <= cutoff).astype(ranks.dtype)
    swap = apart(relevant, lists.exists) * apart(front, lists.exists)
    return jax.lax.stop_gradient(swap / check_positive("precision_weights", "cutoff", cutoff))


def _over_pairs(
    name: str,
    lists: Lists,
    pair_weights: Real[ArrayLike, "..."] | None,
    cost: Callable[[Array, Array], Array],
) -> Float[Array, "*batch"]:
    """Sum over the ordered pairs of what their lead in score and their rise in grade cost."""
    lead = lists.scores[..., :, None] - lists.scores[..., None, :]
    rise = lists.grades[..., :, None] - lists.grades[..., None, :]
    both = lists.exists[..., :, None] & lists.exists[..., None, :]
    pairs = both & (lists.grades[..., :, None] > lists.grades[..., None, :])
    losses = cost(jnp.where(pairs, lead, 0), jnp.where(pairs, rise, 0))
    if pair_weights is not None:
        each = broadcast(name, "pair_weights", pair_weights, losses.shape).astype(losses.dtype)
        losses *= jnp.where(pairs, each, 0)
    return jnp.where(pairs, losses, 0).sum((-2, -1))


def _reduce(
    name: str,
    lists: Lists,
    loss: Float[Array, "*batch"],
    weights: Real[ArrayLike, "..."] | None,
    reduction: Reduction,
) -> Float[Array, "..."]:
    pairs = ordered_pairs(lists.grades, lists.exists)
    return reduce(name, loss / jnp.maximum(pairs, 1), pairs > 0, weights, reduction)
