r"""Cross-entropies that bound what one label can cost, so that wrong ones lead less astray.

All are written in the negative log-probability :math:`n = -\log p_y` that a softmax gives to the
label, not in the probability, so that a sure model's loss and gradient keep their digits. To
correct the labels instead, see :mod:`jaxloss.losses.noise_correction`.
"""

import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Bool, Float, Int, Real

from jaxloss.core.checks import check_not_negative, check_unit_interval
from jaxloss.core.classes import is_label, label_nll, log_softmax, pick, soft_nll, times
from jaxloss.core.compiling import compiled
from jaxloss.core.exponentials import complement, discounted
from jaxloss.core.focal import focused, sides
from jaxloss.core.inputs import Scalar, at_least_float32, elements, labeled
from jaxloss.core.ratios import share
from jaxloss.core.reducing import Reduction, reduce
from jaxloss.core.tempered import surprise, tempered_nll


@compiled("reduction")
def generalized_cross_entropy(
    logits: Float[ArrayLike, "*batch classes"],
    labels: Int[ArrayLike, "*batch"],
    *,
    power: Scalar = 0.7,
    where: Bool[ArrayLike, "*#batch"] | None = None,
    weights: Real[ArrayLike, "..."] | None = None,
    reduction: Reduction = "mean",
) -> Float[Array, "..."]:
    r"""Bridge from the cross-entropy to the probability of being wrong.

    .. math::
        \ell = \frac{1 - p_y^q}{q}, \qquad p = \operatorname{softmax}(z)

    With ``power`` 0 it is the cross-entropy; with 1 it is :math:`1 - p_y`, half the absolute error
    between the probabilities and a one-hot: slow to learn, but hardly moved by wrong labels. At
    most :math:`1/q`. The unreduced shape is ``*batch``.

    Args:
        power: :math:`q`, in [0, 1].
        where, weights, reduction: see :func:`jaxloss.core.reducing.reduce`. A label whose
            ``where`` is false may hold any integer; any other label outside [0, C) gives NaN.

    Example:
        >>> generalized_cross_entropy(jnp.zeros((1, 2)), jnp.array([0]), power=0.5)
        Array(0.585786..., dtype=float32)

    Reference:
        Zhang and Sabuncu, "Generalized Cross Entropy Loss for Training Deep Neural Networks with
        Noisy Labels", 2018.
    """
    name = "generalized_cross_entropy"
    logits, labels, poison = labeled(name, logits, labels, where)
    power = check_not_negative(name, "power", power)
    loss = discounted(label_nll(logits, labels), power)
    return reduce(name, loss * poison, where, weights, reduction)


@compiled("reduction")
def symmetric_cross_entropy(
    logits: Float[ArrayLike, "*batch classes"],
    labels: Int[ArrayLike, "*batch"],
    *,
    forward_weight: Scalar = 0.1,
    reverse_weight: Scalar = 4.0,
    where: Bool[ArrayLike, "*#batch"] | None = None,
    weights: Real[ArrayLike, "..."] | None = None,
    reduction: Reduction = "mean",
) -> Float[Array, "..."]:
    r"""Cross-entropy plus the cross-entropy with label and prediction exchanged.

    .. math::
        \ell = -a \log p_y + b\, (1 - p_y), \qquad p = \operatorname{softmax}(z)

    The reverse cross-entropy :math:`-\sum_c p_c \log t_c` needs a finite :math:`\log 0 = A`, and
    is then :math:`-A (1 - p_y)`. The unreduced shape is ``*batch``.

    Args:
        forward_weight: :math:`a`, what the cross-entropy counts; not negative.
        reverse_weight: :math:`b = -\beta A`, what the reverse counts; not negative. The paper has
            :math:`A = -4`.
        where, weights, reduction: see :func:`jaxloss.core.reducing.reduce`. A label whose
            ``where`` is false may hold any integer; any other label outside [0, C) gives NaN.

    Example:
        >>> symmetric_cross_entropy(jnp.zeros((1, 2)), jnp.array([0]))  # 0.1 log 2 + 4/2
        Array(2.0693147, dtype=float32)

    Reference:
        Wang et al., "Symmetric Cross Entropy for Robust Learning with Noisy Labels", 2019.
    """
    name = "symmetric_cross_entropy"
    logits, labels, poison = labeled(name, logits, labels, where)
    forward_weight = check_not_negative(name, "forward_weight", forward_weight)
    reverse_weight = check_not_negative(name, "reverse_weight", reverse_weight)
    nll = label_nll(logits, labels)
    loss = times(forward_weight, nll) + reverse_weight * complement(nll)
    return reduce(name, loss * poison, where, weights, reduction)


