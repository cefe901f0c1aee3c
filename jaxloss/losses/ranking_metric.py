r"""Ranking metrics themselves, made smooth: one minus the metric, of ranks that are counted softly.

The approximate rank of an item is one plus, over all others, the chance that they are ahead:
:math:`r_i = 1 + \sum_{j \ne i} \sigma((s_j - s_i) / \tau)`. As the temperature falls it becomes the
rank, and the loss one minus the metric; but the slopes vanish. Made stochastic by
:func:`jaxloss.compose.gumbel` they reach farther. An item is relevant if its grade is positive, and
a list in which nothing is relevant does not count. All take :math:`O(n^2)` time and memory.
"""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Bool, Float, Real

from jaxloss.core.checks import check_positive, require_rank, require_real
from jaxloss.core.compiling import compiled
from jaxloss.core.inputs import Scalar, at_least_float32, masked, modulus, selection
from jaxloss.core.lists import (
    discount,
    gain,
    graded_lists,
    ideal_gain,
    positions,
    reciprocal_or_zero,
)
from jaxloss.core.ratios import share
from jaxloss.core.reducing import Reduction, reduce


@compiled("reduction")
def approx_ndcg(
    scores: Real[ArrayLike, "*batch items"],
    relevance: Real[ArrayLike, "*batch items"],
    *,
    temperature: Scalar = 0.1,
    where: Bool[ArrayLike, "*#batch #items"] | None = None,
    weights: Real[ArrayLike, "..."] | None = None,
    reduction: Reduction = "mean",
) -> Float[Array, "..."]:
    r"""One minus the normalized discounted cumulative gain, of approximate ranks.

    .. math::
        \ell = 1 - \frac{1}{Z} \sum_i \frac{2^{y_i} - 1}{\log_2 (1 + r_i)}

    with :math:`Z` the sum for the ideal order and :math:`r_i` the approximate ranks. For other
    gains than :math:`2^y - 1` give ``jnp.log2(1 + gains)`` as relevance. The unreduced shape is
    ``*batch``.

    Args:
        relevance: grades, not negative.
        temperature: :math:`\tau`, positive; how far scores must be apart to be clearly in order.
        where: which items exist.
        weights, reduction: see :func:`jaxloss.core.reducing.reduce`; they act on whole lists.

    Example:
        >>> approx_ndcg(jnp.array([3.0, 2.0, 1.0]), jnp.array([0, 1, 0]))  # 1 - 1 / log2(3)
        Array(0.3690..., dtype=float32)

    Reference:
        Qin, Liu & Li, "A General Approximation Framework for Direct Optimization of Information
        Retrieval Measures", 2010.
    """
    name = "approx_ndcg"
    given = _ahead(name, scores, relevance, temperature, where)
    best = ideal_gain(given.grades, given.exists, None)
    gains = gain(given.grades) * reciprocal_or_zero(best)[..., None]
    rank = positions(given.exists, given.scores).astype(gains.dtype)
    ideal = positions(given.exists, given.grades, given.scores).astype(gains.dtype)
    lacking = (gains * (discount(ideal) - discount(rank))).sum(-1)
    # To what the order lacks, by how much approximate ranks are off: all small where they are.
    first = rank[..., :, None] < rank[..., None, :]
    off = jnp.where(first, given.ahead, -jnp.swapaxes(given.ahead, -1, -2)).sum(-1)
    lost = math.log(2) * jnp.log1p(off / (1 + rank))
    lost /= jnp.log1p(rank) * jnp.log1p(rank + off)
    loss = lacking + (gains * lost).sum(-1)
    loss += jax.lax.stop_gradient(jax.nn.relu(-loss))
    return reduce(name, loss, given.relevant.any(-1), weights, reduction)


@compiled("reduction")
def approx_mrr(
    scores: Real[ArrayLike, "*batch items"],
    relevance: Real[ArrayLike, "*batch items"],
    *,
    temperature: Scalar = 0.1,
    where: Bool[ArrayLike, "*#batch #items"] | None = None,
    weights: Real[ArrayLike, "..."] | None = None,
    reduction: Reduction = "mean",
) -> Float[Array, "..."]:
    r"""One minus the reciprocal of the approximate rank of the first relevant item.

    .. math::
        \ell = 1 - \max_{y_i > 0} \frac{1}{r_i}

    The mean over lists is one minus the mean reciprocal rank. Only the first relevant item of each
    list is pulled. The unreduced shape is ``*batch``.

    Args:
        relevance, temperature, where, weights, reduction: see :func:`approx_ndcg`.

    Example:
        >>> approx_mrr(jnp.array([30.0, 20.0, 10.0]), jnp.array([0, 1, 1]))
        Array(0.5, dtype=float32)

    Reference:
        Qin, Liu & Li, "A General Approximation Framework for Direct Optimization of Information
        Retrieval Measures", 2010.
    """
    given = _ahead("approx_mrr", scores, relevance, temperature, where)
    before = jnp.where(given.relevant, given.ahead.sum(-1), jnp.inf).min(-1, initial=jnp.inf)
    found = given.relevant.any(-1)
    before = jnp.where(found, before, 0)
    return reduce("approx_mrr", share(before, jnp.ones_like(before)), found, weights, reduction)


