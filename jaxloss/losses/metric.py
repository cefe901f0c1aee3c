"""Losses on the angles between embeddings with labels, all pairs of a batch at once.

There is exactly one batch axis. Lengths do not matter, but for :func:`n_pairs`. An embedding whose
label is unique in the batch is a negative of the others, but has no loss of its own. For losses on
distances see :mod:`jaxloss.losses.neighbors`.
"""

import math

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Bool, Float, Int, Real

from jaxloss.core.batches import (
    cosines,
    distances,
    grouped,
    log_total,
    matched,
    partner_nll,
    products,
)
from jaxloss.core.checks import check_positive, require_integer, require_shape
from jaxloss.core.classes import soft_nll
from jaxloss.core.compiling import compiled
from jaxloss.core.inputs import Scalar, masked
from jaxloss.core.reducing import Reduction, reduce
from jaxloss.core.vectors import normalized


@compiled("reduction")
def circle(
    embeddings: Real[ArrayLike, "batch features"],
    labels: Int[ArrayLike, " batch"],
    *,
    margin: Scalar = 0.4,
    scale: Scalar = 80.0,
    where: Bool[ArrayLike, " #batch"] | None = None,
    weights: Real[ArrayLike, "..."] | None = None,
    reduction: Reduction = "mean",
) -> Float[Array, "..."]:
    r"""Pulls and pushes each pair the harder, the farther its cosine is from where it should be.

    .. math::
        \ell_i = \log\Big( 1 +
            \sum_n e^{\gamma\, [s_{in} + m]_+ (s_{in} - m)}
            \sum_p e^{-\gamma\, [1 + m - s_{ip}]_+ (s_{ip} - 1 + m)} \Big)

    Over the partners p and all others n of each embedding. The brackets, how far a cosine is from
    its optimum, are held constant in the gradient, as in the paper. Keras leaves out of the mean
    what costs nothing, and differentiates the brackets too. The unreduced shape is ``batch``.

    Args:
        labels: which class an embedding is of: any integers.
        margin: :math:`m`; the cosines of partners shall exceed 1 - m, all others be below m.
        scale: :math:`\gamma`.
        where, weights, reduction: see :func:`jaxloss.core.reducing.reduce`; embeddings that do not
            exist are no partners or negatives.

    Example:
        >>> embeddings = jnp.array([[1.0, 0.0], [0.6, 0.8], [0.0, 1.0]])
        >>> circle(embeddings, jnp.array([0, 0, 1]), scale=1.0, reduction="none")
        Array([0.61634374, 0.96167487, 0.        ], dtype=float32)

    Reference:
        Sun et al., "Circle Loss: A Unified Perspective of Pair Similarity Optimization", 2020.
    """
    name = "circle"
    vectors, alike, different = grouped(name, embeddings, labels, where)
    similarity = cosines(vectors, vectors)
    held = jax.lax.stop_gradient(similarity)
    scale = check_positive(name, "scale", scale)
    apart = -scale * jax.nn.relu(1 + margin - held) * (similarity - 1 + margin)
    near = scale * jax.nn.relu(held + margin) * (similarity - margin)
    some = alike.any(-1)
    pull = jnp.where(some, log_total(apart, alike), 0)
    loss = jax.nn.softplus(log_total(near, different) + pull)
    return reduce(name, loss, some, weights, reduction)


