"""Class counts over any number of batches, devices and processes, exact beyond any integer."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import multihost_utils
from jaxtyping import Array, ArrayLike, Bool, Int

from jaxloss.core.checks import require_integer
from jaxloss.core.inputs import masked, selection

BASE = 2**20
"""What the high digit counts."""


class ClassCounts(NamedTuple):
    """How often each class has occurred, in two digits.

    Counts add up: over batches with ``merge``, over the devices of a mesh axis with
    ``jax.lax.psum(counts, axis)``, over processes with :func:`over_processes`.
    """

    high: Int[Array, " bins"]
    low: Int[Array, " bins"]
    """the last bin is for labels that are no class"""

    def merge(self, other: "ClassCounts") -> "ClassCounts":
        """The counts of both."""
        low = self.low + other.low
        carry = low // BASE
        return ClassCounts(self.high + other.high + carry, low - carry * BASE)

    def totals(self) -> np.ndarray:
        """The counts as 64-bit integers, on the host."""
        high, low = (np.asarray(digit, np.int64) for digit in jax.device_get(tuple(self)))
        *counts, outside = high * BASE + low
        if outside:
            raise ValueError(
                f"count_classes: labels must lie in [0, {len(counts)}), got {outside} that do not"
            )
        return np.array(counts)


def count_classes(
    labels: Int[ArrayLike, "*batch"],
    *,
    classes: int,
    where: Bool[ArrayLike, "*#batch"] | None = None,
) -> ClassCounts:
    """How often each class occurs among the labels of a batch, to be merged with others.

    For class weights from the counts see :mod:`jaxloss.losses.imbalance`, whose ``class_counts``
    is enough for labels that fit into memory.

    Args:
        labels: of up to 2^30 elements at a time. Any outside of [0, ``classes``) is reported by
            ``totals``.
        classes: how many classes there are.
        where: which labels exist.

    Example:
        >>> counts = count_classes(jnp.array([0, 2, 2]), classes=3)
        >>> counts.merge(count_classes(jnp.array([1, 2]), classes=3)).totals()
        array([1, 1, 3])
    """
    labels = jnp.asarray(labels)
    require_integer("count_classes", labels=labels)
    selected = selection("count_classes", where, labels.shape)
    valid = (labels >= 0) & (labels < classes)
    index = jnp.where(valid, labels, classes)
    unmasked = classes + 1  # a bin of its own, which is thrown away
    index = masked(index, selected, fill=unmasked).reshape(-1).astype(jnp.int32)
    counts = jnp.bincount(index, length=classes + 2)[:-1].astype(jnp.int32)
    return ClassCounts(counts // BASE, counts % BASE)


def over_processes(counts: ClassCounts) -> ClassCounts:
    """The counts of all processes together, each of which has counted labels of its own."""
    if jax.process_count() == 1:
        return counts
    gathered = multihost_utils.process_allgather(counts)
    merged, *others = [jax.tree.map(lambda x, k=k: x[k], gathered) for k in range(len(gathered[0]))]
    for other in others:
        merged = merged.merge(other)
    return merged
