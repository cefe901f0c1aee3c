"""Losses between logits over classes and the class, the classes or the distribution that is true.

Two functions where others overload one: ``softmax_cross_entropy`` takes one integer per example and
never builds a one-hot, ``soft_cross_entropy`` takes a distribution. Classes that exclude each other
want a softmax, independent yes-or-no questions a sigmoid.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Bool, Float, Int, Real

from jaxloss.core.checks import check_unit_interval, require_floating, require_rank
from jaxloss.core.classes import label_nll, pick, smoothed_nll, soft_nll, times
from jaxloss.core.compiling import compiled
from jaxloss.core.focal import faded, focused, sides
from jaxloss.core.inputs import Scalar, at_least_float32, elements, labeled, rows
from jaxloss.core.reducing import Reduction, reduce


@compiled("reduction")
def softmax_cross_entropy(
    logits: Float[ArrayLike, "*batch classes"],
    labels: Int[ArrayLike, "*batch"],
    *,
    label_smoothing: Scalar | None = None,
    where: Bool[ArrayLike, "*#batch"] | None = None,
    weights: Real[ArrayLike, "..."] | None = None,
    reduction: Reduction = "mean",
) -> Float[Array, "..."]:
    r"""Negative log-probability that a softmax over the logits gives to each label.

    .. math::
        \ell = \log \sum_c e^{z_c} - (1 - \epsilon)\, z_y - \frac{\epsilon}{C} \sum_c z_c

    A logit of ``-inf`` excludes its class. For targets that are distributions, see
    :func:`soft_cross_entropy`. The unreduced shape is ``*batch``.

    Args:
        label_smoothing: :math:`\epsilon`, the probability mass taken from the label and spread
            evenly over all :math:`C` classes; in [0, 1].
        where, weights, reduction: see :func:`jaxloss.core.reducing.reduce`. A label whose
            ``where`` is false may hold any integer; any other label outside [0, C) gives NaN.

    Example:
        Ignore padding marked -100, and weigh each example by its class:

        >>> logits, labels = jnp.zeros((3, 2)), jnp.array([0, 1, -100])
        >>> class_weights = jnp.array([1.0, 3.0])
        >>> softmax_cross_entropy(
        ...     logits, labels, where=labels != -100, weights=class_weights[labels]
        ... )
        Array(0.6931472, dtype=float32)

    Reference:
        Szegedy et al., "Rethinking the Inception Architecture for Computer Vision", 2016.
    """
    name = "softmax_cross_entropy"
    logits, labels, poison = labeled(name, logits, labels, where)
    loss = smoothed_nll(logits, labels, label_smoothing) * poison
    return reduce(name, loss, where, weights, reduction)


@compiled("reduction")
def soft_cross_entropy(
    logits: Float[ArrayLike, "*batch classes"],
    targets: Real[ArrayLike, "*batch classes"],
    *,
    where: Bool[ArrayLike, "*#batch"] | None = None,
    weights: Real[ArrayLike, "..."] | None = None,
    reduction: Reduction = "mean",
) -> Float[Array, "..."]:
    r"""Cross-entropy between a target distribution and a softmax over the logits.

    .. math::
        \ell = \sum_c t_c \Big( \log \sum_k e^{z_k} - z_c \Big)

    For labels that are mixed, smoothed unevenly, or a teacher's. Its minimum is the entropy of the
    targets, not 0; :func:`kl` subtracts it. The unreduced shape is ``*batch``.

    Args:
        targets: one distribution over the classes per example: non-negative, with sum 1.
        where, weights, reduction: see :func:`jaxloss.core.reducing.reduce`.

    Example:
        >>> soft_cross_entropy(jnp.zeros((1, 2)), jnp.array([[0.3, 0.7]]))
        Array(0.6931472, dtype=float32)

    Reference:
        Good, "Rational Decisions", 1952.
    """
    name = "soft_cross_entropy"
    scores, actual = rows(name, where, logits=logits, targets=targets)
    actual = check_unit_interval(name, "targets", actual)
    return reduce(name, soft_nll(scores, actual), where, weights, reduction)


@compiled("reduction")
def sigmoid_cross_entropy(
    logits: Float[ArrayLike, "*shape"],
    targets: Real[ArrayLike, "*shape"],
    *,
    where: Bool[ArrayLike, "*#shape"] | None = None,
    weights: Real[ArrayLike, "..."] | None = None,
    reduction: Reduction = "mean",
) -> Float[Array, "..."]:
    r"""Negative log-probability that a sigmoid of each logit gives to its yes-or-no target.

    .. math::
        \ell = t \log(1 + e^{-z}) + (1 - t) \log(1 + e^{z})

    One binary question per element: for detection, and for labels that may hold together. The
    unreduced shape is that of ``logits``.

    Args:
        targets: 0 or 1; soft values in between are allowed.
        where, weights, reduction: see :func:`jaxloss.core.reducing.reduce`.

    Example:
        Let each positive count five times:

        >>> logits, targets = jnp.array([2.0, -1.0]), jnp.array([1.0, 0.0])
        >>> sigmoid_cross_entropy(logits, targets, weights=jnp.where(targets == 1, 5.0, 1.0))
        Array(0.15798...

    Reference:
        Cox, "The Regression Analysis of Binary Sequences", 1958.
    """
    name = "sigmoid_cross_entropy"
    scores, actual = elements(name, where, logits=logits, targets=targets)
    actual = check_unit_interval(name, "targets", actual)
    distance, wrongness = sides(scores, actual)
    loss = jnp.log1p(jnp.exp(-distance)) + times(wrongness, distance)
    return reduce(name, loss, where, weights, reduction)


@compiled("reduction")
def nll(
    log_probabilities: Float[ArrayLike, "*batch classes"],
    labels: Int[ArrayLike, "*batch"],
    *,
    where: Bool[ArrayLike, "*#batch"] | None = None,
    weights: Real[ArrayLike, "..."] | None = None,
    reduction: Reduction = "mean",
) -> Float[Array, "..."]:
    r"""Minus the log-probability of each label, from log-probabilities.

    .. math::
        \ell = -\log p_y

    For a model that normalizes its outputs itself; from logits, :func:`softmax_cross_entropy` is
    more exact. The unreduced shape is ``*batch``.

    Args:
        log_probabilities: normalized; ``-inf`` at the label gives an infinite loss, of slope -1.
        where, weights, reduction: see :func:`jaxloss.core.reducing.reduce`. A label whose
            ``where`` is false may hold any integer; any other label outside [0, C) gives NaN.

    Example:
        >>> nll(jnp.log(jnp.array([[0.25, 0.75]])), jnp.array([0]))
        Array(1.3862944, dtype=float32)

    Reference:
        Good, "Rational Decisions", 1952.
    """
    require_floating("nll", log_probabilities=log_probabilities)
    require_rank("nll", 1, wanted="rows of classes", log_probabilities=log_probabilities)
    scores, labels, poison = labeled("nll", log_probabilities, labels, where)
    loss = -at_least_float32(pick(scores, labels)) * poison
    return reduce("nll", loss, where, weights, reduction)


@compiled("reduction")
def binary_cross_entropy(
    probabilities: Float[ArrayLike, "*shape"],
    targets: Real[ArrayLike, "*shape"],
    *,
    where: Bool[ArrayLike, "*#shape"] | None = None,
    weights: Real[ArrayLike, "..."] | None = None,
    reduction: Reduction = "mean",
) -> Float[Array, "..."]:
    r"""Negative log-probability of each yes-or-no target, from probabilities.

    .. math::
        \ell = -t \log p - (1 - t) \log(1 - p)

    Nothing is clipped: to be sure and wrong costs infinity, with slope 0, where torch gives 100
    and Keras 16.1. From logits, :func:`sigmoid_cross_entropy` learns there too. The unreduced
    shape is that of ``probabilities``.

    Args:
        targets: 0 or 1; soft values in between are allowed.
        where, weights, reduction: see :func:`jaxloss.core.reducing.reduce`.

    Example:
        >>> binary_cross_entropy(jnp.array([0.5, 1.0]), jnp.array([1, 1]), reduction="none")
        Array([0.6931472, 0.       ], dtype=float32)

    Reference:
        Good, "Rational Decisions", 1952.
    """
    name = "binary_cross_entropy"
    p, actual = elements(name, where, probabilities=probabilities, targets=targets)
    p = check_unit_interval(name, "probabilities", p)
    actual = check_unit_interval(name, "targets", actual)
    never, always = p == 0, p == 1
    yes = jnp.where(never, jnp.inf, -jnp.log(jnp.where(never, 1, p)))
    no = jnp.where(always, jnp.inf, -jnp.log1p(-jnp.where(always, 0, p)))
    loss = times(actual, yes) + times(1 - actual, no)
    return reduce(name, loss, where, weights, reduction)


@compiled("reduction")
def softmax_focal(
    logits: Float[ArrayLike, "*batch classes"],
    labels: Int[ArrayLike, "*batch"],
    *,
    gamma: Scalar = 2.0,
    where: Bool[ArrayLike, "*#batch"] | None = None,
    weights: Real[ArrayLike, "..."] | None = None,
    reduction: Reduction = "mean",
) -> Float[Array, "..."]:
    r"""Softmax cross-entropy that fades for examples the model already gets right.

    .. math::
        \ell = -(1 - p_y)^\gamma \log p_y, \qquad p = \operatorname{softmax}(z)

    With ``gamma`` 0 it is :func:`softmax_cross_entropy`. The paper's class balance
    :math:`\alpha_y` is ``weights=balance[labels]``. The unreduced shape is ``*batch``.

    Args:
        gamma: :math:`\gamma`, how strongly easy examples fade; not negative.
        where, weights, reduction: see :func:`jaxloss.core.reducing.reduce`. A label whose
            ``where`` is false may hold any integer; any other label outside [0, C) gives NaN.

    Example:
        >>> softmax_focal(jnp.array([[0.0, 0.0]]), jnp.array([0]))  # (1/2)^2 log 2
        Array(0.1732868, dtype=float32)

    Reference:
        Lin et al., "Focal Loss for Dense Object Detection", 2017.
    """
    name = "softmax_focal"
    logits, labels, poison = labeled(name, logits, labels, where)
    loss = focused(label_nll(logits, labels), gamma)
    return reduce(name, loss * poison, where, weights, reduction)


@compiled("reduction")
def sigmoid_focal(
    logits: Float[ArrayLike, "*shape"],
    targets: Real[ArrayLike, "*shape"],
    *,
    gamma: Scalar = 2.0,
    where: Bool[ArrayLike, "*#shape"] | None = None,
    weights: Real[ArrayLike, "..."] | None = None,
    reduction: Reduction = "mean",
) -> Float[Array, "..."]:
    r"""Sigmoid cross-entropy that fades for answers the model already gets right.

    .. math::
        \ell = -\big( t (1 - p) + (1 - t) p \big)^\gamma
                \big( t \log p + (1 - t) \log(1 - p) \big), \qquad p = \sigma(z)

    With ``gamma`` 0 it is :func:`sigmoid_cross_entropy`. The paper's class balance is
    ``weights=jnp.where(targets == 1, a, 1 - a)``. The unreduced shape is that of ``logits``.

    Args:
        targets: 0 or 1; soft values in between are allowed.
        gamma: :math:`\gamma`, how strongly easy answers fade; not negative.
        where, weights, reduction: see :func:`jaxloss.core.reducing.reduce`.

    Example:
        >>> sigmoid_focal(jnp.array([0.0]), jnp.array([1]))  # (1/2)^2 log 2
        Array(0.1732868, dtype=float32)

    Reference:
        Lin et al., "Focal Loss for Dense Object Detection", 2017.
    """
    name = "sigmoid_focal"
    scores, actual = elements(name, where, logits=logits, targets=targets)
    actual = check_unit_interval(name, "targets", actual)
    distance, wrongness = sides(scores, actual)
    far = distance > 100
    near = jnp.where(far, 0, distance)
    odds = jnp.where(far, 0, jnp.exp(-near))

    def factor(odds: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
        return faded((wrongness + (1 - wrongness) * odds) / (1 + odds), gamma)

    # Far out the factor is constant; held so, its slope of 0 does not meet an infinite distance.
    held = factor(jax.lax.stop_gradient(odds)) * times(wrongness, jnp.where(far, distance, 0))
    loss = factor(odds) * (jnp.log1p(odds) + wrongness * near) + held
    return reduce(name, loss, where, weights, reduction)


@compiled("reduction")
def hinge(
    logits: Float[ArrayLike, "*shape"],
    targets: Real[ArrayLike, "*shape"],
    *,
    margin: Scalar = 1.0,
    where: Bool[ArrayLike, "*#shape"] | None = None,
    weights: Real[ArrayLike, "..."] | None = None,
    reduction: Reduction = "mean",
) -> Float[Array, "..."]:
    r"""How far each logit is from being on its side of zero by a margin.

    .. math::
        \ell = \max(0,\; m - s z), \qquad s = 2t - 1 \in \{-1, 1\}

    The loss of support vector machines. Its subgradient at the margin is 0. The unreduced shape
    is that of ``logits``.

    Args:
        targets: 0 or 1, as for every binary loss; mapped to -1 or 1 inside.
        margin: :math:`m`, the logit beyond which nothing is lost; positive.
        where, weights, reduction: see :func:`jaxloss.core.reducing.reduce`.

    Example:
        >>> hinge(jnp.array([0.5, 3.0, 0.5]), jnp.array([1, 1, 0]), reduction="none")
        Array([0.5, 0. , 1.5], dtype=float32)

    Reference:
        Cortes and Vapnik, "Support-Vector Networks", 1995.
    """
    name = "hinge"
    scores, actual = elements(name, where, logits=logits, targets=targets)
    actual = check_unit_interval(name, "targets", actual)
    return reduce(name, jax.nn.relu(margin - (2 * actual - 1) * scores), where, weights, reduction)


@compiled("reduction")
def kl(
    log_probabilities: Float[ArrayLike, "*batch classes"],
    targets: Real[ArrayLike, "*batch classes"],
    *,
    where: Bool[ArrayLike, "*#batch"] | None = None,
    weights: Real[ArrayLike, "..."] | None = None,
    reduction: Reduction = "mean",
) -> Float[Array, "..."]:
    r"""Kullback-Leibler divergence of a predicted distribution from the target distribution.

    .. math::
        \ell = \sum_c t_c \log \frac{t_c}{q_c}
             = \sum_c q_c\, \varphi\!\left(\log \frac{t_c}{q_c}\right),
        \qquad \varphi(r) = r e^r - e^r + 1

    The second form, the same for distributions, is a sum of non-negative terms: it keeps its
    digits where the two agree. Zero only if they are equal; infinite if the prediction excludes
    what the target does not. The unreduced shape is ``*batch``.

    Args:
        log_probabilities: :math:`\log q`, normalized, as from ``jax.nn.log_softmax``.
        targets: :math:`t`, non-negative, with sum 1.
        where, weights, reduction: see :func:`jaxloss.core.reducing.reduce`.

    Example:
        >>> kl(jnp.log(jnp.array([0.5, 0.5])), jnp.array([1.0, 0.0]))
        Array(0.6931472, dtype=float32)

    Reference:
        Kullback and Leibler, "On Information and Sufficiency", 1951.
    """
    name = "kl"
    predicted, actual = rows(name, where, log_probabilities=log_probabilities, targets=targets)
    actual = check_unit_interval(name, "targets", actual)
    possible = actual > 0
    log_ratio = jnp.log(jnp.where(possible, actual, 1)) - jnp.where(possible, predicted, 0)
    excess = actual * (log_ratio + jnp.expm1(-log_ratio))
    loss = jnp.where(possible, excess, jnp.exp(predicted)).sum(-1)
    return reduce(name, loss, where, weights, reduction)


def smooth_labels(
    targets: Real[ArrayLike, "*batch classes"], label_smoothing: Scalar
) -> Float[Array, "*batch classes"]:
    r"""Distributions of which a share is spread evenly over all classes.

    The new targets are :math:`(1 - \epsilon)\, t + \epsilon / C`, for any loss that takes a
    distribution. With integer labels :func:`softmax_cross_entropy` has the option itself; for
    yes-or-no targets write ``(1 - e) * targets + e / 2``.

    Args:
        label_smoothing: :math:`\epsilon`, in [0, 1].

    Example:
        >>> smooth_labels(jnp.array([1, 0, 0, 0]), 0.2)
        Array([0.85, 0.05, 0.05, 0.05], dtype=float32)
    """
    require_rank("smooth_labels", 1, wanted="rows of classes", targets=targets)
    actual = check_unit_interval("smooth_labels", "targets", at_least_float32(targets))
    share = check_unit_interval(
        "smooth_labels", "label_smoothing", jnp.asarray(label_smoothing).astype(actual.dtype)
    )
    return (1 - share) * actual + share / actual.shape[-1]