@compiled("reduction")
def multi_similarity(
    embeddings: Real[ArrayLike, "batch features"],
    labels: Int[ArrayLike, " batch"],
    *,
    positive_scale: Scalar = 2.0,
    negative_scale: Scalar = 50.0,
    threshold: Scalar = 0.5,
    mining_margin: Scalar | None = None,
    where: Bool[ArrayLike, " #batch"] | None = None,
    weights: Real[ArrayLike, "..."] | None = None,
    reduction: Reduction = "mean",
) -> Float[Array, "..."]:
    r"""Soft hinge on the least similar partners and on the most similar others.

    .. math::
        \ell_i = \frac1\alpha \log\Big(1 + \sum_p e^{-\alpha (s_{ip} - \lambda)}\Big)
               + \frac1\beta \log\Big(1 + \sum_n e^{\beta (s_{in} - \lambda)}\Big)

    Over the partners p and all others n of each embedding, or those that mining leaves over. The
    unreduced shape is ``batch``.

    Args:
        labels: which class an embedding is of: any integers.
        positive_scale, negative_scale: :math:`\alpha` and :math:`\beta`, positive.
        threshold: :math:`\lambda`, between the cosines of partners and those of all others.
        mining_margin: keep only partners less similar than the most similar other plus this, and
            others more similar than the least similar partner minus this; the paper has 0.1.
            Without it every pair counts.
        where, weights, reduction: see :func:`jaxloss.core.reducing.reduce`; embeddings that do not
            exist are no partners or negatives.

    Example:
        >>> embeddings = jnp.array([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0]])
        >>> multi_similarity(embeddings, jnp.array([0, 0, 1]), reduction="none")
        Array([0.6566309, 0.6566309, 0.       ], dtype=float32)

    Reference:
        Wang et al., "Multi-Similarity Loss with General Pair Weighting for Deep Metric Learning",
        2019.
    """
    name = "multi_similarity"
    vectors, alike, different = grouped(name, embeddings, labels, where)
    similarity = cosines(vectors, vectors)
    some = alike.any(-1)
    if mining_margin is not None:
        least = jnp.where(alike, similarity, jnp.inf).min(-1, keepdims=True)
        most = jnp.where(different, similarity, -jnp.inf).max(-1, keepdims=True)
        alike &= similarity < most + mining_margin
        different &= similarity > least - mining_margin
    gentle = check_positive(name, "positive_scale", positive_scale)
    steep = check_positive(name, "negative_scale", negative_scale)
    pull = log_total(-gentle * (similarity - threshold), alike)
    push = log_total(steep * (similarity - threshold), different)
    loss = jax.nn.softplus(pull) / gentle + jax.nn.softplus(push) / steep
    return reduce(name, loss, some, weights, reduction)


@compiled("reduction")
def tuplet_margin(
    embeddings: Real[ArrayLike, "batch features"],
    labels: Int[ArrayLike, " batch"],
    *,
    margin: Scalar = 0.1,
    scale: Scalar = 64.0,
    where: Bool[ArrayLike, " #batch"] | None = None,
    weights: Real[ArrayLike, "..."] | None = None,
    reduction: Reduction = "mean",
) -> Float[Array, "..."]:
    r"""Cross-entropy of finding a partner among all other things, its angle made a margin easier.

    For each ordered pair :math:`i \ne j` with the same label, at the angle :math:`\theta_{ij}`:

    .. math::
        \ell_{ij} = \log\Big( 1 + \sum_{k:\, y_k \ne y_i}
            e^{\gamma\, (\cos \theta_{ik} - \cos(\theta_{ij} - m))} \Big)

    Without a margin it is :func:`jaxloss.losses.pairs.nt_xent` at temperature :math:`1/\gamma`. The
    margin asks less of each positive, so that the most distant ones, perhaps wrong ones, do not
    reign. The unreduced loss has shape (batch, batch), anchors by positives: zero except for
    positive pairs, over which the mean runs.

    Args:
        labels: which class an embedding is of: any integers.
        margin: :math:`m`, an angle in radians.
        scale: :math:`\gamma`, positive.
        where, weights, reduction: see :func:`jaxloss.core.reducing.reduce`; ``where`` is over
            embeddings and weights are over pairs.

    Example:
        >>> embeddings = jnp.array([[1.0, 0.0], [2.0, 0.0], [0.0, 1.0]])
        >>> tuplet_margin(embeddings, jnp.array([0, 0, 1]), margin=0.0, scale=1.0)
        Array(0.3132617, dtype=float32)

    Reference:
        Yu & Tao, "Deep Metric Learning with Tuplet Margin Loss", 2019.
    """
    name = "tuplet_margin"
    vectors, alike, different = grouped(name, embeddings, labels, where)
    unit = normalized(vectors)
    similarity, margin = products(unit, unit), jnp.asarray(margin).astype(unit.dtype)
    # the sine from both chords, exact also for small angles, at which it has a kink
    sine = distances(unit, unit) * distances(unit, -unit) / 2
    eased = similarity * jnp.cos(margin) + sine * jnp.sin(margin)
    scale = check_positive(name, "scale", scale)
    rivals = log_total(scale * similarity, different)[:, None]
    loss = jax.nn.softplus(rivals - scale * eased)
    return reduce(name, loss, alike, weights, reduction)


