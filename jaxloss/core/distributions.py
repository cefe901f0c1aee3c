"""Two distributions side by side, event by event, without loss of digits where they nearly agree.

Everything is made from three logarithms for each event: of its probability under the prediction
``q``, under the target ``t``, and of their ratio ``t / q``. The ratio is given beside, as it may be
known to more digits than the difference of the other two.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from jaxloss.core.checks import check_positive
from jaxloss.core.classes import log_softmax, softmax, times
from jaxloss.core.exponentials import complement, difference
from jaxloss.core.inputs import Scalar


class Pair(NamedTuple):
    """A prediction and a target."""

    log_q: Float[Array, "*batch classes"]
    log_t: Float[Array, "*batch classes"]
    log_ratio: Float[Array, "*batch classes"]  # log(t / q)


def pair_of(log_q: Float[Array, "*batch classes"], log_t: Float[Array, "*batch classes"]) -> Pair:
    """Two rows of log-probabilities."""
    return Pair(log_q, log_t, difference(log_t, log_q))


def softmax_pair(
    predicted: Float[Array, "*batch classes"], actual: Float[Array, "*batch classes"]
) -> Pair:
    """The softmaxes of two rows of logits."""
    return Pair(log_softmax(predicted), log_softmax(actual), _log_ratio(predicted, actual))


@jax.custom_jvp
def _log_ratio(
    predicted: Float[Array, "*batch classes"], actual: Float[Array, "*batch classes"]
) -> Float[Array, "*batch classes"]:
    """``log(t / q)`` of two softmaxes; to the digits of ``actual - predicted`` if they are alike.

    The logits need not be alike for that: one row may be the other plus a constant.
    """
    far = difference(log_softmax(actual), log_softmax(predicted))
    leader = predicted.argmax(-1, keepdims=True)
    ahead = difference(actual, predicted)
    ahead -= jnp.take_along_axis(ahead, leader, -1)
    excess = (softmax(predicted) * jnp.expm1(ahead)).sum(-1, keepdims=True)
    near = (excess > -0.5) & (excess < 1e30)  # and not NaN
    ratio = jnp.where(near, ahead - jnp.log1p(jnp.where(near, excess, 0)), far)
    return jnp.where(_both_exclude(predicted, actual), 0, ratio)


@_log_ratio.defjvp
def _log_ratio_jvp(primals: tuple[Any, ...], tangents: tuple[Any, ...]) -> tuple[Array, Array]:
    _, along_predicted = jax.jvp(log_softmax, primals[:1], tangents[:1])
    _, along_actual = jax.jvp(log_softmax, primals[1:], tangents[1:])
    tangent = jnp.where(_both_exclude(*primals), 0, along_actual - along_predicted)
    return _log_ratio(*primals), tangent


def _both_exclude(x: Float[Array, "*shape"], y: Float[Array, "*shape"]) -> Bool[Array, "*shape"]:
    return jnp.isneginf(x) & jnp.isneginf(y)


def relative(
    log_w: Float[Array, "*shape"], log_v: Float[Array, "*#shape"], ratio: Float[Array, "*shape"]
) -> Float[Array, "*shape"]:
    """``w log(w / v) - w + v``, not negative, given ``log(v / w)`` to all its digits.

    Its sum over all events of two distributions is a Kullback-Leibler divergence.
    """
    near = jnp.abs(ratio) < 1
    x = jnp.where(near, ratio, 0)
    w, v = jnp.exp(log_w), jnp.exp(log_v)
    series = jnp.ones_like(x)
    for k in range(18, 0, -1):
        series = 1 + x / (k + 2) * series
    far = v - w - times(w, jnp.where(near, 0, ratio))
    return jnp.where(near, w * x * x / 2 * series, far)


def forward_kl(pair: Pair) -> Float[Array, "*batch"]:
    """The divergence of the prediction from the target."""
    return relative(pair.log_t, pair.log_q, -pair.log_ratio).sum(-1)


def reverse_kl(pair: Pair) -> Float[Array, "*batch"]:
    """The divergence of the target from the prediction."""
    return relative(pair.log_q, pair.log_t, pair.log_ratio).sum(-1)


def distances(pair: Pair) -> Float[Array, "*batch classes"]:
    """``abs(t - q)``, with slope 0 where they are equal."""
    likelier, gap = apart(pair.log_ratio)
    distance = jnp.exp(jnp.where(likelier, pair.log_t, pair.log_q)) * complement(gap)
    return jnp.where(gap == 0, 0, distance)


def to_mixture(
    pair: Pair, share: Float[Array, ""]
) -> tuple[Float[Array, "*batch"], Float[Array, "*batch"]]:
    """How far the target and the prediction are from ``m = share * t + (1 - share) * q``.

    The Kullback-Leibler divergences of ``m`` from the target, and of ``m`` from the prediction.
    """
    likelier, gap = apart(pair.log_ratio)
    # The logarithm of the mixture, as a drop from that of the likelier of the two.
    drop = jnp.log1p(jnp.where(likelier, share - 1, -share) * complement(gap))
    log_m = jnp.where(likelier, pair.log_t, pair.log_q) + drop
    from_target = relative(pair.log_t, log_m, drop + jnp.where(likelier, 0, gap))
    from_predicted = relative(pair.log_q, log_m, drop + jnp.where(likelier, gap, 0))
    return from_target.sum(-1), from_predicted.sum(-1)


def apart(ratio: Float[Array, "*shape"]) -> tuple[Bool[Array, "*shape"], Float[Array, "*shape"]]:
    """Whether the target gives an event the higher probability, and ``abs(log(t / q))``."""
    return ratio >= 0, jnp.where(ratio >= 0, ratio, -ratio)


def softened(
    name: str,
    divergence: Callable[[Pair], Float[Array, "*batch"]],
    predicted: Float[Array, "*batch classes"],
    actual: Float[Array, "*batch classes"],
    temperature: Scalar,
) -> Float[Array, "*batch"]:
    """A divergence of softmaxes at some temperature, times the square of that."""
    tau = check_positive(name, "temperature", temperature).astype(predicted.dtype)
    return tau * tau * divergence(softmax_pair(predicted / tau, actual / tau))
