"""Losses and class weights for labels of which some are far rarer than others.

Weights go into any loss over classes as ``weights=class_weights[labels]``; as the mean divides by
their sum, their scale does not change the learning rate.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Bool, Float, Int, Real

from jaxloss.core.checks import (
    check_unit_interval,
    poison_unless_class,
    require_floating,
    require_integer,
    require_rank,
    require_shape,
)
from jaxloss.core.classes import is_label, label_nll, log_softmax, times
from jaxloss.core.compiling import compiled
from jaxloss.core.focal import faded, focused
from jaxloss.core.frequencies import occurring
from jaxloss.core.inputs import (
    Scalar,
    at_least_float32,
    elements,
    labeled,
    masked,
    promoted,
    selection,
)
from jaxloss.core.reducing import Reduction, reduce
from jaxloss.core.summing import row_sum


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
    present, counts = occurring("inverse_frequency_weights", counts)
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
    present, counts = occurring("effective_number_weights", counts)
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
    present, counts = occurring(name, counts)
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
    present, counts = occurring("ldam", counts)
    rarest = jnp.where(present, counts, jnp.inf).min()
    margins = margin * jnp.where(present, rarest / counts, 1) ** 0.25
    demanded = jnp.where(is_label(scores, labels), margins[labels][..., None], 0)
    loss = label_nll(scale * (scores - demanded), labels)
    return reduce("ldam", loss * poison, where, weights, reduction)


@compiled("reduction")
def sigmoid_asymmetric(
    logits: Float[ArrayLike, "*shape"],
    targets: Real[ArrayLike, "*shape"],
    *,
    positive_gamma: Scalar = 1.0,
    negative_gamma: Scalar = 4.0,
    margin: Scalar = 0.05,
    where: Bool[ArrayLike, "*#shape"] | None = None,
    weights: Real[ArrayLike, "..."] | None = None,
    reduction: Reduction = "mean",
) -> Float[Array, "..."]:
    r"""Sigmoid cross-entropy that fades faster for the noes than for the yeses, and then ends.

    .. math::
        \ell = -t\, (1 - p)^{\gamma_+} \log p
             - (1 - t)\, q^{\gamma_-} \log(1 - q), \\
        p = \sigma(z), \qquad q = \max(0,\; p - m)

    For many labels of which few hold: easy noes fade, and those whose probability is below the
    margin cost nothing. With equal ``gamma`` and no margin it is the sigmoid focal loss. The
    authors add over labels: ``reduction="sum"``. The unreduced shape is that of ``logits``.

    Args:
        targets: 0 or 1; soft values in between are allowed.
        positive_gamma, negative_gamma: :math:`\gamma_+` and :math:`\gamma_-`, how strongly easy
            yeses and noes fade; not negative.
        margin: :math:`m`, by which the probability of a no is lowered; in [0, 1).
        where, weights, reduction: see :func:`jaxloss.core.reducing.reduce`.

    Example:
        >>> sigmoid_asymmetric(jnp.array([0.0, 0.0, -3.0]), jnp.array([1, 0, 0]), reduction="none")
        Array([0.3465..., 0.0245..., 0...], dtype=float32)

    Reference:
        Ridnik et al., "Asymmetric Loss For Multi-Label Classification", 2021.
    """
    name = "sigmoid_asymmetric"
    score, actual = elements(name, where, logits=logits, targets=targets)
    actual = check_unit_interval(name, "targets", actual)
    margin = check_unit_interval(name, "margin", jnp.asarray(margin)).astype(score.dtype)
    yes = focused(jax.nn.softplus(-score), positive_gamma)
    # Far out the factor is constant; held so, its slope of 0 does not meet an infinite score.
    far = score > 100
    high = jnp.where(far, score, 100)
    shifted = faded(1 - margin, negative_gamma) * _shifted_nll(high, margin)
    near = jnp.where(far, 0, score)
    factor = faded(jax.nn.relu(jax.nn.sigmoid(near) - margin), negative_gamma)
    no = jnp.where(far, shifted, factor * _shifted_nll(near, margin))
    return reduce(name, times(actual, yes) + times(1 - actual, no), where, weights, reduction)


@compiled("reduction")
def softmax_asymmetric(
    logits: Float[ArrayLike, "*batch classes"],
    labels: Int[ArrayLike, "*batch"],
    *,
    positive_gamma: Scalar = 0.0,
    negative_gamma: Scalar = 4.0,
    label_smoothing: Scalar = 0.1,
    where: Bool[ArrayLike, "*#batch"] | None = None,
    weights: Real[ArrayLike, "..."] | None = None,
    reduction: Reduction = "mean",
) -> Float[Array, "..."]:
    r"""Smoothed softmax cross-entropy of which the wrong classes, mostly, fade.

    .. math::
        \ell = -\sum_c t_c\, w_c \log p_c, \qquad
        t_c = (1 - \epsilon) [c = y] + \frac{\epsilon}{C}, \qquad
        w_c = \begin{cases} (1 - p_c)^{\gamma_+} & c = y \\ p_c^{\gamma_-} & c \ne y \end{cases}

    :func:`sigmoid_asymmetric` for classes that exclude each other. Without label smoothing the
    softmax focal loss: only then do the wrong classes not count. The unreduced shape is ``*batch``.

    Args:
        positive_gamma, negative_gamma: :math:`\gamma_+` and :math:`\gamma_-`, how strongly the
            label fades once it is likely, and the others while they are not; not negative.
        label_smoothing: :math:`\epsilon`, in [0, 1].
        where, weights, reduction: see :func:`jaxloss.core.reducing.reduce`. A label whose
            ``where`` is false may hold any integer; any other label outside [0, C) gives NaN.

    Example:
        >>> softmax_asymmetric(jnp.zeros((1, 2)), jnp.array([0]), negative_gamma=1.0)
        Array(0.6758..., dtype=float32)

    Reference:
        Ridnik et al., "Asymmetric Loss For Multi-Label Classification", 2021.
    """
    name = "softmax_asymmetric"
    logits, labels, poison = labeled(name, logits, labels, where)
    share = check_unit_interval(name, "label_smoothing", jnp.asarray(label_smoothing))
    own = focused(label_nll(logits, labels), positive_gamma)
    nll = -log_softmax(at_least_float32(logits))
    share, fading = share.astype(nll.dtype), jnp.asarray(negative_gamma).astype(nll.dtype)
    # p^gamma, and its slope, at p = 0: a limit that is 0 unless gamma is.
    excluded = jnp.isinf(nll)
    decayed = jnp.exp(-fading * jnp.where(excluded, 0, nll))
    decayed = jnp.where(excluded, jnp.where(fading == 0, 1.0, 0.0), decayed)
    others = jnp.where(is_label(logits, labels), 0, times(decayed, nll))
    rest = row_sum(others) / logits.shape[-1]
    loss = times(1 - share + share / logits.shape[-1], own) + times(share, rest)
    return reduce(name, loss * poison, where, weights, reduction)


def deferred_weights(
    class_weights: Float[ArrayLike, " classes"], step: Scalar, *, start: Scalar
) -> Float[Array, " classes"]:
    """Class weights that are all one before step ``start``, and the given ones from then on.

    Deferred re-weighting: the features are learnt from all examples alike, and only the last part
    of a run, with a lower learning rate, is weighed. The paper's second stage is a fifth.

    Example:
        >>> weights = jnp.array([0.5, 3.0])
        >>> deferred_weights(weights, 10, start=80), deferred_weights(weights, 80, start=80)
        (Array([1., 1.], dtype=float32), Array([0.5, 3. ], dtype=float32))

    Reference:
        Cao et al., "Learning Imbalanced Datasets with Label-Distribution-Aware Margin Loss", 2019.
    """
    given = at_least_float32(class_weights)
    return jnp.where(jnp.asarray(step) < start, 1, given)


@compiled()
def prior_corrected(
    logits: Float[ArrayLike, "*batch classes"],
    counts: Real[ArrayLike, " classes"],
    *,
    target_counts: Real[ArrayLike, " classes"] | None = None,
    scale: Scalar = 1.0,
) -> Float[Array, "*batch classes"]:
    r"""Logits of a trained model for classes that now occur at other rates than in training.

    They become :math:`z_c - \tau \log (n_c / m_c)`. Without ``target_counts`` all classes are as
    likely: post-hoc logit adjustment of a model trained by the plain cross-entropy.

    Args:
        counts, target_counts: :math:`n_c` and :math:`m_c`, how often each class occurs in training
            and where the model is used, or in any proportion to it. A class that never occurs in
            one of them is excluded.
        scale: :math:`\tau`, how strongly the frequencies count.

    Example:
        >>> jax.nn.softmax(prior_corrected(jnp.log(jnp.array([0.9, 0.1])), jnp.array([90, 10])))
        Array([0.5, 0.5], dtype=float32)

    Reference:
        Menon et al., "Long-Tail Learning via Logit Adjustment", 2021.
    """
    name = "prior_corrected"
    require_floating(name, logits=logits)
    require_rank(name, 1, wanted="rows of classes", logits=logits)
    score, given = promoted(logits, counts)
    require_shape(name, score.shape[-1:], wanted="one count per class", counts=given)
    present, count = occurring(name, given)
    shift = -jnp.log(count)
    if target_counts is not None:
        require_shape(name, score.shape[-1:], wanted="one per class", target_counts=target_counts)
        expected, frequency = occurring(name, jnp.asarray(target_counts).astype(score.dtype))
        present, shift = present & expected, shift + jnp.log(frequency)
    shift = jnp.where(present, scale * shift, -jnp.inf)
    return score + jnp.broadcast_to(shift, score.shape)


def _shifted_nll(score: Float[Array, "*shape"], margin: Float[Array, ""]) -> Float[Array, "*shape"]:
    """``-log(1 - max(0, p - margin))``, each way where it keeps its digits."""
    p, q = jax.nn.sigmoid(score), jax.nn.sigmoid(-score)
    lift = margin * (1 + jnp.exp(jnp.minimum(score, 80)))
    small, likely = q >= margin, p > 0.5
    high = jax.nn.softplus(score) - jnp.log1p(jnp.where(small, lift, 0))
    floor = -jnp.log(jnp.where(small, 1, margin + q))
    low = -jnp.log1p(-jax.nn.relu(jnp.where(likely, 0, p) - margin))
    return jnp.where(p > margin, jnp.where(likely, jnp.where(small, high, floor), low), 0)