@compiled("reduction")
def poly(
    logits: Float[ArrayLike, "*batch classes"],
    labels: Int[ArrayLike, "*batch"],
    *,
    linear_weight: Scalar = 1.0,
    where: Bool[ArrayLike, "*#batch"] | None = None,
    weights: Real[ArrayLike, "..."] | None = None,
    reduction: Reduction = "mean",
) -> Float[Array, "..."]:
    r"""Cross-entropy with another weight on the first term of its power series.

    .. math::
        \ell = -\log p_y + \epsilon\, (1 - p_y)
             = (1 + \epsilon)(1 - p_y) + \tfrac12 (1 - p_y)^2 + \tfrac13 (1 - p_y)^3 + \dots

    Positive weights ask for confidence, negative ones temper it. :func:`taylor_cross_entropy`
    instead cuts the series off. The unreduced shape is ``*batch``.

    Args:
        linear_weight: :math:`\epsilon`, what is added to the coefficient 1 of the linear term; at
            least -1.
        where, weights, reduction: see :func:`jaxloss.core.reducing.reduce`. A label whose
            ``where`` is false may hold any integer; any other label outside [0, C) gives NaN.

    Example:
        >>> poly(jnp.zeros((1, 2)), jnp.array([0]), linear_weight=2.0)  # log 2 + 2/2
        Array(1.6931472, dtype=float32)

    Reference:
        Leng et al., "PolyLoss: A Polynomial Expansion Perspective of Classification Loss
        Functions", 2022.
    """
    logits, labels, poison = labeled("poly", logits, labels, where)
    nll = label_nll(logits, labels)
    loss = nll + linear_weight * complement(nll)
    return reduce("poly", loss * poison, where, weights, reduction)


@compiled("reduction")
def sigmoid_poly(
    logits: Float[ArrayLike, "*shape"],
    targets: Real[ArrayLike, "*shape"],
    *,
    linear_weight: Scalar = 1.0,
    where: Bool[ArrayLike, "*#shape"] | None = None,
    weights: Real[ArrayLike, "..."] | None = None,
    reduction: Reduction = "mean",
) -> Float[Array, "..."]:
    r"""Sigmoid cross-entropy with another weight on the first term of its power series.

    .. math::
        \ell = -t \log p - (1 - t) \log (1 - p) + \epsilon\, (t (1 - p) + (1 - t) p),
        \qquad p = \sigma(z)

    :func:`poly` of yes-or-no questions. The unreduced shape is that of ``logits``.

    Args:
        targets: 0 or 1; soft values in between are allowed.
        linear_weight: :math:`\epsilon`; at least -1.
        where, weights, reduction: see :func:`jaxloss.core.reducing.reduce`.

    Example:
        >>> sigmoid_poly(jnp.array([0.0]), jnp.array([1]), linear_weight=2.0)  # log 2 + 2/2
        Array(1.6931472, dtype=float32)

    Reference:
        Leng et al., "PolyLoss: A Polynomial Expansion Perspective of Classification Loss
        Functions", 2022.
    """
    name = "sigmoid_poly"
    scores, actual = elements(name, where, logits=logits, targets=targets)
    actual = check_unit_interval(name, "targets", actual)
    distance, wrongness = sides(scores, actual)
    odds = jnp.exp(-distance)
    loss = jnp.log1p(odds) + times(wrongness, distance)
    loss += linear_weight * (wrongness + (1 - wrongness) * odds) / (1 + odds)
    return reduce(name, loss, where, weights, reduction)


