"""Lists of items in the order of their scores or grades, and sums over pairs that sort instead."""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Bool, Float, Int, Real

from jaxloss.core.checks import check_not_negative, require_rank
from jaxloss.core.classes import below
from jaxloss.core.inputs import Scalar, masked, modulus, same_shape, selection


class Lists(NamedTuple):
    """Lists of items; scores and grades are zero where ``exists`` is false."""

    scores: Float[Array, "*batch items"]
    grades: Float[Array, "*batch items"]
    exists: Bool[Array, "*batch items"]


def graded_lists(
    name: str,
    scores: Real[ArrayLike, "*batch items"],
    relevance: Real[ArrayLike, "*batch items"],
    where: Bool[ArrayLike, "..."] | None,
) -> Lists:
    """Check and clean the scores and the relevance of lists of items."""
    require_rank(name, 1, wanted="lists of items", scores=scores)
    scored, grades = same_shape(name, scores=scores, relevance=relevance)
    selected = selection(name, where, scored.shape)
    scored, grades = masked(scored, selected), masked(grades, selected)
    grades = check_not_negative(name, "relevance", grades)
    exists = jnp.ones(scored.shape, bool) if selected is None else selected
    return Lists(scored, grades, exists)


def order(*keys: Array) -> Int[Array, "*batch items"]:
    """The indices that sort by the first key, among equals by the second, ..., then stably."""
    items = jax.lax.broadcasted_iota(jnp.int32, keys[0].shape, keys[0].ndim - 1)
    held = map(jax.lax.stop_gradient, keys)
    return jax.lax.sort((*held, items), num_keys=len(keys), is_stable=True)[-1]


def positions(exists: Bool[Array, "*batch items"], *keys: Array) -> Int[Array, "*batch items"]:
    """The place, from 1, of each item in the descending order of ``keys``; the missing last."""
    return order(order(~exists, *(-key for key in keys))) + 1


