"""Losses on the overlap of a predicted and a true region, as in segmentation.

All count, softly, the pixels that both regions share (TP) and those that only the predicted (FP) or
only the true one (FN) has, and are zero where FP and FN are. They differ in what they divide by.
"""

from jaxtyping import Array, ArrayLike, Bool, Float, Real

from jaxloss.core.checks import check_unit_interval, require_rank
from jaxloss.core.compiling import compiled
from jaxloss.core.inputs import Scalar, masked, same_shape, selection
from jaxloss.core.ratios import share
from jaxloss.core.reducing import Reduction, reduce


@compiled("reduction")
def tversky(
    probabilities: Float[ArrayLike, "batch *space classes"],
    targets: Real[ArrayLike, "batch *space classes"],
    *,
    fp_weight: Scalar = 0.5,
    fn_weight: Scalar = 0.5,
    smoothing: Scalar = 1.0,
    where: Bool[ArrayLike, "#batch *#space"] | None = None,
    weights: Real[ArrayLike, "..."] | None = None,
    reduction: Reduction = "mean",
) -> Float[Array, "..."]:
    r"""One minus the Tversky index of each class in each example.

    .. math::
        \ell = 1 - \frac{TP + s}{TP + \alpha\, FP + \beta\, FN + s}
        \qquad TP = \sum p\, t \quad FP = \sum p\, (1 - t) \quad FN = \sum (1 - p)\, t

    Raising ``fn_weight`` favors recall, raising ``fp_weight`` precision. Weights of 1/2 give
    :func:`dice` at twice the smoothing, weights of 1 give :func:`jaccard`. The unreduced loss has
    shape (batch, classes).

    Args:
        probabilities: from a softmax, or from sigmoids for overlapping classes. There is at least
            one axis of space; flattened pixels are one.
        targets: 1 inside the region, 0 outside. Values between are allowed, but ``probabilities``
            equal to such targets are not what minimizes the loss.
        fp_weight, fn_weight: :math:`\alpha` and :math:`\beta`, what a false positive and a false
            negative cost; not negative.
        smoothing: :math:`s`, not negative. If it is zero, a class in neither region costs nothing.
        where: the pixels that count. An example without any does not count itself.
        weights, reduction: see :func:`jaxloss.core.reducing.reduce`; they act on the loss per
            example and class, so an array of shape (classes,) weighs the classes.

    Example:
        >>> probabilities = jnp.array([[[0.75], [0.5]]])  # 1 example, 2 pixels, 1 class
        >>> targets = jnp.array([[[1], [0]]])
        >>> tversky(probabilities, targets, fp_weight=0.5, fn_weight=1.0)
        Array(0.22222222, dtype=float32)

    Reference:
        Salehi, Erdogmus & Gholipour, "Tversky loss function for image segmentation using 3D fully
        convolutional deep networks", 2017.
    """
    tp, fp, fn, exists = confusion("tversky", probabilities, targets, where)
    loss = share(fp_weight * fp + fn_weight * fn, tp + smoothing)
    return reduce("tversky", loss, exists, weights, reduction)