@compiled("reduction", "terms")
def taylor_cross_entropy(
    logits: Float[ArrayLike, "*batch classes"],
    labels: Int[ArrayLike, "*batch"],
    *,
    terms: int = 2,
    where: Bool[ArrayLike, "*#batch"] | None = None,
    weights: Real[ArrayLike, "..."] | None = None,
    reduction: Reduction = "mean",
) -> Float[Array, "..."]:
    r"""First terms of the power series of the cross-entropy.

    .. math::
        \ell = \sum_{k=1}^{K} \frac{(1 - p_y)^k}{k}, \qquad p = \operatorname{softmax}(z)

    One term is half the absolute error between the probabilities and a one-hot, all of them the
    cross-entropy. The unreduced shape is ``*batch``.

    Args:
        terms: :math:`K`, how many; at least 1, and part of the compiled program.
        where, weights, reduction: see :func:`jaxloss.core.reducing.reduce`. A label whose
            ``where`` is false may hold any integer; any other label outside [0, C) gives NaN.

    Example:
        >>> taylor_cross_entropy(jnp.zeros((1, 2)), jnp.array([0]))  # 1/2 + 1/8
        Array(0.625, dtype=float32)

    Reference:
        Feng et al., "Can Cross Entropy Loss Be Robust to Label Noise?", 2020.
    """
    name = "taylor_cross_entropy"
    if terms < 1:
        raise ValueError(f"{name}: terms must be at least 1, got {terms}")
    logits, labels, poison = labeled(name, logits, labels, where)
    doubt = complement(label_nll(logits, labels))
    loss = jnp.zeros_like(doubt)
    for k in range(terms, 0, -1):
        loss = doubt * (1 / k + loss)
    return reduce(name, loss * poison, where, weights, reduction)


@compiled("reduction")
def normalized_cross_entropy(
    logits: Float[ArrayLike, "*batch classes"],
    labels: Int[ArrayLike, "*batch"],
    *,
    where: Bool[ArrayLike, "*#batch"] | None = None,
    weights: Real[ArrayLike, "..."] | None = None,
    reduction: Reduction = "mean",
) -> Float[Array, "..."]:
    r"""Share that the label has in the cross-entropies of all classes.

    .. math::
        \ell = \frac{-\log p_y}{-\sum_c \log p_c}, \qquad p = \operatorname{softmax}(z)

    Between 0 and 1. Labels that are wrong evenly at random do not move its minimizer, but it learns
    slowly by itself: the authors add a loss that lowers the other classes, such as
    ``generalized_cross_entropy(..., power=1)``. The unreduced shape is ``*batch``.

    Args:
        where, weights, reduction: see :func:`jaxloss.core.reducing.reduce`. A label whose
            ``where`` is false may hold any integer; any other label outside [0, C) gives NaN.

    Example:
        >>> normalized_cross_entropy(jnp.zeros((1, 4)), jnp.array([0]))
        Array(0.25, dtype=float32)

    Reference:
        Ma et al., "Normalized Loss Functions for Deep Learning with Noisy Labels", 2020.
    """
    name = "normalized_cross_entropy"
    logits, labels, poison = labeled(name, logits, labels, where)
    nll = label_nll(logits, labels)
    rest = soft_nll(logits, 1 - is_label(logits, labels).astype(nll.dtype))
    return reduce(name, _portion(nll, rest) * poison, where, weights, reduction)


