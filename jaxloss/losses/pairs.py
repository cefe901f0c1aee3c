"""Losses that pull together vectors of the same thing and push apart those of others."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Bool, Float, Int, Real

from jaxloss.core.batches import cosines, grouped, log_total
from jaxloss.core.checks import (
    check_not_negative,
    check_positive,
    check_unit_interval,
    require_rank,
    require_real,
    require_same_shape,
    require_shape,
)
from jaxloss.core.classes import label_nll, times
from jaxloss.core.compiling import compiled
from jaxloss.core.exponentials import difference
from jaxloss.core.inputs import (
    Scalar,
    masked,
    promoted,
    same_shape,
    selection,
)
from jaxloss.core.reducing import Reduction, reduce
from jaxloss.core.vectors import cosine_distance, distance, normalized


@compiled("swap", "reduction")
def triplet(
    anchors: Real[ArrayLike, "*batch features"],
    positives: Real[ArrayLike, "*batch features"],
    negatives: Real[ArrayLike, "*batch features"],
    *,
    margin: Scalar = 1.0,
    power: Scalar | None = None,
    swap: bool = False,
    where: Bool[ArrayLike, "*#batch"] | None = None,
    weights: Real[ArrayLike, "..."] | None = None,
    reduction: Reduction = "mean",
) -> Float[Array, "..."]:
    r"""How much less than a margin the positive is nearer to the anchor than the negative.

    .. math::
        \ell = \max\bigl(\lVert a - p \rVert - \lVert a - n \rVert + m,\; 0\bigr)

    Zero, with zero gradient, once every negative is ``margin`` farther away than its positive. The
    distance is Euclidean and not squared; normalize the vectors first for one on the sphere. The
    unreduced shape is ``*batch``.

    Args:
        margin: :math:`m`, how much farther away the negative shall be.
        power: of the norm, positive: 1 adds up the differences of the features. Without it the norm
            is the Euclidean one, and faster than with a 2.
        swap: take the negative's distance from the anchor or from the positive, whichever is less.
        where, weights, reduction: see :func:`jaxloss.core.reducing.reduce`.

    Example:
        >>> anchors, positives = jnp.array([[0.0, 0.0]]), jnp.array([[0.0, 3.0]])
        >>> triplet(anchors, positives, jnp.array([[3.0, 0.0]]))
        Array(1., dtype=float32)

    Reference:
        Schroff, Kalenichenko & Philbin, "FaceNet: A Unified Embedding for Face Recognition and
        Clustering", 2015; for ``swap`` Balntas et al., "Learning local feature descriptors with
        triplets and shallow convolutional neural networks", 2016.
    """
    anchor, positive, negative = same_shape(
        "triplet", anchors=anchors, positives=positives, negatives=negatives
    )
    require_rank("triplet", 1, wanted="of shape (*batch, features)", anchors=anchor)
    selected = selection("triplet", where, anchor.shape[:-1])
    anchor, positive, negative = (masked(x, selected) for x in (anchor, positive, negative))
    if power is not None:
        power = check_positive("triplet", "power", power)
    near, far = distance(anchor, positive, power), distance(anchor, negative, power)
    if swap:
        far = jnp.minimum(far, distance(positive, negative, power))
    # relu, since the gradient of jnp.maximum at a tie is one half
    return reduce("triplet", jax.nn.relu(near - far + margin), where, weights, reduction)


@compiled("reduction")
def contrastive(
    embeddings: Real[ArrayLike, "*batch features"],
    other_embeddings: Real[ArrayLike, "*batch features"],
    targets: Real[ArrayLike, "*batch"],
    *,
    margin: Scalar = 1.0,
    where: Bool[ArrayLike, "*#batch"] | None = None,
    weights: Real[ArrayLike, "..."] | None = None,
    reduction: Reduction = "mean",
) -> Float[Array, "..."]:
    r"""Squared distance of two vectors that belong together, or what others lack to a margin.

    .. math::
        \ell = \frac t2 d^2 + \frac{1 - t}{2} \max(0,\; m - d)^2, \qquad d = \lVert x - y \rVert

    Pairs that do not belong together are left alone once they are ``margin`` apart. The paper's
    label is the opposite, 0 for a pair that belongs together; some libraries leave out the halves.
    The unreduced shape is ``*batch``.

    Args:
        targets: 1 for a pair that belongs together, 0 for one that does not; soft values in between
            are allowed.
        margin: :math:`m`, the distance from which on two different things are far enough apart.
        where, weights, reduction: see :func:`jaxloss.core.reducing.reduce`.

    Example:
        >>> one, other = jnp.zeros((2, 2)), jnp.array([[0.3, 0.4], [0.3, 0.4]])
        >>> contrastive(one, other, jnp.array([1, 0]), reduction="none")
        Array([0.125, 0.125], dtype=float32)

    Reference:
        Hadsell, Chopra & LeCun, "Dimensionality Reduction by Learning an Invariant Mapping", 2006.
    """
    name = "contrastive"
    one, other, target = _pairs(name, embeddings, other_embeddings, targets, where)
    apart = distance(one, other)
    short = jax.nn.relu(margin - apart)
    loss = (times(target, apart * apart) + (1 - target) * short * short) / 2
    return reduce(name, loss, where, weights, reduction)


@compiled("reduction")
def cosine_embedding(
    embeddings: Real[ArrayLike, "*batch features"],
    other_embeddings: Real[ArrayLike, "*batch features"],
    targets: Real[ArrayLike, "*batch"],
    *,
    margin: Scalar = 0.0,
    where: Bool[ArrayLike, "*#batch"] | None = None,
    weights: Real[ArrayLike, "..."] | None = None,
    reduction: Reduction = "mean",
) -> Float[Array, "..."]:
    r"""Angle between vectors that belong together, or by how much others are closer than a margin.

    .. math::
        \ell = t\, (1 - \cos) + (1 - t) \max(0,\; \cos - m),
        \qquad \cos = \frac{x \cdot y}{\lVert x \rVert \lVert y \rVert}

    The first part alone is :func:`jaxloss.losses.regression.cosine_distance`. A zero vector has no
    direction: its cosine is 0 and so is its gradient. The unreduced shape is ``*batch``.

    Args:
        targets: 1 for a pair that belongs together, 0 for one that does not; soft values in between
            are allowed.
        margin: :math:`m`, the cosine down to which two different things are apart enough;
            in [-1, 1].
        where, weights, reduction: see :func:`jaxloss.core.reducing.reduce`.

    Example:
        >>> one, other = jnp.array([[1.0, 0.0], [1.0, 0.0]]), jnp.array([[3.0, 4.0], [3.0, 4.0]])
        >>> cosine_embedding(one, other, jnp.array([1, 0]), margin=-0.4, reduction="none")
        Array([0.4, 1. ], dtype=float32)

    Reference:
        Collobert et al., "Torch7: A Matlab-like Environment for Machine Learning", 2011.
    """
    name = "cosine_embedding"
    one, other, target = _pairs(name, embeddings, other_embeddings, targets, where)
    cosine = (normalized(one) * normalized(other)).sum(-1)
    loss = target * cosine_distance(one, other) + (1 - target) * jax.nn.relu(cosine - margin)
    return reduce(name, loss, where, weights, reduction)


@compiled("reduction")
def hinge_embedding(
    distances: Real[ArrayLike, "*shape"],
    targets: Real[ArrayLike, "*shape"],
    *,
    margin: Scalar = 1.0,
    where: Bool[ArrayLike, "*#shape"] | None = None,
    weights: Real[ArrayLike, "..."] | None = None,
    reduction: Reduction = "mean",
) -> Float[Array, "..."]:
    r"""Distance of two things that belong together, or what others lack to a margin.

    .. math::
        \ell = t\, d + (1 - t) \max(0,\; m - d)

    For a distance of your own; :func:`contrastive` has the Euclidean one, squared. The unreduced
    shape is that of ``distances``.

    Args:
        distances: :math:`d`, not negative.
        targets: 1 for a pair that belongs together, 0 for one that does not; soft values in between
            are allowed.
        margin: :math:`m`, the distance from which on two different things are far enough apart.
        where, weights, reduction: see :func:`jaxloss.core.reducing.reduce`.

    Example:
        >>> hinge_embedding(jnp.array([0.25, 0.25]), jnp.array([1, 0]), reduction="none")
        Array([0.25, 0.75], dtype=float32)

    Reference:
        Collobert et al., "Torch7: A Matlab-like Environment for Machine Learning", 2011.
    """
    name = "hinge_embedding"
    apart, target = same_shape(name, distances=distances, targets=targets)
    selected = selection(name, where, apart.shape)
    apart = check_not_negative(name, "distances", masked(apart, selected))
    target = check_unit_interval(name, "targets", masked(target, selected))
    loss = times(target, apart) + times(1 - target, jax.nn.relu(margin - apart))
    return reduce(name, loss, where, weights, reduction)


@compiled("reduction")
def margin_ranking(
    scores: Real[ArrayLike, "*shape"],
    other_scores: Real[ArrayLike, "*shape"],
    targets: Real[ArrayLike, "*shape"],
    *,
    margin: Scalar = 0.0,
    where: Bool[ArrayLike, "*#shape"] | None = None,
    weights: Real[ArrayLike, "..."] | None = None,
    reduction: Reduction = "mean",
) -> Float[Array, "..."]:
    r"""How far the score that should be the higher one is from leading by a margin.

    .. math::
        \ell = t \max(0,\; m + o - s) + (1 - t) \max(0,\; m + s - o)

    For pairs that are given; :mod:`jaxloss.losses.pairwise_ranking` forms all pairs of a list. The
    unreduced shape is that of ``scores``.

    Args:
        scores, other_scores: :math:`s` and :math:`o`.
        targets: 1 if ``scores`` should be higher, 0 if ``other_scores`` should; soft values in
            between are allowed.
        margin: :math:`m`, the lead from which on nothing is lost.
        where, weights, reduction: see :func:`jaxloss.core.reducing.reduce`.

    Example:
        >>> scores, other_scores = jnp.array([2.0, 2.0]), jnp.array([1.5, 1.5])
        >>> margin_ranking(scores, other_scores, jnp.array([1, 0]), margin=1.0, reduction="none")
        Array([0.5, 1.5], dtype=float32)

    Reference:
        Herbrich, Graepel & Obermayer, "Large Margin Rank Boundaries for Ordinal Regression", 2000.
    """
    name = "margin_ranking"
    arrays = same_shape(name, scores=scores, other_scores=other_scores, targets=targets)
    selected = selection(name, where, arrays[0].shape)
    score, other, target = (masked(array, selected) for array in arrays)
    target = check_unit_interval(name, "targets", target)
    ahead = jax.nn.relu(margin + difference(other, score))
    behind = jax.nn.relu(margin + difference(score, other))
    loss = times(target, ahead) + times(1 - target, behind)
    return reduce(name, loss, where, weights, reduction)


@compiled("reduction")
def info_nce(
    anchors: Real[ArrayLike, "*batch features"],
    positives: Real[ArrayLike, "*batch features"],
    negatives: Real[ArrayLike, "*batch negatives features"],
    *,
    temperature: Scalar = 0.07,
    where: Bool[ArrayLike, "*#batch"] | None = None,
    weights: Real[ArrayLike, "..."] | None = None,
    reduction: Reduction = "mean",
) -> Float[Array, "..."]:
    r"""Cross-entropy of finding the positive of an anchor among negatives of its own.

    With :math:`s` the cosine of two vectors:

    .. math::
        \ell = -\log \frac{e^{s(a, p) / \tau}}{e^{s(a, p) / \tau} + \sum_k e^{s(a, n_k) / \tau}}

    :func:`jaxloss.losses.contrastive.info_nce` takes the positives of the other anchors for
    negatives, or vectors that all anchors share. The unreduced shape is ``*batch``.

    Args:
        negatives: any number of vectors for each anchor.
        temperature: :math:`\tau`, positive.
        where, weights, reduction: see :func:`jaxloss.core.reducing.reduce`.

    Example:
        >>> anchors, positives = jnp.array([[1.0, 0.0]]), jnp.array([[2.0, 0.0]])
        >>> negatives = jnp.array([[[0.0, 1.0], [0.0, -3.0]]])
        >>> info_nce(anchors, positives, negatives, temperature=1.0)  # log(1 + 2 / e)
        Array(0.5514447, dtype=float32)

    Reference:
        van den Oord, Li & Vinyals, "Representation Learning with Contrastive Predictive Coding",
        2018.
    """
    name = "info_nce"
    require_real(name, anchors=anchors, positives=positives, negatives=negatives)
    require_rank(name, 1, wanted="of shape (*batch, features)", anchors=anchors)
    require_same_shape(name, anchors=anchors, positives=positives)
    *batch, features = jnp.shape(anchors)
    shape = (*batch, *jnp.shape(negatives)[len(batch) : -1][:1], features)
    require_shape(name, shape, wanted="some for each anchor,", negatives=negatives)
    selected = selection(name, where, tuple(batch))
    anchor, positive, negative = (
        normalized(masked(x, selected)) for x in promoted(anchors, positives, negatives)
    )
    right = (anchor * positive).sum(-1, keepdims=True)
    wrong = jnp.einsum("...f,...nf->...n", anchor, negative, precision="highest")
    scores = jnp.concatenate([right, wrong], -1)
    scores = scores / check_positive(name, "temperature", temperature)
    loss = label_nll(scores, jnp.zeros(batch, jnp.int32))
    return reduce(name, loss, where, weights, reduction)


@compiled("reduction")
def nt_xent(
    embeddings: Real[ArrayLike, "batch features"],
    labels: Int[ArrayLike, " batch"],
    *,
    temperature: Scalar = 0.1,
    where: Bool[ArrayLike, " #batch"] | None = None,
    weights: Real[ArrayLike, "..."] | None = None,
    reduction: Reduction = "mean",
) -> Float[Array, "..."]:
    r"""Cross-entropy of finding an embedding's partner among all embeddings of other things.

    For each ordered pair :math:`i \ne j` with the same label, and :math:`s` the cosine similarity:

    .. math::
        \ell_{ij} = -\log \frac{e^{s_{ij} / \tau}}
            {e^{s_{ij} / \tau} + \sum_{k:\, y_k \ne y_i} e^{s_{ik} / \tau}}

    The denominator holds this one positive, so with more than two views of a thing it differs from
    the supervised contrastive loss, where the other positives compete too. An anchor without a
    negative costs nothing. The unreduced loss has shape (batch, batch), anchors by positives: zero
    except for positive pairs, over which the mean runs.

    Args:
        labels: which thing an embedding shows: any integers, the same for all views of one thing.
        temperature: :math:`\tau`, positive; smaller attends more to the most similar negatives.
            The default was the best for normalized embeddings in the paper's ablation (table 5).
        where: which embeddings exist; the others are no anchors, positives or negatives.
        weights, reduction: see :func:`jaxloss.core.reducing.reduce`; they act on pairs, so an
            array of shape (batch, 1) weighs the anchors.

    Example:
        Two views of each of two things, the views alike and the things opposite:

        >>> embeddings = jnp.array([[1.0, 0.0], [2.0, 0.0], [-1.0, 0.0], [-3.0, 0.0]])
        >>> nt_xent(embeddings, jnp.array([0, 0, 1, 1]), temperature=1.0)
        Array(0.23954476, dtype=float32)

    Reference:
        Chen et al., "A Simple Framework for Contrastive Learning of Visual Representations", 2020.
    """
    vectors, alike, different = grouped("nt_xent", embeddings, labels, where)
    scores = cosines(vectors, vectors) / check_positive("nt_xent", "temperature", temperature)
    rivals = log_total(scores, different)[:, None]
    loss = jax.nn.softplus(rivals - scores)
    return reduce("nt_xent", loss, alike, weights, reduction)


def _pairs(
    name: str,
    embeddings: ArrayLike,
    other_embeddings: ArrayLike,
    targets: ArrayLike,
    where: ArrayLike | None,
) -> tuple[
    Float[Array, "*batch features"], Float[Array, "*batch features"], Float[Array, "*batch"]
]:
    """Check and clean pairs of vectors, and whether they belong together."""
    require_real(name, embeddings=embeddings, other_embeddings=other_embeddings, targets=targets)
    require_rank(name, 1, wanted="of shape (*batch, features)", embeddings=embeddings)
    require_same_shape(name, embeddings=embeddings, other_embeddings=other_embeddings)
    batch = jnp.shape(embeddings)[:-1]
    require_shape(name, batch, wanted="one per pair of vectors,", targets=targets)
    selected = selection(name, where, batch)
    one, other, target = (
        masked(x, selected) for x in promoted(embeddings, other_embeddings, targets)
    )
    return one, other, check_unit_interval(name, "targets", target)
