"""Losses on how well a whole batch of predictions agrees with labels in order, against chance."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Bool, Float, Int, Real

from jaxloss.core.checks import check_not_negative, check_positive, require_floating, require_rank
from jaxloss.core.classes import is_label
from jaxloss.core.compiling import compiled
from jaxloss.core.inputs import Scalar, at_least_float32, labeled, selection
from jaxloss.core.reducing import Reduction, reduce
from jaxloss.core.summing import row_sum


@compiled("reduction")
def weighted_kappa(
    probabilities: Float[ArrayLike, "batch classes"],
    labels: Int[ArrayLike, " batch"],
    *,
    power: Scalar = 2.0,
    where: Bool[ArrayLike, " #batch"] | None = None,
    weights: Real[ArrayLike, "..."] | None = None,
    reduction: Reduction = "mean",
) -> Float[Array, "..."]:
    r"""Disagreement of predictions with labels in order, over that of predictions by chance.

    With :math:`n` examples in the batch:

    .. math::
        \ell_i = \frac{\sum_c |y_i - c|^r p_{ic}}
            {\frac{1}{n^2} \sum_{jk} \sum_c |y_j - c|^r p_{kc}}

    The mean is one minus Cohen's weighted kappa: 0 for full agreement, 1 for what a shuffled batch
    would reach. Unlike a likelihood it is not satisfied by the frequent classes alone. De la Torre
    et al. minimize its logarithm, which is that of this loss. A batch stands for the whole data:
    make it large. The unreduced shape is ``batch``.

    Args:
        power: :math:`r`, positive; 1 gives linear weights, 2 quadratic ones.
        where: which examples exist, by chance too. A label that does may not be out of range, or
            all losses are NaN.
        weights, reduction: see :func:`jaxloss.core.reducing.reduce`; chance is that of all
            examples, whatever their weights.

    Example:
        >>> weighted_kappa(jnp.eye(3), jnp.array([0, 1, 2]))
        Array(0., dtype=float32)
        >>> weighted_kappa(jnp.full((3, 3), 1 / 3), jnp.array([0, 1, 2]))
        Array(1., dtype=float32)

    Reference:
        de la Torre, Puig & Valls, "Weighted kappa loss function for multi-class classification of
        ordinal data in deep learning", 2018.
    """
    name = "weighted_kappa"
    require_floating(name, probabilities=probabilities)
    require_rank(
        name, 2, wanted="of shape (batch, classes)", exact=True, probabilities=probabilities
    )
    p, labels, poison = labeled(name, probabilities, labels, where)
    p = check_not_negative(name, "probabilities", at_least_float32(p))
    power = check_positive(name, "power", power).astype(p.dtype)
    exists = selection(name, where, labels.shape)
    exists = jnp.ones(labels.shape, bool) if exists is None else exists
    count = jnp.maximum(exists.sum(), 1).astype(p.dtype)
    steps = jnp.abs(jax.lax.broadcasted_iota(jnp.int32, p.shape, 1) - labels[:, None])
    away = steps > 0
    distance = jnp.where(away, jnp.where(away, steps, 1).astype(p.dtype) ** power, 0)
    actual = jnp.where(exists[:, None], is_label(p, labels).astype(p.dtype), 0)
    actual *= poison[:, None].astype(p.dtype)
    # Of each class, how far the labels are away in the mean; over the labels' classes, not pairs.
    classes = jnp.arange(p.shape[1], dtype=p.dtype)
    apart = jnp.abs(classes[:, None] - classes[None, :])
    cost = jnp.where(apart > 0, jnp.where(apart > 0, apart, 1) ** power, 0)
    by_class = jnp.matmul(actual.sum(0), cost, precision="highest") / count
    by_chance = row_sum(by_class * (jnp.where(exists[:, None], p, 0).sum(0) / count))
    none = by_chance == 0
    loss = row_sum(distance * p) / jnp.where(none, 1, by_chance)
    return reduce(name, loss * poison, where, weights, reduction)
