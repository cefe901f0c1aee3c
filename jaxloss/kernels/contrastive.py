"""Contrastive losses over large batches, whose (batch, batch) similarities never exist all at once.

Each is the loss of the same name in :mod:`jaxloss.losses.contrastive`, or, of :func:`nt_xent`, in
:mod:`jaxloss.losses.pairs`, to the digits of a float32, from a tile of similarities at a time. The
tile is the only temporary memory beyond that of the embeddings. Value and gradient take four matrix
products, also of both directions of CLIP; SigLIP takes three and NT-Xent five. Embeddings that are
bfloat16 are multiplied as they are, and added up and normalized in float32.

The gradient is exact in everything, temperatures and biases too. There is no forward mode and no
second derivative; the loss of the same name has both. Over several devices, see
:func:`jaxloss.distributed.in_ring`.
"""

from typing import Any, NamedTuple, get_args

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Bool, Float, Int, Real

from jaxloss.core.batches import matched, require_batch
from jaxloss.core.checks import (
    check_positive,
    check_unit_interval,
    require_integer,
    require_option,
    require_rank,
    require_real,
    require_shape,
)
from jaxloss.core.compiling import compiled
from jaxloss.core.inputs import Scalar, at_least_float32, masked, selection
from jaxloss.core.reducing import Reduction, reduce, weighed
from jaxloss.core.vectors import leveled
from jaxloss.kernels.sides import Kind, Side, Sum, Tiles
from jaxloss.kernels.tiles import softplus_total, sums

RIVALS = Sum("exponential", "different")
PARTNERS = Sum("exponential", "alike")


@compiled("tile", "reduction")
def clip(
    embeddings: Real[ArrayLike, "batch features"],
    other_embeddings: Real[ArrayLike, "batch features"],
    *,
    temperature: Scalar = 0.07,
    label_smoothing: Scalar | None = None,
    tile: int | Tiles = 1024,
    where: Bool[ArrayLike, " #batch"] | None = None,
    weights: Real[ArrayLike, "..."] | None = None,
    reduction: Reduction = "mean",
) -> Float[Array, "..."]:
    """Tiled :func:`jaxloss.losses.contrastive.clip`, both directions from one tile.

    Args:
        temperature, label_smoothing, where, weights, reduction: as there.
        tile: how many rows of similarities exist at a time.

    Example:
        >>> images = jnp.eye(3)
        >>> clip(images, images, temperature=1.0)
        Array(0.5514447, dtype=float32)
    """
    name = "clip"
    arrays = {"embeddings": embeddings, "other_embeddings": other_embeddings}
    pairs = cosine_pairs(name, where, temperature, **arrays)
    both = (RIVALS, RIVALS._replace(axis=0))
    rows, columns = pairs.rows._replace(exists=pairs.columns.exists), pairs.columns
    there, back = sums(kind(name, both, tile, *arrays.values()), rows, columns)
    loss = (jax.nn.softplus(there - pairs.own) + jax.nn.softplus(back - pairs.own)) / 2
    if label_smoothing is not None:
        share = check_unit_interval(name, "label_smoothing", jnp.asarray(label_smoothing))
        mean = (mean_score(rows, columns) + mean_score(columns, rows)) / 2
        loss += share * (pairs.own - mean)
    return reduce(name, loss, where, weights, reduction)


@compiled("tile", "reduction")
def siglip(
    embeddings: Real[ArrayLike, "batch features"],
    other_embeddings: Real[ArrayLike, "batch features"],
    *,
    temperature: Scalar = 0.1,
    bias: Scalar = -10.0,
    tile: int | Tiles = 1024,
    where: Bool[ArrayLike, " #batch"] | None = None,
    weights: Real[ArrayLike, "..."] | None = None,
    reduction: Reduction = "mean",
) -> Float[Array, "..."]:
    """Tiled :func:`jaxloss.losses.contrastive.siglip`, its gradient made together with its value.

    Args:
        temperature, bias, where, weights, reduction: as there.
        tile: how many rows of logits exist at a time.

    Example:
        >>> images = jnp.eye(3)
        >>> siglip(images, images, temperature=1.0, bias=0.0)
        Array(1.6995561, dtype=float32)
    """
    name = "siglip"
    arrays = {"embeddings": embeddings, "other_embeddings": other_embeddings}
    pairs = cosine_pairs(name, where, temperature, **arrays)
    shift = jnp.broadcast_to(jnp.asarray(bias).astype(pairs.own.dtype), pairs.own.shape)
    rows, columns = pairs.rows, pairs.columns._replace(shift=shift)
    wrong = kind(name, (Sum("softplus", "different"),), tile, *arrays.values())
    right = jax.nn.softplus(-(pairs.own + shift))
    if reduction == "none":
        loss = right + sums(wrong, rows, columns)[0]
        return reduce(name, loss, where, weights, reduction)
    require_option(name, "reduction", reduction, get_args(Reduction))
    _, weight = weighed(name, right, where, weights)
    total = softplus_total(wrong, rows, columns, weight)
    total += reduce(name, right, where, weights, "sum")
    return total if reduction == "sum" else total / nonzero(weight.sum())


