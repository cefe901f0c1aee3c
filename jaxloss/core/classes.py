"""Cross-entropies of a softmax, exact however confident the model and however large its logits.

The textbook ``logsumexp(z) - z_y`` subtracts two large numbers to find a small one: at 10^4 it has
three digits left, and a sure model's loss of 10^-9 becomes 0, with a gradient of 0. Here every
value is a sum of non-negative parts, and the gradient of the leading class, ``p - 1`` when that is
the truth, is minus the sum of what the others have.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Real

from jaxloss.core.inputs import Scalar, at_least_float32
from jaxloss.core.summing import row_sum


@jax.custom_jvp
def label_nll(
    logits: Float[Array, "*batch classes"], labels: Int[Array, "*batch"]
) -> Float[Array, "*batch"]:
    r"""Minus the log-probability of each label under a softmax; labels must be in range.

    With :math:`m` the largest logit and :math:`T` the sum of :math:`e^{z_c - m}` over
    :math:`c \ne y`, it is :math:`(m - z_y) + \log(e^{z_y - m} + T)`.
    """
    _, gap, others = _around_label(logits, labels)
    return gap + jnp.log1p(others + jnp.expm1(-gap))


@label_nll.defjvp
def _label_nll_jvp(primals: tuple[Any, ...], tangents: tuple[Any, ...]) -> tuple[Array, Array]:
    logits, labels = primals
    slope = _label_nll_gradient(logits, labels)
    return label_nll(logits, labels), (slope * at_least_float32(tangents[0])).sum(-1)


@jax.custom_jvp
def _label_nll_gradient(
    logits: Float[Array, "*batch classes"], labels: Int[Array, "*batch"]
) -> Float[Array, "*batch classes"]:
    """``softmax(logits) - one_hot(labels)``, the label's entry as minus the sum of the others."""
    maximum, gap, others = _around_label(logits, labels)
    total = others + jnp.exp(-gap)
    # Not e^(z - m) / total: XLA would keep e^(z - m), as large as the logits, from the sum above.
    logits = at_least_float32(logits)
    scaled = jnp.exp(logits - maximum[..., None] - jnp.log(total)[..., None])
    p = jnp.where(logits == maximum[..., None], (1 / total)[..., None], scaled)
    return jnp.where(is_label(logits, labels), -(others / total)[..., None], p)


@_label_nll_gradient.defjvp
def _label_nll_hessian(primals: tuple[Any, ...], tangents: tuple[Any, ...]) -> tuple[Array, Array]:
    logits, labels = primals
    curvature = jax.jvp(softmax, (logits,), (tangents[0],))[1]
    return _label_nll_gradient(logits, labels), curvature


def _around_label(
    logits: Float[Array, "*batch classes"], labels: Int[Array, "*batch"]
) -> tuple[Float[Array, "*batch"], Float[Array, "*batch"], Float[Array, "*batch"]]:
    """The maximum, how far the label lies below it, and the sum of e^(z - m) over the others."""
    score, maximum = at_least_float32(pick(logits, labels)), at_least_float32(logits.max(-1))
    logits, top = at_least_float32(logits), maximum[..., None]
    scaled = jnp.where(logits == top, 1, jnp.exp(logits - top))  # also where both are infinite
    others = row_sum(jnp.where(is_label(logits, labels), 0, scaled))
    return maximum, below(maximum, score), others


@jax.custom_jvp
def soft_nll(
    logits: Float[Array, "*batch classes"], targets: Float[Array, "*batch classes"]
) -> Float[Array, "*batch"]:
    r"""Minus the log-probabilities under a softmax, weighed by ``targets`` and summed."""
    around = _around_maximum(logits)
    gaps, mass = row_sum(times(targets, around.gap)), row_sum(targets)
    return gaps + mass * jnp.log1p(around.others)


@soft_nll.defjvp
def _soft_nll_jvp(primals: tuple[Any, ...], tangents: tuple[Any, ...]) -> tuple[Array, Array]:
    logits, targets = primals
    dlogits, dtargets = map(at_least_float32, tangents)
    around = _around_maximum(logits)
    nll = around.gap + jnp.log1p(around.others)[..., None]
    nll = jnp.where(
        jnp.isinf(nll), 0, nll
    )  # or a target held fixed, with tangent 0, would give NaN
    tangent = _soft_nll_gradient(logits, targets) * dlogits + nll * dtargets
    return soft_nll(logits, targets), tangent.sum(-1)


@jax.custom_jvp
def _soft_nll_gradient(
    logits: Float[Array, "*batch classes"], targets: Float[Array, "*batch classes"]
) -> Float[Array, "*batch classes"]:
    """``targets.sum() * softmax(logits) - targets``, free of cancellation at the maximum."""
    around = _around_maximum(logits)
    mass, others = row_sum(targets)[..., None], around.others[..., None]
    leading = row_sum(jnp.where(around.leads, targets, 0))[..., None]
    trailing = row_sum(jnp.where(around.leads, 0, targets))[..., None]
    at_maximum = trailing + (leading - targets) - mass * others / (1 + others)
    elsewhere = mass * jnp.exp(-around.gap) / (1 + others) - targets
    return jnp.where(around.leads, at_maximum, elsewhere)