@compiled("reduction")
def active_passive(
    logits: Float[ArrayLike, "*batch classes"],
    labels: Int[ArrayLike, "*batch"],
    *,
    gamma: Scalar = 0.0,
    active_weight: Scalar = 1.0,
    passive_weight: Scalar = 1.0,
    where: Bool[ArrayLike, "*#batch"] | None = None,
    weights: Real[ArrayLike, "..."] | None = None,
    reduction: Reduction = "mean",
) -> Float[Array, "..."]:
    r"""Normalized focal loss, which raises the label, plus what lowers all other classes.

    .. math::
        \ell = a \frac{(1 - p_y)^\gamma \log p_y}{\sum_c (1 - p_c)^\gamma \log p_c}
            + b\, (1 - p_y), \qquad p = \operatorname{softmax}(z)

    With ``gamma`` 0 the active part is :func:`normalized_cross_entropy`. The passive part is the
    paper's absolute error with :math:`b = 2 \beta`, or its reverse cross-entropy with
    :math:`b = -\beta A`. Both forgive labels that are wrong evenly at random, and so does their
    sum, which learns as fast as a cross-entropy. The unreduced shape is ``*batch``.

    Args:
        gamma: :math:`\gamma`, how strongly easy examples fade; not negative.
        active_weight, passive_weight: :math:`a` and :math:`b`; not negative.
        where, weights, reduction: see :func:`jaxloss.core.reducing.reduce`. A label whose
            ``where`` is false may hold any integer; any other label outside [0, C) gives NaN.

    Example:
        >>> active_passive(jnp.zeros((1, 4)), jnp.array([0]))  # 1/4 + 3/4
        Array(1., dtype=float32)

    Reference:
        Ma et al., "Normalized Loss Functions for Deep Learning with Noisy Labels", 2020.
    """
    name = "active_passive"
    logits, labels, poison = labeled(name, logits, labels, where)
    active_weight = check_not_negative(name, "active_weight", active_weight)
    passive_weight = check_not_negative(name, "passive_weight", passive_weight)
    own = label_nll(logits, labels)
    others = jnp.where(is_label(logits, labels), 0, -log_softmax(at_least_float32(logits)))
    active = _portion(focused(own, gamma), focused(others, gamma).sum(-1))
    loss = active_weight * active + passive_weight * complement(own)
    return reduce(name, loss * poison, where, weights, reduction)


@compiled("reduction")
def bi_tempered_logistic(
    logits: Float[ArrayLike, "*batch classes"],
    labels: Int[ArrayLike, "*batch"],
    *,
    power: Scalar = 0.2,
    tail: Scalar = 0.2,
    where: Bool[ArrayLike, "*#batch"] | None = None,
    weights: Real[ArrayLike, "..."] | None = None,
    reduction: Reduction = "mean",
) -> Float[Array, "..."]:
    r"""Cross-entropy whose logarithm is bounded and whose softmax has a heavy tail.

    .. math::
        \ell = \frac{1 - p_y^q}{q} - \frac{1 - \sum_c p_c^{1 + q}}{1 + q}, \qquad
        p_c = \big( 1 + h (\lambda - z_c) \big)^{-1/h}, \qquad \sum_c p_c = 1

    Bounded, outliers far from the decision hardly count; heavy-tailed, neither do wrong labels
    near it. With both options 0 it is the cross-entropy. At most :math:`1/q`. The unreduced
    shape is ``*batch``.

    Args:
        power: :math:`q = 1 - t_1` for the paper's first temperature; in [0, 1].
        tail: :math:`h = t_2 - 1` for the paper's second temperature; not negative. Predict with
            the plain argmax: the order of the logits is that of the probabilities.
        where, weights, reduction: see :func:`jaxloss.core.reducing.reduce`. A label whose
            ``where`` is false may hold any integer; any other label outside [0, C) gives NaN.

    Example:
        >>> logits, labels = jnp.array([[0.0, 0.0], [-1e4, 0.0]]), jnp.array([0, 0])
        >>> bi_tempered_logistic(logits, labels, reduction="none")
        Array([0.539372..., 4.997501...], dtype=float32)

    Reference:
        Amid et al., "Robust Bi-Tempered Logistic Loss Based on Bregman Divergences", 2019.
    """
    name = "bi_tempered_logistic"
    logits, labels, poison = labeled(name, logits, labels, where)
    power = check_not_negative(name, "power", power)
    tail = check_not_negative(name, "tail", tail)
    nll = tempered_nll(at_least_float32(logits), tail)
    rivals = jnp.where(is_label(logits, labels), jnp.inf, nll)
    loss = surprise(pick(nll, labels), power) + _tempered_mass(rivals, power).sum(-1)
    return reduce(name, loss * poison, where, weights, reduction)


