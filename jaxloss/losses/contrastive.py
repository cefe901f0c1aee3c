"""Losses that tell each thing of a batch from all the others.

All examples of a batch meet, so there is exactly one batch axis. Vectors are compared by the cosine
of their angle, unless a loss says otherwise; their lengths then do not matter. For batches whose
(batch, batch) similarities would not fit into memory, :mod:`jaxloss.kernels.contrastive` has the
same losses in tiles.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Bool, Float, Int, Real

from jaxloss.core.batches import cosines, grouped, log_total, matched, partner_nll, products
from jaxloss.core.checks import (
    check_positive,
    check_unit_interval,
    require_integer,
    require_rank,
    require_real,
    require_shape,
)
from jaxloss.core.classes import label_nll, soft_nll
from jaxloss.core.compiling import compiled
from jaxloss.core.inputs import Scalar, at_least_float32, masked
from jaxloss.core.reducing import Reduction, reduce
from jaxloss.core.summing import row_sum
from jaxloss.core.vectors import normalized


@compiled("reduction")
def clip(
    embeddings: Real[ArrayLike, "batch features"],
    other_embeddings: Real[ArrayLike, "batch features"],
    *,
    temperature: Scalar = 0.07,
    label_smoothing: Scalar | None = None,
    where: Bool[ArrayLike, " #batch"] | None = None,
    weights: Real[ArrayLike, "..."] | None = None,
    reduction: Reduction = "mean",
) -> Float[Array, "..."]:
    r"""Cross-entropy of finding the text of each image, and the image of each text, in the batch.

    With :math:`z_{ij}` the cosine of image i and text j over the temperature:

    .. math::
        \ell_i = -\frac12 \log \frac{e^{z_{ii}}}{\sum_j e^{z_{ij}}}
                 -\frac12 \log \frac{e^{z_{ii}}}{\sum_j e^{z_{ji}}}

    One direction alone is :func:`info_nce`. The paper learns the logarithm of the inverse of the
    temperature, and keeps that inverse, the ``logit_scale``, below 100. The unreduced shape is
    ``batch``.

    Args:
        embeddings, other_embeddings: of the images and the texts, or of any two kinds; row i of
            both show the same thing.
        temperature: positive; 0.07 is what the paper begins with.
        label_smoothing: the share of the truth, in [0, 1], spread evenly over all candidates.
        where, weights, reduction: see :func:`jaxloss.core.reducing.reduce`; a pair that does not
            exist is no candidate either.

    Example:
        >>> images = jnp.eye(3)
        >>> clip(images, images, temperature=1.0)
        Array(0.5514447, dtype=float32)

    Reference:
        Radford et al., "Learning Transferable Visual Models From Natural Language Supervision",
        2021.
    """
    name = "clip"
    one, other, exists = matched(
        name, where, embeddings=embeddings, other_embeddings=other_embeddings
    )
    scores = cosines(one, other) / check_positive(name, "temperature", temperature)
    if label_smoothing is None:
        loss = (partner_nll(scores, exists) + partner_nll(scores.T, exists)) / 2
        return reduce(name, loss, where, weights, reduction)
    share = check_unit_interval(name, "label_smoothing", jnp.asarray(label_smoothing))
    present = jnp.ones(len(one), bool) if exists is None else exists
    evenly = present.astype(scores.dtype) / jnp.maximum(present.sum(), 1).astype(scores.dtype)
    targets = (1 - share) * jnp.eye(len(one), dtype=scores.dtype) + share * evenly[None, :]
    scores = jnp.where(present[:, None] == present[None, :], scores, -jnp.inf)
    loss = (soft_nll(scores, targets) + soft_nll(scores.T, targets)) / 2
    return reduce(name, loss, where, weights, reduction)


@compiled("reduction")
def siglip(
    embeddings: Real[ArrayLike, "batch features"],
    other_embeddings: Real[ArrayLike, "batch features"],
    *,
    temperature: Scalar = 0.1,
    bias: Scalar = -10.0,
    where: Bool[ArrayLike, " #batch"] | None = None,
    weights: Real[ArrayLike, "..."] | None = None,
    reduction: Reduction = "mean",
) -> Float[Array, "..."]:
    r"""Cross-entropy of telling, for every image and every text, whether they belong together.

    With :math:`z_{ij}` the cosine of image i and text j over the temperature, plus the bias:

    .. math::
        \ell_i = \log(1 + e^{-z_{ii}}) + \sum_{j \ne i} \log(1 + e^{z_{ij}})

    A sigmoid for each pair where :func:`clip` has a softmax over the batch: no pair needs to know
    of the others. The mean is over images, not over pairs. The unreduced shape is ``batch``.

    Args:
        embeddings, other_embeddings: of the images and the texts, or of any two kinds; row i of
            both show the same thing.
        temperature, bias: of the logits, to be learned; the defaults are what the paper begins
            with. The temperature is positive.
        where, weights, reduction: see :func:`jaxloss.core.reducing.reduce`; a pair that does not
            exist is no negative either.

    Example:
        >>> images = jnp.eye(3)
        >>> siglip(images, images, temperature=1.0, bias=0.0)
        Array(1.6995561, dtype=float32)

    Reference:
        Zhai et al., "Sigmoid Loss for Language Image Pre-Training", 2023.
    """
    name = "siglip"
    one, other, exists = matched(
        name, where, embeddings=embeddings, other_embeddings=other_embeddings
    )
    logits = cosines(one, other) / check_positive(name, "temperature", temperature) + bias
    partner = jnp.eye(len(one), dtype=bool)
    each = jax.nn.softplus(jnp.where(partner, -logits, logits))
    if exists is not None:
        each = jnp.where(exists[None, :], each, 0)
    return reduce(name, row_sum(each), where, weights, reduction)


@compiled("in_batch", "reduction")
def info_nce(
    anchors: Real[ArrayLike, "batch features"],
    positives: Real[ArrayLike, "batch features"],
    *,
    temperature: Scalar = 0.07,
    negatives: Real[ArrayLike, "negatives features"] | None = None,
    labels: Int[ArrayLike, " batch"] | None = None,
    in_batch: bool = True,
    where: Bool[ArrayLike, " #batch"] | None = None,
    weights: Real[ArrayLike, "..."] | None = None,
    reduction: Reduction = "mean",
) -> Float[Array, "..."]:
    r"""Cross-entropy of finding the positive of each anchor among those of all the others.

    With :math:`s` the cosine of two vectors:

    .. math::
        \ell_i = -\log \frac{e^{s(a_i, p_i) / \tau}}
            {\sum_j e^{s(a_i, p_j) / \tau} + \sum_k e^{s(a_i, n_k) / \tau}}

    With hard negatives or without, this is also known as the multiple negatives ranking loss; with
    a queue of negatives and ``in_batch=False`` as that of MoCo; and in both directions as
    :func:`clip`. The unreduced shape is ``batch``.

    Args:
        temperature: :math:`\tau`, positive.
        negatives: more vectors that no anchor belongs to, such as a queue, or mined ones.
        labels: which thing each row shows: any integers. The positives of rows with the same label
            are not taken for each other's negatives. Without it all rows differ.
        in_batch: whether the positives of the other rows are negatives.
        where, weights, reduction: see :func:`jaxloss.core.reducing.reduce`; a positive that does
            not exist is no negative either.

    Example:
        >>> anchors = jnp.eye(2)
        >>> info_nce(anchors, anchors, temperature=1.0)
        Array(0.3132617, dtype=float32)
        >>> info_nce(anchors, anchors, temperature=1.0, negatives=anchors, in_batch=False)
        Array(0.8619948, dtype=float32)

    Reference:
        van den Oord, Li & Vinyals, "Representation Learning with Contrastive Predictive Coding",
        2018; for the queue He et al., "Momentum Contrast for Unsupervised Visual Representation
        Learning", 2020.
    """
    name = "info_nce"
    anchor, positive, exists = matched(name, where, anchors=anchors, positives=positives)
    temperature = check_positive(name, "temperature", temperature)
    if in_batch:
        scores = cosines(anchor, positive) / temperature
    elif negatives is None or labels is not None:
        raise ValueError(f"{name}: in_batch=False must come with negatives and without labels")
    else:
        scores = (normalized(anchor) * normalized(positive)).sum(-1, keepdims=True) / temperature
    if labels is not None:
        scores = jnp.where(_other_of_same(name, labels, scores), -jnp.inf, scores)
    if negatives is not None:
        require_real(name, negatives=negatives)
        require_rank(name, 2, wanted="(negatives, features)", exact=True, negatives=negatives)
        shape = (*jnp.shape(negatives)[:1], anchor.shape[1])
        require_shape(name, shape, wanted="of as many features,", negatives=negatives)
        others = at_least_float32(negatives).astype(anchor.dtype)
        scores = jnp.concatenate([scores, cosines(anchor, others) / temperature], -1)
    if in_batch:
        loss = partner_nll(scores, exists)
    else:
        loss = label_nll(scores, jnp.zeros(len(anchor), jnp.int32))
    return reduce(name, loss, where, weights, reduction)


@compiled("reduction")
def sampled_softmax(
    anchors: Real[ArrayLike, "batch features"],
    positives: Real[ArrayLike, "batch features"],
    log_probabilities: Real[ArrayLike, " batch"],
    *,
    temperature: Scalar = 1.0,
    labels: Int[ArrayLike, " batch"] | None = None,
    where: Bool[ArrayLike, " #batch"] | None = None,
    weights: Real[ArrayLike, "..."] | None = None,
    reduction: Reduction = "mean",
) -> Float[Array, "..."]:
    r"""Softmax cross-entropy over all items, estimated from those that are in the batch.

    .. math::
        \ell_i = -\log \frac{e^{z_{ii}}}{\sum_j e^{z_{ij}}}, \qquad
        z_{ij} = \frac{a_i \cdot p_j}{\tau} - \log q_j

    In a batch of clicks, popular items are negatives more often than others; subtracting the
    logarithm of how often takes that out again. Inner products, not cosines: normalize the vectors
    first if these are wanted. The unreduced shape is ``batch``.

    Args:
        log_probabilities: :math:`\log q_j`, of each positive to be sampled into a batch; finite.
        temperature: :math:`\tau`, positive.
        labels: which item each positive is: any integers. An item that occurs twice is not its own
            negative then.
        where, weights, reduction: see :func:`jaxloss.core.reducing.reduce`; a positive that does
            not exist is no negative either.

    Example:
        The second item comes up three times as often as the first:

        >>> queries, items = jnp.zeros((2, 3)), jnp.ones((2, 3))
        >>> sampled_softmax(queries, items, jnp.log(jnp.array([0.25, 0.75])), reduction="none")
        Array([0.28768206, 1.3862944 ], dtype=float32)

    Reference:
        Yi et al., "Sampling-Bias-Corrected Neural Modeling for Large Corpus Item Recommendations",
        2019.
    """
    name = "sampled_softmax"
    anchor, positive, exists = matched(name, where, anchors=anchors, positives=positives)
    require_real(name, log_probabilities=log_probabilities)
    batch = anchor.shape[:1]
    require_shape(name, batch, wanted="one per positive,", log_probabilities=log_probabilities)
    log_q = masked(at_least_float32(log_probabilities).astype(anchor.dtype), exists)
    scores = products(anchor, positive) / check_positive(name, "temperature", temperature)
    scores -= log_q[None, :]
    if labels is not None:
        scores = jnp.where(_other_of_same(name, labels, scores), -jnp.inf, scores)
    return reduce(name, partner_nll(scores, exists), where, weights, reduction)


@compiled("inside", "reduction")
def supcon(
    embeddings: Real[ArrayLike, "batch features"],
    labels: Int[ArrayLike, " batch"],
    *,
    temperature: Scalar = 0.1,
    inside: bool = False,
    where: Bool[ArrayLike, " #batch"] | None = None,
    weights: Real[ArrayLike, "..."] | None = None,
    reduction: Reduction = "mean",
) -> Float[Array, "..."]:
    r"""Cross-entropy of finding the embeddings of the same label among all others.

    With :math:`z_{ij}` the cosine over the temperature, and :math:`P_i` the others of the label:

    .. math::
        \ell_i = -\frac{1}{|P_i|} \sum_{p \in P_i} \log \frac{e^{z_{ip}}}{\sum_{j \ne i} e^{z_{ij}}}

    Where an embedding has one partner it is :func:`jaxloss.losses.pairs.nt_xent`; with more, these
    compete here. One whose label is unique in the batch does not count. The paper's code multiplies
    by the temperature over a constant. The unreduced shape is ``batch``.

    Args:
        labels: which class an embedding is of: any integers.
        temperature: positive; 0.1 was the best of the paper.
        inside: take the mean over partners inside the logarithm, of the probabilities. The paper
            found that worse: the least similar partners are then hardly pulled.
        where, weights, reduction: see :func:`jaxloss.core.reducing.reduce`; embeddings that do not
            exist are no partners or negatives.

    Example:
        >>> embeddings = jnp.array([[1.0, 0.0], [2.0, 0.0], [-1.0, 0.0], [-3.0, 0.0]])
        >>> supcon(embeddings, jnp.array([0, 0, 1, 1]), temperature=1.0)
        Array(0.23954476, dtype=float32)

    Reference:
        Khosla et al., "Supervised Contrastive Learning", 2020.
    """
    name = "supcon"
    vectors, alike, different = grouped(name, embeddings, labels, where)
    scores = cosines(vectors, vectors) / check_positive(name, "temperature", temperature)
    count = alike.sum(-1).astype(scores.dtype)
    some = jnp.where(count == 0, 1, count)
    if inside:
        rivals = log_total(scores, different)
        partners = jnp.where(count == 0, 0, log_total(scores, alike))
        loss = jnp.log(some) + jax.nn.softplus(rivals - partners)
    else:
        candidates = jnp.where(alike | different, scores, -jnp.inf)
        loss = soft_nll(candidates, jnp.where(alike, (1 / some)[:, None], 0))
    return reduce(name, loss, count > 0, weights, reduction)


@compiled("reduction")
def decoupled(
    embeddings: Real[ArrayLike, "batch features"],
    labels: Int[ArrayLike, " batch"],
    *,
    temperature: Scalar = 0.1,
    where: Bool[ArrayLike, " #batch"] | None = None,
    weights: Real[ArrayLike, "..."] | None = None,
    reduction: Reduction = "mean",
) -> Float[Array, "..."]:
    r"""How much more similar an embedding is to all other things, together, than to its partner.

    For each ordered pair :math:`i \ne j` with the same label, and :math:`s` the cosine similarity:

    .. math::
        \ell_{ij} = -\frac{s_{ij}}{\tau} + \log \sum_{k:\, y_k \ne y_i} e^{s_{ik} / \tau}

    :func:`jaxloss.losses.pairs.nt_xent` without the positive in its denominator, whose gradient
    fades as the pair becomes easy; this one's does not, which helps in small batches. May be
    negative. An anchor without a negative costs nothing. The unreduced loss has shape
    (batch, batch), anchors by positives: zero except for positive pairs, over which the mean runs.

    Args:
        labels: which thing an embedding shows: any integers, the same for all views of one thing.
        temperature: :math:`\tau`, positive.
        where, weights, reduction: see :func:`jaxloss.core.reducing.reduce`; ``where`` is over
            embeddings and weights are over pairs.

    Example:
        >>> embeddings = jnp.array([[1.0, 0.0], [2.0, 0.0], [0.0, 1.0], [0.0, 3.0]])
        >>> decoupled(embeddings, jnp.array([0, 0, 1, 1]), temperature=1.0)  # log 2 - 1
        Array(-0.30685282, dtype=float32)

    Reference:
        Yeh et al., "Decoupled Contrastive Learning", 2022.
    """
    name = "decoupled"
    vectors, alike, different = grouped(name, embeddings, labels, where)
    scores = cosines(vectors, vectors) / check_positive(name, "temperature", temperature)
    rivals = log_total(scores, different)[:, None]
    loss = jnp.where(jnp.isinf(rivals), 0, rivals - scores)
    return reduce(name, loss, alike, weights, reduction)


def _other_of_same(
    name: str, labels: ArrayLike, scores: Float[Array, "batch batch"]
) -> Bool[Array, "batch batch"]:
    """Which candidates are of a row's own label, though not its partner."""
    require_integer(name, labels=labels)
    require_shape(name, scores.shape[:1], wanted="one per row,", labels=labels)
    things = jnp.asarray(labels)
    return (things[:, None] == things[None, :]) & ~jnp.eye(len(things), dtype=bool)
