r"""Cross-entropies that bound what one label can cost, so that wrong ones lead less astray.

All are written in the negative log-probability :math:`n = -\log p_y` that a softmax gives to the
label, not in the probability, so that a sure model's loss and gradient keep their digits. To
correct the labels instead, see :mod:`jaxloss.losses.noise_correction`.
"""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Bool, Float, Int, Real

from jaxloss.core.checks import check_not_negative
from jaxloss.core.classes import below, is_label, label_nll, pick, soft_nll, times
from jaxloss.core.compiling import compiled
from jaxloss.core.exponentials import complement, discounted, exponential_series
from jaxloss.core.inputs import Scalar, at_least_float32, labeled
from jaxloss.core.ratios import share
from jaxloss.core.reducing import Reduction, reduce


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
    hopeless = jnp.isinf(nll)
    limited = hopeless | jnp.isinf(rest)
    limit = jnp.where(hopeless, 1.0, 0.0)
    part = share(jnp.where(limited, 0, nll), jnp.where(limited, 1, rest))
    loss = jnp.where(limited, limit.astype(nll.dtype), part)
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
    nll = _tempered_nll(at_least_float32(logits), tail)
    rival = ~is_label(logits, labels) & jnp.isfinite(nll)
    mass = jnp.where(rival, jnp.exp(-(1 + power) * jnp.where(rival, nll, 0)), 0).sum(-1)
    loss = _surprise(pick(nll, labels), power) + mass / (1 + power)
    return reduce(name, loss * poison, where, weights, reduction)


def _surprise(nll: Float[Array, "*shape"], rate: Scalar) -> Float[Array, "*shape"]:
    r""":math:`\int_0^n e^{-r u} (1 - e^{-u}) du`; by its power series where :math:`n` is small."""
    slow, fast = rate, 1 + rate
    near = fast * nll < 1
    small = jnp.where(near, nll, 0)
    series, term = jnp.zeros_like(nll), small * small / 2
    difference, power = 1.0, slow  # fast^k - slow^k as a sum of positive terms, and slow^k
    for k in range(1, 19):
        series += difference * term
        difference, power = fast * difference + power, slow * power
        term *= -small / (k + 2)
    large = jnp.where(near, 1, nll)
    return jnp.where(near, series, discounted(large, slow) - discounted(large, fast))


@jax.custom_jvp
def _tempered_nll(
    logits: Float[Array, "*batch classes"], tail: Float[Array, ""]
) -> Float[Array, "*batch classes"]:
    r"""Minus the log-probability of each class under a softmax with a heavy tail.

    The normalizer is found by Newton's method on :math:`(\sum_c p_c)^{-h}`, which is concave and
    nearly linear: from below it never overshoots. Eight steps reach the last digit of a float64,
    as measured for up to 100 000 classes and tails up to 10.
    """
    gap = below(logits.max(-1, keepdims=True), logits)
    leads = is_label(logits, logits.argmax(-1).astype(jnp.int32))
    straight = tail == 0
    rate = jnp.where(straight, 1, tail)

    def nll_above(level: Float[Array, "*batch 1"]) -> Float[Array, "*batch classes"]:
        x = level + gap
        return jnp.where(straight, x, jnp.log1p(rate * x) / rate)

    def closer(_: Any, level: Float[Array, "*batch 1"]) -> Float[Array, "*batch 1"]:
        nll = nll_above(level)
        p, short = jnp.exp(-nll), -jnp.expm1(-nll)
        excess = jnp.where(leads, -short, p).sum(-1, keepdims=True)  # exact also where p is sure
        growth = jnp.log1p(excess)
        growth = jnp.where(straight, growth, jnp.expm1(rate * growth) / rate)
        return level + (1 + excess) * growth / jnp.exp(-(1 + tail) * nll).sum(-1, keepdims=True)

    return nll_above(jax.lax.fori_loop(0, 8, closer, jnp.zeros_like(gap[..., :1])))


@_tempered_nll.defjvp
def _tempered_nll_jvp(primals: tuple[Any, ...], tangents: tuple[Any, ...]) -> tuple[Array, Array]:
    """By the implicit function theorem: the probabilities go on summing to one."""
    (logits, tail), (dlogits, dtail) = primals, tangents
    nll = _tempered_nll(logits, tail)
    excluded = jnp.isinf(nll)
    known = jnp.where(excluded, 0, nll)
    p, slope = jnp.where(excluded, 0, jnp.exp(-known)), jnp.exp(-tail * known)
    escort = p * slope
    total = escort.sum(-1, keepdims=True)
    # Relative to the leading class, whose own 1 - p would not keep its digits.
    leading = logits.argmax(-1).astype(jnp.int32)
    relative = jnp.where(is_label(logits, leading), 0, dlogits - pick(dlogits, leading)[..., None])
    near = tail * known < 1
    divisor = jnp.where(near, 1, tail)
    fall = jnp.where(
        near,
        known * known * exponential_series(2, -jnp.where(near, tail * known, 0)),
        (known - (1 - jnp.exp(-divisor * known)) / divisor) / divisor,
    )
    level = ((escort * relative).sum(-1, keepdims=True)
             + dtail * (p * fall).sum(-1, keepdims=True)) / total  # fmt: skip
    return nll, slope * (level - relative) - dtail * fall