@compiled("reduction")
def angular(
    embeddings: Real[ArrayLike, "batch features"],
    labels: Int[ArrayLike, " batch"],
    *,
    angle: Scalar = math.pi / 4,
    where: Bool[ArrayLike, " #batch"] | None = None,
    weights: Real[ArrayLike, "..."] | None = None,
    reduction: Reduction = "mean",
) -> Float[Array, "..."]:
    r"""Bounds the angle at the negative of the triangle it forms with a pair that belongs together.

    For each ordered pair :math:`i \ne j` with the same label, and unit vectors x:

    .. math::
        \ell_{ij} = \log\Big( 1 + \sum_{k:\, y_k \ne y_i} e^{
            4 \tan^2\!\alpha\, (x_i + x_j) \cdot x_k - 2 (1 + \tan^2\!\alpha)\, x_i \cdot x_j}
        \Big)

    Unlike a margin on distances, an angle does not depend on how large the classes are. The
    unreduced loss has shape (batch, batch), anchors by positives: zero except for positive pairs,
    over which the mean runs.

    Args:
        labels: which class an embedding is of: any integers.
        angle: :math:`\alpha`, in radians, positive and below 1.25; the paper has 36 to 55 degrees.
        where, weights, reduction: see :func:`jaxloss.core.reducing.reduce`; ``where`` is over
            embeddings and weights are over pairs.

    Example:
        >>> embeddings = jnp.array([[1.0, 0.0], [2.0, 0.0], [0.0, 1.0]])
        >>> angular(embeddings, jnp.array([0, 0, 1]))  # log(1 + e^-4)
        Array(0.018149..., dtype=float32)

    Reference:
        Wang et al., "Deep Metric Learning with Angular Loss", 2017.
    """
    name = "angular"
    vectors, alike, different = grouped(name, embeddings, labels, where)
    similarity = cosines(vectors, vectors)
    angle = check_positive(name, "angle", angle).astype(similarity.dtype)
    steepness = jnp.tan(angle) ** 2
    # The sum over k of e^(a_ik + a_jk) is a product of matrices, in which no exponent is above 0.
    exponent = 4 * steepness * similarity
    top = jax.lax.stop_gradient(jnp.where(different, exponent, -jnp.inf).max(-1))
    top = jnp.where(jnp.isinf(top), 0, top)
    near = jnp.where(different, jnp.exp(jnp.where(different, exponent - top[:, None], 0)), 0)
    total = products(near, near)
    some = total > 0
    rivals = jnp.log(jnp.where(some, total, 1)) + top[:, None] + top[None, :]
    loss = jax.nn.softplus(rivals - 2 * (1 + steepness) * similarity)
    return reduce(name, jnp.where(some, loss, 0), alike, weights, reduction)


@compiled("reduction")
def n_pairs(
    anchors: Real[ArrayLike, "batch features"],
    positives: Real[ArrayLike, "batch features"],
    *,
    labels: Int[ArrayLike, " batch"] | None = None,
    where: Bool[ArrayLike, " #batch"] | None = None,
    weights: Real[ArrayLike, "..."] | None = None,
    reduction: Reduction = "mean",
) -> Float[Array, "..."]:
    r"""Cross-entropy of finding the positive of each anchor among all, by inner products.

    .. math::
        \ell_i = -\sum_j t_{ij} \log \frac{e^{a_i \cdot p_j}}{\sum_k e^{a_i \cdot p_k}}

    The truth :math:`t_{ij}` is one for j = i, or shared evenly among the positives of the same
    label. Lengths matter here, and the paper keeps them small by adding a multiple of the mean
    squared length to the loss; for cosines see :func:`jaxloss.losses.contrastive.info_nce`. The
    unreduced shape is ``batch``.

    Args:
        labels: which class each row is of: any integers. Without it all rows differ.
        where, weights, reduction: see :func:`jaxloss.core.reducing.reduce`; a positive that does
            not exist is no negative either.

    Example:
        >>> anchors = jnp.eye(2)
        >>> n_pairs(anchors, anchors)
        Array(0.3132617, dtype=float32)

    Reference:
        Sohn, "Improved Deep Metric Learning with Multi-class N-pair Loss Objective", 2016.
    """
    name = "n_pairs"
    anchor, positive, exists = matched(name, where, anchors=anchors, positives=positives)
    scores = products(anchor, positive)
    if labels is None:
        return reduce(name, partner_nll(scores, exists), where, weights, reduction)
    require_integer(name, labels=labels)
    require_shape(name, anchor.shape[:1], wanted="one per row,", labels=labels)
    things = jnp.asarray(labels)
    same = things[:, None] == things[None, :]
    if exists is not None:
        same &= exists[None, :]
        scores = masked(jnp.where(exists[None, :], scores, -jnp.inf), exists)
    count = jnp.maximum(same.sum(-1, keepdims=True), 1).astype(scores.dtype)
    loss = soft_nll(scores, jnp.where(same, 1 / count, 0))
    return reduce(name, loss, where, weights, reduction)
