"""Losses for long-tailed classes that need to know how often each occurs, or how training went.

What they remember is explicit: arrays in, arrays out, nothing hidden. ``seesaw`` counts the labels
it has seen, ``counts += imbalance.class_counts(labels, classes=C)``; :func:`equalized_v2` keeps a
:class:`GradientBalance`. For weights of classes and the logit adjustment itself see
:mod:`jaxloss.losses.imbalance`.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Bool, Float, Int, Real

from jaxloss.core.checks import (
    check_not_negative,
    check_unit_interval,
    require_real,
    require_shape,
)
from jaxloss.core.classes import is_label, label_nll, times
from jaxloss.core.compiling import compiled
from jaxloss.core.focal import sides
from jaxloss.core.frequencies import occurring
from jaxloss.core.inputs import (
    Scalar,
    labeled,
    masked,
    promoted,
    rows,
    selection,
)
from jaxloss.core.reducing import Reduction, reduce


@compiled("reduction")
def balanced_softmax(
    logits: Float[ArrayLike, "*batch classes"],
    labels: Int[ArrayLike, "*batch"],
    counts: Real[ArrayLike, " classes"],
    *,
    where: Bool[ArrayLike, "*#batch"] | None = None,
    weights: Real[ArrayLike, "..."] | None = None,
    reduction: Reduction = "mean",
) -> Float[Array, "..."]:
    r"""Cross-entropy of a softmax in which each class counts as often as it occurs.

    .. math::
        \ell = -\log \frac{n_y e^{z_y}}{\sum_c n_c e^{z_c}}

    :func:`jaxloss.losses.imbalance.logit_adjusted_cross_entropy` at ``scale`` 1: minimizes the
    balanced error; at test time take the plain argmax. The unreduced shape is ``*batch``.

    Args:
        counts: how often each class occurs in training, or in any proportion to it. A class that
            never occurs is excluded.
        where, weights, reduction: see :func:`jaxloss.core.reducing.reduce`. A label whose
            ``where`` is false may hold any integer; any other label outside [0, C) gives NaN.

    Example:
        >>> logits, labels, counts = jnp.zeros((2, 2)), jnp.array([0, 1]), jnp.array([90, 10])
        >>> jnp.exp(-balanced_softmax(logits, labels, counts, reduction="none"))
        Array([0.9       , 0.09999999], dtype=float32)

    Reference:
        Ren et al., "Balanced Meta-Softmax for Long-Tailed Visual Recognition", 2020.
    """
    name = "balanced_softmax"
    score, labels, poison, present, count = _counted(name, logits, labels, counts, where)
    prior = jnp.where(present, jnp.log(count), -jnp.inf)
    adjusted = score + jnp.broadcast_to(prior, score.shape)
    return reduce(name, label_nll(adjusted, labels) * poison, where, weights, reduction)


@compiled("reduction")
def vector_scaling(
    logits: Float[ArrayLike, "*batch classes"],
    labels: Int[ArrayLike, "*batch"],
    counts: Real[ArrayLike, " classes"],
    *,
    power: Scalar = 0.2,
    scale: Scalar = 1.0,
    where: Bool[ArrayLike, "*#batch"] | None = None,
    weights: Real[ArrayLike, "..."] | None = None,
    reduction: Reduction = "mean",
) -> Float[Array, "..."]:
    r"""Cross-entropy of logits that are scaled and shifted by how often their class occurs.

    .. math::
        \ell = -\log \frac{n_y^\tau e^{\Delta_y z_y}}{\sum_c n_c^\tau e^{\Delta_c z_c}},
        \qquad \Delta_c = \Bigl( \frac{n_c}{\max_k n_k} \Bigr)^\gamma

    The shift acts early in training, the scaling, which makes rare classes work harder, at its
    end, when all examples are right already. With ``power`` 0 the logit-adjusted cross-entropy,
    with ``scale`` 0 the class-dependent temperature. The unreduced shape is ``*batch``.

    Args:
        counts: how often each class occurs in training, or in any proportion to it. A class that
            never occurs is excluded.
        power: :math:`\gamma`, of the scaling; not negative.
        scale: :math:`\tau`, of the shift.
        where, weights, reduction: see :func:`jaxloss.core.reducing.reduce`. A label whose
            ``where`` is false may hold any integer; any other label outside [0, C) gives NaN.

    Example:
        >>> logits, counts = jnp.array([[2.0, 2.0]]), jnp.array([16, 1])
        >>> vector_scaling(logits, jnp.array([1]), counts, power=0.25, scale=0.0)  # 2 against 1
        Array(1.3132..., dtype=float32)

    Reference:
        Kini et al., "Label-Imbalanced and Group-Sensitive Classification under
        Overparameterization", 2021.
    """
    name = "vector_scaling"
    score, labels, poison, present, count = _counted(name, logits, labels, counts, where)
    most = jnp.where(present, count, 0).max(initial=0)
    factor = (count / jnp.where(most == 0, 1, most)) ** jnp.asarray(power).astype(score.dtype)
    prior = jnp.where(present, scale * jnp.log(count), -jnp.inf)
    factor, prior = (jnp.broadcast_to(x, score.shape) for x in (factor, prior))
    adjusted = jnp.where(jnp.broadcast_to(present, score.shape), factor * score, 0) + prior
    return reduce(name, label_nll(adjusted, labels) * poison, where, weights, reduction)


@compiled("reduction")
def seesaw(
    logits: Float[ArrayLike, "*batch classes"],
    labels: Int[ArrayLike, "*batch"],
    counts: Real[ArrayLike, " classes"],
    *,
    mitigation: Scalar = 0.8,
    compensation: Scalar = 2.0,
    where: Bool[ArrayLike, "*#batch"] | None = None,
    weights: Real[ArrayLike, "..."] | None = None,
    reduction: Reduction = "mean",
) -> Float[Array, "..."]:
    r"""Cross-entropy in which frequent labels punish rare classes less, unless those are ahead.

    .. math::
        \ell = -\log \frac{e^{z_y}}{e^{z_y} + \sum_{c \ne y} S_c e^{z_c}}, \qquad
        S_c = \min \Bigl( 1, \frac{n_c}{n_y} \Bigr)^p \max \Bigl( 1, \frac{p_c}{p_y} \Bigr)^q

    The first factor lowers what rare classes suffer from all the examples of frequent ones, the
    second takes that back where it leads to mistakes; no gradient flows through it. The
    unreduced shape is ``*batch``.

    Args:
        counts: how often each class has occurred so far; one that has not counts as one that has
            once.
        mitigation, compensation: the exponents :math:`p` and :math:`q`; not negative.
        where, weights, reduction: see :func:`jaxloss.core.reducing.reduce`. A label whose
            ``where`` is false may hold any integer; any other label outside [0, C) gives NaN.

    Example:
        >>> logits, counts = jnp.zeros((2, 2)), jnp.array([16, 1])
        >>> seesaw(logits, jnp.array([0, 1]), counts, mitigation=0.5, reduction="none")
        Array([0.2231..., 0.6931...], dtype=float32)

    Reference:
        Wang et al., "Seesaw Loss for Long-Tailed Instance Segmentation", 2021.
    """
    name = "seesaw"
    score, labels, poison, _, count = _counted(name, logits, labels, counts, where)
    mitigation = check_not_negative(name, "mitigation", mitigation).astype(score.dtype)
    compensation = check_not_negative(name, "compensation", compensation).astype(score.dtype)
    frequency = jnp.log(jnp.maximum(count, 1))
    rarer = jax.nn.relu(frequency[labels][..., None] - jnp.broadcast_to(frequency, score.shape))
    held = jax.lax.stop_gradient(score)
    own = jnp.take_along_axis(held, labels[..., None], -1)
    ahead = jnp.where(held > own, held - jnp.where(held > own, own, 0), 0)
    adjusted = score - mitigation * rarer + times(compensation, ahead)
    adjusted = jnp.where(is_label(score, labels), score, adjusted)
    return reduce(name, label_nll(adjusted, labels) * poison, where, weights, reduction)


@compiled("reduction")
def equalized(
    logits: Float[ArrayLike, "*batch classes"],
    targets: Real[ArrayLike, "*batch classes"],
    counts: Real[ArrayLike, " classes"],
    *,
    threshold: Scalar = 1e-3,
    where: Bool[ArrayLike, "*#batch"] | None = None,
    weights: Real[ArrayLike, "..."] | None = None,
    reduction: Reduction = "mean",
) -> Float[Array, "..."]:
    r"""Sigmoid cross-entropies of which rare classes are spared the noes of other classes.

    .. math::
        \ell = -\sum_c w_c \bigl( t_c \log p_c + (1 - t_c) \log (1 - p_c) \bigr), \qquad
        w_c = \begin{cases} t_c & n_c / \sum_k n_k < \lambda \text{ and } \max_k t_k > 0 \\
            1 & \text{otherwise} \end{cases}

    Where a frequent class is present, rare ones learn nothing; only background, where no class
    is, tells them no. The unreduced shape is ``*batch``.

    Args:
        targets: 0 or 1, all 0 for background.
        counts: how often each class occurs in training, or in any proportion to it.
        threshold: :math:`\lambda`, the share of all occurrences below which a class is rare.
        where, weights, reduction: see :func:`jaxloss.core.reducing.reduce`.

    Example:
        >>> logits, targets = jnp.zeros((2, 2)), jnp.array([[1, 0], [0, 0]])
        >>> equalized(logits, targets, jnp.array([99, 1]), threshold=0.1, reduction="none")
        Array([0.6931472, 1.3862944], dtype=float32)

    Reference:
        Tan et al., "Equalization Loss for Long-Tailed Object Recognition", 2020.
    """
    name = "equalized"
    score, actual, numbers = _answers(name, where, logits, targets, counts=counts)
    frequency = check_not_negative(name, "counts", numbers)
    most = frequency.sum()
    rare = frequency < threshold * jnp.where(most == 0, 1, most)
    rare = jnp.broadcast_to(rare, score.shape) & (actual > 0).any(-1, keepdims=True)
    loss = jnp.where(rare, actual, 1) * _cross_entropy(score, actual)
    return reduce(name, loss.sum(-1), where, weights, reduction)


class GradientBalance(NamedTuple):
    """How much gradient each class has got so far: from its yeses, and from its noes.

    Start with :meth:`zeros`, add every batch by :func:`update_gradient_balance`; over devices,
    ``jax.lax.psum`` what is new.
    """

    positive: Float[Array, " classes"]
    negative: Float[Array, " classes"]

    @classmethod
    def zeros(cls, classes: int) -> "GradientBalance":
        """Before training."""
        return cls(jnp.zeros(classes), jnp.zeros(classes))

    def ratios(self) -> Float[Array, " classes"]:
        """What came from yeses over what came from noes; infinite if nothing came from those."""
        never = self.negative == 0
        return jnp.where(never, jnp.inf, self.positive / jnp.where(never, 1, self.negative))


@compiled("reduction")
def equalized_v2(
    logits: Float[ArrayLike, "*batch classes"],
    targets: Real[ArrayLike, "*batch classes"],
    gradient_ratios: Real[ArrayLike, " classes"],
    *,
    slope: Scalar = 12.0,
    threshold: Scalar = 0.8,
    boost: Scalar = 4.0,
    where: Bool[ArrayLike, "*#batch"] | None = None,
    weights: Real[ArrayLike, "..."] | None = None,
    reduction: Reduction = "mean",
) -> Float[Array, "..."]:
    r"""Sigmoid cross-entropies weighed so that yeses and noes pull each class as hard.

    .. math::
        \ell = -\sum_c \bigl( (1 + \alpha (1 - f_c))\, t_c \log p_c
            + f_c\, (1 - t_c) \log(1 - p_c) \bigr), \qquad f_c = \sigma(\gamma (g_c - \mu))

    with :math:`g_c` the ratio of the gradients that a class has got from its yeses and its noes: a
    class drowned in noes has a small one, and from then on is told no less, and yes more. The
    authors divide by the number of examples, as the mean does. The unreduced shape is ``*batch``.

    Args:
        targets: 0 or 1; soft values in between are allowed.
        gradient_ratios: :math:`g_c`, from :meth:`GradientBalance.ratios`.
        slope: :math:`\gamma`, how sharply weights change with the ratio.
        threshold: :math:`\mu`, the ratio at which noes count half.
        boost: :math:`\alpha`, how much more the yeses of a drowned class count; not negative.
        where, weights, reduction: see :func:`jaxloss.core.reducing.reduce`.

    Example:
        >>> balance = GradientBalance(positive=jnp.array([0.8, 1.0]), negative=jnp.ones(2))
        >>> equalized_v2(jnp.zeros(2), jnp.array([1, 1]), balance.ratios()) / jnp.log(2)
        Array(4.3326..., dtype=float32)

    Reference:
        Tan et al., "Equalization Loss v2: A New Gradient Balance Approach for Long-tailed Object
        Detection", 2021.
    """
    name = "equalized_v2"
    score, actual, ratio = _answers(name, where, logits, targets, gradient_ratios=gradient_ratios)
    loss = _balancing(actual, ratio, slope, threshold, boost) * _cross_entropy(score, actual)
    return reduce(name, loss.sum(-1), where, weights, reduction)


@compiled()
def update_gradient_balance(
    balance: GradientBalance,
    logits: Float[ArrayLike, "*batch classes"],
    targets: Real[ArrayLike, "*batch classes"],
    *,
    slope: Scalar = 12.0,
    threshold: Scalar = 0.8,
    boost: Scalar = 4.0,
    where: Bool[ArrayLike, "*#batch"] | None = None,
) -> GradientBalance:
    """The balance after :func:`equalized_v2` has been trained on a batch, with the same options.

    Example:
        >>> start = GradientBalance.zeros(2)
        >>> update_gradient_balance(start, jnp.zeros((3, 2)), jnp.array([[1, 0]] * 3))
        GradientBalance(positive=Array([1.5, 0. ], ...), negative=Array([0. , 1.5], ...))
    """
    name = "update_gradient_balance"
    ratios = balance.ratios()
    score, actual, ratio = _answers(name, where, logits, targets, gradient_ratios=ratios)
    weight = _balancing(actual, ratio, slope, threshold, boost)
    if (selected := selection(name, where, score.shape[:-1])) is not None:
        weight = masked(weight, selected)
    axes = tuple(range(score.ndim - 1))
    positive = (weight * actual * jax.nn.sigmoid(-score)).sum(axes)
    negative = (weight * (1 - actual) * jax.nn.sigmoid(score)).sum(axes)
    new = GradientBalance(balance.positive + positive, balance.negative + negative)
    return jax.tree.map(jax.lax.stop_gradient, new)


def _counted(
    name: str,
    logits: Float[ArrayLike, "*batch classes"],
    labels: Int[ArrayLike, "*batch"],
    counts: Real[ArrayLike, " classes"],
    where: Bool[ArrayLike, "*#batch"] | None,
) -> tuple[Array, Array, Array, Array, Array]:
    """Logits, labels and the poison, which classes occur, and how often; 1 in place of 0."""
    score, labels, poison = labeled(name, logits, labels, where)
    require_shape(name, score.shape[-1:], wanted="one count per class", counts=counts)
    score, given = promoted(score, counts)
    return score, labels, poison, *occurring(name, given)


def _answers(
    name: str,
    where: Bool[ArrayLike, "*#batch"] | None,
    logits: Float[ArrayLike, "*batch classes"],
    targets: Real[ArrayLike, "*batch classes"],
    **per_class: Real[ArrayLike, " classes"],
) -> tuple[Array, Array, Array]:
    """Logits, targets, and what there is one of per class."""
    score, actual = rows(name, where, logits=logits, targets=targets)
    require_real(name, **per_class)
    require_shape(name, score.shape[-1:], wanted="one per class", **per_class)
    score, actual, numbers = promoted(score, actual, *per_class.values())
    return score, check_unit_interval(name, "targets", actual), numbers


def _cross_entropy(
    score: Float[Array, "*shape"], actual: Float[Array, "*shape"]
) -> Float[Array, "*shape"]:
    distance, wrongness = sides(score, actual)
    return jnp.log1p(jnp.exp(-distance)) + times(wrongness, distance)


def _balancing(
    actual: Float[Array, "*batch classes"],
    ratio: Float[Array, " classes"],
    slope: Scalar,
    threshold: Scalar,
    boost: Scalar,
) -> Float[Array, "*batch classes"]:
    """What each answer of the second equalization loss counts."""
    negative = jax.nn.sigmoid(slope * (ratio - threshold))
    positive = 1 + boost * (1 - negative)
    negative, positive = (jnp.broadcast_to(x, actual.shape) for x in (negative, positive))
    return actual * positive + (1 - actual) * negative
