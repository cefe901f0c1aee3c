"""Losses and class weights for labels of which some are far rarer than others.

Weights go into any loss over classes as ``weights=class_weights[labels]``; as the mean divides by
their sum, their scale does not change the learning rate.
"""

import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Bool, Float, Int, Real

from jaxloss.core.checks import (
    check_not_negative,
    poison_unless_class,
    require_integer,
    require_real,
    require_shape,
)
from jaxloss.core.classes import is_label, label_nll
from jaxloss.core.compiling import compiled
from jaxloss.core.inputs import Scalar, at_least_float32, labeled, masked, promoted, selection
from jaxloss.core.reducing import Reduction, reduce


@compiled("classes")
def class_counts(
    labels: Int[ArrayLike, "*batch"],
    *,
    classes: int,
    where: Bool[ArrayLike, "*#batch"] | None = None,
) -> Float[Array, " classes"]:
    """How often each class occurs among the labels.

    Counts of several batches add up. A label outside [0, ``classes``) makes all counts NaN.

    Args:
        classes: how many classes there are.
        where: which labels exist.

    Example:
        >>> class_counts(jnp.array([0, 2, 2, -100]), classes=3, where=jnp.array([1, 1, 1, 0]) == 1)
        Array([1., 0., 2.], dtype=float32)
    """
    labels = jnp.asarray(labels)
    require_integer("class_counts", labels=labels)
    selected = selection("class_counts", where, labels.shape)
    poison = poison_unless_class("class_counts", masked(labels, selected), classes)
    absent = classes  # a bin of its own
    index = masked(labels, selected, fill=absent).clip(0, absent).reshape(-1)
    counts = at_least_float32(jnp.bincount(index, length=classes + 1)[:classes])
    return counts * poison.min(initial=1)


@compiled()
def inverse_frequency_weights(counts: Real[ArrayLike, " classes"]) -> Float[Array, " classes"]:
    r"""Weights that make every class count the same in total.

    .. math::
        w_c = \frac{\sum_k n_k}{C\, n_c}

    An absent class has weight 0 and is not among the :math:`C`.

    Args:
        counts: how often each class occurs, as from :func:`class_counts`.

    Example:
        >>> inverse_frequency_weights(jnp.array([6, 2, 0]))
        Array([0.6666667, 2.       , 0.       ], dtype=float32)

    Reference:
        King and Zeng, "Logistic Regression in Rare Events Data", 2001.
    """
    present, counts = _occurring("inverse_frequency_weights", counts)
    total = jnp.where(present, counts, 0).sum()
    return jnp.where(present, total / (present.sum().astype(counts.dtype) * counts), 0)


@compiled()
def effective_number_weights(
    counts: Real[ArrayLike, " classes"], *, volume: Scalar = 1000.0
) -> Float[Array, " classes"]:
    r"""Weights inverse to how many distinct examples a class has effectively shown.

    .. math::
        w_c \propto \frac{1 - \beta}{1 - \beta^{n_c}}, \qquad \beta = 1 - \frac1N,
        \qquad \sum_c w_c = C

    Between no weighting (:math:`N = 1`) and :func:`inverse_frequency_weights`
    (:math:`N \to \infty`). An absent class has weight 0 and is not among the :math:`C`.

    Args:
        counts: how often each class occurs, as from :func:`class_counts`.
        volume: :math:`N`, how many distinct examples a class has to show; at least 1. The paper
            gives :math:`\beta`: its 0.9999 is a volume of 10 000.

    Example:
        >>> effective_number_weights(jnp.array([1000, 10, 0]), volume=100.0)
        Array([0.1745..., 1.8254..., 0...], dtype=float32)

    Reference:
        Cui et al., "Class-Balanced Loss Based on Effective Number of Samples", 2019.
    """
    present, counts = _occurring("effective_number_weights", counts)
    one = volume == 1
    overlap = jnp.where(one, -jnp.inf, jnp.log1p(-1 / jnp.where(one, 2, volume)))
    rarity = jnp.where(present, -1 / jnp.expm1(overlap * counts), 0)
    classes, total = present.sum().astype(counts.dtype), rarity.sum()
    return rarity * (classes / jnp.where(total == 0, 1, total))


