"""Losses between axis-aligned boxes, as in detection, and the matrices of their similarity.

A box is all its minima and then all its maxima: ``x1 y1 x2 y2`` in the plane, ``x1 y1 z1 x2 y2 z2``
in space. The units do not matter. A side whose maximum lies below its minimum counts as having no
length and lying at the minimum; its maximum has no gradient, and ``checkify`` reports it.

Where boxes have no area the ratios are 0/0. An axis along which both boxes are one and the same
point is left out, so equal boxes have IoU 1 even if they are points, and two segments on one line
have the IoU of their lengths. Otherwise the IoU of boxes without area is 0.

Nothing below subtracts areas: the hull of two boxes is cut into pieces, which are only added up.
So boxes that nearly coincide keep their small loss, and equal boxes cost exactly zero.
"""

import functools
import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Bool, Float, Real

from jaxloss.core.checks import require_rank, require_real
from jaxloss.core.compiling import compiled
from jaxloss.core.inputs import at_least_float32, masked, same_shape, selection
from jaxloss.core.preconditions import check
from jaxloss.core.ratios import magnitude, share
from jaxloss.core.reducing import Reduction, reduce


@compiled("reduction")
def iou(
    boxes: Real[ArrayLike, "*batch coordinates"],
    target_boxes: Real[ArrayLike, "*batch coordinates"],
    *,
    where: Bool[ArrayLike, "*#batch"] | None = None,
    weights: Real[ArrayLike, "..."] | None = None,
    reduction: Reduction = "mean",
) -> Float[Array, "..."]:
    r"""One minus the intersection over union of each box and its target.

    .. math::
        \ell = 1 - \frac{|A \cap B|}{|A \cup B|}

    In [0, 1]. Boxes that do not touch cost 1 at any distance, with gradient zero: start with
    :func:`giou` or :func:`diou`. For boxes of any dimension; the unreduced loss has shape
    ``batch``.

    Args:
        boxes, target_boxes: all minima, then all maxima.
        where, weights, reduction: see :func:`jaxloss.core.reducing.reduce`.

    Example:
        >>> iou(jnp.array([0.0, 0.0, 4.0, 2.0]), jnp.array([1.0, 0.0, 2.0, 2.0]))
        Array(0.75, dtype=float32)

    Reference:
        Yu et al., "UnitBox: An Advanced Object Detection Network", 2016, who take -log IoU.
    """
    first, second = matched("iou", boxes, target_boxes, where)
    return reduce("iou", iou_distance(first, second), where, weights, reduction)


@compiled("reduction")
def giou(
    boxes: Real[ArrayLike, "*batch coordinates"],
    target_boxes: Real[ArrayLike, "*batch coordinates"],
    *,
    where: Bool[ArrayLike, "*#batch"] | None = None,
    weights: Real[ArrayLike, "..."] | None = None,
    reduction: Reduction = "mean",
) -> Float[Array, "..."]:
    r"""IoU loss plus how much of the hull, the smallest box around both, neither box fills.

    .. math::
        \ell = 1 - \frac{|A \cap B|}{|A \cup B|} + \frac{|C| - |A \cup B|}{|C|}
        \qquad C = \operatorname{hull}(A, B)

    In [0, 2]. Unlike :func:`iou` it draws distant boxes together, if slowly, by first enlarging
    them. For boxes of any dimension; the unreduced loss has shape ``batch``.

    Args:
        boxes, target_boxes: all minima, then all maxima.
        where, weights, reduction: see :func:`jaxloss.core.reducing.reduce`.

    Example:
        >>> giou(jnp.array([0.0, 0.0, 1.0, 1.0]), jnp.array([3.0, 0.0, 4.0, 1.0]))
        Array(1.5, dtype=float32)

    Reference:
        Rezatofighi et al., "Generalized Intersection over Union: A Metric and A Loss for Bounding
        Box Regression", 2019.
    """
    first, second = matched("giou", boxes, target_boxes, where)
    return reduce("giou", giou_distance(first, second), where, weights, reduction)