@compiled("reduction")
def bi_tempered_sigmoid(
    logits: Float[ArrayLike, "*shape"],
    targets: Real[ArrayLike, "*shape"],
    *,
    power: Scalar = 0.2,
    tail: Scalar = 0.2,
    where: Bool[ArrayLike, "*#shape"] | None = None,
    weights: Real[ArrayLike, "..."] | None = None,
    reduction: Reduction = "mean",
) -> Float[Array, "..."]:
    r"""Sigmoid cross-entropy whose logarithm is bounded and whose sigmoid has a heavy tail.

    .. math::
        \ell = t\, \ell_1 + (1 - t)\, \ell_0, \qquad
        \ell_y = \frac{1 - p_y^q}{q} - \frac{1 - p_0^{1 + q} - p_1^{1 + q}}{1 + q}

    :func:`bi_tempered_logistic` of two classes, with logits 0 and :math:`z`. For soft targets it
    is the authors' up to a term without :math:`z`. The unreduced shape is that of ``logits``.

    Args:
        targets: 0 or 1; soft values in between are allowed.
        power, tail: see :func:`bi_tempered_logistic`.
        where, weights, reduction: see :func:`jaxloss.core.reducing.reduce`.

    Example:
        >>> bi_tempered_sigmoid(jnp.array([0.0, -1e4]), jnp.array([1, 1]), reduction="none")
        Array([0.539372..., 4.997501...], dtype=float32)

    Reference:
        Amid et al., "Robust Bi-Tempered Logistic Loss Based on Bregman Divergences", 2019.
    """
    name = "bi_tempered_sigmoid"
    score, actual = elements(name, where, logits=logits, targets=targets)
    actual = check_unit_interval(name, "targets", actual)
    power = check_not_negative(name, "power", power)
    tail = check_not_negative(name, "tail", tail)
    nll = tempered_nll(jnp.stack([jnp.zeros_like(score), score], -1), tail)
    no, yes = nll[..., 0], nll[..., 1]
    loss = actual * (surprise(yes, power) + _tempered_mass(no, power))
    loss += (1 - actual) * (surprise(no, power) + _tempered_mass(yes, power))
    return reduce(name, loss, where, weights, reduction)


def _tempered_mass(nll: Float[Array, "*shape"], power: Scalar) -> Float[Array, "*shape"]:
    """``p ** (1 + power) / (1 + power)`` of probabilities that may be 0."""
    some = jnp.isfinite(nll)
    return jnp.where(some, jnp.exp(-(1 + power) * jnp.where(some, nll, 0)), 0) / (1 + power)


def _portion(own: Float[Array, "*batch"], rest: Float[Array, "*batch"]) -> Float[Array, "*batch"]:
    """``own / (own + rest)`` of numbers that may be infinite."""
    hopeless = jnp.isinf(own)
    limited = hopeless | jnp.isinf(rest)
    part = share(jnp.where(limited, 0, own), jnp.where(limited, 1, rest))
    return jnp.where(limited, jnp.where(hopeless, 1.0, 0.0).astype(own.dtype), part)