@compiled("in_batch", "tile", "reduction")
def info_nce(
    anchors: Real[ArrayLike, "batch features"],
    positives: Real[ArrayLike, "batch features"],
    *,
    temperature: Scalar = 0.07,
    negatives: Real[ArrayLike, "negatives features"] | None = None,
    labels: Int[ArrayLike, " batch"] | None = None,
    in_batch: bool = True,
    tile: int | Tiles = 1024,
    where: Bool[ArrayLike, " #batch"] | None = None,
    weights: Real[ArrayLike, "..."] | None = None,
    reduction: Reduction = "mean",
) -> Float[Array, "..."]:
    """Tiled :func:`jaxloss.losses.contrastive.info_nce`.

    Args:
        temperature, negatives, labels, in_batch, where, weights, reduction: as there.
        tile: how many rows of similarities exist at a time.

    Example:
        >>> anchors = jnp.eye(2)
        >>> info_nce(anchors, anchors, temperature=1.0)
        Array(0.3132617, dtype=float32)
    """
    name = "info_nce"
    if not in_batch and (negatives is None or labels is not None):
        raise ValueError(f"{name}: in_batch=False must come with negatives and without labels")
    pairs = cosine_pairs(name, where, temperature, anchors=anchors, positives=positives)
    rows, columns = (named(name, side, labels) for side in (pairs.rows, pairs.columns))
    arrays = [anchors, positives]
    rivals = []
    if in_batch:
        rivals += sums(kind(name, (RIVALS,), tile, *arrays), rows, columns)
    if negatives is not None:
        require_real(name, negatives=negatives)
        require_rank(name, 2, wanted="(negatives, features)", exact=True, negatives=negatives)
        shape = (*jnp.shape(negatives)[:1], rows.vectors.shape[1])
        require_shape(name, shape, wanted="of as many features,", negatives=negatives)
        others = side_of(at_least_float32(negatives).astype(rows.vectors.dtype), None)
        every = kind(name, (Sum("exponential", "all"),), tile, anchors, negatives)
        rivals += sums(every, rows, others)
    wrong = rivals[0] if len(rivals) == 1 else jnp.logaddexp(*rivals)
    return reduce(name, jax.nn.softplus(wrong - pairs.own), where, weights, reduction)


@compiled("tile", "reduction")
def sampled_softmax(
    anchors: Real[ArrayLike, "batch features"],
    positives: Real[ArrayLike, "batch features"],
    log_probabilities: Real[ArrayLike, " batch"],
    *,
    temperature: Scalar = 1.0,
    labels: Int[ArrayLike, " batch"] | None = None,
    tile: int | Tiles = 1024,
    where: Bool[ArrayLike, " #batch"] | None = None,
    weights: Real[ArrayLike, "..."] | None = None,
    reduction: Reduction = "mean",
) -> Float[Array, "..."]:
    """Tiled :func:`jaxloss.losses.contrastive.sampled_softmax`.

    Args:
        log_probabilities, temperature, labels, where, weights, reduction: as there.
        tile: how many rows of scores exist at a time.

    Example:
        >>> queries, items = jnp.zeros((2, 3)), jnp.ones((2, 3))
        >>> sampled_softmax(queries, items, jnp.log(jnp.array([0.25, 0.75])), reduction="none")
        Array([0.28768206, 1.3862944 ], dtype=float32)
    """
    name = "sampled_softmax"
    anchor, positive, exists = matched(name, where, anchors=anchors, positives=positives)
    require_real(name, log_probabilities=log_probabilities)
    batch, dtype = anchor.shape[:1], anchor.dtype
    require_shape(name, batch, wanted="one per positive,", log_probabilities=log_probabilities)
    shift = -masked(at_least_float32(log_probabilities).astype(dtype), exists)
    temperature = check_positive(name, "temperature", temperature).astype(dtype)
    who = jnp.arange(batch[0], dtype=jnp.int32)
    rows = Side(anchor, jnp.broadcast_to(1 / temperature, batch), None, None, who, who)
    columns = Side(positive, jnp.ones(batch, dtype), shift, exists, who, who)
    own = own_score(rows, columns)
    rows, columns = (named(name, side, labels) for side in (rows, columns))
    (rivals,) = sums(kind(name, (RIVALS,), tile, anchors, positives), rows, columns)
    return reduce(name, jax.nn.softplus(rivals - own), where, weights, reduction)