@compiled("reduction")
def diou(
    boxes: Real[ArrayLike, "*batch coordinates"],
    target_boxes: Real[ArrayLike, "*batch coordinates"],
    *,
    where: Bool[ArrayLike, "*#batch"] | None = None,
    weights: Real[ArrayLike, "..."] | None = None,
    reduction: Reduction = "mean",
) -> Float[Array, "..."]:
    r"""IoU loss plus the squared distance of the centers over the squared diagonal of the hull.

    .. math::
        \ell = 1 - \frac{|A \cap B|}{|A \cup B|} + \frac{\lVert a - b \rVert^2}{c^2}

    with :math:`a` and :math:`b` the centers and :math:`c` the diagonal of the smallest box around
    both. In [0, 2]. It moves distant boxes straight towards each other, where :func:`giou` first
    enlarges them. For boxes of any dimension; the unreduced loss has shape ``batch``.

    Args:
        boxes, target_boxes: all minima, then all maxima.
        where, weights, reduction: see :func:`jaxloss.core.reducing.reduce`.

    Example:
        >>> diou(jnp.array([0.0, 0.0, 1.0, 1.0]), jnp.array([2.0, 0.0, 3.0, 1.0]))
        Array(1.4, dtype=float32)

    Reference:
        Zheng et al., "Distance-IoU Loss: Faster and Better Learning for Bounding Box Regression",
        2020.
    """
    first, second = matched("diou", boxes, target_boxes, where)
    return reduce("diou", diou_distance(first, second), where, weights, reduction)


@compiled("reduction")
def ciou(
    boxes: Real[ArrayLike, "*batch coordinates"],
    target_boxes: Real[ArrayLike, "*batch coordinates"],
    *,
    where: Bool[ArrayLike, "*#batch"] | None = None,
    weights: Real[ArrayLike, "..."] | None = None,
    reduction: Reduction = "mean",
) -> Float[Array, "..."]:
    r"""Distance-IoU loss plus a penalty for a different aspect ratio.

    .. math::
        \ell = 1 - \frac{|A \cap B|}{|A \cup B|} + \frac{\lVert a - b \rVert^2}{c^2} + \alpha v
        \qquad
        v = \frac{4}{\pi^2} \Bigl(\arctan\frac{w_A}{h_A} - \arctan\frac{w_B}{h_B}\Bigr)^2
        \qquad
        \alpha = \frac{v}{1 - |A \cap B| / |A \cup B| + v}

    with the centers :math:`a, b`, widths :math:`w` and heights :math:`h` of the boxes and the
    diagonal :math:`c` of the hull. As in the authors' code, the gradient takes :math:`\alpha` for
    a constant, so it is not the derivative of the value. The later gate, :math:`\alpha = 0` at an
    IoU below 1/2, is left out. In [0, 3), for boxes in the plane; a box that is a point has any
    aspect ratio, and :math:`v = 0`. The unreduced loss has shape ``batch``.

    Args:
        boxes, target_boxes: all minima, then all maxima.
        where, weights, reduction: see :func:`jaxloss.core.reducing.reduce`.

    Example:
        >>> ciou(jnp.array([0.0, 0.0, 2.0, 2.0]), jnp.array([0.5, 0.0, 1.5, 2.0]))
        Array(0.50324816, dtype=float32)

    Reference:
        Zheng et al., "Distance-IoU Loss: Faster and Better Learning for Bounding Box Regression",
        2020; with the gate "Enhancing Geometric Factors in Model Learning and Inference for Object
        Detection and Instance Segmentation", 2021.
    """
    require_planar("ciou", boxes=boxes, target_boxes=target_boxes)
    first, second = matched("ciou", boxes, target_boxes, where)
    return reduce("ciou", ciou_distance(first, second), where, weights, reduction)


@compiled()
def pairwise_iou(
    boxes: Real[ArrayLike, "*batch rows coordinates"],
    other_boxes: Real[ArrayLike, "*batch columns coordinates"],
) -> Float[Array, "*batch rows columns"]:
    """Intersection over union of each box with each other box: one minus :func:`iou`.

    Example:
        >>> boxes = jnp.array([[0.0, 0.0, 2.0, 2.0], [0.0, 0.0, 1.0, 2.0]])
        >>> pairwise_iou(boxes, boxes)
        Array([[1. , 0.5],
               [0.5, 1. ]], dtype=float32)
    """
    return 1 - iou_distance(*paired("pairwise_iou", boxes, other_boxes))


@compiled()
def pairwise_giou(
    boxes: Real[ArrayLike, "*batch rows coordinates"],
    other_boxes: Real[ArrayLike, "*batch columns coordinates"],
) -> Float[Array, "*batch rows columns"]:
    """Generalized IoU, in [-1, 1], of each box with each other box: one minus :func:`giou`.

    Example:
        >>> boxes = jnp.array([[0.0, 0.0, 1.0, 1.0], [3.0, 0.0, 4.0, 1.0]])
        >>> pairwise_giou(boxes, boxes)
        Array([[ 1. , -0.5],
               [-0.5,  1. ]], dtype=float32)
    """
    return 1 - giou_distance(*paired("pairwise_giou", boxes, other_boxes))


