"""Reductions that look at how hard examples are: for any unreduced loss, as those of the tails.

Each takes what a loss returns with ``reduction="none"`` and no weights, and returns one number.
"""

import math
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Bool, Float, Real

from jaxloss.core.checks import check_positive, check_unit_interval, require_same_shape
from jaxloss.core.inputs import Scalar, at_least_float32, masked, selection
from jaxloss.core.reducing import reduce, weighed


def superloss(
    losses: Float[Array, "*shape"],
    *,
    threshold: Scalar,
    strength: Scalar = 1.0,
    where: Bool[ArrayLike, "*#shape"] | None = None,
    weights: Real[ArrayLike, "*#shape"] | None = None,
) -> Float[Array, ""]:
    r"""Mean of the losses, of which small ones count more and large ones less, by as much as helps.

    .. math::
        L = \operatorname{mean} \min_\sigma \; (\ell - \tau)\, \sigma + \lambda \log^2 \sigma
          = \operatorname{mean} \lambda\, w (w + 2), \qquad
        w e^w = \frac{\ell - \tau}{2 \lambda}

    A curriculum: each example has a confidence :math:`\sigma`, found in closed form, and easy ones
    lead. As the strength grows, the mean less the threshold; from there down the loss may be
    negative. Its gradient in a loss is :math:`\sigma = e^{-w}`, between 0 and e; if the loss is
    below the threshold by more than :math:`2 \lambda / e`, it is e.

    Args:
        threshold: :math:`\tau`, between easy and hard: the logarithm of the number of classes, or
            a running mean of the losses.
        strength: :math:`\lambda`, how much a confidence other than 1 costs; positive.
        where, weights: see :func:`jaxloss.core.reducing.reduce`.

    Example:
        >>> jax.grad(lambda x: superloss(x, threshold=1.0))(jnp.array([1.0, 1.0 + 2 * jnp.e]))
        Array([0.5       , 0.1839...], dtype=float32)

    Reference:
        Castells, Weinzaepfel & Revaud, "SuperLoss: A Generic Loss for Robust Curriculum Learning",
        2020.
    """
    name = "superloss"
    loss = at_least_float32(losses)
    loss = masked(loss, selection(name, where, loss.shape))
    strength = check_positive(name, "strength", strength).astype(loss.dtype)
    excess = loss - jnp.asarray(threshold).astype(loss.dtype)
    return reduce(name, _superloss(excess, strength), where, weights, "mean")


def harmonized(
    losses: Float[Array, "*shape"],
    difficulties: Real[ArrayLike, "*shape"],
    *,
    bins: int = 10,
    density: Float[ArrayLike, " bins"] | None = None,
    where: Bool[ArrayLike, "*#shape"] | None = None,
    weights: Real[ArrayLike, "*#shape"] | None = None,
) -> Float[Array, ""]:
    r"""Mean over bins of difficulty of the mean loss in each: many alike count no more than few.

    .. math::
        L = \frac{1}{B} \sum_i \frac{w_i \ell_i}{D_{b(i)}}, \qquad
        D_b = \sum_{i:\, b(i) = b} w_i

    Gradient harmonizing mechanism, with :math:`B` bins that are not empty: neither the crowd of
    easy examples rules nor the few that nothing can be done about. For sigmoid cross-entropies the
    difficulty is ``abs(sigmoid(logits) - targets)``; for errors ``d`` of a
    ``robust.charbonnier`` with the same ``scale``, ``abs(d) / sqrt(d**2 + scale**2)``. No gradient
    flows through it.

    Args:
        difficulties: in [0, 1].
        bins: how many, of equal width; part of the compiled program.
        density: :math:`D`, if not of these examples alone: a moving average of
            :func:`difficulty_density`, of as many bins.
        where, weights: see :func:`jaxloss.core.reducing.reduce`.

    Example:
        >>> losses, difficulties = jnp.array([1.0, 1.0, 1.0, 5.0]), jnp.array([0.1, 0.1, 0.1, 0.9])
        >>> harmonized(losses, difficulties)
        Array(3., dtype=float32)

    Reference:
        Li, Liu & Wang, "Gradient Harmonized Single-Stage Detector", 2019.
    """
    name = "harmonized"
    require_same_shape(name, losses=losses, difficulties=difficulties)
    loss = at_least_float32(losses)
    index, loss, weight = _binned(name, loss, difficulties, bins, where, weights)
    if density is None:
        number = _density(index, weight, bins)
    else:
        number = at_least_float32(density).astype(loss.dtype)
        if number.shape != (bins,):
            raise ValueError(f"{name}: density must be of shape ({bins},), got {number.shape}")
    number = jax.lax.stop_gradient(number)
    filled = jnp.maximum((number > 0).sum(), 1).astype(loss.dtype)
    here = number[index]
    return (weight * loss / jnp.where(here == 0, 1, here)).sum() / filled