@compiled("inside", "tile", "reduction")
def supcon(
    embeddings: Real[ArrayLike, "batch features"],
    labels: Int[ArrayLike, " batch"],
    *,
    temperature: Scalar = 0.1,
    inside: bool = False,
    tile: int | Tiles = 1024,
    where: Bool[ArrayLike, " #batch"] | None = None,
    weights: Real[ArrayLike, "..."] | None = None,
    reduction: Reduction = "mean",
) -> Float[Array, "..."]:
    """Tiled :func:`jaxloss.losses.contrastive.supcon`.

    Args:
        labels, temperature, inside, where, weights, reduction: as there.
        tile: how many rows of similarities exist at a time.

    Example:
        >>> embeddings = jnp.array([[1.0, 0.0], [2.0, 0.0], [-1.0, 0.0], [-3.0, 0.0]])
        >>> supcon(embeddings, jnp.array([0, 0, 1, 1]), temperature=1.0)
        Array(0.23954476, dtype=float32)
    """
    name = "supcon"
    rows, columns = labeled_sides(name, embeddings, labels, temperature, where)
    wanted = (RIVALS, PARTNERS, Sum("one", "alike"), Sum("itself", "alike"))
    wanted = wanted[:3] if inside else wanted
    rivals, partners, count, *total = sums(kind(name, wanted, tile, embeddings), rows, columns)
    some, several = count > 0, nonzero(count)
    partners = jnp.where(some, partners, 0)
    loss = jax.nn.softplus(rivals - partners)
    if inside:
        loss += jnp.log(several)
    else:  # of a single partner, the mean is the sum, but for what is rounded
        loss += jnp.where(count > 1, jax.nn.relu(partners - total[0] / several), 0)
    if columns.exists is not None:
        some &= columns.exists
    return reduce(name, loss, some, weights, reduction)


@compiled("tile", "reduction")
def decoupled(
    embeddings: Real[ArrayLike, "batch features"],
    labels: Int[ArrayLike, " batch"],
    *,
    temperature: Scalar = 0.1,
    tile: int | Tiles = 1024,
    where: Bool[ArrayLike, " #batch"] | None = None,
    weights: Real[ArrayLike, "..."] | None = None,
    reduction: Reduction = "mean",
) -> Float[Array, "..."]:
    """Tiled :func:`jaxloss.losses.contrastive.decoupled`.

    Args:
        labels, temperature, where: as there.
        tile: how many rows of similarities exist at a time.
        weights: of anchors, of shape (batch, 1).
        reduction: ``"mean"`` or ``"sum"``; there are as many losses as pairs.

    Example:
        >>> embeddings = jnp.array([[1.0, 0.0], [2.0, 0.0], [0.0, 1.0], [0.0, 3.0]])
        >>> decoupled(embeddings, jnp.array([0, 0, 1, 1]), temperature=1.0)  # log 2 - 1
        Array(-0.30685282, dtype=float32)
    """
    name = "decoupled"
    rows, columns = labeled_sides(name, embeddings, labels, temperature, where)
    wanted = (RIVALS, Sum("one", "alike"), Sum("itself", "alike"))
    rivals, count, total = sums(kind(name, wanted, tile, embeddings), rows, columns)
    none = jnp.isneginf(rivals)
    losses = jnp.where(none, 0, count * jnp.where(none, 0, rivals) - total)
    return reduce_pairs(name, losses, count, columns.exists, weights, reduction)


@compiled("tile", "reduction")
def nt_xent(
    embeddings: Real[ArrayLike, "batch features"],
    labels: Int[ArrayLike, " batch"],
    *,
    temperature: Scalar = 0.1,
    tile: int | Tiles = 1024,
    where: Bool[ArrayLike, " #batch"] | None = None,
    weights: Real[ArrayLike, "..."] | None = None,
    reduction: Reduction = "mean",
) -> Float[Array, "..."]:
    """Tiled :func:`jaxloss.losses.pairs.nt_xent`.

    Args:
        labels, temperature, where: as there.
        tile: how many rows of similarities exist at a time.
        weights: of anchors, of shape (batch, 1).
        reduction: ``"mean"`` or ``"sum"``; there are as many losses as pairs.

    Example:
        >>> embeddings = jnp.array([[1.0, 0.0], [2.0, 0.0], [-1.0, 0.0], [-3.0, 0.0]])
        >>> nt_xent(embeddings, jnp.array([0, 0, 1, 1]), temperature=1.0)
        Array(0.23954476, dtype=float32)
    """
    name = "nt_xent"
    rows, columns = labeled_sides(name, embeddings, labels, temperature, where)
    later = (Sum("excess", "alike"), Sum("one", "alike"), Sum("pull", "alike"))
    wanted = kind(name, (RIVALS,), tile, embeddings)._replace(later=later, dense="pairs.nt_xent")
    losses, count, _ = sums(wanted, rows, columns)
    return reduce_pairs(name, losses, count, columns.exists, weights, reduction)


