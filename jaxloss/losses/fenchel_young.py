"""Cross-entropies of softmaxes that can give a class no probability at all.

Each is zero, with zero gradient, once its label leads by a finite margin. The probabilities are
those of :mod:`jaxloss.core.sparse`, and the gradient is always their distance from the truth.
"""

import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Bool, Float, Int, Real

from jaxloss.core.checks import check_positive, check_unit_interval
from jaxloss.core.classes import times
from jaxloss.core.compiling import compiled
from jaxloss.core.inputs import Scalar, at_least_float32, elements, labeled
from jaxloss.core.reducing import Reduction, reduce
from jaxloss.core.sparse import (
    Mapping,
    entmax15_probabilities,
    entmax_probabilities,
    sparse_nll,
    sparsemax_probabilities,
)


@compiled("reduction")
def sparsemax(
    logits: Float[ArrayLike, "*batch classes"],
    labels: Int[ArrayLike, "*batch"],
    *,
    where: Bool[ArrayLike, "*#batch"] | None = None,
    weights: Real[ArrayLike, "..."] | None = None,
    reduction: Reduction = "mean",
) -> Float[Array, "..."]:
    r"""Half of how much farther the logits are from the label than from their projection.

    .. math::
        \ell = \tfrac12 \| e_y - z \|^2 - \tfrac12 \| p - z \|^2,
        \qquad p = \arg\min_{q \in \Delta} \| q - z \|^2

    Zero once the label leads every other class by 1. The gradient is :math:`p - e_y`, where
    :math:`p` is the distribution nearest to the logits. The unreduced shape is ``*batch``.

    Args:
        where, weights, reduction: see :func:`jaxloss.core.reducing.reduce`. A label whose
            ``where`` is false may hold any integer; any other label outside [0, C) gives NaN.

    Example:
        >>> sparsemax(jnp.array([[0.0, 0.0], [2.0, 0.0]]), jnp.array([0, 0]), reduction="none")
        Array([0.25, 0.  ], dtype=float32)

    Reference:
        Martins and Astudillo, "From Softmax to Sparsemax", 2016.
    """
    loss = _label_loss("sparsemax", sparsemax_probabilities, logits, labels, 2.0, where)
    return reduce("sparsemax", loss, where, weights, reduction)


@compiled("reduction")
def binary_sparsemax(
    logits: Float[ArrayLike, "*shape"],
    targets: Real[ArrayLike, "*shape"],
    *,
    where: Bool[ArrayLike, "*#shape"] | None = None,
    weights: Real[ArrayLike, "..."] | None = None,
    reduction: Reduction = "mean",
) -> Float[Array, "..."]:
    r"""Squared error of a sigmoid made of straight lines, linear where that is flat.

    .. math::
        \ell = (p - t)^2 + (1 - t) \max(0, z - 1) + t \max(0, -z - 1),
        \qquad p = \min\big(1, \max(0, \tfrac{z + 1}{2})\big)

    :func:`sparsemax` of two classes, with logits :math:`z` and 0. Its gradient is :math:`p - t`.
    The unreduced shape is that of ``logits``.

    Args:
        targets: 0 or 1; soft values in between are allowed.
        where, weights, reduction: see :func:`jaxloss.core.reducing.reduce`.

    Example:
        >>> binary_sparsemax(jnp.array([0.0, 3.0, 3.0]), jnp.array([1, 1, 0]), reduction="none")
        Array([0.25, 0.  , 3.  ], dtype=float32)

    Reference:
        Martins and Astudillo, "From Softmax to Sparsemax", 2016.
    """
    name = "binary_sparsemax"
    score, actual = elements(name, where, logits=logits, targets=targets)
    actual = check_unit_interval(name, "targets", actual)
    high, low = score >= 1, score <= -1
    p = jnp.where(high, 1, jnp.where(low, 0, (score + 1) / 2))
    above, under = jnp.where(high, score - 1, 0), jnp.where(low, -score - 1, 0)
    loss = (p - actual) ** 2 + times(1 - actual, above) + times(actual, under)
    return reduce(name, loss, where, weights, reduction)


