"""Classification by angle, to one learned vector per class: the proxy of the class.

All lengths are taken out, of embeddings and of proxies; to classify, take the class whose proxy has
the largest cosine.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Bool, Float, Int, Real

from jaxloss.core.batches import log_total
from jaxloss.core.checks import (
    check_positive,
    poison_unless_class,
    require_integer,
    require_rank,
    require_real,
    require_shape,
)
from jaxloss.core.classes import is_label, label_nll
from jaxloss.core.compiling import compiled
from jaxloss.core.inputs import Scalar, masked, promoted, selection
from jaxloss.core.reducing import Reduction, reduce
from jaxloss.core.vectors import distance, normalized


@compiled("reduction")
def arcface(
    embeddings: Real[ArrayLike, "*batch features"],
    labels: Int[ArrayLike, "*batch"],
    proxies: Real[ArrayLike, "classes features"],
    *,
    margin: Scalar = 0.5,
    scale: Scalar = 64.0,
    where: Bool[ArrayLike, "*#batch"] | None = None,
    weights: Real[ArrayLike, "..."] | None = None,
    reduction: Reduction = "mean",
) -> Float[Array, "..."]:
    r"""Cross-entropy of cosines to the proxies, the label's angle made larger by a margin.

    .. math::
        \ell = -\log \frac{e^{s \cos(\theta_y + m)}}
            {e^{s \cos(\theta_y + m)} + \sum_{c \ne y} e^{s \cos \theta_c}}

    Where :math:`\theta_y + m` exceeds :math:`\pi`, :math:`\cos \theta_y - m \sin m` takes the place
    of its cosine, which would rise again. At angle 0 the direction to the proxy is undefined and
    the margin has slope 0. The unreduced shape is ``*batch``.

    Args:
        proxies: one vector for each class.
        margin: :math:`m`, in radians.
        scale: :math:`s`, positive.
        where, weights, reduction: see :func:`jaxloss.core.reducing.reduce`. A label whose
            ``where`` is false may hold any integer; any other label outside [0, C) gives NaN.

    Example:
        >>> embeddings, proxies = jnp.array([[5.0, 0.0]]), jnp.eye(2)
        >>> arcface(embeddings, jnp.array([1]), proxies, margin=0.0, scale=1.0)  # log(1 + e)
        Array(1.3132617, dtype=float32)

    Reference:
        Deng et al., "ArcFace: Additive Angular Margin Loss for Deep Face Recognition", 2019.
    """
    name = "arcface"
    seen = _seen(name, embeddings, labels, proxies, where)
    margin = jnp.asarray(margin).astype(seen.angle.dtype)
    beyond = seen.angle + margin > jnp.pi
    own = jnp.where(
        beyond, jnp.cos(seen.angle) - margin * jnp.sin(margin), jnp.cos(seen.angle + margin)
    )
    return reduce(name, _cross_entropy(name, seen, own, scale), where, weights, reduction)


@compiled("reduction")
def cosface(
    embeddings: Real[ArrayLike, "*batch features"],
    labels: Int[ArrayLike, "*batch"],
    proxies: Real[ArrayLike, "classes features"],
    *,
    margin: Scalar = 0.35,
    scale: Scalar = 64.0,
    where: Bool[ArrayLike, "*#batch"] | None = None,
    weights: Real[ArrayLike, "..."] | None = None,
    reduction: Reduction = "mean",
) -> Float[Array, "..."]:
    r"""Cross-entropy of cosines to the proxies, the label's made smaller by a margin.

    .. math::
        \ell = -\log \frac{e^{s (\cos \theta_y - m)}}
            {e^{s (\cos \theta_y - m)} + \sum_{c \ne y} e^{s \cos \theta_c}}

    Also known as AM-softmax; without a margin as NormFace. The unreduced shape is ``*batch``.

    Args:
        proxies: one vector for each class.
        margin: :math:`m`, a difference of cosines.
        scale: :math:`s`, positive.
        where, weights, reduction: see :func:`jaxloss.core.reducing.reduce`. A label whose
            ``where`` is false may hold any integer; any other label outside [0, C) gives NaN.

    Example:
        >>> embeddings, proxies = jnp.array([[3.0, 4.0]]), jnp.eye(2)
        >>> cosface(embeddings, jnp.array([1]), proxies, margin=0.2, scale=5.0)  # log 2
        Array(0.6931472, dtype=float32)

    Reference:
        Wang et al., "CosFace: Large Margin Cosine Loss for Deep Face Recognition", 2018.
    """
    name = "cosface"
    seen = _seen(name, embeddings, labels, proxies, where)
    own = jnp.take_along_axis(seen.cosines, seen.labels[..., None], -1).squeeze(-1) - margin
    return reduce(name, _cross_entropy(name, seen, own, scale), where, weights, reduction)


@compiled("reduction")
def combined_margin(
    embeddings: Real[ArrayLike, "*batch features"],
    labels: Int[ArrayLike, "*batch"],
    proxies: Real[ArrayLike, "classes features"],
    *,
    factor: Scalar = 1.0,
    angle_margin: Scalar = 0.3,
    margin: Scalar = 0.2,
    scale: Scalar = 64.0,
    where: Bool[ArrayLike, "*#batch"] | None = None,
    weights: Real[ArrayLike, "..."] | None = None,
    reduction: Reduction = "mean",
) -> Float[Array, "..."]:
    r"""Cross-entropy of cosines to the proxies, with three kinds of margin for the label's.

    .. math::
        \ell = -\log \frac{e^{s\, \psi(\theta_y)}}
            {e^{s\, \psi(\theta_y)} + \sum_{c \ne y} e^{s \cos \theta_c}}, \qquad
        \psi(\theta) = \cos(m_1 \theta + m_2) - m_3

    A ``factor`` of 4 alone is SphereFace, an ``angle_margin`` of 0.5 alone :func:`arcface`, a
    ``margin`` of 0.35 alone :func:`cosface`. From :math:`\pi` on the cosine is continued as
    SphereFace does, by :math:`(-1)^k \cos \varphi - 2 k` with :math:`k = \lfloor \varphi / \pi
    \rfloor`, so that it keeps falling. The unreduced shape is ``*batch``.

    Args:
        proxies: one vector for each class.
        factor, angle_margin, margin: :math:`m_1`, :math:`m_2` in radians, and :math:`m_3`.
        scale: :math:`s`, positive.
        where, weights, reduction: see :func:`jaxloss.core.reducing.reduce`. A label whose
            ``where`` is false may hold any integer; any other label outside [0, C) gives NaN.

    Example:
        >>> embeddings, proxies = jnp.array([[1.0, 1.0]]), jnp.eye(2)
        >>> options = {"factor": 2.0, "angle_margin": 0.0, "margin": 0.0, "scale": 1.0}
        >>> combined_margin(embeddings, jnp.array([1]), proxies, **options)  # log(1 + e^0.707)
        Array(1.1079..., dtype=float32)

    Reference:
        Deng et al., "ArcFace: Additive Angular Margin Loss for Deep Face Recognition", 2019; for
        the factor Liu et al., "SphereFace: Deep Hypersphere Embedding for Face Recognition", 2017.
    """
    name = "combined_margin"
    seen = _seen(name, embeddings, labels, proxies, where)
    enlarged = factor * seen.angle + angle_margin
    turns = jax.nn.relu(jnp.floor(jax.lax.stop_gradient(enlarged) / jnp.pi))
    sign = 1 - 2 * (turns % 2)
    own = sign * jnp.cos(enlarged) - 2 * turns - margin
    return reduce(name, _cross_entropy(name, seen, own, scale), where, weights, reduction)


@compiled("reduction")
def proxy_nca(
    embeddings: Real[ArrayLike, "*batch features"],
    labels: Int[ArrayLike, "*batch"],
    proxies: Real[ArrayLike, "classes features"],
    *,
    temperature: Scalar = 1.0,
    where: Bool[ArrayLike, "*#batch"] | None = None,
    weights: Real[ArrayLike, "..."] | None = None,
    reduction: Reduction = "mean",
) -> Float[Array, "..."]:
    r"""Minus the log-probability that the nearest proxy, softly, is that of the label.

    .. math::
        \ell = -\log \frac{e^{-d_y^2 / \tau}}{\sum_c e^{-d_c^2 / \tau}}

    With the squared distance of unit vectors, :math:`d^2 = 2 - 2 \cos \theta`. In the first paper
    the sum leaves out the label, which makes the loss unbounded below; here, as in ProxyNCA++, it
    is a probability. The unreduced shape is ``*batch``.

    Args:
        proxies: one vector for each class.
        temperature: :math:`\tau`, positive; 1/9 in ProxyNCA++.
        where, weights, reduction: see :func:`jaxloss.core.reducing.reduce`. A label whose
            ``where`` is false may hold any integer; any other label outside [0, C) gives NaN.

    Example:
        >>> embeddings, proxies = jnp.array([[3.0, 4.0]]), jnp.eye(2)
        >>> proxy_nca(embeddings, jnp.array([1]), proxies, temperature=0.4)  # log(1 + 1 / e)
        Array(0.3132617, dtype=float32)

    Reference:
        Movshovitz-Attias et al., "No Fuss Distance Metric Learning using Proxies", 2017; Teh,
        DeVries & Taylor, "ProxyNCA++: Revisiting and Revitalizing Proxy Neighborhood Component
        Analysis", 2020.
    """
    name = "proxy_nca"
    seen = _seen(name, embeddings, labels, proxies, where)
    logits = 2 * seen.cosines / check_positive(name, "temperature", temperature)
    return reduce(name, label_nll(logits, seen.labels) * seen.poison, where, weights, reduction)


@compiled("reduction")
def proxy_anchor(
    embeddings: Real[ArrayLike, "batch features"],
    labels: Int[ArrayLike, " batch"],
    proxies: Real[ArrayLike, "classes features"],
    *,
    margin: Scalar = 0.1,
    scale: Scalar = 32.0,
    where: Bool[ArrayLike, " #batch"] | None = None,
    weights: Real[ArrayLike, "..."] | None = None,
    reduction: Reduction = "mean",
) -> Float[Array, "..."]:
    r"""Each proxy pulls the hardest embeddings of its class and pushes the hardest of all others.

    .. math::
        \ell_c = \frac{C}{C^+} \log\Big(1 + \sum_{i:\, y_i = c} e^{-\alpha (s_{ic} - m)}\Big)
               + \log\Big(1 + \sum_{i:\, y_i \ne c} e^{\alpha (s_{ic} + m)}\Big)

    With :math:`C^+` of the :math:`C` classes in the batch, the mean over classes is the mean of the
    first part over those in the batch, plus the mean of the second over all. The unreduced shape is
    ``classes``.

    Args:
        proxies: one vector for each class.
        margin: :math:`m`; cosines shall exceed it within the class, and be below -m elsewhere.
        scale: :math:`\alpha`, positive.
        where, weights, reduction: see :func:`jaxloss.core.reducing.reduce`. ``where`` is over the
            embeddings; one left out may have any integer for a label, and any other label outside
            [0, C) gives NaN.

    Example:
        >>> embeddings, proxies = jnp.array([[1.0, 0.0]]), jnp.eye(2)
        >>> options = {"margin": 0.0, "scale": 1.0, "reduction": "none"}
        >>> proxy_anchor(embeddings, jnp.array([0]), proxies, **options)
        Array([0.6265234, 0.6931472], dtype=float32)

    Reference:
        Kim et al., "Proxy Anchor Loss for Deep Metric Learning", 2020.
    """
    name = "proxy_anchor"
    require_rank(name, 2, wanted="of shape (batch, features)", exact=True, embeddings=embeddings)
    seen = _seen(name, embeddings, labels, proxies, where)
    scores = seen.cosines.T
    exists = selection(name, where, seen.labels.shape)
    exists = jnp.ones(seen.labels.shape, bool) if exists is None else exists
    member = is_label(seen.cosines, seen.labels).T & exists[None, :]
    scale = check_positive(name, "scale", scale)
    pull = jax.nn.softplus(log_total(-scale * (scores - margin), member))
    push = jax.nn.softplus(log_total(scale * (scores + margin), ~member & exists[None, :]))
    present = member.any(-1).sum()
    share = len(scores) / jnp.maximum(present, 1).astype(pull.dtype)
    loss = (share * pull + push) * seen.poison.prod()
    return reduce(name, loss, exists.any(), weights, reduction)


class _Seen(NamedTuple):
    """Embeddings as seen from the proxies."""

    cosines: Float[Array, "*batch classes"]
    angle: Float[Array, "*batch"]  # to the label's proxy
    labels: Int[Array, "*batch"]
    poison: Float[Array, "*batch"]


def _seen(
    name: str, embeddings: ArrayLike, labels: ArrayLike, proxies: ArrayLike, where: ArrayLike | None
) -> _Seen:
    require_real(name, embeddings=embeddings, proxies=proxies)
    require_integer(name, labels=labels)
    require_rank(name, 1, wanted="of shape (*batch, features)", embeddings=embeddings)
    require_rank(name, 2, wanted="of shape (classes, features)", exact=True, proxies=proxies)
    *batch, features = jnp.shape(embeddings)
    classes = jnp.shape(proxies)[0]
    require_shape(name, tuple(batch), wanted="one per embedding,", labels=labels)
    require_shape(name, (classes, features), wanted="of as many features,", proxies=proxies)
    selected = selection(name, where, tuple(batch))
    vectors, centers = promoted(embeddings, proxies)
    unit, center = normalized(masked(vectors, selected)), normalized(centers)
    things = masked(jnp.asarray(labels), selected)
    poison = poison_unless_class(name, things, classes)
    things = things.clip(0, classes - 1).astype(jnp.int32)
    cosines = jnp.matmul(unit, center.T, precision="highest")
    # Kahan's formula: exact from 0 to pi, where the arccosine loses half its digits at both ends
    own = center[things]
    angle = 2 * jnp.arctan2(distance(unit, own), distance(unit, -own))
    return _Seen(cosines, angle, things, poison)


def _cross_entropy(
    name: str, seen: _Seen, own: Float[Array, "*batch"], scale: Scalar
) -> Float[Array, "*batch"]:
    """Of the cosines times ``scale``, with ``own`` in the place of the label's."""
    logits = jnp.where(is_label(seen.cosines, seen.labels), own[..., None], seen.cosines)
    logits = logits * check_positive(name, "scale", scale)
    return label_nll(logits, seen.labels) * seen.poison