# From arguments to sides


class Pairs(NamedTuple):
    """Rows and columns of which each row has a column of its own."""

    rows: Side
    columns: Side
    own: Float[Array, " batch"]
    """the score of each row and its column"""


def cosine_pairs(name: str, where: Any, temperature: Scalar, **arrays: Any) -> Pairs:
    """Check, clean and normalize; the scores are cosines over the temperature."""
    one, other, exists = matched(name, where, **arrays)
    columns = side_of(other, exists)
    rows = side_of(one, None)
    temperature = check_positive(name, "temperature", temperature).astype(one.dtype)
    rows = rows._replace(scale=rows.scale / temperature)
    return Pairs(rows, columns, own_score(rows, columns))


def labeled_sides(
    name: str, embeddings: Any, labels: Any, temperature: Scalar, where: Any
) -> tuple[Side, Side]:
    """Embeddings with a label each as rows and as columns."""
    require_batch(name, embeddings=embeddings)
    exists = selection(name, where, jnp.shape(embeddings)[:1])
    vectors = masked(at_least_float32(embeddings), exists)
    columns = named(name, side_of(vectors, exists), labels, wanted="one per embedding:")
    temperature = check_positive(name, "temperature", temperature).astype(vectors.dtype)
    return columns._replace(scale=columns.scale / temperature, exists=None), columns


def side_of(vectors: Float[Array, "batch features"], exists: Bool[Array, " batch"] | None) -> Side:
    """Vectors whose scale makes them one long, each of a thing of its own."""
    vectors, scale = leveled(vectors)
    who = jnp.arange(len(vectors), dtype=jnp.int32)
    return Side(vectors, scale, None, exists, who, who)


def named(name: str, side: Side, labels: Any, *, wanted: str = "one per row,") -> Side:
    """The same of the things that the labels name, if there are any."""
    if labels is None:
        return side
    require_integer(name, labels=labels)
    require_shape(name, side.scale.shape, wanted=wanted, labels=labels)
    return side._replace(things=jnp.asarray(labels))


def kind(name: str, wanted: tuple[Sum, ...], tile: int | Tiles, *arrays: Any) -> Kind:
    """What to add up; bfloat16 vectors are multiplied as such."""
    rows, placed = tile if isinstance(tile, Tiles) else Tiles(tile)
    if rows < 1:
        raise ValueError(f"{name}: tile must be at least 1, got {rows}")
    dtypes = [jnp.result_type(x) for x in arrays]
    half = all(x == jnp.bfloat16 for x in dtypes)
    wide = "float64" if jnp.float64 in dtypes else "float32"
    dtype = "bfloat16" if half else wide
    return Kind(wanted, (), dtype, rows, placed, name, f"contrastive.{name}")


def own_score(rows: Side, columns: Side) -> Float[Array, " batch"]:
    """The score of each row and its own column."""
    own = (rows.vectors * columns.vectors).sum(-1) * rows.scale * columns.scale
    return own if columns.shift is None else own + columns.shift


def mean_score(rows: Side, columns: Side) -> Float[Array, " batch"]:
    """The mean over all columns; those that do not exist are zero."""
    center = (columns.vectors * columns.scale[:, None]).sum(0)
    exists = columns.exists
    count = jnp.asarray(len(columns.scale)) if exists is None else exists.sum()
    mean = center / nonzero(count.astype(center.dtype))
    return jnp.matmul(rows.vectors, mean, precision="highest") * rows.scale


def reduce_pairs(
    name: str,
    totals: Float[Array, " batch"],
    count: Float[Array, " batch"],
    exists: Bool[Array, " batch"] | None,
    weights: Any,
    reduction: Reduction,
) -> Float[Array, ""]:
    """Reduce losses of pairs of which each row already has the sum."""
    require_option(name, "reduction", reduction, get_args(Reduction))
    if reduction == "none":
        dense = "pairs" if name == "nt_xent" else "contrastive"
        raise ValueError(
            f"{name}: reduction must be 'mean' or 'sum' in tiles, got 'none', which is as large as "
            f"all pairs; jaxloss.losses.{dense}.{name} has it"
        )
    where = None if exists is None else exists[:, None]
    total, weight = (x[:, 0] for x in weighed(name, totals[:, None], where, weights))
    result = (weight * total).sum()
    return result if reduction == "sum" else result / nonzero((weight * count).sum())


def nonzero(x: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """``x``, or 1 to divide zero by."""
    return jnp.where(x == 0, 1, x)