def gain(grades: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """What an item of each grade is worth in a discounted cumulative gain: 2^y - 1."""
    return jnp.expm1(grades * math.log(2))


def discount(rank: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """What is left of the gain of an item at each rank."""
    return math.log(2) / jnp.log1p(rank)


def reciprocal_or_zero(x: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """``1 / x``, and 0 for 0."""
    return jnp.where(x == 0, 0, 1 / jnp.where(x == 0, 1, x))


class Sums(NamedTuple):
    """Sums of exponentials of any size: ``e^maximum * scaled``; ``maximum`` is held constant."""

    maximum: Float[Array, "*batch items"]
    scaled: Float[Array, "*batch items"]


def sums_from(scores: Float[Array, "*batch items"], exists: Bool[Array, "*batch items"]) -> Sums:
    """The sum of the exponentials of each score and all that follow it."""
    maximum = jax.lax.stop_gradient(jnp.where(exists, scores, -jnp.inf))
    finite = exists & jnp.isfinite(scores)  # at one, with the slope of an exponential
    scaled = jnp.exp(jnp.where(finite, scores, 0) - jnp.where(finite, maximum, 0))
    scaled = jnp.where(exists, scaled, 0)

    def join(one: Sums, other: Sums) -> Sums:
        top = jnp.maximum(one.maximum, other.maximum)
        left, right = jnp.exp(-below(top, one.maximum)), jnp.exp(-below(top, other.maximum))
        return Sums(top, left * one.scaled + right * other.scaled)

    return jax.lax.associative_scan(join, Sums(maximum, scaled), reverse=True, axis=scores.ndim - 1)


def log_ratio_plus_one(
    rivals: Sums, scores: Float[Array, "*batch items"]
) -> Float[Array, "*batch items"]:
    """``log(1 + rivals / e^scores)``, 0 without rivals; a choice's cross-entropy, never below 0."""
    none = rivals.scaled == 0
    lead = jnp.where(none, 0, rivals.maximum) - scores
    return jnp.where(none, 0, jax.nn.softplus(lead + jnp.log(jnp.where(none, 1, rivals.scaled))))


def dense_grades(
    grades: Float[Array, "*batch items"], exists: Bool[Array, "*batch items"]
) -> Int[Array, "*batch items"]:
    """How many different lower grades there are in the list."""
    key = jnp.where(exists, grades, jnp.inf)
    sorting = order(key)
    ascending = jnp.take_along_axis(key, sorting, -1)
    steps = jnp.diff(ascending, axis=-1) > 0 if key.shape[-1] > 1 else ascending[..., 1:] > 0
    rises = jnp.pad(steps.astype(jnp.int32), [(0, 0)] * (key.ndim - 1) + [(1, 0)])
    return jnp.take_along_axis(jnp.cumsum(rises, -1), order(sorting), -1)


def split_by_bits(
    dense: Int[Array, "*batch items"],
) -> tuple[Int[Array, "bits *batch items"], Bool[Array, "bits *batch items"]]:
    """Groups in which all pairs of two grades meet just once, and who is the higher there.

    Two different numbers part at one bit, the highest in which they differ. So the pairs of which
    one has this bit and one has not, both with the same higher bits, are all pairs, each once.
    """
    bits = max(1, (dense.shape[-1] - 1).bit_length())
    shifts = jnp.arange(bits, dtype=jnp.int32).reshape(bits, *[1] * dense.ndim)
    return dense[None] >> (shifts + 1), ((dense[None] >> shifts) & 1) == 1


def excess_over_pairs(
    grades: Float[Array, "*batch items"],
    exists: Bool[Array, "*batch items"],
    lower: Float[Array, "*batch items"],
    upper: Float[Array, "*batch items"],
) -> Float[Array, "*batch"]:
    r"""Sum of ``relu(lower_j - upper_i)`` over all pairs with a higher grade of i than of j.

    Sorted, it is the sum over gaps between neighbors of the gap times how many pairs span it: only
    terms that are not negative. Takes :math:`O(n \log^2 n)` time and :math:`O(n \log n)` memory.
    """
    group, is_higher = split_by_bits(dense_grades(grades, exists))
    group = jnp.where(exists, group, jnp.iinfo(jnp.int32).max)
    value = jnp.where(is_higher, upper, lower)
    sorting = order(group, value, is_higher)  # of equals the lower first: they have no excess
    group, value, is_higher, present = (
        jnp.take_along_axis(jnp.broadcast_to(x, group.shape), sorting, -1)
        for x in (group, value, is_higher, exists)
    )
    high, low = is_higher & present, ~is_higher & present
    together = group[..., 1:] == group[..., :-1]
    high_before = _within_groups(high, group)[..., :-1]
    low_after = jnp.flip(_within_groups(jnp.flip(low, -1), jnp.flip(group, -1)), -1)[..., 1:]
    spans = high_before.astype(value.dtype) * low_after.astype(value.dtype)
    left, right = value[..., :-1], value[..., 1:]
    spanned = together & (spans > 0) & ~((left == right) & jnp.isinf(left))
    gap = jnp.where(spanned, right, 0) - jnp.where(spanned, left, 0)
    return jnp.where(spanned, spans * gap, 0).sum(-1).sum(0)


def _within_groups(
    counted: Bool[Array, "*batch items"], group: Int[Array, "*batch items"]
) -> Int[Array, "*batch items"]:
    """How many are counted so far in each run of equal ``group``."""
    so_far = jnp.cumsum(counted.astype(jnp.int32), -1)
    start = jnp.pad(group[..., 1:] != group[..., :-1], [(0, 0)] * (group.ndim - 1) + [(1, 0)])
    earlier = jnp.where(start, so_far - counted.astype(jnp.int32), 0)
    return so_far - jax.lax.cummax(earlier, axis=group.ndim - 1)


def ordered_pairs(
    grades: Float[Array, "*batch items"], exists: Bool[Array, "*batch items"]
) -> Float[Array, "*batch"]:
    """How many pairs of a list have different grades."""
    group = jnp.where(exists, dense_grades(grades, exists), jnp.iinfo(jnp.int32).max)
    sorting = order(group)
    group, present = (jnp.take_along_axis(x, sorting, -1) for x in (group, exists))
    lower = jnp.cumsum(present.astype(jnp.int32), -1) - _within_groups(present, group)
    return jnp.where(present, lower, 0).astype(grades.dtype).sum(-1)


def ideal_gain(
    grades: Float[Array, "*batch items"],
    exists: Bool[Array, "*batch items"],
    cutoff: Real[ArrayLike, ""] | None,
) -> Float[Array, "*batch"]:
    """The discounted cumulative gain of the best order, down to a rank if there is a cutoff."""
    best = -jnp.sort(-gain(jnp.where(exists, grades, 0)), axis=-1)
    kept = discount(jnp.arange(1, best.shape[-1] + 1, dtype=best.dtype))
    if cutoff is not None:
        kept = jnp.where(jnp.arange(1, best.shape[-1] + 1) <= cutoff, kept, 0)
    return (best * kept.reshape((1,) * (best.ndim - 1) + (-1,))).sum(-1)


def ranked(
    name: str,
    scores: Real[ArrayLike, "*batch items"],
    relevance: Real[ArrayLike, "*batch items"],
    cutoff: Scalar | None,
    where: Bool[ArrayLike, "..."] | None,
) -> tuple[Lists, Float[Array, "*batch items"], Float[Array, "*batch items items"]]:
    """The lists, the rank of each item, and how far two items' shares in the ideal DCG differ."""
    lists = graded_lists(name, scores, relevance, where)
    ranks = positions(lists.exists, lists.scores).astype(lists.scores.dtype)
    share = reciprocal_or_zero(ideal_gain(lists.grades, lists.exists, cutoff))[..., None]
    return lists, ranks, apart(gain(lists.grades) * share, lists.exists)


def apart(
    x: Float[Array, "*batch items"], exists: Bool[Array, "*batch items"]
) -> Float[Array, "*batch items items"]:
    """How far apart the values of each two items are; 0 if one does not exist."""
    both = exists[..., :, None] & exists[..., None, :]
    return jnp.where(both, modulus(x[..., :, None] - x[..., None, :]), 0)
