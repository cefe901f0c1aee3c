"""Losses on how a list of items is ordered by its scores, given how relevant each item is."""

import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Bool, Float, Real

from jaxloss.core.checks import check_not_negative, require_rank
from jaxloss.core.classes import soft_nll
from jaxloss.core.compiling import compiled
from jaxloss.core.inputs import masked, same_shape, selection
from jaxloss.core.reducing import Reduction, reduce


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
    list's total relevance: ``weights=relevance.sum(-1)``. The unreduced shape is ``*batch``.

    Args:
        relevance: grades, not negative.
        where: which items exist; lists may then have different lengths.
        weights, reduction: see :func:`jaxloss.core.reducing.reduce`; they act on whole lists.

    Example:
        >>> softmax(jnp.array([0.0, 0.0, 5.0]), jnp.array([1, 0, 0]))
        Array(5.0133..., dtype=float32)

    Reference:
        Cao et al., "Learning to Rank: From Pairwise Approach to Listwise Approach", 2007.
    """
    require_rank("softmax", 1, wanted="lists of items", scores=scores)
    scored, grades = same_shape("softmax", scores=scores, relevance=relevance)
    selected = selection("softmax", where, scored.shape)
    scored, grades = masked(scored, selected, fill=-jnp.inf), masked(grades, selected)
    grades = check_not_negative("softmax", "relevance", grades)
    total = grades.sum(-1)
    graded = total > 0
    targets = grades / jnp.where(graded, total, 1)[..., None]
    return reduce("softmax", soft_nll(scored, targets), graded, weights, reduction)