@compiled()
def pairwise_diou(
    boxes: Real[ArrayLike, "*batch rows coordinates"],
    other_boxes: Real[ArrayLike, "*batch columns coordinates"],
) -> Float[Array, "*batch rows columns"]:
    """Distance-IoU, in [-1, 1], of each box with each other box: one minus :func:`diou`.

    Example:
        >>> boxes = jnp.array([[0.0, 0.0, 1.0, 1.0], [1.0, 1.0, 2.0, 2.0]])
        >>> pairwise_diou(boxes, boxes)
        Array([[ 1.  , -0.25],
               [-0.25,  1.  ]], dtype=float32)
    """
    return 1 - diou_distance(*paired("pairwise_diou", boxes, other_boxes))


@compiled()
def pairwise_ciou(
    boxes: Real[ArrayLike, "*batch rows coordinates"],
    other_boxes: Real[ArrayLike, "*batch columns coordinates"],
) -> Float[Array, "*batch rows columns"]:
    """Complete IoU, in (-2, 1], of each box with each other box: one minus :func:`ciou`.

    Example:
        >>> boxes = jnp.array([[0.0, 0.0, 2.0, 2.0], [0.5, 0.0, 1.5, 2.0]])
        >>> pairwise_ciou(boxes, boxes)
        Array([[1.        , 0.49675184],
               [0.49675184, 1.        ]], dtype=float32)
    """
    require_planar("pairwise_ciou", boxes=boxes, other_boxes=other_boxes)
    return 1 - ciou_distance(*paired("pairwise_ciou", boxes, other_boxes))


class Box(NamedTuple):
    """Boxes by their two extreme corners, the axes of space first."""

    low: Float[Array, "axes ..."]
    high: Float[Array, "axes ..."]


class Pieces(NamedTuple):
    """The lengths, or volumes, of the pieces into which two boxes cut their hull.

    They belong to ``both`` boxes, the ``first`` only, the ``second`` only, or ``neither``.
    """

    both: Float[Array, "*shape"]
    first: Float[Array, "*shape"]
    second: Float[Array, "*shape"]
    neither: Float[Array, "*shape"]


def matched(
    name: str,
    boxes: ArrayLike,
    target_boxes: ArrayLike,
    where: Bool[ArrayLike, "*#batch"] | None,
) -> tuple[Box, Box]:
    """The boxes and their targets; all points at the origin where ``where`` is false."""
    predicted, actual = same_shape(name, boxes=boxes, target_boxes=target_boxes)
    require_coordinates(name, boxes=predicted)
    selected = selection(name, where, predicted.shape[:-1])
    predicted, actual = masked(predicted, selected), masked(actual, selected)
    return corners(name, "boxes", predicted), corners(name, "target_boxes", actual)


def paired(name: str, boxes: ArrayLike, other_boxes: ArrayLike) -> tuple[Box, Box]:
    """Each box with each other box, in matrices."""
    require_real(name, boxes=boxes, other_boxes=other_boxes)
    rows, columns = at_least_float32(boxes), at_least_float32(other_boxes)
    wanted = "of shape (*batch, count, 2 * dimensions)"
    require_rank(name, 2, wanted=wanted, boxes=rows, other_boxes=columns)
    require_coordinates(name, boxes=rows, other_boxes=columns)
    if rows.shape[:-2] + rows.shape[-1:] != columns.shape[:-2] + columns.shape[-1:]:
        raise ValueError(
            f"{name}: boxes and other_boxes must differ in nothing but their count, "
            f"got boxes {rows.shape}, other_boxes {columns.shape}"
        )
    rows, columns = jnp.broadcast_arrays(rows[..., :, None, :], columns[..., None, :, :])
    return corners(name, "boxes", rows), corners(name, "other_boxes", columns)


def require_coordinates(name: str, **arrays: Array) -> None:
    """Raise ``ValueError`` unless the last axis of every array holds minima and maxima."""
    for argument, array in arrays.items():
        if array.ndim == 0 or array.shape[-1] == 0 or array.shape[-1] % 2:
            raise ValueError(
                f"{name}: {argument} must be of shape (*batch, 2 * dimensions), got {array.shape}"
            )


def require_planar(name: str, **arrays: ArrayLike) -> None:
    """Raise ``ValueError`` unless every array holds boxes in the plane."""
    for argument, array in arrays.items():
        if jnp.shape(array)[-1:] != (4,):
            raise ValueError(
                f"{name}: {argument} must be boxes in the plane, of shape (*batch, 4), "
                f"got {jnp.shape(array)}"
            )