@compiled("reduction")
def dice(
    probabilities: Float[ArrayLike, "batch *space classes"],
    targets: Real[ArrayLike, "batch *space classes"],
    *,
    smoothing: Scalar = 1.0,
    where: Bool[ArrayLike, "#batch *#space"] | None = None,
    weights: Real[ArrayLike, "..."] | None = None,
    reduction: Reduction = "mean",
) -> Float[Array, "..."]:
    r"""One minus the Dice coefficient (F1 score) of each class in each example.

    .. math::
        \ell = 1 - \frac{2\, TP + s}{2\, TP + FP + FN + s}
        \qquad TP = \sum p\, t \quad FP = \sum p\, (1 - t) \quad FN = \sum (1 - p)\, t

    The usual loss where classes are rare, since pixels outside both regions do not enter. Without
    smoothing it is a monotone function of :func:`jaccard`, half of it for small errors; weigh the
    errors apart with :func:`tversky`. The unreduced loss has shape (batch, classes).

    Args:
        probabilities, targets, smoothing, where: see :func:`tversky`.
        weights, reduction: see :func:`jaxloss.core.reducing.reduce`; an array of shape (classes,)
            weighs the classes.

    Example:
        Leave the background, class 0, out of the mean:

        >>> probabilities = jnp.array([[[0.25, 0.75], [0.5, 0.5]]])  # 1 example, 2 pixels
        >>> targets = jnp.array([[[0, 1], [1, 0]]])
        >>> dice(probabilities, targets, weights=jnp.array([0.0, 1.0]))
        Array(0.23076923, dtype=float32)

    Reference:
        Milletari, Navab & Ahmadi, "V-Net: Fully Convolutional Neural Networks for Volumetric
        Medical Image Segmentation", 2016, where the sums below the line are of squares; without
        them Drozdzal et al., "The Importance of Skip Connections in Biomedical Image
        Segmentation", 2016.
    """
    tp, fp, fn, exists = confusion("dice", probabilities, targets, where)
    return reduce("dice", share(fp + fn, 2 * tp + smoothing), exists, weights, reduction)


@compiled("reduction")
def jaccard(
    probabilities: Float[ArrayLike, "batch *space classes"],
    targets: Real[ArrayLike, "batch *space classes"],
    *,
    smoothing: Scalar = 1.0,
    where: Bool[ArrayLike, "#batch *#space"] | None = None,
    weights: Real[ArrayLike, "..."] | None = None,
    reduction: Reduction = "mean",
) -> Float[Array, "..."]:
    r"""One minus the intersection over union of each class in each example.

    .. math::
        \ell = 1 - \frac{TP + s}{TP + FP + FN + s}
        \qquad TP = \sum p\, t \quad FP = \sum p\, (1 - t) \quad FN = \sum (1 - p)\, t

    For models judged by their mean IoU. It punishes large errors less steeply and small ones more
    than :func:`dice`, of which it is a monotone function without smoothing. The unreduced loss has
    shape (batch, classes).

    Args:
        probabilities, targets, smoothing, where: see :func:`tversky`.
        weights, reduction: see :func:`jaxloss.core.reducing.reduce`; an array of shape (classes,)
            weighs the classes.

    Example:
        >>> probabilities = jnp.array([[[0.75], [0.5]]])  # 1 example, 2 pixels, 1 class
        >>> jaccard(probabilities, jnp.array([[[1], [0]]]))
        Array(0.3, dtype=float32)

    Reference:
        Rahman & Wang, "Optimizing Intersection-Over-Union in Deep Neural Networks for Image
        Segmentation", 2016.
    """
    tp, fp, fn, exists = confusion("jaccard", probabilities, targets, where)
    return reduce("jaccard", share(fp + fn, tp + smoothing), exists, weights, reduction)


def confusion(
    name: str,
    probabilities: ArrayLike,
    targets: ArrayLike,
    where: Bool[ArrayLike, "#batch *#space"] | None,
) -> tuple[
    Float[Array, "batch classes"],
    Float[Array, "batch classes"],
    Float[Array, "batch classes"],
    Bool[Array, "batch 1"] | None,
]:
    """Soft counts of TP, FP and FN, and which examples have a pixel that counts.

    Each is a sum of terms that are not negative: a difference of sums would lose the few errors of
    a good segmentation among its many hits.
    """
    predicted, actual = same_shape(name, probabilities=probabilities, targets=targets)
    wanted = "of shape (batch, *space, classes) with at least one axis of space"
    require_rank(name, 3, wanted=wanted, probabilities=predicted)
    selected = selection(name, where, predicted.shape[:-1])
    predicted, actual = masked(predicted, selected), masked(actual, selected)
    predicted = check_unit_interval(name, "probabilities", predicted)
    actual = check_unit_interval(name, "targets", actual)
    space = tuple(range(1, predicted.ndim - 1))
    tp = (predicted * actual).sum(space)
    fp = (predicted * (1 - actual)).sum(space)
    fn = ((1 - predicted) * actual).sum(space)
    return tp, fp, fn, None if selected is None else selected.any(space)[:, None]