@_soft_nll_gradient.defjvp
def _soft_nll_hessian(primals: tuple[Any, ...], tangents: tuple[Any, ...]) -> tuple[Array, Array]:
    logits, targets = primals
    dtargets = at_least_float32(tangents[1])
    p, dp = jax.jvp(softmax, (logits,), (tangents[0],))
    dmass = dtargets.sum(-1, keepdims=True)
    tangent = targets.sum(-1, keepdims=True) * dp + dmass * p - dtargets
    return _soft_nll_gradient(logits, targets), tangent


@jax.custom_jvp
def softmax(logits: Float[Array, "*batch classes"]) -> Float[Array, "*batch classes"]:
    """Probabilities, also where logits are infinite; differentiable without end."""
    around = _around_maximum(logits)
    return jnp.exp(-around.gap) / (1 + around.others[..., None])


@softmax.defjvp
def _softmax_jvp(primals: tuple[Any, ...], tangents: tuple[Any, ...]) -> tuple[Array, Array]:
    p, tangent = softmax(*primals), at_least_float32(tangents[0])
    return p, p * (tangent - (p * tangent).sum(-1, keepdims=True))


@jax.custom_jvp
def log_softmax(logits: Float[Array, "*batch classes"]) -> Float[Array, "*batch classes"]:
    """Log-probabilities, also where logits are infinite; differentiable without end."""
    around = _around_maximum(logits)
    return -around.gap - jnp.log1p(around.others)[..., None]


@log_softmax.defjvp
def _log_softmax_jvp(primals: tuple[Any, ...], tangents: tuple[Any, ...]) -> tuple[Array, Array]:
    """Relative to the leading class, whose own 1 - p would not keep its digits."""
    (logits,), tangent = primals, at_least_float32(tangents[0])
    leading = logits.argmax(-1).astype(jnp.int32)
    relative = tangent - pick(tangent, leading)[..., None]
    relative = jnp.where(is_label(logits, leading), 0, relative)
    return log_softmax(logits), relative - (softmax(logits) * relative).sum(-1, keepdims=True)


@jax.custom_jvp
def log_partition(logits: Float[Array, "*batch classes"]) -> Float[Array, "*batch"]:
    """The logarithm of the sum of the exponentials; its slope is the softmax."""
    largest = at_least_float32(logits.max(-1))
    return largest + jnp.log1p(_around_maximum(logits).others)


@log_partition.defjvp
def _log_partition_jvp(primals: tuple[Any, ...], tangents: tuple[Any, ...]) -> tuple[Array, Array]:
    return log_partition(*primals), (softmax(*primals) * at_least_float32(tangents[0])).sum(-1)


def squared_log_partition(logits: Float[Array, "*batch classes"]) -> Float[Array, "*batch"]:
    """The square of :func:`log_partition`; constant where that is infinite."""
    z = log_partition(logits)
    return jnp.square(jnp.where(jnp.isinf(z), jax.lax.stop_gradient(z), z))


def smoothed_nll(
    logits: Float[Array, "*batch classes"],
    labels: Int[Array, "*batch"],
    label_smoothing: Scalar | None,
) -> Float[Array, "*batch"]:
    """:func:`label_nll` with some of the mass spread evenly over all classes."""
    loss = label_nll(logits, labels)
    if label_smoothing is None:
        return loss
    uniform = jnp.full(logits.shape, 1 / logits.shape[-1], loss.dtype)
    return times(1 - label_smoothing, loss) + times(label_smoothing, soft_nll(logits, uniform))


class _Around(NamedTuple):
    """Logits seen from their maximum."""

    gap: Float[Array, "*batch classes"]  # how far below the maximum
    leads: Bool[Array, "*batch classes"]  # whether at the maximum
    others: Float[Array, "*batch"]  # sum of e^-gap over all classes but one leader


def _around_maximum(logits: Float[Array, "*batch classes"]) -> _Around:
    gap = below(at_least_float32(logits.max(-1, keepdims=True)), at_least_float32(logits))
    leads = gap == 0
    ties = row_sum(leads.astype(gap.dtype)) - 1
    return _Around(gap, leads, row_sum(jnp.where(leads, 0, jnp.exp(-gap))) + ties)


def below(maximum: Float[Array, "*#shape"], x: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """``maximum - x``, but 0, and not NaN, between equal infinities."""
    return jnp.where(x == maximum, 0, maximum - x)


def times(
    weight: float | Real[Array, "*#shape"], x: Float[Array, "*shape"]
) -> Float[Array, "*shape"]:
    """``weight * x``, where a weight of 0 outweighs an infinite ``x``."""
    return weight * jnp.where((weight == 0) & jnp.isinf(x), 0, x)


def is_label(
    logits: Float[Array, "*batch classes"], labels: Int[Array, "*batch"]
) -> Bool[Array, "*batch classes"]:
    """A one-hot that is never stored: XLA fuses the comparison into the loop that reads it."""
    return jax.lax.broadcasted_iota(jnp.int32, logits.shape, logits.ndim - 1) == labels[..., None]


def pick(
    values: Float[Array, "*batch classes"], labels: Int[Array, "*batch"]
) -> Float[Array, "*batch"]:
    """The entry of each row that its label names."""
    return jnp.take_along_axis(values, labels[..., None], axis=-1, mode="clip").squeeze(-1)