@compiled("reduction")
def approx_average_precision(
    scores: Real[ArrayLike, "*batch items"],
    relevance: Real[ArrayLike, "*batch items"],
    *,
    temperature: Scalar = 0.1,
    where: Bool[ArrayLike, "*#batch #items"] | None = None,
    weights: Real[ArrayLike, "..."] | None = None,
    reduction: Reduction = "mean",
) -> Float[Array, "..."]:
    r"""One minus the average precision, of approximate ranks among all and among relevant items.

    .. math::
        \ell = 1 - \frac{1}{R} \sum_{y_i > 0} \frac{r_i^+}{r_i}
             = \frac{1}{R} \sum_{y_i > 0} \frac{1}{r_i}
               \sum_{y_j = 0} \sigma \Bigl( \frac{s_j - s_i}{\tau} \Bigr)

    with :math:`R` relevant items, of which :math:`r_i^+` is the rank among themselves. For
    retrieval by embeddings this is Smooth-AP. The unreduced shape is ``*batch``.

    Args:
        relevance, temperature, where, weights, reduction: see :func:`approx_ndcg`.

    Example:
        >>> scores, relevance = jnp.array([30.0, 20.0, 10.0]), jnp.array([1, 0, 1])
        >>> approx_average_precision(scores, relevance)  # 1 - (1 + 2/3) / 2
        Array(0.1666..., dtype=float32)

    Reference:
        Qin, Liu & Li, "A General Approximation Framework for Direct Optimization of Information
        Retrieval Measures", 2010; Brown et al., "Smooth-AP: Smoothing the Path Towards Large-Scale
        Image Retrieval", 2020.
    """
    name = "approx_average_precision"
    given = _ahead(name, scores, relevance, temperature, where)
    wrong = jnp.where(given.relevant[..., None, :], 0, given.ahead).sum(-1)
    right = jnp.where(given.relevant[..., None, :], given.ahead, 0).sum(-1)
    terms = jnp.where(given.relevant, share(wrong, 1 + right), 0)
    count = given.relevant.sum(-1).astype(terms.dtype)
    loss = terms.sum(-1) / jnp.maximum(count, 1)
    return reduce(name, loss, count > 0, weights, reduction)


@compiled("reduction")
def approx_precision(
    scores: Real[ArrayLike, "*batch items"],
    relevance: Real[ArrayLike, "*batch items"],
    *,
    cutoff: Scalar = 10,
    temperature: Scalar = 0.1,
    where: Bool[ArrayLike, "*#batch #items"] | None = None,
    weights: Real[ArrayLike, "..."] | None = None,
    reduction: Reduction = "mean",
) -> Float[Array, "..."]:
    r"""How many of the items in front are not relevant, by approximate ranks.

    .. math::
        \ell = \frac{\sum_{y_i = 0} f_i}{\sum_i f_i}, \qquad
        f_i = \sigma \Bigl( \frac{k + \frac12 - r_i}{\tau} \Bigr)

    One minus the precision at :math:`k`; of a list shorter than that, the precision of the list.
    The unreduced shape is ``*batch``.

    Args:
        cutoff: :math:`k`, how many items are in front; positive.
        relevance, temperature, where, weights, reduction: see :func:`approx_ndcg`.

    Example:
        >>> scores, relevance = jnp.array([30.0, 20.0, 10.0]), jnp.array([1, 0, 1])
        >>> approx_precision(scores, relevance, cutoff=2)
        Array(0.49665..., dtype=float32)

    Reference:
        Qin, Liu & Li, "A General Approximation Framework for Direct Optimization of Information
        Retrieval Measures", 2010.
    """
    name = "approx_precision"
    given = _ahead(name, scores, relevance, temperature, where)
    beyond = _beyond(name, given, cutoff)
    front = jnp.where(given.exists, jax.nn.sigmoid(-beyond), 0)
    wrong = jnp.where(given.relevant, 0, front).sum(-1)
    loss = share(wrong, jnp.where(given.relevant, front, 0).sum(-1))
    return reduce(name, loss, given.relevant.any(-1), weights, reduction)


