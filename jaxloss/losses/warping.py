"""Losses between signals that say the same at different speeds.

Signals of different lengths share an array by masks: lengths become masks by
``jnp.arange(size) < lengths[:, None]``.
"""

import functools
import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Bool, Float, Int, Real

from jaxloss.core.batches import squared_distances
from jaxloss.core.checks import check_positive, require_floating, require_rank, require_real
from jaxloss.core.compiling import compiled
from jaxloss.core.inputs import Scalar, masked, promoted, selection
from jaxloss.core.lattices import Sum, sum_by_cells
from jaxloss.core.reducing import Reduction, broadcast_where, reduce


@compiled("reduction")
def soft_dtw(
    signals: Float[ArrayLike, "batch time features"],
    target_signals: Real[ArrayLike, "batch target_time features"],
    *,
    temperature: Scalar = 1.0,
    target_where: Bool[ArrayLike, "#batch #target_time"] | None = None,
    where: Bool[ArrayLike, "#batch #time"] | None = None,
    weights: Real[ArrayLike, "..."] | None = None,
    reduction: Reduction = "mean",
) -> Float[Array, "..."]:
    r"""Smallest sum of squared distances along an alignment of two signals, softened.

    .. math::
        \ell = -\tau \log \sum_\pi \exp\Big(-\frac1\tau \sum_{(i, j) \in \pi}
        \lVert x_i - y_j \rVert^2\Big)

    The sum is over all alignments: from the first two frames to the last two, by steps to the next
    frame of one signal or of both. Dynamic time warping as :math:`\tau \to 0`. It may be negative,
    and is not least where the signals are equal; :func:`soft_dtw_divergence` is. The unreduced
    shape is ``batch``.

    Args:
        temperature: :math:`\tau`, positive; how much alignments that are not best count.
        target_where: which frames of ``target_signals`` exist; the others may hold anything.
        where: which frames of ``signals`` exist; what does not is skipped. An example without any
            of either does not count.
        weights, reduction: see :func:`jaxloss.core.reducing.reduce`; they act on whole examples.

    Example:
        The target is slower:

        >>> fast, slow = jnp.array([[[0.0], [3.0]]]), jnp.array([[[0.0], [0.0], [3.0]]])
        >>> soft_dtw(fast, slow, temperature=0.1)
        Array(-0., dtype=float32)

    Reference:
        Cuturi and Blondel, "Soft-DTW: a Differentiable Loss Function for Time-Series", 2017.
    """
    name = "soft_dtw"
    one, other, exists = _given(name, signals, target_signals, where, target_where)
    temperature = check_positive(name, "temperature", temperature).astype(one.frames.dtype)
    loss = _value(_aligned(one, other, temperature), temperature)
    return reduce(name, loss, exists, weights, reduction)


@compiled("reduction")
def soft_dtw_divergence(
    signals: Float[ArrayLike, "batch time features"],
    target_signals: Real[ArrayLike, "batch target_time features"],
    *,
    temperature: Scalar = 1.0,
    target_where: Bool[ArrayLike, "#batch #target_time"] | None = None,
    where: Bool[ArrayLike, "#batch #time"] | None = None,
    weights: Real[ArrayLike, "..."] | None = None,
    reduction: Reduction = "mean",
) -> Float[Array, "..."]:
    r"""Soft dynamic time warping of two signals beyond that of each with itself.

    .. math::
        \ell = d(x, y) - \tfrac12 d(x, x) - \tfrac12 d(y, y)

    with :math:`d` that of :func:`soft_dtw`. Zero for equal signals, where its gradient is zero too.
    The unreduced shape is ``batch``.

    Args:
        temperature, target_where, where: as in :func:`soft_dtw`.
        weights, reduction: see :func:`jaxloss.core.reducing.reduce`; they act on whole examples.

    Example:
        >>> signal = jnp.array([[[0.0], [1.0], [3.0]]])
        >>> soft_dtw_divergence(signal, signal)
        Array(0., dtype=float32)

    Reference:
        Blondel, Mensch and Vert, "Differentiable Divergences Between Time Series", 2021.
    """
    name = "soft_dtw_divergence"
    one, other, exists = _given(name, signals, target_signals, where, target_where)
    temperature = check_positive(name, "temperature", temperature).astype(one.frames.dtype)
    across, within, beside = (
        _aligned(x, y, temperature) for x, y in ((one, other), (one, one), (other, other))
    )
    # Part by part: a difference of the three values would lose the digits of near signals.
    excess = Sum(*(x - y / 2 - z / 2 for x, y, z in zip(across, within, beside, strict=True)))
    loss = _value(excess, temperature)
    loss = loss + jax.lax.stop_gradient(jax.nn.relu(-loss))  # what rounding takes below zero
    return reduce(name, loss, exists, weights, reduction)


class _Signals(NamedTuple):
    """Frames in one dtype, those that exist last, and which is the first of them."""

    frames: Float[Array, "batch time features"]
    first: Int[Array, " batch"]

    @property
    def exists(self) -> Bool[Array, "batch time"]:
        """Which frames there are."""
        position = jnp.arange(self.frames.shape[1], dtype=jnp.int32)
        return position[None] >= self.first[:, None]


def _aligned(one: _Signals, other: _Signals, temperature: Float[Array, ""]) -> Sum:
    """The logarithm of the sum over all alignments."""
    costs = jax.vmap(squared_distances)(one.frames, other.frames)
    exists = one.exists[:, :, None] & other.exists[:, None]
    return sum_by_cells(jnp.where(exists, -costs / temperature, -jnp.inf), (one.first, other.first))


def _value(aligned: Sum, temperature: Float[Array, ""]) -> Float[Array, " batch"]:
    return -temperature * (aligned.fraction + aligned.exponent * math.log(2))


def _given(
    name: str,
    signals: Float[ArrayLike, "batch time features"],
    target_signals: Real[ArrayLike, "batch target_time features"],
    where: Bool[ArrayLike, "#batch #time"] | None,
    target_where: Bool[ArrayLike, "#batch #target_time"] | None,
) -> tuple[_Signals, _Signals, Bool[Array, " batch"] | None]:
    """Check and clean; last, which examples have frames of both."""
    require_floating(name, signals=signals)
    require_real(name, target_signals=target_signals)
    arrays = {"signals": signals, "target_signals": target_signals}
    wanted = "of shape (batch, time, features)"
    require_rank(name, 3, wanted=wanted, exact=True, **arrays)
    one, other = promoted(signals, target_signals)
    if one.shape[::2] != other.shape[::2]:
        wanted = f"of shape ({one.shape[0]}, target_time, {one.shape[2]})"
        raise ValueError(f"{name}: target_signals must be {wanted}, got shape {other.shape}")
    here = selection(name, where, one.shape[:2])
    there = None
    if target_where is not None:
        there = broadcast_where(name, target_where, other.shape[:2], "target_where")
    some = [x.any(1) for x in (here, there) if x is not None]
    exists = functools.reduce(jnp.logical_and, some) if some else None
    return _last(one, here), _last(other, there), exists


def _last(
    x: Float[Array, "batch time features"], exists: Bool[Array, "batch time"] | None
) -> _Signals:
    """What exists last, in order; if nothing does, one zero."""
    if exists is None:
        return _Signals(x, jnp.zeros(x.shape[:1], jnp.int32))
    order = jnp.argsort(exists, axis=1, stable=True)
    frames = jnp.take_along_axis(masked(x, exists), order[..., None], 1)
    count = exists.sum(1, dtype=jnp.int32)
    return _Signals(frames, jnp.minimum(x.shape[1] - count, x.shape[1] - 1))
