"""Losses that make a classifier as sure as it is right, to be added to its cross-entropy.

The confidence of an example is the largest of its probabilities. Over a batch it shall be, wherever
it lies, the share of examples that are classified right. Whether they are carries no gradient. Add
such a loss by :func:`jaxloss.compose.weighted`; a temperature alone is fitted afterwards, by the
cross-entropy of ``logits / temperature``.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Bool, Float, Int, Real

from jaxloss.core.checks import check_not_negative, check_positive, require_rank
from jaxloss.core.classes import label_nll, pick, softmax
from jaxloss.core.compiling import compiled
from jaxloss.core.inputs import Scalar, at_least_float32, labeled, modulus, selection
from jaxloss.core.reducing import Reduction, reduce
from jaxloss.core.summing import row_sum


@compiled("reduction")
def kernel_error(
    logits: Float[ArrayLike, "batch classes"],
    labels: Int[ArrayLike, " batch"],
    *,
    scale: Scalar = 0.4,
    where: Bool[ArrayLike, " #batch"] | None = None,
    weights: Real[ArrayLike, "..."] | None = None,
    reduction: Reduction = "mean",
) -> Float[Array, "..."]:
    r"""Squared maximum mean calibration error: are examples too sure where others are as well?

    With :math:`d_i` 1 for an example that is classified right and 0 otherwise, less its confidence
    :math:`r_i`:

    .. math::
        \ell_i = \frac{d_i}{n} \sum_j d_j\, e^{-|r_i - r_j| / s}

    The mean is not negative, and 0 only for a calibrated batch, but a single example's share in it
    may be: it makes up for others. The square root of the mean is MMCE. Takes memory for all pairs
    of the batch. The unreduced shape is ``batch``.

    Args:
        scale: :math:`s`, how far apart confidences still make up for each other; positive.
        where: which examples exist, :math:`n` of them.
        weights, reduction: see :func:`jaxloss.core.reducing.reduce`; a weight acts on an example's
            own share, not on that of the others. A label out of range gives NaN.

    Example:
        >>> logits = jnp.array([[0.0, 0.0], [0.0, 0.0]])
        >>> kernel_error(logits, jnp.array([0, 1]))  # half sure, and right in one case of two
        Array(0., dtype=float32)

    Reference:
        Kumar, Sarawagi & Jain, "Trainable Calibration Measures For Neural Networks From Kernel
        Mean Embeddings", 2018.
    """
    name = "kernel_error"
    confidence, right, exists, poison = _confidence(name, logits, labels, where)
    scale = check_positive(name, "scale", scale).astype(confidence.dtype)
    lack = jnp.where(exists, right - confidence, 0) * poison.astype(confidence.dtype)
    count = jnp.maximum(exists.sum(), 1).astype(confidence.dtype)
    near = jnp.exp(-modulus(confidence[:, None] - confidence[None, :]) / scale)
    loss = lack * row_sum(near * lack[None, :]) / count
    return reduce(name, loss, where, weights, reduction)


@compiled("bins", "reduction")
def binned_error(
    logits: Float[ArrayLike, "batch classes"],
    labels: Int[ArrayLike, " batch"],
    *,
    bins: int = 15,
    temperature: Scalar = 0.01,
    power: Scalar = 2.0,
    where: Bool[ArrayLike, " #batch"] | None = None,
    weights: Real[ArrayLike, "..."] | None = None,
    reduction: Reduction = "mean",
) -> Float[Array, "..."]:
    r"""Expected calibration error, of confidences that are put into bins softly.

    .. math::
        \ell_i = \sum_b u_{ib} \Bigl| \frac{\sum_j u_{jb} (c_j - r_j)}{\sum_j u_{jb}} \Bigr|^p,
        \qquad u_i = \operatorname{softmax}_b \Bigl( -\frac{(r_i - m_b)^2}{\tau} \Bigr)

    with :math:`r` the confidences, :math:`c` 1 for an example that is classified right and 0
    otherwise, and :math:`m` the middles of equal bins of [0, 1]. As the temperature falls the mean
    becomes the expected calibration error, to the power; its root is the authors' SB-ECE. The
    unreduced shape is ``batch``.

    Args:
        bins: how many.
        temperature: :math:`\tau`, positive; how far bins overlap.
        power: :math:`p`, positive; with 1, gaps do not vanish smoothly.
        where: which examples exist; the others are in no bin.
        weights, reduction: see :func:`jaxloss.core.reducing.reduce`; a weight acts on the gaps
            that an example meets, not on the gaps themselves. A label out of range gives NaN.

    Example:
        >>> logits = jnp.log(jnp.array([[0.9, 0.1], [0.9, 0.1]]))
        >>> binned_error(logits, jnp.array([0, 1]), power=1.0)  # right in one case of two
        Array(0.4..., dtype=float32)

    Reference:
        Karandikar et al., "Soft Calibration Objectives for Neural Networks", 2021.
    """
    name = "binned_error"
    if bins < 1:
        raise ValueError(f"{name}: bins must be at least 1, got {bins}")
    confidence, right, exists, poison = _confidence(name, logits, labels, where)
    temperature = check_positive(name, "temperature", temperature).astype(confidence.dtype)
    power = check_positive(name, "power", power).astype(confidence.dtype)
    middles = (jnp.arange(bins, dtype=confidence.dtype) + 0.5) / bins
    gap = confidence[:, None] - middles[None, :]
    member = jnp.where(exists[:, None], jax.nn.softmax(-gap * gap / temperature, -1), 0)
    lack = (right - confidence) * poison.astype(confidence.dtype)
    size = member.sum(0)
    empty = size == 0
    error = modulus((member * lack[:, None]).sum(0) / jnp.where(empty, 1, size))
    some = error > 0
    cost = jnp.where(some, jnp.where(some, error, 1) ** power, error)
    loss = row_sum(member * cost[None, :])
    return reduce(name, loss, where, weights, reduction)


@compiled("reduction")
def margin_smoothing(
    logits: Float[ArrayLike, "*batch classes"],
    labels: Int[ArrayLike, "*batch"],
    *,
    margin: Scalar = 10.0,
    penalty: Scalar = 0.1,
    where: Bool[ArrayLike, "*#batch"] | None = None,
    weights: Real[ArrayLike, "..."] | None = None,
    reduction: Reduction = "mean",
) -> Float[Array, "..."]:
    r"""Cross-entropy, and by how much more than a margin the largest logit leads the others.

    .. math::
        \ell = -\log p_y + \lambda \sum_c \max \bigl( \max_k z_k - z_c - m, 0 \bigr),
        \qquad p = \operatorname{softmax}(z)

    Label smoothing pulls all logits together, however close they are; this only if one runs away.
    The unreduced shape is ``*batch``.

    Args:
        margin: :math:`m`, a lead that is free.
        penalty: :math:`\lambda`, what a lead beyond it costs; not negative.
        where, weights, reduction: see :func:`jaxloss.core.reducing.reduce`. A label whose
            ``where`` is false may hold any integer; any other label outside [0, C) gives NaN.

    Example:
        >>> margin_smoothing(jnp.array([50.0, 0.0]), jnp.array(0))  # sure, and 40 beyond
        Array(4., dtype=float32)

    Reference:
        Liu et al., "The Devil is in the Margin: Margin-based Label Smoothing for Network
        Calibration", 2022.
    """
    name = "margin_smoothing"
    logits, labels, poison = labeled(name, logits, labels, where)
    penalty = check_not_negative(name, "penalty", penalty)
    score = at_least_float32(logits)
    possible = jnp.isfinite(score)  # a class that is ruled out is no runaway
    most = jnp.where(possible, score, -jnp.inf).max(-1, keepdims=True)
    lead = jnp.where(possible, most - score, 0)
    loss = label_nll(logits, labels) + penalty * row_sum(jax.nn.relu(lead - margin))
    return reduce(name, loss * poison, where, weights, reduction)


def _confidence(
    name: str,
    logits: Float[ArrayLike, "batch classes"],
    labels: Int[ArrayLike, " batch"],
    where: Bool[ArrayLike, " #batch"] | None,
) -> tuple[Array, Array, Array, Array]:
    """How sure each example is, whether it is right, whether it exists, and the poison."""
    require_rank(name, 2, wanted="of shape (batch, classes)", exact=True, logits=logits)
    logits, labels, poison = labeled(name, logits, labels, where)
    p, guess = softmax(logits), logits.argmax(-1).astype(jnp.int32)
    exists = selection(name, where, labels.shape)
    exists = jnp.ones(labels.shape, bool) if exists is None else exists
    return pick(p, guess), (guess == labels).astype(p.dtype), exists, poison