@compiled("reduction")
def approx_recall(
    scores: Real[ArrayLike, "*batch items"],
    relevance: Real[ArrayLike, "*batch items"],
    *,
    cutoff: Scalar = 10,
    temperature: Scalar = 0.1,
    where: Bool[ArrayLike, "*#batch #items"] | None = None,
    weights: Real[ArrayLike, "..."] | None = None,
    reduction: Reduction = "mean",
) -> Float[Array, "..."]:
    r"""How many of the relevant items are not in front, by approximate ranks.

    .. math::
        \ell = \frac{1}{R} \sum_{y_i > 0} \sigma \Bigl( \frac{r_i - k - \frac12}{\tau} \Bigr)

    One minus the recall at :math:`k`, of :math:`R` relevant items. The unreduced shape is
    ``*batch``.

    Args:
        cutoff: :math:`k`, how many items are in front; positive.
        relevance, temperature, where, weights, reduction: see :func:`approx_ndcg`.

    Example:
        >>> scores, relevance = jnp.array([30.0, 20.0, 10.0]), jnp.array([1, 0, 1])
        >>> approx_recall(scores, relevance, cutoff=2, temperature=0.01)
        Array(0.5, dtype=float32)

    Reference:
        Qin, Liu & Li, "A General Approximation Framework for Direct Optimization of Information
        Retrieval Measures", 2010.
    """
    name = "approx_recall"
    given = _ahead(name, scores, relevance, temperature, where)
    missed = jnp.where(given.relevant, jax.nn.sigmoid(_beyond(name, given, cutoff)), 0)
    count = given.relevant.sum(-1).astype(missed.dtype)
    loss = missed.sum(-1) / jnp.maximum(count, 1)
    return reduce(name, loss, count > 0, weights, reduction)


@compiled("iterations", "reduction")
def neural_ndcg(
    scores: Real[ArrayLike, "*batch items"],
    relevance: Real[ArrayLike, "*batch items"],
    *,
    temperature: Scalar = 1.0,
    iterations: int = 30,
    where: Bool[ArrayLike, "*#batch #items"] | None = None,
    weights: Real[ArrayLike, "..."] | None = None,
    reduction: Reduction = "mean",
) -> Float[Array, "..."]:
    r"""One minus the normalized discounted cumulative gain, of gains that are sorted softly.

    .. math::
        \ell = 1 - \frac{1}{Z} \sum_k \frac{\sum_i P_{ki} (2^{y_i} - 1)}{\log_2 (1 + k)}, \qquad
        P_{ki} \propto \exp \frac{(n + 1 - 2 k)\, s_i - \sum_j |s_i - s_j|}{\tau}

    NeuralSort makes :math:`P` a permutation as the temperature falls; Sinkhorn's iterations make
    its rows and columns add up to one, so that no item is counted twice. The unreduced shape is
    ``*batch``.

    Args:
        relevance: grades, not negative.
        temperature: :math:`\tau`, positive.
        iterations: how often rows and columns are normalized in turn; part of the compiled
            program.
        where: which items exist.
        weights, reduction: see :func:`jaxloss.core.reducing.reduce`; they act on whole lists.

    Example:
        >>> scores, relevance = jnp.array([30.0, 20.0, 10.0]), jnp.array([0, 1, 0])
        >>> neural_ndcg(scores, relevance)  # 1 - 1 / log2(3)
        Array(0.3690..., dtype=float32)

    Reference:
        Pobrotyn & Białobrzeski, "NeuralNDCG: Direct Optimisation of a Ranking Metric via
        Differentiable Relaxation of Sorting", 2021.
    """
    name = "neural_ndcg"
    if iterations < 0:
        raise ValueError(f"{name}: iterations must not be negative, got {iterations}")
    scored, grades, exists = graded_lists(name, scores, relevance, where)
    temperature = check_positive(name, "temperature", temperature).astype(scored.dtype)
    size = exists.sum(-1, keepdims=True).astype(scored.dtype)
    rank = jax.lax.broadcasted_iota(scored.dtype, scored.shape, scored.ndim - 1) + 1
    both = exists[..., :, None] & exists[..., None, :]
    apart = jnp.where(both, modulus(scored[..., :, None] - scored[..., None, :]), 0).sum(-1)
    lead = (size + 1 - 2 * rank)[..., :, None] * scored[..., None, :] - apart[..., None, :]
    present = (rank <= size)[..., :, None] & exists[..., None, :]
    logs = jnp.where(present, lead / temperature, -jnp.inf)

    def normalized(logs: Array, axis: int) -> Array:
        top = jax.lax.stop_gradient(logs.max(axis, keepdims=True))
        top = jnp.where(jnp.isneginf(top), 0, top)
        total = jnp.exp(logs - top).sum(axis, keepdims=True)
        return logs - top - jnp.log(jnp.where(total == 0, 1, total))

    def step(_: Array, logs: Array) -> Array:
        return normalized(normalized(logs, -2), -1)

    logs = jax.lax.fori_loop(0, iterations, step, normalized(logs, -1))
    gains = gain(grades) * reciprocal_or_zero(ideal_gain(grades, exists, None))[..., None]
    sorted_gains = (jnp.exp(logs) * gains[..., None, :]).sum(-1)
    loss = 1 - (discount(rank) * sorted_gains).sum(-1)
    loss += jax.lax.stop_gradient(jax.nn.relu(-loss))
    return reduce(name, loss, (grades > 0).any(-1), weights, reduction)


