"""Losses that pull together vectors of the same thing and push apart those of others."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Bool, Float, Int, Real

from jaxloss.core.checks import (
    check_positive,
    require_integer,
    require_rank,
    require_real,
    require_shape,
)
from jaxloss.core.compiling import compiled
from jaxloss.core.inputs import Scalar, at_least_float32, masked, same_shape, selection
from jaxloss.core.reducing import Reduction, reduce
from jaxloss.core.vectors import distance, normalized


@compiled("swap", "reduction")
def triplet(
    anchors: Real[ArrayLike, "*batch features"],
    positives: Real[ArrayLike, "*batch features"],
    negatives: Real[ArrayLike, "*batch features"],
    *,
    margin: Scalar = 1.0,
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
    unreduced loss has shape ``batch``.

    Args:
        margin: :math:`m`, how much farther away the negative shall be.
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
    near, far = distance(anchor, positive), distance(anchor, negative)
    if swap:
        far = jnp.minimum(far, distance(positive, negative))
    # relu, since the gradient of jnp.maximum at a tie is one half
    return reduce("triplet", jax.nn.relu(near - far + margin), where, weights, reduction)


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
    require_rank(
        "nt_xent", 2, wanted="of shape (batch, features)", exact=True, embeddings=embeddings
    )
    require_real("nt_xent", embeddings=embeddings)
    require_integer("nt_xent", labels=labels)
    vectors, things = at_least_float32(embeddings), jnp.asarray(labels)
    batch = vectors.shape[:1]
    require_shape("nt_xent", batch, wanted="one per embedding:", labels=things)
    temperature = check_positive("nt_xent", "temperature", temperature)

    exists = selection("nt_xent", where, batch)
    vectors = normalized(masked(vectors, exists))
    # an accelerator's default keeps some three digits, of numbers about to grow by 1/temperature
    similarity = jnp.matmul(vectors, vectors.T, precision="highest") / temperature

    same = things[:, None] == things[None, :]
    positive, negative = same & ~jnp.eye(batch[0], dtype=bool), ~same
    if exists is not None:
        both = exists[:, None] & exists[None, :]
        positive, negative = positive & both, negative & both

    # a row without negatives gets all as stand-ins, so that its logarithm is not one of zero
    any_negative = negative.any(-1, keepdims=True)
    rivals = jax.nn.logsumexp(similarity, -1, where=negative | ~any_negative, keepdims=True)
    loss = jnp.where(any_negative, jax.nn.softplus(rivals - similarity), 0)
    return reduce("nt_xent", loss, positive, weights, reduction)
