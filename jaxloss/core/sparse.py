"""Softmaxes that give unlikely classes a probability of exactly zero, and how far they are off.

Each maximizes the score minus a convex regularizer over all distributions. With ``a = power - 1``
and a threshold that makes them add up to one, the probabilities are ``(1 + a (z - t)) ** (1 / a)``,
and zero where that base is negative.
"""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from jaxloss.core.classes import below, is_label, pick
from jaxloss.core.exponentials import expm1_ratio, log1p_ratio
from jaxloss.core.inputs import Scalar, at_least_float32
from jaxloss.core.summing import row_sum

Mapping = Callable[[Any, Any], Array]
"""From logits and a power to probabilities."""


def sparsemax_probabilities(
    logits: Float[Array, "*batch classes"], power: Scalar = 2.0
) -> Float[Array, "*batch classes"]:
    """The distribution nearest to the logits; ``power`` is 2 and here for company only."""
    # Measured up from 1 below the leader, where the support must end, a small x keeps its digits;
    # and as the leader's x is 1, the sum of the others is what there is too much.
    gap = _gap(logits)
    x = jnp.where(gap < 1, 1 - gap, 0)
    ordered = _descending(x)
    threshold = jnp.cumsum(ordered.at[..., 0].set(0), -1) / _ranks(x)
    size = (ordered > threshold).sum(-1, keepdims=True)
    support = jax.lax.stop_gradient(x) > jnp.take_along_axis(threshold, size - 1, -1)
    count = support.sum(-1, keepdims=True).astype(x.dtype)
    surplus = jnp.where(_is_leader(x), -gap, x)
    return jnp.where(support, x - row_sum(jnp.where(support, surplus, 0))[..., None] / count, 0)


def entmax15_probabilities(
    logits: Float[Array, "*batch classes"], power: Scalar = 1.5
) -> Float[Array, "*batch classes"]:
    """Halfway between a softmax and a sparsemax; ``power`` is 1.5 and here for company only."""
    gap = _gap(logits) / 2
    x = -jnp.where(gap < 1, gap, 1)
    ordered, ranks = _descending(x), _ranks(x)
    mean, square = jnp.cumsum(ordered, -1) / ranks, jnp.cumsum(ordered * ordered, -1) / ranks
    rest = 1 / ranks - (square - mean * mean)
    threshold = mean - jnp.sqrt(jnp.where(rest > 0, rest, 0))
    size = (ordered >= threshold).sum(-1, keepdims=True)
    support = jax.lax.stop_gradient(x) > jnp.take_along_axis(threshold, size - 1, -1)
    count = support.sum(-1, keepdims=True).astype(x.dtype)
    center = row_sum(jnp.where(support, x, 0))[..., None] / count
    spread = row_sum(jnp.where(support, (x - center) ** 2, 0))[..., None]
    height = x - center + jnp.sqrt((1 - spread) / count)
    return jnp.where(support & (height > 0), height * height, 0)


def entmax_probabilities(
    logits: Float[Array, "*batch classes"], power: Scalar
) -> Float[Array, "*batch classes"]:
    """For any positive power: 1 is a softmax, 2 a sparsemax, and below 1 the tails are heavy."""
    gap = _gap(logits)
    bend = jnp.asarray(power).astype(gap.dtype) - 1
    return _bent(gap, _threshold(gap, bend), bend)


@jax.custom_jvp
def _threshold(
    gap: Float[Array, "*batch classes"], bend: Float[Array, ""]
) -> Float[Array, "*batch 1"]:
    """By how much all scores are lowered for the probabilities to add up to one."""
    span = jnp.log(1.0 * gap.shape[-1]).astype(gap.dtype)
    shift = bend == 0
    widest = jnp.where(shift, span, -jnp.expm1(-bend * span) / jnp.where(shift, 1, bend))

    def halve(_: Any, bounds: tuple[Array, Array]) -> tuple[Array, Array]:
        low, high = bounds
        middle = (low + high) / 2
        heavy = row_sum(_bent(gap, middle, bend))[..., None] > 1
        return jnp.where(heavy, middle, low), jnp.where(heavy, high, middle)

    low = jnp.zeros_like(gap[..., :1])
    steps = jnp.finfo(gap.dtype).nmant + 2
    low, high = jax.lax.fori_loop(0, steps, halve, (low, low + widest))
    middle = (low + high) / 2
    p = _bent(gap, middle, bend)
    excess = row_sum(p)[..., None] - 1
    return middle + excess / row_sum(_bent_slope(p, bend))[..., None]


