"""Scores of forecasts that are samples: the members of an ensemble, of a generator, of dropout.

Members lie on an axis of their own, before that of the features where there are any. All of them
enter each score, so ``where`` and ``weights`` are over whole forecasts.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Bool, Float, Real

from jaxloss.core.checks import require_rank, require_real, require_shape
from jaxloss.core.compiling import compiled
from jaxloss.core.inputs import Scalar, masked, modulus, promoted, selection
from jaxloss.core.reducing import Reduction, reduce
from jaxloss.core.summing import row_sum
from jaxloss.core.vectors import norm


@compiled("fair", "reduction")
def crps(
    predictions: Real[ArrayLike, "*batch members"],
    targets: Real[ArrayLike, "*batch"],
    *,
    fair: bool = False,
    where: Bool[ArrayLike, "*#batch"] | None = None,
    weights: Real[ArrayLike, "..."] | None = None,
    reduction: Reduction = "mean",
) -> Float[Array, "..."]:
    r"""Continuous ranked probability score of a sample: its error less half its own spread.

    .. math::
        \ell = \frac1M \sum_i |x_i - t| - \frac{1}{2 M (M - f)} \sum_{ij} |x_i - x_j|

    With one member the absolute error. Computed from the sorted members, of which each adds a
    part that is not negative, in time :math:`M \log M`. The unreduced shape is ``*batch``.

    Args:
        predictions: :math:`x_i`, the members of each forecast.
        fair: whether :math:`f = 1`, which estimates without bias the score of the distribution
            the members are drawn from, and is the one to train on; of two members at least. With
            :math:`f = 0` the score is that of the members themselves, as a step function.
        where, weights, reduction: see :func:`jaxloss.core.reducing.reduce`.

    Example:
        >>> crps(jnp.array([0.0, 1.0]), jnp.array(1.0))
        Array(0.25, dtype=float32)
        >>> crps(jnp.array([0.0, 1.0]), jnp.array(1.0), fair=True)
        Array(0., dtype=float32)

    Reference:
        Gneiting & Raftery, "Strictly Proper Scoring Rules, Prediction, and Estimation", 2007; for
        ``fair`` Ferro, "Fair scores for ensemble forecasts", 2014.
    """
    name = "crps"
    require_real(name, predictions=predictions, targets=targets)
    require_rank(name, 1, wanted="of shape (*batch, members)", predictions=predictions)
    *batch, count = jnp.shape(predictions)
    require_shape(name, tuple(batch), wanted="one per row of members,", targets=targets)
    pairs = _pairs(name, count, fair)
    member, actual = promoted(predictions, targets)
    selected = selection(name, where, actual.shape)
    error = jnp.sort(masked(member - actual[..., None], selected), -1)
    # Of all pairs, in how many a member is the one nearer to the target on its side, or alone.
    rank = jnp.arange(count, dtype=error.dtype)
    half = 0.0 if fair else 0.5
    over, under = (count - 1 - rank) + half, rank + half
    over, under = (jnp.broadcast_to(x, error.shape) for x in (over, under))
    loss = row_sum(over * jax.nn.relu(error) + under * jax.nn.relu(-error)) * (2 / pairs)
    return reduce(name, loss, where, weights, reduction)


@compiled("fair", "reduction")
def energy(
    predictions: Real[ArrayLike, "*batch members features"],
    targets: Real[ArrayLike, "*batch features"],
    *,
    power: Scalar = 1.0,
    fair: bool = False,
    where: Bool[ArrayLike, "*#batch"] | None = None,
    weights: Real[ArrayLike, "..."] | None = None,
    reduction: Reduction = "mean",
) -> Float[Array, "..."]:
    r"""Energy score of a sample of vectors: its error less half its own spread.

    .. math::
        \ell = \frac1M \sum_i \|x_i - t\|^p - \frac{1}{2 M (M - f)} \sum_{ij} \|x_i - x_j\|^p

    With one feature :func:`crps`. It sees the location of a distribution better than its
    correlations, which :func:`variogram` looks at. Memory grows with the features times the square
    of the members. The unreduced shape is ``*batch``.

    Args:
        predictions: :math:`x_i`, the members of each forecast.
        power: :math:`p`, in (0, 2); at 2 only the mean of the members would count.
        fair: as in :func:`crps`.
        where, weights, reduction: see :func:`jaxloss.core.reducing.reduce`.

    Example:
        >>> members = jnp.array([[0.0, 0.0], [3.0, 4.0]])
        >>> energy(members, jnp.zeros(2))
        Array(1.25, dtype=float32)

    Reference:
        Gneiting & Raftery, "Strictly Proper Scoring Rules, Prediction, and Estimation", 2007.
    """
    name = "energy"
    member, actual, selected = _vectors(name, predictions, targets, where)
    count = member.shape[-2]
    pairs = _pairs(name, count, fair)
    power = jnp.asarray(power).astype(member.dtype)
    near = _powered(norm(member - actual[..., None, :]), power)
    apart = _powered(norm(member[..., :, None, :] - member[..., None, :, :]), power)
    excess = near[..., :, None] + near[..., None, :] - apart
    if fair:
        excess = jnp.where(jnp.eye(count, dtype=bool), 0, excess)
    loss = row_sum(row_sum(excess)) / (2 * pairs)
    return reduce(name, loss, selected, weights, reduction)


@compiled("reduction")
def variogram(
    predictions: Real[ArrayLike, "*batch members features"],
    targets: Real[ArrayLike, "*batch features"],
    *,
    power: Scalar = 0.5,
    where: Bool[ArrayLike, "*#batch"] | None = None,
    weights: Real[ArrayLike, "..."] | None = None,
    reduction: Reduction = "mean",
) -> Float[Array, "..."]:
    r"""How far the features of a sample differ from each other, against how far the truth's do.

    .. math::
        \ell = \sum_{ij} \Bigl( |t_i - t_j|^p - \frac1M \sum_m |x_{mi} - x_{mj}|^p \Bigr)^2

    Sensitive to correlations, blind to a shift of all features: add it to :func:`energy` or
    :func:`crps`. Memory grows with the members times the square of the features. The unreduced
    shape is ``*batch``.

    Args:
        predictions: :math:`x_m`, the members of each forecast.
        power: :math:`p`, positive; 1/2 and 1 are usual. Below 1 the slope of a difference grows
            without bound as it shrinks; that of no difference is taken as zero.
        where, weights, reduction: see :func:`jaxloss.core.reducing.reduce`.

    Example:
        >>> members = jnp.array([[0.0, 0.0], [0.0, 4.0]])
        >>> variogram(members, jnp.zeros(2))
        Array(2., dtype=float32)

    Reference:
        Scheuerer & Hamill, "Variogram-Based Proper Scoring Rules for Probabilistic Forecasts of
        Multivariate Quantities", 2015.
    """
    name = "variogram"
    member, actual, selected = _vectors(name, predictions, targets, where)
    power = jnp.asarray(power).astype(member.dtype)
    truth = _powered(modulus(actual[..., :, None] - actual[..., None, :]), power)
    sample = _powered(modulus(member[..., :, None] - member[..., None, :]), power).mean(-3)
    error = truth - sample
    return reduce(name, row_sum(row_sum(error * error)), selected, weights, reduction)


def _vectors(
    name: str,
    predictions: Real[ArrayLike, "*batch members features"],
    targets: Real[ArrayLike, "*batch features"],
    where: Bool[ArrayLike, "*#batch"] | None,
) -> tuple[Array, Array, Bool[Array, "*batch"] | None]:
    """Members and targets, zero where ``where`` is false, and ``where`` itself at ``*batch``."""
    require_real(name, predictions=predictions, targets=targets)
    require_rank(name, 2, wanted="of shape (*batch, members, features)", predictions=predictions)
    *batch, count, size = jnp.shape(predictions)
    require_shape(name, (*batch, size), wanted="one row per forecast,", targets=targets)
    _pairs(name, count, fair=False)
    member, actual = promoted(predictions, targets)
    selected = selection(name, where, tuple(batch))
    return masked(member, selected), masked(actual, selected), selected


def _pairs(name: str, count: int, fair: bool) -> int:
    """How many ordered pairs of members there are, by which the spread is divided."""
    if count < 1 + fair:
        needed = "two members" if fair else "a member"
        raise ValueError(f"{name}: predictions must have {needed} at least, got {count}")
    return count * (count - fair)


def _powered(x: Float[Array, "*shape"], power: Float[Array, ""]) -> Float[Array, "*shape"]:
    """``x ** power`` of numbers >= 0, with slope 0 at 0."""
    some = x > 0
    return jnp.where(some, jnp.where(some, x, 1) ** power, 0)