def approx_ranks(
    scores: Real[ArrayLike, "*batch items"],
    *,
    temperature: Scalar = 0.1,
    where: Bool[ArrayLike, "*#batch #items"] | None = None,
) -> Float[Array, "*batch items"]:
    """Approximate ranks from 1 for the highest score; 0 for what does not exist.

    Their correlation with true ranks is Spearman's:
    ``relative.pearson_distance(approx_ranks(scores), ranks)``.

    Args:
        temperature: how far scores must be apart to be clearly in order; positive.
        where: which items exist.

    Example:
        >>> approx_ranks(jnp.array([5.0, 9.0, 5.0]))
        Array([2.5, 1. , 2.5], dtype=float32)
    """
    name = "approx_ranks"
    require_real(name, scores=scores)
    require_rank(name, 1, wanted="lists of items", scores=scores)
    scored = at_least_float32(scores)
    selected = selection(name, where, scored.shape)
    exists = jnp.ones(scored.shape, bool) if selected is None else selected
    ahead = _chances(name, masked(scored, selected), exists, temperature)
    return jnp.where(exists, 1 + ahead.sum(-1), 0)


class _Given(NamedTuple):
    """Lists of items, and for each two the chance that the second is ahead of the first."""

    scores: Float[Array, "*batch items"]
    grades: Float[Array, "*batch items"]
    exists: Bool[Array, "*batch items"]
    relevant: Bool[Array, "*batch items"]
    ahead: Float[Array, "*batch items items"]
    temperature: Float[Array, ""]


def _ahead(
    name: str,
    scores: Real[ArrayLike, "*batch items"],
    relevance: Real[ArrayLike, "*batch items"],
    temperature: Scalar,
    where: Bool[ArrayLike, "..."] | None,
) -> _Given:
    scored, grades, exists = graded_lists(name, scores, relevance, where)
    ahead = _chances(name, scored, exists, temperature)
    number = jnp.asarray(temperature).astype(scored.dtype)
    return _Given(scored, grades, exists, grades > 0, ahead, number)


def _chances(
    name: str,
    scored: Float[Array, "*batch items"],
    exists: Bool[Array, "*batch items"],
    temperature: Scalar,
) -> Float[Array, "*batch items items"]:
    """``sigmoid((s_j - s_i) / temperature)`` of each two different items that exist, else 0."""
    number = check_positive(name, "temperature", temperature).astype(scored.dtype)
    lead = scored[..., None, :] - scored[..., :, None]
    equal = jnp.isinf(scored)[..., :, None] & (scored[..., None, :] == scored[..., :, None])
    chance = jax.nn.sigmoid(jnp.where(equal, 0, lead) / number)
    other = ~jnp.eye(scored.shape[-1], dtype=bool)
    both = exists[..., None, :] & exists[..., :, None] & jnp.broadcast_to(other, lead.shape)
    return jnp.where(both, chance, 0)


def _beyond(name: str, given: _Given, cutoff: Scalar) -> Float[Array, "*batch items"]:
    """How far the approximate rank of each item is beyond the cutoff, by the temperature."""
    last = check_positive(name, "cutoff", cutoff).astype(given.ahead.dtype)
    return (given.ahead.sum(-1) + 0.5 - last) / given.temperature
