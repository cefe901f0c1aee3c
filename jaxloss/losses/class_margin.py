"""Losses on the margin between the right class, or classes, and the wrong ones.

No probabilities: only the order of the logits matters, and by how much. Where several wrong classes
tie for the lead, they share the gradient evenly; where the right one has reached what is asked of
it, exactly or by more, the gradient is zero.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Bool, Float, Int, Real

from jaxloss.core.checks import check_positive, check_unit_interval
from jaxloss.core.classes import is_label, pick, times
from jaxloss.core.compiling import compiled
from jaxloss.core.exponentials import difference
from jaxloss.core.inputs import Scalar, at_least_float32, labeled, rows
from jaxloss.core.reducing import Reduction, reduce


@compiled("reduction")
def multiclass_perceptron(
    logits: Float[ArrayLike, "*batch classes"],
    labels: Int[ArrayLike, "*batch"],
    *,
    where: Bool[ArrayLike, "*#batch"] | None = None,
    weights: Real[ArrayLike, "..."] | None = None,
    reduction: Reduction = "mean",
) -> Float[Array, "..."]:
    r"""By how much another class leads the label.

    .. math::
        \ell = \max_c z_c - z_y

    A :func:`multiclass_hinge` without a margin: logits that are all equal learn nothing. The
    unreduced shape is ``*batch``.

    Args:
        where, weights, reduction: see :func:`jaxloss.core.reducing.reduce`. A label whose
            ``where`` is false may hold any integer; any other label outside [0, C) gives NaN.

    Example:
        >>> logits = jnp.array([[2.0, 1.5, 0.0], [2.0, 1.5, 0.0]])
        >>> multiclass_perceptron(logits, jnp.array([0, 1]), reduction="none")
        Array([0. , 0.5], dtype=float32)

    Reference:
        Collins, "Discriminative Training Methods for Hidden Markov Models: Theory and Experiments
        with Perceptron Algorithms", 2002.
    """
    name = "multiclass_perceptron"
    logits, labels, poison = labeled(name, logits, labels, where)
    loss = jax.nn.relu(_strongest_rival(logits, labels))
    return reduce(name, loss * poison, where, weights, reduction)


@compiled("reduction")
def multiclass_hinge(
    logits: Float[ArrayLike, "*batch classes"],
    labels: Int[ArrayLike, "*batch"],
    *,
    margin: Scalar = 1.0,
    where: Bool[ArrayLike, "*#batch"] | None = None,
    weights: Real[ArrayLike, "..."] | None = None,
    reduction: Reduction = "mean",
) -> Float[Array, "..."]:
    r"""How far the label is from leading every other class by a margin.

    .. math::
        \ell = \max\!\Big( 0,\; m + \max_{c \ne y} z_c - z_y \Big)

    Only the strongest rival counts; in :func:`weston_watkins` all do. The unreduced shape is
    ``*batch``.

    Args:
        margin: :math:`m`, the lead from which on nothing is lost; positive.
        where, weights, reduction: see :func:`jaxloss.core.reducing.reduce`. A label whose
            ``where`` is false may hold any integer; any other label outside [0, C) gives NaN.

    Example:
        >>> logits = jnp.array([[2.0, 1.5, 0.0], [2.0, 1.5, 0.0]])
        >>> multiclass_hinge(logits, jnp.array([0, 1]), reduction="none")
        Array([0.5, 1.5], dtype=float32)

    Reference:
        Crammer and Singer, "On the Algorithmic Implementation of Multiclass Kernel-based Vector
        Machines", 2001.
    """
    name = "multiclass_hinge"
    logits, labels, poison = labeled(name, logits, labels, where)
    loss = jax.nn.relu(margin + _strongest_rival(logits, labels))
    return reduce(name, loss * poison, where, weights, reduction)


@compiled("reduction")
def weston_watkins(
    logits: Float[ArrayLike, "*batch classes"],
    labels: Int[ArrayLike, "*batch"],
    *,
    margin: Scalar = 1.0,
    power: Scalar = 1.0,
    where: Bool[ArrayLike, "*#batch"] | None = None,
    weights: Real[ArrayLike, "..."] | None = None,
    reduction: Reduction = "mean",
) -> Float[Array, "..."]:
    r"""How far the label is from leading each of the other classes by a margin.

    .. math::
        \ell = \frac1C \sum_{c \ne y} \max(0,\; m + z_c - z_y)^p

    Also known as the multi-margin loss. The paper has no factor :math:`1/C`; with it the scale
    of the loss does not grow with the number of classes. The unreduced shape is ``*batch``.

    Args:
        margin: :math:`m`, the lead from which on nothing is lost; positive.
        power: :math:`p`, 1 for a linear and 2 for a quadratic price; positive.
        where, weights, reduction: see :func:`jaxloss.core.reducing.reduce`. A label whose
            ``where`` is false may hold any integer; any other label outside [0, C) gives NaN.

    Example:
        >>> logits = jnp.array([[2.0, 1.5, 1.5], [2.0, 1.5, 0.0]])
        >>> weston_watkins(logits, jnp.array([0, 1]), reduction="none")
        Array([0.33333334, 0.5       ], dtype=float32)

    Reference:
        Weston and Watkins, "Support Vector Machines for Multi-Class Pattern Recognition", 1999.
    """
    name = "weston_watkins"
    logits, labels, poison = labeled(name, logits, labels, where)
    power = check_positive(name, "power", power)
    score = at_least_float32(pick(logits, labels))[..., None]
    short = margin + difference(at_least_float32(logits), score)
    charged = (short > 0) & ~is_label(logits, labels)
    loss = jnp.where(charged, jnp.where(charged, short, 1) ** power, 0).sum(-1) / logits.shape[-1]
    return reduce(name, loss * poison, where, weights, reduction)


@compiled("reduction")
def multilabel_margin(
    logits: Float[ArrayLike, "*batch classes"],
    targets: Real[ArrayLike, "*batch classes"],
    *,
    margin: Scalar = 1.0,
    where: Bool[ArrayLike, "*#batch"] | None = None,
    weights: Real[ArrayLike, "..."] | None = None,
    reduction: Reduction = "mean",
) -> Float[Array, "..."]:
    r"""How far each class that applies is from leading each that does not by a margin.

    .. math::
        \ell = \frac1C \sum_{j,\, k} t_j (1 - t_k) \max(0,\; m + z_k - z_j)

    The time grows with the square of the number of classes. An example to which no class applies,
    or every one, costs nothing. The unreduced shape is ``*batch``.

    Args:
        targets: 1 for each class that applies, 0 for the others; soft values in between are
            allowed.
        margin: :math:`m`, the lead from which on nothing is lost; positive.
        where, weights, reduction: see :func:`jaxloss.core.reducing.reduce`.

    Example:
        >>> logits = jnp.array([[2.0, 1.5, 0.0]])
        >>> multilabel_margin(logits, jnp.array([[0, 1, 1]]))  # (1.5 + 3) / 3
        Array(1.5, dtype=float32)

    Reference:
        Elisseeff and Weston, "A Kernel Method for Multi-Labelled Classification", 2001.
    """
    name = "multilabel_margin"
    scores, actual = rows(name, where, logits=logits, targets=targets)
    actual = check_unit_interval(name, "targets", actual)
    short = jax.nn.relu(margin + difference(scores[..., None, :], scores[..., :, None]))
    pairs = times(actual[..., :, None] * (1 - actual[..., None, :]), short)
    loss = pairs.sum((-2, -1)) / max(scores.shape[-1], 1)
    return reduce(name, loss, where, weights, reduction)


def _strongest_rival(
    logits: Float[Array, "*batch classes"], labels: Int[Array, "*batch"]
) -> Float[Array, "*batch"]:
    """By how much the strongest other class leads the label; ``-inf`` if there is no other."""
    rivals = jnp.where(is_label(logits, labels), -jnp.inf, logits).max(-1)
    return difference(at_least_float32(rivals), at_least_float32(pick(logits, labels)))
