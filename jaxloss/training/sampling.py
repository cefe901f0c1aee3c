"""Batches that are a function of the step: shuffled, balanced over classes, and resumed at once.

A sampler keeps nothing between steps. To resume a run at step t, or to look at the batch that broke
it, call it with t.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from jaxloss.training.permuting import combined_key, permuted

FINENESS = 64
"""Draws of the rarest class, at least, in a period."""
LONGEST = 2**14
"""Batches in a period, at most."""

Rows = Callable[[int], np.ndarray]
"""``step -> row numbers`` of the batch of that step, the same at every call."""


def shuffled_rows(size: int, batch_size: int, *, seed: int = 0) -> Rows:
    """Sample batches from rows shuffled anew in every epoch.

    Epochs follow each other without a gap, so a batch may be the end of one and the start of the
    next, and every row is drawn exactly once in each.

    Args:
        size: how many rows there are.
        batch_size: how many to a batch.
        seed: of the order.

    Example:
        >>> rows = shuffled_rows(6, 4)
        >>> np.sort([*rows(0), *rows(1)[:2]])
        array([0, 1, 2, 3, 4, 5])
    """
    _require_positive("shuffled_rows", size=size, batch_size=batch_size)

    def rows(step: int) -> np.ndarray:
        drawn = step * batch_size + np.arange(batch_size)
        return permuted(drawn % size, size, combined_key(seed, drawn // size))

    return rows


def balanced_rows(
    labels: np.ndarray,
    batch_size: int,
    *,
    shares: np.ndarray | None = None,
    seed: int = 0,
) -> Rows:
    r"""Sample batches with a fixed share of each class.

    In every batch, a class of share :math:`p_c` has :math:`B p_c` rows, rounded up or down, and
    over the run exactly its share. The rows of each class are shuffled anew whenever all of them
    have been drawn. A batch whose size is :math:`m` times the number of classes has exactly
    :math:`m` rows of each, as losses over pairs want it.

    Rows of a rare class come again and again: weights, or
    :func:`~jaxloss.losses.imbalance.logit_adjusted_cross_entropy`, are the alternatives.

    Args:
        labels: the class of each row, in [0, C).
        batch_size: :math:`B`.
        shares: of classes 0, 1, ..., in any proportion; by default all classes that occur are
            equal. ``np.sqrt(counts)`` is halfway between that and the data.
        seed: of the order.

    Returns:
        ``rows(step)``. In a cluster every process takes its part of each batch, such as
        ``rows(step)[process::processes]``.

    Example:
        >>> rows = balanced_rows(np.array([0] * 90 + [1] * 9 + [2]), 6)
        >>> [np.bincount((rows(step) >= 90) * 1 + (rows(step) >= 99)) for step in (0, 1000)]
        [array([2, 2, 2]), array([2, 2, 2])]
    """
    labels = np.asarray(labels)
    _require_positive("balanced_rows", batch_size=batch_size)
    if not np.issubdtype(labels.dtype, np.integer) or labels.ndim != 1 or not labels.size:
        raise ValueError(
            "balanced_rows: labels must be integers, one per row, "
            f"got {labels.dtype} of shape {labels.shape}"
        )
    if labels.min() < 0:
        raise ValueError(f"balanced_rows: labels must not be negative, got {labels.min()}")
    sizes = np.bincount(labels, minlength=0 if shares is None else len(shares))
    plan = _planned(sizes, batch_size, shares)
    order = np.argsort(labels, kind="stable")
    first = np.cumsum(sizes) - sizes

    def rows(step: int) -> np.ndarray:
        counts, drawn_before = _drawn(plan, step, seed)
        label = np.repeat(np.arange(len(counts)), counts)
        within = np.arange(batch_size) - np.repeat(np.cumsum(counts) - counts, counts)
        drawn = drawn_before[label] + within
        size = sizes[label]
        position = permuted(drawn % size, size, combined_key(seed, label, drawn // size))
        found = order[first[label] + position]
        return found[permuted(np.arange(batch_size), batch_size, combined_key(seed, 1, step))]

    return rows


class _Plan(NamedTuple):
    """How many rows of each class are drawn in so many batches."""

    batch_size: int
    quotas: np.ndarray
    """of the classes in a period; their sum is its batches times the size of a batch"""
    batches: int
    """in a period"""


def _planned(sizes: np.ndarray, batch_size: int, shares: np.ndarray | None) -> _Plan:
    wish = np.asarray(sizes > 0 if shares is None else shares, np.float64)
    if wish.shape != sizes.shape or not (np.isfinite(wish) & (wish >= 0)).all():
        raise ValueError(
            f"balanced_rows: shares must be {len(sizes)} numbers that are not negative, got {wish}"
        )
    wanted = wish > 0
    if not wanted.any() or (wanted & (sizes == 0)).any():
        missing = np.flatnonzero(wanted & (sizes == 0))
        raise ValueError(
            "balanced_rows: shares must be of classes that occur, "
            f"got {'none' if not wanted.any() else f'classes {missing[:3]} without a row'}"
        )
    wish = wish / wish.sum()
    if np.ptp(wish[wanted]) == 0:  # then they come out even
        batches = int(wanted.sum()) // math.gcd(int(wanted.sum()), batch_size)
    else:
        batches = math.ceil(FINENESS / (batch_size * wish[wanted].min()))
    batches = min(max(batches, 1), LONGEST)
    ends = np.round(np.cumsum(wish) * batches * batch_size).astype(np.int64)
    return _Plan(batch_size, np.diff(ends, prepend=0), batches)


def _drawn(plan: _Plan, step: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """How many rows of each class are in a batch, and how many were in all batches before.

    Lay the classes end to end, each as long as its quota over the batches of a period, and put a
    comb with teeth one apart on them, shifted by a fraction: that is systematic sampling, in which
    a class gets its share rounded up or down. The batches of a period take all shifts there are,
    each far from those before, so that the shares are right all along. Where they begin, and the
    order of the classes, is drawn for each period.
    """
    period, number = divmod(step, plan.batches)
    key = combined_key(seed, 0, period)
    classes = len(plan.quotas)
    order = permuted(np.arange(classes), classes, key)
    ends = np.cumsum(plan.quotas[order])
    begin = permuted(np.zeros(1), plan.batches, key)
    shifts = (begin + np.arange(number + 1) * _stride(plan.batches)) % plan.batches
    # In units of 1 / batches. A tooth is at shift, shift + batches, ...; below an end there are
    # so many whole batches, and one more if the rest is above the shift.
    whole, rest = np.divmod(ends, plan.batches)
    now = whole + (rest > shifts[-1])
    before = whole * number + np.searchsorted(np.sort(shifts[:-1]), rest, side="left")
    counts, total = np.empty(classes, np.int64), np.empty(classes, np.int64)
    counts[order] = np.diff(now, prepend=0)
    total[order] = np.diff(before, prepend=0)
    return counts, total + period * plan.quotas


def _stride(batches: int) -> int:
    """A stride that reaches all of a circle, and soon all parts of it: near the golden section."""
    stride = max(round(batches * (5**0.5 - 1) / 2), 1)
    while math.gcd(stride, batches) > 1:
        stride += 1
    return stride


def _require_positive(name: str, **numbers: int) -> None:
    for argument, number in numbers.items():
        if number < 1:
            raise ValueError(f"{name}: {argument} must be at least 1, got {number}")
