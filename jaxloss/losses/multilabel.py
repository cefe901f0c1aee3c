"""Losses on several yes-or-no answers that are looked at together: labels that may hold at once.

One answer by itself is ``classification.sigmoid_cross_entropy``, or with many more noes than yeses
``imbalance.sigmoid_asymmetric``; every yes against every no is ``class_margin.multilabel_margin``.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Bool, Float, Real

from jaxloss.core.checks import check_not_negative, check_unit_interval
from jaxloss.core.compiling import compiled
from jaxloss.core.inputs import Scalar, masked, rows, selection
from jaxloss.core.ratios import share
from jaxloss.core.reducing import Reduction, reduce
from jaxloss.core.summing import row_sum


@compiled("reduction")
def zlpr(
    logits: Float[ArrayLike, "*batch classes"],
    targets: Real[ArrayLike, "*batch classes"],
    *,
    where: Bool[ArrayLike, "*#batch"] | None = None,
    weights: Real[ArrayLike, "..."] | None = None,
    reduction: Reduction = "mean",
) -> Float[Array, "..."]:
    r"""Cross-entropies of a threshold at zero among the yeses, and among the noes.

    .. math::
        \ell = \log \Bigl( 1 + \sum_c t_c\, e^{-z_c} \Bigr)
             + \log \Bigl( 1 + \sum_c (1 - t_c)\, e^{z_c} \Bigr)

    Zero-bounded log-sum-exp and pairwise rank-based: pushes the classes that hold above 0 and the
    others below, the worst of each most. However many classes there are, none needs a weight: the
    softmax for a number of labels that is not known. The unreduced shape is ``*batch``.

    Args:
        targets: 0 or 1; soft values in between are allowed.
        where, weights, reduction: see :func:`jaxloss.core.reducing.reduce`.

    Example:
        >>> zlpr(jnp.zeros(4), jnp.array([1, 0, 0, 0]))  # log 2 + log 4
        Array(2.0794415, dtype=float32)

    Reference:
        Su et al., "ZLPR: A Novel Loss for Multi-label Classification", 2022.
    """
    score, actual = rows("zlpr", where, logits=logits, targets=targets)
    actual = check_unit_interval("zlpr", "targets", actual)
    yes, no = _exponentials(actual, -score), _exponentials(1 - actual, score)
    return reduce("zlpr", _log1p(*yes) + _log1p(*no), where, weights, reduction)


@compiled("reduction")
def multi_positive_cross_entropy(
    logits: Float[ArrayLike, "*batch classes"],
    targets: Real[ArrayLike, "*batch classes"],
    *,
    where: Bool[ArrayLike, "*#batch"] | None = None,
    weights: Real[ArrayLike, "..."] | None = None,
    reduction: Reduction = "mean",
) -> Float[Array, "..."]:
    r"""Softened largest amount by which a class that does not hold leads one that does.

    .. math::
        \ell = \log \Bigl( 1 + \sum_{i,j} t_i\, (1 - t_j)\, e^{z_j - z_i} \Bigr)

    With one class that holds the softmax cross-entropy; as that, it asks for an order only, where
    :func:`zlpr` has a threshold. Zero if all classes hold, or none. The unreduced shape is
    ``*batch``.

    Args:
        targets: 0 or 1; soft values in between are allowed.
        where, weights, reduction: see :func:`jaxloss.core.reducing.reduce`.

    Example:
        >>> multi_positive_cross_entropy(jnp.zeros(4), jnp.array([1, 1, 0, 0]))  # log 5
        Array(1.609438, dtype=float32)

    Reference:
        Sun et al., "Circle Loss: A Unified Perspective of Pair Similarity Optimization", 2020.
    """
    name = "multi_positive_cross_entropy"
    score, actual = rows(name, where, logits=logits, targets=targets)
    actual = check_unit_interval(name, "targets", actual)
    (yes, least), (no, most) = _exponentials(actual, -score), _exponentials(1 - actual, score)
    return reduce(name, _log1p(yes * no, least + most), where, weights, reduction)


@compiled("reduction")
def f_measure(
    probabilities: Float[ArrayLike, "*batch items"],
    targets: Real[ArrayLike, "*batch items"],
    *,
    recall_weight: Scalar = 1.0,
    where: Bool[ArrayLike, "*#batch #items"] | None = None,
    weights: Real[ArrayLike, "..."] | None = None,
    reduction: Reduction = "mean",
) -> Float[Array, "..."]:
    r"""One minus the F-measure of each row, of which the answers count by their probability.

    .. math::
        \ell = 1 - F_\beta
             = \frac{\beta^2\, FN + FP}{(1 + \beta^2)\, TP + \beta^2\, FN + FP}, \\
        TP = \sum_i p_i t_i, \quad FP = \sum_i p_i (1 - t_i), \quad FN = \sum_i (1 - p_i)\, t_i

    Of probabilities of shape (examples, classes) this is the mean over examples; ``f_measure(p.T,
    t.T)`` is the macro average, over classes, and ``f_measure(p.ravel(), t.ravel())`` the micro
    average. Soft F1, sigmoid F1. A row without a yes, in truth and prediction, is perfect. The
    unreduced shape is ``*batch``.

    Args:
        targets: 0 or 1; soft values in between are allowed.
        recall_weight: :math:`\beta`, how many times as much recall counts as precision.
        where: the answers that count. A row without any does not count.
        weights, reduction: see :func:`jaxloss.core.reducing.reduce`; they act on rows.

    Example:
        >>> f_measure(jnp.array([1.0, 0.0, 1.0, 0.0]), jnp.array([1, 1, 0, 0]))
        Array(0.5, dtype=float32)

    Reference:
        Bénédict et al., "sigmoidF1: A Smooth F1 Score Surrogate Loss for Multilabel
        Classification", 2021.
    """
    name = "f_measure"
    p, actual = rows(name, None, probabilities=probabilities, targets=targets)
    selected = selection(name, where, p.shape)
    p = check_unit_interval(name, "probabilities", masked(p, selected))
    actual = check_unit_interval(name, "targets", masked(actual, selected))
    recall = jnp.square(check_not_negative(name, "recall_weight", recall_weight)).astype(p.dtype)
    missed, false = row_sum((1 - p) * actual), row_sum(p * (1 - actual))
    loss = share(recall * missed + false, (1 + recall) * row_sum(p * actual))
    exists = None if selected is None else selected.any(-1)
    return reduce(name, loss, exists, weights, reduction)


def _exponentials(
    weight: Float[Array, "*batch classes"], x: Float[Array, "*batch classes"]
) -> tuple[Float[Array, "*batch"], Float[Array, "*batch"]]:
    """A weighted sum of exponentials, divided by that of the largest; and the largest, or 0."""
    counted = weight > 0
    top = jax.lax.stop_gradient(jnp.where(counted, x, -jnp.inf).max(-1, initial=-jnp.inf))
    top = jnp.where(jnp.isneginf(top), 0, top)
    endless = jnp.isinf(top)[..., None]
    lead = x - jnp.where(endless, 0, top[..., None])
    # Without a weight x may be far above the top: it has a slope in the weight, but no infinite.
    lead = jnp.where(counted, lead, jnp.minimum(lead, 80))
    lead = jnp.where(endless, jnp.where(x == top[..., None], 0, -jnp.inf), lead)
    return row_sum(weight * jnp.exp(lead)), top


def _log1p(scaled: Float[Array, "*batch"], top: Float[Array, "*batch"]) -> Float[Array, "*batch"]:
    """``log(1 + scaled * e^top)``."""
    x = scaled * jnp.exp(jnp.minimum(top, 80))
    high = (top > 0) & (x > 1)
    rest = jnp.exp(-jnp.where(high, top, 0))
    far = jnp.where(high, top, 0) + jnp.log(jnp.where(high, rest + scaled, 1))
    return jnp.where(high, far, jnp.log1p(jnp.where(high, 0, x)))