@_threshold.defjvp
def _threshold_jvp(primals: tuple[Any, ...], tangents: tuple[Any, ...]) -> tuple[Array, Array]:
    gap, bend = primals
    threshold = _threshold(gap, bend)
    p, change = jax.jvp(lambda g, b: _bent(g, threshold, b), primals, tangents)
    slope = _bent_slope(p, bend).sum(-1, keepdims=True)
    return threshold, change.sum(-1, keepdims=True) / slope


def _bent(
    gap: Float[Array, "*batch classes"], threshold: Float[Array, "*batch 1"], bend: Float[Array, ""]
) -> Float[Array, "*batch classes"]:
    """``(1 - bend (gap + threshold)) ** (1 / bend)``, also at its limit, the exponential."""
    out = jnp.isinf(gap)
    depth = jnp.where(out, 0, gap) + threshold
    base = -bend * depth
    out |= base <= -1
    base, depth = jnp.where(out, 0, base), jnp.where(out, 0, depth)
    return jnp.where(out, 0, jnp.exp(-depth * log1p_ratio(base)))


def _bent_slope(
    p: Float[Array, "*batch classes"], bend: Float[Array, ""]
) -> Float[Array, "*batch classes"]:
    """The derivative of a probability in its own score, ``p ** (1 - bend)``."""
    return jnp.where(p > 0, jnp.where(p > 0, p, 1) ** (1 - bend), 0)


@functools.partial(jax.custom_jvp, nondiff_argnums=(0,))
def sparse_nll(
    mapping: Mapping,
    logits: Float[Array, "*batch classes"],
    labels: Int[Array, "*batch"],
    power: Float[Array, ""],
) -> Float[Array, "*batch"]:
    """The Fenchel-Young loss of a mapping: how far the label is below the leader, and how unsure.

    A sum of parts that are not negative; its gradient is the probabilities minus the truth.
    """
    return _sparse_nll(mapping, logits, labels, power)


@sparse_nll.defjvp
def _sparse_nll_jvp(
    mapping: Mapping, primals: tuple[Any, ...], tangents: tuple[Any, ...]
) -> tuple[Array, Array]:
    logits, labels, power = primals
    dlogits, _, dpower = tangents
    value, along = jax.jvp(
        lambda power: _sparse_nll(mapping, logits, labels, power), (power,), (dpower,)
    )
    p, truth = mapping(logits, power), is_label(logits, labels)
    others = jnp.where(truth, 0, p)
    slope = jnp.where(truth, -others.sum(-1, keepdims=True), others)
    return value, along + (slope * at_least_float32(dlogits)).sum(-1)


def _sparse_nll(
    mapping: Mapping,
    logits: Float[Array, "*batch classes"],
    labels: Int[Array, "*batch"],
    power: Float[Array, ""],
) -> Float[Array, "*batch"]:
    p = mapping(logits, power)
    score, top = at_least_float32(pick(logits, labels)), at_least_float32(logits.max(-1))
    rest = jnp.where(_is_leader(p), 0, p)
    doubt, bend = row_sum(rest), power - 1
    positive = rest > 0
    mass = row_sum(jnp.where(positive, jnp.where(positive, rest, 1) ** power, 0))
    log_sure = jnp.log1p(-doubt)
    shift = -log_sure * expm1_ratio(bend * log_sure)
    base = mass + jax.nn.relu(bend * shift * doubt + (shift - doubt))
    return below(top, score) + base / power


def _is_leader(x: Float[Array, "*batch classes"]) -> Bool[Array, "*batch classes"]:
    """One of the largest entries of each row."""
    leader = jnp.argmax(x, -1, keepdims=True)
    return jax.lax.broadcasted_iota(leader.dtype, x.shape, x.ndim - 1) == leader


def _gap(logits: Float[Array, "*batch classes"]) -> Float[Array, "*batch classes"]:
    """How far each logit is below the largest, which is held constant: shifts cancel out.

    Not :func:`below`, in which the leader has no slope.
    """
    top = jax.lax.stop_gradient(at_least_float32(logits.max(-1, keepdims=True)))
    logits = at_least_float32(logits)
    return jnp.where(jnp.isinf(top) & (logits == top), 0, top - logits)


def _descending(x: Float[Array, "*batch classes"]) -> Float[Array, "*batch classes"]:
    return -jnp.sort(-jax.lax.stop_gradient(x), -1)


def _ranks(x: Float[Array, "*batch classes"]) -> Float[Array, "*batch classes"]:
    return 1 + jax.lax.broadcasted_iota(x.dtype, x.shape, x.ndim - 1)