def difficulty_density(
    difficulties: Real[ArrayLike, "*shape"],
    *,
    bins: int = 10,
    where: Bool[ArrayLike, "*#shape"] | None = None,
    weights: Real[ArrayLike, "*#shape"] | None = None,
) -> Float[Array, " bins"]:
    """How many examples there are in each bin of difficulty, for :func:`harmonized`.

    Example:
        >>> difficulty_density(jnp.array([0.1, 0.1, 0.6, 1.0]), bins=2)
        Array([2., 2.], dtype=float32)
    """
    name = "difficulty_density"
    ones = jnp.ones_like(at_least_float32(difficulties))
    index, _, weight = _binned(name, ones, difficulties, bins, where, weights)
    return _density(index, weight, bins)


def _binned(
    name: str,
    losses: Float[Array, "*shape"],
    difficulties: Real[ArrayLike, "*shape"],
    bins: int,
    where: Bool[ArrayLike, "*#shape"] | None,
    weights: Real[ArrayLike, "*#shape"] | None,
) -> tuple[Array, Array, Array]:
    """The bin of each example, its loss and its weight, which is 0 where it does not exist."""
    if bins < 1:
        raise ValueError(f"{name}: bins must be at least 1, got {bins}")
    hardness = jax.lax.stop_gradient(at_least_float32(difficulties))
    hardness = masked(hardness, selection(name, where, hardness.shape))
    hardness = check_unit_interval(name, "difficulties", hardness)
    loss, weight = weighed(name, losses, where, weights)
    return jnp.clip((hardness * bins).astype(jnp.int32), 0, bins - 1), loss, weight


def _density(index: Array, weight: Array, bins: int) -> Float[Array, " bins"]:
    return jnp.zeros(bins, weight.dtype).at[index].add(weight)


@jax.custom_jvp
def _superloss(excess: Float[Array, "*shape"], strength: Float[Array, ""]) -> Array:
    """The minimum over confidences, of a loss above the threshold by ``excess``."""
    w, clipped = _lambert(excess / (2 * strength))
    return jnp.where(clipped, math.e * excess + strength, strength * w * (w + 2))


@_superloss.defjvp
def _superloss_jvp(primals: tuple[Any, ...], tangents: tuple[Any, ...]) -> tuple[Array, Array]:
    """By the envelope theorem: as if the confidence were held."""
    (excess, strength), (dexcess, dstrength) = primals, tangents
    w, _ = _lambert(excess / (2 * strength))
    return _superloss(*primals), jnp.exp(-w) * dexcess + w * w * dstrength


@jax.custom_jvp
def _lambert(x: Float[Array, "*shape"]) -> tuple[Float[Array, "*shape"], Bool[Array, "*shape"]]:
    """The ``w >= -1`` with ``w e^w = x``, and whether there is none, as ``x < -1 / e``."""
    clipped, large = math.e * x <= -1, x > 1
    inner = jnp.where(clipped | large, 0, x)
    p = jnp.sqrt(2 * jax.nn.relu(math.e * inner + 1))
    near = -1 + p * (1 + p * (-1 / 3 + p * (11 / 72 + p * -43 / 540)))
    w = jnp.where(inner < -0.2, near, inner * (1 - inner * (1 - 1.5 * inner)))
    w = jnp.where(inner > 0.2, jnp.log1p(inner), w)
    for _ in range(4):  # Halley
        miss = w - inner * jnp.exp(-w)
        slope = w + 1
        step = miss / (slope - miss * (w + 2) / (2 * jnp.where(slope == 0, 1, slope)))
        w = jnp.where(slope <= 0, w, w - step)
    outer = jnp.where(large & jnp.isfinite(x), x, 3)
    log_x = jnp.log(outer)
    v = jnp.log1p(outer) / 2
    for _ in range(5):  # Newton on w + log w
        v = v * (1 + log_x - jnp.log(v)) / (1 + v)
    found = jnp.where(large, jnp.where(jnp.isfinite(x), v, jnp.inf), w)
    return jnp.where(clipped, -1, found), clipped


@_lambert.defjvp
def _lambert_jvp(primals: tuple[Any, ...], tangents: tuple[Any, ...]) -> tuple[Any, Any]:
    w, clipped = _lambert(*primals)
    edge = w <= -1
    slope = jnp.where(edge, 0, jnp.exp(-w) / (1 + jnp.where(edge, 0, w)))
    nothing = jnp.zeros(clipped.shape, jax.dtypes.float0)
    return (w, clipped), (slope * tangents[0], nothing)