@compiled("reduction")
def logit_adjusted_cross_entropy(
    logits: Float[ArrayLike, "*batch classes"],
    labels: Int[ArrayLike, "*batch"],
    counts: Real[ArrayLike, " classes"],
    *,
    scale: Scalar = 1.0,
    where: Bool[ArrayLike, "*#batch"] | None = None,
    weights: Real[ArrayLike, "..."] | None = None,
    reduction: Reduction = "mean",
) -> Float[Array, "..."]:
    r"""Cross-entropy in which a frequent class starts with a lead that it must not learn.

    .. math::
        \ell = -\log \frac{n_y^\tau e^{z_y}}{\sum_c n_c^\tau e^{z_c}}

    What the logits learn is then right for balanced classes: at test time take their plain argmax.
    At ``scale`` 1, also known as balanced softmax, this minimizes the balanced error; at 0 it is
    the plain cross-entropy. The unreduced shape is ``*batch``.

    Args:
        counts: how often each class occurs in training, or in any proportion to it. A class that
            never occurs is excluded.
        scale: :math:`\tau`, how strongly the frequencies count.
        where, weights, reduction: see :func:`jaxloss.core.reducing.reduce`. A label whose
            ``where`` is false may hold any integer; any other label outside [0, C) gives NaN.

    Example:
        >>> logits, labels = jnp.zeros((2, 2)), jnp.array([0, 1])
        >>> counts = jnp.array([90, 10])
        >>> jnp.exp(-logit_adjusted_cross_entropy(logits, labels, counts, reduction="none"))
        Array([0.9       , 0.09999999], dtype=float32)

    Reference:
        Menon et al., "Long-Tail Learning via Logit Adjustment", 2021.
    """
    name = "logit_adjusted_cross_entropy"
    scores, labels, poison = labeled(name, logits, labels, where)
    require_shape(name, scores.shape[-1:], wanted="one count per class", counts=counts)
    scores, counts = promoted(scores, counts)
    present, counts = _occurring(name, counts)
    prior = jnp.where(present, scale * jnp.log(counts), -jnp.inf)
    adjusted = scores + jnp.broadcast_to(prior, scores.shape)
    return reduce(name, label_nll(adjusted, labels) * poison, where, weights, reduction)


@compiled("reduction")
def ldam(
    logits: Float[ArrayLike, "*batch classes"],
    labels: Int[ArrayLike, "*batch"],
    counts: Real[ArrayLike, " classes"],
    *,
    margin: Scalar = 0.5,
    scale: Scalar = 30.0,
    where: Bool[ArrayLike, "*#batch"] | None = None,
    weights: Real[ArrayLike, "..."] | None = None,
    reduction: Reduction = "mean",
) -> Float[Array, "..."]:
    r"""Cross-entropy that asks a wider margin of rarer classes.

    .. math::
        \ell = -\log \frac{e^{s (z_y - \Delta_y)}}
                          {e^{s (z_y - \Delta_y)} + \sum_{c \ne y} e^{s z_c}},
        \qquad \Delta_c = m \left( \frac{\min_k n_k}{n_c} \right)^{1/4}

    Label-distribution-aware margin. The margin is in the unit of the logits, which the authors
    keep in [-1, 1]: cosines of features and class vectors. Train the last part of a run with
    class weights as well ("deferred re-weighting"). The unreduced shape is ``*batch``.

    Args:
        counts: how often each class occurs in training, or in any proportion to it. A class that
            never occurs is taken for as rare as the rarest.
        margin: :math:`m`, the margin of the rarest class.
        scale: :math:`s`, which sharpens the softmax.
        where, weights, reduction: see :func:`jaxloss.core.reducing.reduce`. A label whose
            ``where`` is false may hold any integer; any other label outside [0, C) gives NaN.

    Example:
        >>> logits, counts = jnp.array([[1.0, 0.0], [0.0, 1.0]]), jnp.array([16, 1])
        >>> ldam(logits, jnp.array([0, 1]), counts, scale=1.0, reduction="none")
        Array([0.3868..., 0.4740...], dtype=float32)

    Reference:
        Cao et al., "Learning Imbalanced Datasets with Label-Distribution-Aware Margin Loss", 2019.
    """
    scores, labels, poison = labeled("ldam", logits, labels, where)
    require_shape("ldam", scores.shape[-1:], wanted="one count per class", counts=counts)
    scores, counts = promoted(scores, counts)
    present, counts = _occurring("ldam", counts)
    rarest = jnp.where(present, counts, jnp.inf).min()
    margins = margin * jnp.where(present, rarest / counts, 1) ** 0.25
    demanded = jnp.where(is_label(scores, labels), margins[labels][..., None], 0)
    loss = label_nll(scale * (scores - demanded), labels)
    return reduce("ldam", loss * poison, where, weights, reduction)


def _occurring(
    name: str, counts: Real[ArrayLike, " classes"]
) -> tuple[Bool[Array, " classes"], Float[Array, " classes"]]:
    """Which classes occur, and how often; 1 in place of 0, so that it may be divided by."""
    require_real(name, counts=counts)
    counts = check_not_negative(name, "counts", at_least_float32(counts))
    present = counts > 0
    return present, jnp.where(present, counts, 1)
