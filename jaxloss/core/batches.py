"""Examples of one batch that are compared with each other: who is alike, how near, how likely.

Similarities are cosines, or products where a loss says so, in full precision: an accelerator's
default keeps some three digits, of numbers about to grow by the inverse of a temperature.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Bool, Float, Int, Real

from jaxloss.core.checks import (
    require_integer,
    require_rank,
    require_real,
    require_same_shape,
    require_shape,
)
from jaxloss.core.classes import label_nll
from jaxloss.core.inputs import at_least_float32, masked, promoted, selection
from jaxloss.core.ratios import magnitude
from jaxloss.core.vectors import normalized


class Group(NamedTuple):
    """The examples of a batch, and which pairs show the same thing and which do not."""

    vectors: Float[Array, "batch features"]  # zero if the example does not exist
    alike: Bool[Array, "batch batch"]  # two different examples of one label
    different: Bool[Array, "batch batch"]  # two labels


def grouped(
    name: str,
    embeddings: Real[ArrayLike, "batch features"],
    labels: Int[ArrayLike, " batch"],
    where: Bool[ArrayLike, " #batch"] | None,
) -> Group:
    """Check and clean embeddings with a label each; a missing one forms no pair."""
    require_batch(name, embeddings=embeddings)
    require_integer(name, labels=labels)
    batch = jnp.shape(embeddings)[:1]
    require_shape(name, batch, wanted="one per embedding:", labels=labels)
    things = jnp.asarray(labels)
    exists = selection(name, where, batch)
    same = things[:, None] == things[None, :]
    alike, different = same & ~jnp.eye(batch[0], dtype=bool), ~same
    if exists is not None:
        both = exists[:, None] & exists[None, :]
        alike, different = alike & both, different & both
    return Group(masked(at_least_float32(embeddings), exists), alike, different)


class Matched(NamedTuple):
    """Two vectors of each example, both zero if it does not exist."""

    one: Float[Array, "batch features"]
    other: Float[Array, "batch features"]
    exists: Bool[Array, " batch"] | None


def matched(name: str, where: Bool[ArrayLike, " #batch"] | None, **arrays: ArrayLike) -> Matched:
    """Check and clean two vectors of each example."""
    require_batch(name, **arrays)
    require_same_shape(name, **arrays)
    one, other = promoted(*arrays.values())
    exists = selection(name, where, one.shape[:1])
    return Matched(masked(one, exists), masked(other, exists), exists)


def require_batch(name: str, **arrays: ArrayLike) -> None:
    """Raise unless every array is one batch of vectors of real numbers."""
    require_real(name, **arrays)
    require_rank(name, 2, wanted="of shape (batch, features)", exact=True, **arrays)


def products(
    x: Float[Array, "rows features"], y: Float[Array, "columns features"]
) -> Float[Array, "rows columns"]:
    """The inner product of each vector of ``x`` with each of ``y``."""
    return jnp.matmul(x, y.T, precision="highest")


def cosines(
    x: Float[Array, "rows features"], y: Float[Array, "columns features"]
) -> Float[Array, "rows columns"]:
    """The cosine of the angle between each two vectors; 0 if one of them is zero."""
    return products(normalized(x), normalized(y))


def squared_distances(
    x: Float[Array, "rows features"], y: Float[Array, "columns features"]
) -> Float[Array, "rows columns"]:
    """The squared Euclidean distance of each two vectors, exact also for near ones.

    Not from their products, which would cancel, but from their differences; of so many vectors at a
    time that these take no more memory than the distances.
    """

    @jax.checkpoint
    def from_each(vector: Float[Array, " features"]) -> Float[Array, " columns"]:
        return jnp.square(vector[None, :] - y).sum(-1)

    columns, features = y.shape
    return jax.lax.map(from_each, x, batch_size=max(1, columns // max(1, features)))


def distances(
    x: Float[Array, "rows features"], y: Float[Array, "columns features"]
) -> Float[Array, "rows columns"]:
    """The Euclidean distance of each two vectors; slope 0 where they coincide."""
    largest = jnp.abs(jax.lax.stop_gradient(x)).max(initial=0)
    scale = magnitude(jnp.maximum(largest, jnp.abs(jax.lax.stop_gradient(y)).max(initial=0)))
    squared = squared_distances(x / scale, y / scale)
    apart = squared > 0
    return scale * jnp.where(apart, jnp.sqrt(jnp.where(apart, squared, 1)), 0)


def log_total(
    x: Float[Array, "rows columns"], selected: Bool[Array, "rows columns"]
) -> Float[Array, " rows"]:
    """The logarithm of the sum of the selected exponentials of each row; ``-inf`` if it is empty.

    The slope of an empty row is zero.
    """
    some = selected.any(-1)
    terms = jnp.where(some[:, None], jnp.where(selected, x, -jnp.inf), 0)
    return jnp.where(some, jax.nn.logsumexp(terms, -1), -jnp.inf)


def partner_nll(
    scores: Float[Array, "batch candidates"], exists: Bool[Array, " batch"] | None
) -> Float[Array, " batch"]:
    """Minus the log-probability that each row gives to its own column, among those that exist."""
    if exists is not None:
        absent = jnp.zeros(scores.shape[1] - exists.shape[0], bool)
        scores = jnp.where(jnp.concatenate([~exists, absent]), -jnp.inf, scores)
        scores = masked(scores, exists)
    return label_nll(scores, jnp.arange(scores.shape[0], dtype=jnp.int32))
