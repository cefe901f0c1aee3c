"""Losses between two views of the same things, with no labels and mostly without negatives.

What keeps all embeddings from becoming one differs: a target that no gradient flows into, features
that must vary and not repeat each other, or a bonus for being spread. For losses that let the views
choose between prototypes see :mod:`jaxloss.losses.prototypes`.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Bool, Float, Real

from jaxloss.core.batches import matched, require_batch, squared_distances
from jaxloss.core.checks import (
    check_not_negative,
    check_positive,
    require_rank,
)
from jaxloss.core.compiling import compiled
from jaxloss.core.inputs import Scalar, at_least_float32, masked, same_shape, selection
from jaxloss.core.reducing import Reduction, reduce
from jaxloss.core.vectors import cosine_distance, distance, normalized


@compiled("reduction")
def negative_cosine(
    predictions: Real[ArrayLike, "*batch features"],
    targets: Real[ArrayLike, "*batch features"],
    *,
    where: Bool[ArrayLike, "*#batch"] | None = None,
    weights: Real[ArrayLike, "..."] | None = None,
    reduction: Reduction = "mean",
) -> Float[Array, "..."]:
    r"""Minus the cosine of the angle to a target that is held constant.

    .. math::
        \ell = -\frac{p \cdot t}{\|p\| \|t\|}

    No gradient flows into ``targets``. SimSiam takes the mean of both directions, each with the
    prediction head on one side; the loss of BYOL is :math:`2 + 2 \ell`. Where both sides are
    trained, :func:`jaxloss.losses.regression.cosine_distance`. The unreduced shape is ``*batch``.

    Args:
        where, weights, reduction: see :func:`jaxloss.core.reducing.reduce`.

    Example:
        >>> negative_cosine(jnp.array([3.0, 4.0]), jnp.array([2.0, 0.0]))
        Array(-0.6, dtype=float32)

    Reference:
        Chen & He, "Exploring Simple Siamese Representation Learning", 2021; Grill et al.,
        "Bootstrap Your Own Latent: A New Approach to Self-Supervised Learning", 2020.
    """
    name = "negative_cosine"
    require_rank(name, 1, wanted="rows of features", predictions=predictions)
    arrays = same_shape(name, predictions=predictions, targets=targets)
    selected = selection(name, where, arrays[0].shape[:-1])
    predicted, target = (masked(array, selected) for array in arrays)
    loss = -(normalized(predicted) * normalized(jax.lax.stop_gradient(target))).sum(-1)
    return reduce(name, loss, where, weights, reduction)


@compiled("reduction")
def barlow_twins(
    embeddings: Real[ArrayLike, "batch features"],
    other_embeddings: Real[ArrayLike, "batch features"],
    *,
    redundancy_weight: Scalar = 0.005,
    where: Bool[ArrayLike, " #batch"] | None = None,
    weights: Real[ArrayLike, "..."] | None = None,
    reduction: Reduction = "mean",
) -> Float[Array, "..."]:
    r"""How far each feature is from agreeing in both views, and from being unlike all others.

    With :math:`c_{jk}` the correlation over the batch of feature j of one view and k of the other:

    .. math::
        \ell_j = (1 - c_{jj})^2 + \lambda \sum_{k \ne j} c_{jk}^2

    The paper's loss is the sum over features, ``reduction="sum"``. A feature that does not vary is
    correlated with nothing. The unreduced shape is ``features``.

    Args:
        redundancy_weight: :math:`\lambda`, what being correlated with other features costs.
        where: the examples that exist.
        weights, reduction: see :func:`jaxloss.core.reducing.reduce`; they act on features.

    Example:
        >>> views = jnp.array([[1.0, 1.0], [0.0, 1.0], [1.0, 0.0], [0.0, 0.0]])
        >>> barlow_twins(views, views[:, ::-1], reduction="sum")  # the features exchanged
        Array(2.01, dtype=float32)

    Reference:
        Zbontar et al., "Barlow Twins: Self-Supervised Learning via Redundancy Reduction", 2021.
    """
    name = "barlow_twins"
    one, other, exists = matched(
        name, where, embeddings=embeddings, other_embeddings=other_embeddings
    )
    one, other = (normalized(_centered(x, exists).T) for x in (one, other))
    repeated = jnp.square(jnp.matmul(one, other.T, precision="highest"))
    repeated = jnp.where(jnp.eye(len(one), dtype=bool), 0, repeated).sum(-1)
    loss = jnp.square(cosine_distance(one, other)) + redundancy_weight * repeated
    return reduce(name, loss, _any(exists), weights, reduction)


@compiled("reduction")
def vicreg(
    embeddings: Real[ArrayLike, "batch features"],
    other_embeddings: Real[ArrayLike, "batch features"],
    *,
    invariance_weight: Scalar = 25.0,
    variance_weight: Scalar = 25.0,
    covariance_weight: Scalar = 1.0,
    margin: Scalar = 1.0,
    eps: Scalar = 1e-4,
    where: Bool[ArrayLike, " #batch"] | None = None,
    weights: Real[ArrayLike, "..."] | None = None,
    reduction: Reduction = "mean",
) -> Float[Array, "..."]:
    r"""How far two views disagree, features fail to vary, and features repeat each other.

    For feature j, with :math:`C` and :math:`C'` the covariances of the two views over the batch:

    .. math::
        \ell_j = \frac{\lambda}{n} \sum_i (z_{ij} - z'_{ij})^2
            + \sum_{V \in \{C, C'\}} \Big[
                \frac{\mu}{2} \max\big(0,\; \gamma - \sqrt{V_{jj} + \epsilon}\big)
                + \nu \sum_{k \ne j} V_{jk}^2 \Big]

    The mean over features is the loss of the paper's code; its formula has neither the half nor,
    in the first part, the mean over features. The unreduced shape is ``features``.

    Args:
        invariance_weight, variance_weight, covariance_weight: :math:`\lambda`, :math:`\mu` and
            :math:`\nu`.
        margin: :math:`\gamma`, the standard deviation every feature shall have.
        eps: :math:`\epsilon`, added to the variance; not negative.
        where: the examples that exist.
        weights, reduction: see :func:`jaxloss.core.reducing.reduce`; they act on features.

    Example:
        >>> views = jnp.array([[1.0], [-1.0]])
        >>> vicreg(views, 0 * views, eps=0.0)  # 25 for the views, 12.5 for what does not vary
        Array(37.5, dtype=float32)

    Reference:
        Bardes, Ponce & LeCun, "VICReg: Variance-Invariance-Covariance Regularization for
        Self-Supervised Learning", 2022.
    """
    name = "vicreg"
    views = matched(name, where, embeddings=embeddings, other_embeddings=other_embeddings)
    eps = check_not_negative(name, "eps", eps)
    count = _count(views.one, views.exists)
    loss = invariance_weight * jnp.square(views.one - views.other).sum(0) / jnp.maximum(count, 1)
    for view in (views.one, views.other):
        centered = _centered(view, views.exists)
        covariance = jnp.matmul(centered.T, centered, precision="highest")
        covariance = covariance / jnp.maximum(count - 1, 1)
        variance = jnp.square(centered).sum(0) / jnp.maximum(count - 1, 1) + eps
        varies = variance > 0
        deviation = jnp.where(varies, jnp.sqrt(jnp.where(varies, variance, 1)), 0)
        others = jnp.where(jnp.eye(len(covariance), dtype=bool), 0, covariance)
        loss += variance_weight / 2 * jax.nn.relu(margin - deviation)
        loss += covariance_weight * jnp.square(others).sum(-1)
    return reduce(name, loss, _any(views.exists), weights, reduction)


@compiled("reduction")
def alignment(
    anchors: Real[ArrayLike, "*batch features"],
    positives: Real[ArrayLike, "*batch features"],
    *,
    power: Scalar = 2.0,
    where: Bool[ArrayLike, "*#batch"] | None = None,
    weights: Real[ArrayLike, "..."] | None = None,
    reduction: Reduction = "mean",
) -> Float[Array, "..."]:
    r"""Power of the distance of two views of one thing, on the sphere.

    .. math::
        \ell = \Big\lVert \frac{a}{\|a\|} - \frac{p}{\|p\|} \Big\rVert^\alpha

    Minimized together with :func:`uniformity`, without which one point would be best. The
    unreduced shape is ``*batch``.

    Args:
        power: :math:`\alpha`, positive.
        where, weights, reduction: see :func:`jaxloss.core.reducing.reduce`.

    Example:
        >>> alignment(jnp.array([3.0, 0.0]), jnp.array([-5.0, 0.0]))
        Array(4., dtype=float32)

    Reference:
        Wang & Isola, "Understanding Contrastive Representation Learning through Alignment and
        Uniformity on the Hypersphere", 2020.
    """
    name = "alignment"
    require_rank(name, 1, wanted="rows of features", anchors=anchors)
    arrays = same_shape(name, anchors=anchors, positives=positives)
    selected = selection(name, where, arrays[0].shape[:-1])
    anchor, positive = (normalized(masked(array, selected)) for array in arrays)
    apart = distance(anchor, positive)
    power = check_positive(name, "power", power)
    loss = jnp.where(apart > 0, jnp.where(apart > 0, apart, 1) ** power, 0)
    return reduce(name, loss, where, weights, reduction)


@compiled()
def uniformity(
    embeddings: Real[ArrayLike, "batch features"],
    *,
    scale: Scalar = 2.0,
    where: Bool[ArrayLike, " #batch"] | None = None,
) -> Float[Array, ""]:
    r"""Logarithm of how close the embeddings of a batch are to each other, on the sphere.

    .. math::
        \log \frac{1}{n (n - 1)} \sum_{i \ne j} e^{-t\, \lVert x_i - x_j \rVert^2}, \qquad
        \lVert x_i \rVert = 1

    One number for the batch, 0 if all coincide and lower the more evenly they are spread: a mean
    inside a logarithm, so there is nothing to reduce or to weigh. With fewer than two embeddings
    it is 0.

    Args:
        scale: :math:`t`, positive.
        where: the embeddings that exist.

    Example:
        >>> uniformity(jnp.array([[1.0, 0.0], [-2.0, 0.0]]))
        Array(-8., dtype=float32)

    Reference:
        Wang & Isola, "Understanding Contrastive Representation Learning through Alignment and
        Uniformity on the Hypersphere", 2020.
    """
    name = "uniformity"
    require_batch(name, embeddings=embeddings)
    vectors = at_least_float32(embeddings)
    exists = selection(name, where, vectors.shape[:1])
    unit = normalized(masked(vectors, exists))
    near = -check_positive(name, "scale", scale) * squared_distances(unit, unit)
    pairs = ~jnp.eye(len(unit), dtype=bool)
    if exists is not None:
        pairs &= exists[:, None] & exists[None, :]
    count = pairs.sum()
    terms = jnp.where(pairs | (count == 0), near, -jnp.inf)
    total = jax.nn.logsumexp(terms) - jnp.log(jnp.maximum(count, 1).astype(near.dtype))
    return jnp.where(count == 0, 0, total)


def _count(
    x: Float[Array, "batch features"], exists: Bool[Array, " batch"] | None
) -> Float[Array, ""]:
    return jnp.asarray(len(x) if exists is None else exists.sum()).astype(x.dtype)


def _any(exists: Bool[Array, " batch"] | None) -> Bool[Array, ""] | None:
    return None if exists is None else exists.any()


def _centered(
    x: Float[Array, "batch features"], exists: Bool[Array, " batch"] | None
) -> Float[Array, "batch features"]:
    """The features less their means; rows that do not exist stay zero."""
    mean = x.sum(0, keepdims=True) / jnp.maximum(_count(x, exists), 1)
    return masked(x - mean, exists)