@compiled("reduction")
def entmax15(
    logits: Float[ArrayLike, "*batch classes"],
    labels: Int[ArrayLike, "*batch"],
    *,
    where: Bool[ArrayLike, "*#batch"] | None = None,
    weights: Real[ArrayLike, "..."] | None = None,
    reduction: Reduction = "mean",
) -> Float[Array, "..."]:
    r"""Loss of the sparse softmax halfway between softmax and sparsemax.

    .. math::
        \ell = \sum_c (p_c - [c = y])\, z_c + \tfrac43 \sum_c \big( p_c - p_c^{3/2} \big),
        \qquad p_c = \max(0, z_c / 2 - \tau)^2

    Exact, by sorting, and faster than :func:`entmax` with ``power`` 1.5. Zero once the label leads
    by 2. The gradient is :math:`p - e_y`. The unreduced shape is ``*batch``.

    Args:
        where, weights, reduction: see :func:`jaxloss.core.reducing.reduce`. A label whose
            ``where`` is false may hold any integer; any other label outside [0, C) gives NaN.

    Example:
        >>> entmax15(jnp.array([[0.0, 0.0], [3.0, 0.0]]), jnp.array([0, 0]), reduction="none")
        Array([0.3905..., 0...], dtype=float32)

    Reference:
        Peters et al., "Sparse Sequence-to-Sequence Models", 2019.
    """
    loss = _label_loss("entmax15", entmax15_probabilities, logits, labels, 1.5, where)
    return reduce("entmax15", loss, where, weights, reduction)


@compiled("reduction")
def entmax(
    logits: Float[ArrayLike, "*batch classes"],
    labels: Int[ArrayLike, "*batch"],
    *,
    power: Scalar = 1.5,
    where: Bool[ArrayLike, "*#batch"] | None = None,
    weights: Real[ArrayLike, "..."] | None = None,
    reduction: Reduction = "mean",
) -> Float[Array, "..."]:
    r"""Loss of a family of softmaxes, sparser the larger the power of their entropy.

    .. math::
        \ell = \sum_c (p_c - [c = y])\, z_c
            + \frac{1}{\alpha (\alpha - 1)} \sum_c \big( p_c - p_c^\alpha \big),
        \qquad p_c = \max\big(0, (\alpha - 1) z_c - \tau\big)^{1 / (\alpha - 1)}

    The softmax cross-entropy at ``power`` 1, :func:`sparsemax` at 2; the power may be learnt. The
    threshold :math:`\tau` is found by bisection and differentiated exactly, by its equation. The
    gradient is :math:`p - e_y`. The unreduced shape is ``*batch``.

    Args:
        power: :math:`\alpha`, of the Tsallis entropy; positive. Below 1, nothing is ever ruled out.
        where, weights, reduction: see :func:`jaxloss.core.reducing.reduce`. A label whose
            ``where`` is false may hold any integer; any other label outside [0, C) gives NaN.

    Example:
        >>> entmax(jnp.array([[0.0, 0.0]]), jnp.array([0]), power=2.0)
        Array(0.25, dtype=float32)

    Reference:
        Peters et al., "Sparse Sequence-to-Sequence Models", 2019.
    """
    loss = _label_loss("entmax", entmax_probabilities, logits, labels, power, where)
    return reduce("entmax", loss, where, weights, reduction)


def _label_loss(
    name: str,
    mapping: Mapping,
    logits: Float[ArrayLike, "*batch classes"],
    labels: Int[ArrayLike, "*batch"],
    power: Scalar,
    where: Bool[ArrayLike, "*#batch"] | None,
) -> Float[Array, "*batch"]:
    scores, labels, poison = labeled(name, logits, labels, where)
    power = check_positive(name, "power", power).astype(at_least_float32(scores).dtype)
    return sparse_nll(mapping, scores, labels, power) * poison
