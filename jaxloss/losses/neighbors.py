"""Losses on the distances between embeddings with labels, all pairs of a batch at once.

There is exactly one batch axis. Distances are Euclidean; normalize the embeddings first for those
on the sphere. For losses on angles see :mod:`jaxloss.losses.metric`.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Bool, Float, Int, Real

from jaxloss.core.batches import distances, grouped, log_total, squared_distances
from jaxloss.core.checks import check_positive
from jaxloss.core.compiling import compiled
from jaxloss.core.inputs import Scalar
from jaxloss.core.reducing import Reduction, reduce


@compiled("reduction")
def nca(
    embeddings: Real[ArrayLike, "batch features"],
    labels: Int[ArrayLike, " batch"],
    *,
    temperature: Scalar = 1.0,
    where: Bool[ArrayLike, " #batch"] | None = None,
    weights: Real[ArrayLike, "..."] | None = None,
    reduction: Reduction = "mean",
) -> Float[Array, "..."]:
    r"""Probability that a neighbor, drawn at random but rather a near one, has another label.

    .. math::
        \ell_i = \frac{\sum_{k:\, y_k \ne y_i} e^{-d_{ik}^2 / \tau}}
            {\sum_{j \ne i} e^{-d_{ij}^2 / \tau}}

    Known as neighborhood components analysis. Its logarithmic sibling
    :func:`soft_nearest_neighbor` still has a slope where nearly all neighbors are wrong. An
    embedding whose label is unique in the batch does not count. The unreduced shape is ``batch``.

    Args:
        labels: which class an embedding is of: any integers.
        temperature: :math:`\tau`, positive; the paper learns the scale of the embeddings instead.
        where, weights, reduction: see :func:`jaxloss.core.reducing.reduce`; embeddings that do not
            exist are nobody's neighbors.

    Example:
        >>> embeddings = jnp.array([[0.0], [1.0], [-1.0]])
        >>> nca(embeddings, jnp.array([0, 0, 1]), reduction="none")
        Array([0.5       , 0.04742587, 0.        ], dtype=float32)

    Reference:
        Goldberger et al., "Neighbourhood Components Analysis", 2004.
    """
    name = "nca"
    odds, some = _odds_of_others(name, embeddings, labels, temperature, where)
    return reduce(name, jax.nn.sigmoid(odds), some, weights, reduction)


@compiled("reduction")
def soft_nearest_neighbor(
    embeddings: Real[ArrayLike, "batch features"],
    labels: Int[ArrayLike, " batch"],
    *,
    temperature: Scalar = 1.0,
    where: Bool[ArrayLike, " #batch"] | None = None,
    weights: Real[ArrayLike, "..."] | None = None,
    reduction: Reduction = "mean",
) -> Float[Array, "..."]:
    r"""Minus the log-probability that a neighbor, rather a near one, has the same label.

    .. math::
        \ell_i = -\log \frac{\sum_{j \ne i,\, y_j = y_i} e^{-d_{ij}^2 / \tau}}
            {\sum_{j \ne i} e^{-d_{ij}^2 / \tau}}

    Measures how entangled the classes are; :func:`nca` is one minus that probability. An embedding
    whose label is unique in the batch does not count. The unreduced shape is ``batch``.

    Args:
        labels: which class an embedding is of: any integers.
        temperature: :math:`\tau`, positive; from how far away neighbors count.
        where, weights, reduction: see :func:`jaxloss.core.reducing.reduce`; embeddings that do not
            exist are nobody's neighbors.

    Example:
        >>> embeddings = jnp.array([[0.0], [1.0], [-1.0]])
        >>> soft_nearest_neighbor(embeddings, jnp.array([0, 0, 1]), reduction="none")
        Array([0.6931472 , 0.04858735, 0.        ], dtype=float32)

    Reference:
        Frosst, Papernot & Hinton, "Analyzing and Improving Representations with the Soft Nearest
        Neighbor Loss", 2019.
    """
    name = "soft_nearest_neighbor"
    odds, some = _odds_of_others(name, embeddings, labels, temperature, where)
    return reduce(name, jax.nn.softplus(odds), some, weights, reduction)


@compiled("reduction")
def margin(
    embeddings: Real[ArrayLike, "batch features"],
    labels: Int[ArrayLike, " batch"],
    *,
    boundary: Scalar = 1.2,
    margin: Scalar = 0.2,
    where: Bool[ArrayLike, " #batch"] | None = None,
    weights: Real[ArrayLike, "..."] | None = None,
    reduction: Reduction = "mean",
) -> Float[Array, "..."]:
    r"""How far each distance is from lying on its side of a boundary, by a margin.

    .. math::
        \ell_{ij} = \begin{cases}
            \max(0,\; m + d_{ij} - \beta) & y_j = y_i \\
            \max(0,\; m + \beta - d_{ij}) & y_j \ne y_i
        \end{cases}

    The paper samples negatives evenly over their distances, learns the boundary, and averages over
    pairs that cost something: ``weights`` express the first and the last. The unreduced loss has
    shape (batch, batch), zero for an embedding and itself; the mean runs over all other pairs.

    Args:
        labels: which class an embedding is of: any integers.
        boundary: :math:`\beta`, the distance between what belongs together and what does not.
        margin: :math:`m`, how far from the boundary every distance shall be.
        where, weights, reduction: see :func:`jaxloss.core.reducing.reduce`; ``where`` is over
            embeddings and weights are over pairs.

    Example:
        >>> embeddings = jnp.array([[0.0], [1.5]])
        >>> margin(embeddings, jnp.array([0, 0]), boundary=1.0, margin=1.0)
        Array(1.5, dtype=float32)
        >>> margin(embeddings, jnp.array([0, 1]), boundary=1.0, margin=1.0)
        Array(0.5, dtype=float32)

    Reference:
        Wu et al., "Sampling Matters in Deep Embedding Learning", 2017.
    """
    name = "margin"
    vectors, alike, different = grouped(name, embeddings, labels, where)
    beyond = distances(vectors, vectors) - boundary
    loss = jax.nn.relu(margin + jnp.where(alike, beyond, -beyond))
    return reduce(name, loss, alike | different, weights, reduction)


@compiled("reduction")
def lifted_structure(
    embeddings: Real[ArrayLike, "batch features"],
    labels: Int[ArrayLike, " batch"],
    *,
    margin: Scalar = 1.0,
    where: Bool[ArrayLike, " #batch"] | None = None,
    weights: Real[ArrayLike, "..."] | None = None,
    reduction: Reduction = "mean",
) -> Float[Array, "..."]:
    r"""How much closer than a pair, by a margin, are the nearest others of either of the two.

    For each ordered pair :math:`i \ne j` with the same label:

    .. math::
        \ell_{ij} = \frac12 \max\Big(0,\; d_{ij} + \log \Big[
            \sum_{k:\, y_k \ne y_i} e^{m - d_{ik}} + \sum_{k:\, y_k \ne y_i} e^{m - d_{jk}}
        \Big]\Big)^2

    The logarithm is a smooth stand-in for the nearest other. The unreduced loss has shape
    (batch, batch), anchors by positives: zero except for positive pairs, over which the mean runs.

    Args:
        labels: which class an embedding is of: any integers.
        margin: :math:`m`, how much farther away all others shall be.
        where, weights, reduction: see :func:`jaxloss.core.reducing.reduce`; ``where`` is over
            embeddings and weights are over pairs.

    Example:
        >>> embeddings = jnp.array([[0.0], [2.0], [1.0]])
        >>> lifted_structure(embeddings, jnp.array([0, 0, 1]))  # (2 + log 2)^2 / 2
        Array(3.6265..., dtype=float32)

    Reference:
        Song et al., "Deep Metric Learning via Lifted Structured Feature Embedding", 2016.
    """
    name = "lifted_structure"
    vectors, alike, different = grouped(name, embeddings, labels, where)
    apart = distances(vectors, vectors)
    alone = ~different.any(-1, keepdims=True)  # then so is its partner
    near = jnp.where(alone[:, 0], 0, log_total(margin - apart, different))
    excess = jax.nn.relu(apart + jnp.logaddexp(near[:, None], near[None, :]))
    loss = jnp.where(alone, 0, excess * excess / 2)
    return reduce(name, loss, alike, weights, reduction)


@compiled("reduction")
def generalized_lifted_structure(
    embeddings: Real[ArrayLike, "batch features"],
    labels: Int[ArrayLike, " batch"],
    *,
    margin: Scalar = 1.0,
    where: Bool[ArrayLike, " #batch"] | None = None,
    weights: Real[ArrayLike, "..."] | None = None,
    reduction: Reduction = "mean",
) -> Float[Array, "..."]:
    r"""How much closer than the farthest partners, by a margin, are the nearest others.

    .. math::
        \ell_i = \max\Big(0,\; \log \sum_{j \ne i,\, y_j = y_i} e^{d_{ij}}
            + \log \sum_{k:\, y_k \ne y_i} e^{m - d_{ik}} \Big)

    All partners of an embedding at once, where :func:`lifted_structure` takes them one by one. An
    embedding whose label is unique in the batch does not count. The unreduced shape is ``batch``.

    Args:
        labels: which class an embedding is of: any integers.
        margin: :math:`m`, how much farther away all others shall be.
        where, weights, reduction: see :func:`jaxloss.core.reducing.reduce`; embeddings that do not
            exist are no partners or negatives.

    Example:
        >>> embeddings = jnp.array([[0.0], [2.0], [1.0]])
        >>> generalized_lifted_structure(embeddings, jnp.array([0, 0, 1]), reduction="none")
        Array([2., 2., 0.], dtype=float32)

    Reference:
        Hermans, Beyer & Leibe, "In Defense of the Triplet Loss for Person Re-Identification", 2017.
    """
    name = "generalized_lifted_structure"
    vectors, alike, different = grouped(name, embeddings, labels, where)
    apart = distances(vectors, vectors)
    some = alike.any(-1)
    far = jnp.where(some, log_total(apart, alike), 0)
    loss = jax.nn.relu(far + log_total(margin - apart, different))
    return reduce(name, loss, some, weights, reduction)


def _odds_of_others(
    name: str,
    embeddings: ArrayLike,
    labels: ArrayLike,
    temperature: Scalar,
    where: ArrayLike | None,
) -> tuple[Float[Array, " batch"], Bool[Array, " batch"]]:
    """The log-odds that a neighbor has another label, and whether any has the same one."""
    vectors, alike, different = grouped(name, embeddings, labels, where)
    temperature = check_positive(name, "temperature", temperature)
    apart = squared_distances(vectors, vectors) / temperature
    near = -jnp.minimum(apart, float(jnp.finfo(apart.dtype).max))
    some = alike.any(-1)
    partners = jnp.where(some, log_total(near, alike), 0)
    return log_total(near, different) - partners, some