def corners(name: str, argument: str, boxes: Float[Array, "*shape coordinates"]) -> Box:
    """The two corners; where the maximum lies below the minimum it is replaced by the minimum."""
    low, high = jnp.split(jnp.moveaxis(boxes, -1, 0), 2)
    high = check(high, high >= low, f"{name}: {argument} must have no maximum below its minimum")
    return Box(low, jnp.where(high < low, low, high))


def hull(first: Box, second: Box) -> Float[Array, "axes ..."]:
    """The sides of the smallest box around both."""
    return jnp.maximum(first.high, second.high) - jnp.minimum(first.low, second.low)


def lengths(first: Box, second: Box) -> Pieces:
    """The pieces along each axis."""
    left, right = second.low - first.low, second.high - first.high
    shared = jnp.minimum(first.high, second.high) - jnp.maximum(first.low, second.low)
    # >=: where boxes touch, or have no length, the derivative is that of boxes which overlap
    meet = shared >= 0
    return Pieces(
        both=jnp.where(meet, shared, 0),
        first=jnp.where(
            meet, jnp.maximum(left, 0) + jnp.maximum(-right, 0), first.high - first.low
        ),
        second=jnp.where(
            meet, jnp.maximum(-left, 0) + jnp.maximum(right, 0), second.high - second.low
        ),
        neither=jnp.where(meet, 0, -shared),
    )


def volumes(first: Box, second: Box) -> Pieces:
    """The pieces in space, in units near the hull, so that they never overflow."""
    extent = hull(first, second)
    both, *others = (piece / magnitude(extent) for piece in lengths(first, second))
    pieces = Pieces(jnp.where(extent == 0, 1, both), *others)
    return functools.reduce(extruded, (Pieces(*axis) for axis in zip(*pieces, strict=True)))


def extruded(base: Pieces, side: Pieces) -> Pieces:
    """The pieces of ``base`` times the pieces of one more ``side``, sorted by who has both."""
    return Pieces(
        both=base.both * side.both,
        first=base.first * (side.both + side.first) + base.both * side.first,
        second=base.second * (side.both + side.second) + base.both * side.second,
        neither=base.neither * sum(side)
        + base.first * (side.second + side.neither)
        + base.second * (side.first + side.neither)
        + base.both * side.neither,
    )


def iou_distance(first: Box, second: Box) -> Float[Array, "*shape"]:
    """One minus the IoU: the pieces of one box only, as a share of the union."""
    both, only_first, only_second, _ = volumes(first, second)
    apart = only_first + only_second
    return share(jnp.where(both + apart == 0, 1, apart), both)


def giou_distance(first: Box, second: Box) -> Float[Array, "*shape"]:
    """The IoU distance plus the share of the hull that neither box fills."""
    both, only_first, only_second, neither = volumes(first, second)
    return iou_distance(first, second) + share(neither, both + only_first + only_second)


def diou_distance(first: Box, second: Box) -> Float[Array, "*shape"]:
    """The IoU distance plus that of the centers, in diagonals of the hull, squared."""
    sides = hull(first, second)
    offset = ((first.low - second.low) + (first.high - second.high)) / 2
    scale = magnitude(sides.max(0, keepdims=True))
    apart, diagonal = (jnp.square(x / scale).sum(0) for x in (offset, sides))
    return iou_distance(first, second) + apart / jnp.where(diagonal == 0, 1, diagonal)


def ciou_distance(first: Box, second: Box) -> Float[Array, "*shape"]:
    """The DIoU distance plus the weighted squared angle between the diagonals of the boxes."""
    one, other = proportions(first), proportions(second)
    # the cross product from differences, which are exactly zero for equal boxes
    sine = (one[0] - other[0]) * other[1] - other[0] * (one[1] - other[1])
    cosine = one[0] * other[0] + one[1] * other[1]
    point = ~(one.any(0) & other.any(0))
    angle = jnp.arctan2(jnp.where(point, 0, sine), jnp.where(point, 1, cosine))
    aspect = jnp.square(angle / (math.pi / 2))
    weight = jax.lax.stop_gradient(share(aspect, iou_distance(first, second)))
    return diou_distance(first, second) + weight * aspect


def proportions(box: Box) -> Float[Array, "axes ..."]:
    """The sides of each box in units near the longest; all zero if it is a point."""
    sides = box.high - box.low
    return sides / magnitude(sides.max(0, keepdims=True))
