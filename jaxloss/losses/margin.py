"""Losses on the margin of a yes-or-no answer: how far its logit is on the right side of zero.

The margin is :math:`v = (2t - 1) z` for a logit :math:`z` and a target :math:`t` of 0 or 1. All of
these agree on who is right, and differ in what they charge: nothing from a margin on, or ever less;
linearly, quadratically or exponentially for being wrong, or no more than a constant.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Bool, Float, Real

from jaxloss.core.checks import check_positive, check_unit_interval
from jaxloss.core.compiling import compiled
from jaxloss.core.exponentials import sigmoid, softplus
from jaxloss.core.inputs import Scalar, elements
from jaxloss.core.reducing import Reduction, reduce


@compiled("reduction")
def squared_hinge(
    logits: Float[ArrayLike, "*shape"],
    targets: Real[ArrayLike, "*shape"],
    *,
    margin: Scalar = 1.0,
    where: Bool[ArrayLike, "*#shape"] | None = None,
    weights: Real[ArrayLike, "..."] | None = None,
    reduction: Reduction = "mean",
) -> Float[Array, "..."]:
    r"""Square of how far each logit is from being on its side of zero by a margin.

    .. math::
        \ell = \max(0,\; m - v)^2

    The hinge without its kink: the gradient fades where the margin is reached, and grows for the
    badly wrong. The unreduced shape is that of ``logits``.

    Args:
        targets: 0 or 1, mapped to -1 or 1 inside.
        margin: :math:`m`, the logit beyond which nothing is lost; positive.
        where, weights, reduction: see :func:`jaxloss.core.reducing.reduce`.

    Example:
        >>> squared_hinge(jnp.array([0.5, 3.0, 0.5]), jnp.array([1, 1, 0]), reduction="none")
        Array([0.25, 0.  , 2.25], dtype=float32)

    Reference:
        Lee and Mangasarian, "SSVM: A Smooth Support Vector Machine for Classification", 2001.
    """
    short = jax.nn.relu(margin - _margins("squared_hinge", logits, targets, where))
    return reduce("squared_hinge", short * short, where, weights, reduction)


@compiled("reduction")
def smooth_hinge(
    logits: Float[ArrayLike, "*shape"],
    targets: Real[ArrayLike, "*shape"],
    *,
    margin: Scalar = 1.0,
    delta: Scalar = 1.0,
    where: Bool[ArrayLike, "*#shape"] | None = None,
    weights: Real[ArrayLike, "..."] | None = None,
    reduction: Reduction = "mean",
) -> Float[Array, "..."]:
    r"""Hinge with its kink rounded off by a piece of a parabola.

    .. math::
        \ell = \begin{cases}
            e^2 / (2\delta) & e < \delta \\
            e - \delta / 2  & e \ge \delta
        \end{cases}
        \qquad e = \max(0,\; m - v)

    As ``delta`` shrinks it becomes the hinge. The unreduced shape is that of ``logits``.

    Args:
        targets: 0 or 1, mapped to -1 or 1 inside.
        margin: :math:`m`, the logit beyond which nothing is lost; positive.
        delta: how far short of the margin the parabola turns into a line; positive.
        where, weights, reduction: see :func:`jaxloss.core.reducing.reduce`.

    Example:
        >>> smooth_hinge(jnp.array([0.5, 3.0, 0.5]), jnp.array([1, 1, 0]), reduction="none")
        Array([0.125, 0.   , 1.   ], dtype=float32)

    Reference:
        Rennie and Srebro, "Loss Functions for Preference Levels: Regression with Discrete Ordered
        Labels", 2005.
    """
    short = jax.nn.relu(margin - _margins("smooth_hinge", logits, targets, where))
    delta = check_positive("smooth_hinge", "delta", delta)
    bent = jnp.where(short < delta, short, delta)
    loss = bent / 2 * (bent / delta) + (short - bent)
    return reduce("smooth_hinge", loss, where, weights, reduction)


@compiled("reduction")
def logistic(
    logits: Float[ArrayLike, "*shape"],
    targets: Real[ArrayLike, "*shape"],
    *,
    margin: Scalar = 0.0,
    scale: Scalar = 1.0,
    where: Bool[ArrayLike, "*#shape"] | None = None,
    weights: Real[ArrayLike, "..."] | None = None,
    reduction: Reduction = "mean",
) -> Float[Array, "..."]:
    r"""Hinge rounded off by a logarithm: smooth everywhere, and never quite zero.

    .. math::
        \ell = \frac1s \log\!\left( 1 + e^{s (m - v)} \right)

    Without a margin, and with ``scale`` 1, it is the cross-entropy of a sigmoid, also known as the
    soft margin loss. As ``scale`` grows it becomes the hinge. The unreduced shape is that of
    ``logits``.

    Args:
        targets: 0 or 1, mapped to -1 or 1 inside.
        margin: :math:`m`, the logit around which the loss bends.
        scale: :math:`s`, how sharply it bends; positive.
        where, weights, reduction: see :func:`jaxloss.core.reducing.reduce`.

    Example:
        >>> logistic(jnp.array([0.0, 2.0]), jnp.array([1, 0]), reduction="none")
        Array([0.6931472, 2.126928 ], dtype=float32)

    Reference:
        Zhang, Jin, Yang and Hauptmann, "Modified Logistic Regression: An Approximation to SVM and
        its Applications in Large-Scale Text Categorization", 2003.
    """
    scale = check_positive("logistic", "scale", scale)
    short = margin - _margins("logistic", logits, targets, where)
    return reduce("logistic", softplus(scale * short) / scale, where, weights, reduction)


@compiled("reduction")
def exponential(
    logits: Float[ArrayLike, "*shape"],
    targets: Real[ArrayLike, "*shape"],
    *,
    where: Bool[ArrayLike, "*#shape"] | None = None,
    weights: Real[ArrayLike, "..."] | None = None,
    reduction: Reduction = "mean",
) -> Float[Array, "..."]:
    r"""Exponential of minus the margin: what AdaBoost minimizes.

    .. math::
        \ell = e^{-v}

    Its minimizer is half the log-odds. A single wrong label may outweigh all else: prefer
    :func:`logistic` if there are any. The unreduced shape is that of ``logits``.

    Args:
        targets: 0 or 1, mapped to -1 or 1 inside.
        where, weights, reduction: see :func:`jaxloss.core.reducing.reduce`.

    Example:
        >>> exponential(jnp.array([0.0, 2.0]), jnp.array([1, 1]), reduction="none")
        Array([1.        , 0.13533528], dtype=float32)

    Reference:
        Friedman, Hastie and Tibshirani, "Additive Logistic Regression: A Statistical View of
        Boosting", 2000.
    """
    loss = jnp.exp(-_margins("exponential", logits, targets, where))
    return reduce("exponential", loss, where, weights, reduction)


@compiled("reduction")
def perceptron(
    logits: Float[ArrayLike, "*shape"],
    targets: Real[ArrayLike, "*shape"],
    *,
    where: Bool[ArrayLike, "*#shape"] | None = None,
    weights: Real[ArrayLike, "..."] | None = None,
    reduction: Reduction = "mean",
) -> Float[Array, "..."]:
    r"""How far each logit is on the wrong side of zero.

    .. math::
        \ell = \max(0,\; -v)

    A hinge without a margin. Its subgradient at zero is 0, so logits that are all zero learn
    nothing. The unreduced shape is that of ``logits``.

    Args:
        targets: 0 or 1, mapped to -1 or 1 inside.
        where, weights, reduction: see :func:`jaxloss.core.reducing.reduce`.

    Example:
        >>> perceptron(jnp.array([0.5, 3.0, 0.5]), jnp.array([1, 1, 0]), reduction="none")
        Array([0. , 0. , 0.5], dtype=float32)

    Reference:
        Rosenblatt, "The Perceptron: A Probabilistic Model for Information Storage and Organization
        in the Brain", 1958.
    """
    loss = jax.nn.relu(-_margins("perceptron", logits, targets, where))
    return reduce("perceptron", loss, where, weights, reduction)


@compiled("reduction")
def modified_huber(
    logits: Float[ArrayLike, "*shape"],
    targets: Real[ArrayLike, "*shape"],
    *,
    where: Bool[ArrayLike, "*#shape"] | None = None,
    weights: Real[ArrayLike, "..."] | None = None,
    reduction: Reduction = "mean",
) -> Float[Array, "..."]:
    r"""Squared hinge that grows only linearly for the badly wrong.

    .. math::
        \ell = \begin{cases}
            \max(0,\; 1 - v)^2 & v > -1 \\
            -4 v               & v \le -1
        \end{cases}

    Four times :func:`smooth_hinge` with ``delta`` 2. Its minimizer, clipped to [-1, 1], is
    :math:`2p - 1` for a probability :math:`p` of 1. The unreduced shape is that of ``logits``.

    Args:
        targets: 0 or 1, mapped to -1 or 1 inside.
        where, weights, reduction: see :func:`jaxloss.core.reducing.reduce`.

    Example:
        >>> modified_huber(jnp.array([0.5, 3.0, 2.0]), jnp.array([1, 1, 0]), reduction="none")
        Array([0.25, 0.  , 8.  ], dtype=float32)

    Reference:
        Zhang, "Statistical Behavior and Consistency of Classification Methods Based on Convex Risk
        Minimization", 2004.
    """
    short = jax.nn.relu(1 - _margins("modified_huber", logits, targets, where))
    bent = jnp.where(short < 2, short, 2)
    loss = bent * bent + 4 * (short - bent)
    return reduce("modified_huber", loss, where, weights, reduction)


@compiled("reduction")
def savage(
    logits: Float[ArrayLike, "*shape"],
    targets: Real[ArrayLike, "*shape"],
    *,
    where: Bool[ArrayLike, "*#shape"] | None = None,
    weights: Real[ArrayLike, "..."] | None = None,
    reduction: Reduction = "mean",
) -> Float[Array, "..."]:
    r"""Squared probability of the wrong answer: no more than 1, however wrong.

    .. math::
        \ell = \left( \frac{1}{1 + e^{v}} \right)^2

    The squared error of a sigmoid. The gradient fades for the hopelessly wrong, so that outliers
    are given up. The unreduced shape is that of ``logits``.

    Args:
        targets: 0 or 1, mapped to -1 or 1 inside.
        where, weights, reduction: see :func:`jaxloss.core.reducing.reduce`.

    Example:
        >>> savage(jnp.array([0.0, -100.0]), jnp.array([1, 1]), reduction="none")
        Array([0.25, 1.  ], dtype=float32)

    Reference:
        Masnadi-Shirazi and Vasconcelos, "On the Design of Loss Functions for Classification:
        Theory, Robustness to Outliers, and SavageBoost", 2008.
    """
    doubt = sigmoid(-_margins("savage", logits, targets, where))
    return reduce("savage", doubt * doubt, where, weights, reduction)


@compiled("reduction")
def tangent(
    logits: Float[ArrayLike, "*shape"],
    targets: Real[ArrayLike, "*shape"],
    *,
    where: Bool[ArrayLike, "*#shape"] | None = None,
    weights: Real[ArrayLike, "..."] | None = None,
    reduction: Reduction = "mean",
) -> Float[Array, "..."]:
    r"""Bounded loss that charges a little even for being too right.

    .. math::
        \ell = (2 \arctan v - 1)^2

    Zero at a margin of :math:`\tan(1/2) \approx 0.55`, at most :math:`(\pi + 1)^2` for the wrong
    and :math:`(\pi - 1)^2` for the right: a far outlier hardly moves it on either side. The
    unreduced shape is that of ``logits``.

    Args:
        targets: 0 or 1, mapped to -1 or 1 inside.
        where, weights, reduction: see :func:`jaxloss.core.reducing.reduce`.

    Example:
        >>> tangent(jnp.array([0.0, 1.0]), jnp.array([1, 1]), reduction="none")
        Array([1. ..., 0.3258..., dtype=float32)

    Reference:
        Masnadi-Shirazi, Mahadevan and Vasconcelos, "On the Design of Robust Classifiers for
        Computer Vision", 2010.
    """
    angle = 2 * jnp.arctan(_margins("tangent", logits, targets, where)) - 1
    return reduce("tangent", angle * angle, where, weights, reduction)


def _margins(
    name: str,
    logits: Float[ArrayLike, "*shape"],
    targets: Real[ArrayLike, "*shape"],
    where: Bool[ArrayLike, "*#shape"] | None,
) -> Float[Array, "*shape"]:
    """How far each logit is on the right side of zero; checked, and zero where masked."""
    scores, actual = elements(name, where, logits=logits, targets=targets)
    return (2 * check_unit_interval(name, "targets", actual) - 1) * scores
