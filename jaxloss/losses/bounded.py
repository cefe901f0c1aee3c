"""Negative log-likelihoods of targets that have bounds: shares, angles, what limits cut off.

All are complete, with their constants. For levels see ``mixture.discretized_logistic``.
"""

import math

import jax
import jax.numpy as jnp
from jax.scipy.special import i0e
from jaxtyping import Array, ArrayLike, Bool, Float, Real

from jaxloss.core.checks import check_positive
from jaxloss.core.compiling import compiled
from jaxloss.core.exponentials import exponential_series
from jaxloss.core.gamma_functions import stirling_rest
from jaxloss.core.inputs import Scalar, masked, same_shape, selection
from jaxloss.core.preconditions import check
from jaxloss.core.ratios import quotient
from jaxloss.core.reducing import Reduction, reduce
from jaxloss.core.tails import HALF_LOG_2_PI, normal_before


@compiled("reduction")
def beta(
    logits: Real[ArrayLike, "*shape"],
    concentrations: Real[ArrayLike, "*shape"],
    target_shares: Real[ArrayLike, "*shape"],
    *,
    where: Bool[ArrayLike, "*#shape"] | None = None,
    weights: Real[ArrayLike, "..."] | None = None,
    reduction: Reduction = "mean",
) -> Float[Array, "..."]:
    r"""Negative log-likelihood of a beta distribution of shares between 0 and 1.

    .. math::
        \ell = -(a - 1) \log t - (b - 1) \log (1 - t) + \log B(a, b),
        \qquad a = \mu \phi, \quad b = (1 - \mu) \phi, \quad \mu = \sigma(\text{logits})

    With mean :math:`\mu` and variance :math:`\mu (1 - \mu) / (1 + \phi)`: beta regression. From
    torch's ``concentration1`` and ``concentration0`` the logits are ``log(c1 / c0)`` and the
    concentrations ``c1 + c0``. The unreduced shape is that of ``logits``.

    Args:
        logits: of the mean.
        concentrations: :math:`\phi`, positive; the more, the nearer to the mean.
        target_shares: :math:`t`, between 0 and 1, both excluded.
        where, weights, reduction: see :func:`jaxloss.core.reducing.reduce`.

    Example:
        >>> beta(jnp.zeros(1), jnp.array([4.0]), jnp.array([0.5]))  # -log(3/2)
        Array(-0.40546...

    Reference:
        Ferrari & Cribari-Neto, "Beta Regression for Modelling Rates and Proportions", 2004.
    """
    name = "beta"
    logit, concentration, share = same_shape(
        name, logits=logits, concentrations=concentrations, target_shares=target_shares
    )
    selected = selection(name, where, logit.shape)
    logit = masked(logit, selected)
    concentration = check_positive(name, "concentrations", masked(concentration, selected, fill=1))
    share = masked(share, selected, fill=0.5)
    inside = (share > 0) & (share < 1)
    share = check(share, inside, f"{name}: target_shares must lie between 0 and 1")
    yes = _part(logit, concentration, share, jnp.log(share))
    no = _part(-logit, concentration, 1 - share, jnp.log1p(-share))
    loss = yes + no + HALF_LOG_2_PI + jnp.log(concentration) / 2 - stirling_rest(concentration)
    return reduce(name, loss, where, weights, reduction)


@compiled("reduction")
def von_mises(
    predictions: Real[ArrayLike, "*shape"],
    concentrations: Real[ArrayLike, "*shape"],
    targets: Real[ArrayLike, "*shape"],
    *,
    where: Bool[ArrayLike, "*#shape"] | None = None,
    weights: Real[ArrayLike, "..."] | None = None,
    reduction: Reduction = "mean",
) -> Float[Array, "..."]:
    r"""Negative log-likelihood of a von Mises distribution of angles.

    .. math::
        \ell = -\kappa \cos(\text{targets} - \text{predictions}) + \log 2 \pi I_0(\kappa)

    The normal distribution on a circle, of variance :math:`1 / \kappa` once that is small; as
    :math:`\kappa` vanishes, uniform. Full turns do not matter. The unreduced shape is that of
    ``predictions``.

    Args:
        predictions, targets: angles in radians.
        concentrations: :math:`\kappa`, positive, as from a softplus.
        where, weights, reduction: see :func:`jaxloss.core.reducing.reduce`.

    Example:
        >>> von_mises(jnp.array([0.0]), jnp.array([1.0]), jnp.array([jnp.pi / 2]))
        Array(2.0737..., dtype=float32)

    Reference:
        Mardia & Jupp, "Directional Statistics", 2000.
    """
    name = "von_mises"
    predicted, concentration, actual = same_shape(
        name, predictions=predictions, concentrations=concentrations, targets=targets
    )
    selected = selection(name, where, predicted.shape)
    error = masked(actual - predicted, selected)
    concentration = check_positive(name, "concentrations", masked(concentration, selected, fill=1))
    away = jnp.square(jnp.sin(error / 2))  # half of 1 - cos, without its cancellation
    loss = 2 * concentration * away + _log_circle(concentration)
    return reduce(name, loss, where, weights, reduction)


@compiled("reduction")
def tobit(
    predictions: Real[ArrayLike, "*shape"],
    scales: Real[ArrayLike, "*shape"],
    targets: Real[ArrayLike, "*shape"],
    *,
    lower: Scalar | None = None,
    upper: Scalar | None = None,
    where: Bool[ArrayLike, "*#shape"] | None = None,
    weights: Real[ArrayLike, "..."] | None = None,
    reduction: Reduction = "mean",
) -> Float[Array, "..."]:
    r"""Negative log-likelihood of normal amounts of which limits cut off what is beyond them.

    .. math::
        \ell = \begin{cases}
            -\log \Phi(z_l) & t \le l, \quad z_l = (l - \mu) / \sigma \\
            -\log \Phi(-z_u) & t \ge u, \quad z_u = (u - \mu) / \sigma \\
            \frac{z^2}{2} + \log \sigma + \frac12 \log 2 \pi & \text{otherwise},
                \quad z = (t - \mu) / \sigma
        \end{cases}

    For demand that sold out, detectors that saturate, scores with a floor: a target at a limit
    says no more than that the truth is there or beyond. Without limits
    ``likelihood.gaussian``. The unreduced shape is that of ``predictions``.

    Args:
        predictions, scales: :math:`\mu` and :math:`\sigma` of what there would be without limits;
            scales are positive.
        lower, upper: :math:`l` and :math:`u`, where there is a limit.
        where, weights, reduction: see :func:`jaxloss.core.reducing.reduce`.

    Example:
        >>> tobit(jnp.zeros(2), jnp.ones(2), jnp.array([0.0, 1.0]), lower=0.0, reduction="none")
        Array([0.6931..., 1.4189...], dtype=float32)

    Reference:
        Tobin, "Estimation of Relationships for Limited Dependent Variables", 1958.
    """
    name = "tobit"
    predicted, scale, actual = same_shape(
        name, predictions=predictions, scales=scales, targets=targets
    )
    selected = selection(name, where, predicted.shape)
    predicted, actual = masked(predicted, selected), masked(actual, selected)
    scale = check_positive(name, "scales", masked(scale, selected, fill=1))
    ratio = quotient(actual - predicted, scale)
    loss = ratio * ratio / 2 + jnp.log(scale) + HALF_LOG_2_PI
    for limit, sign in ((lower, 1), (upper, -1)):
        if limit is not None:
            end = jnp.asarray(limit).astype(actual.dtype)
            beyond = sign * (end - actual) >= 0
            gap = jnp.where(beyond, end - predicted, 0)
            loss = jnp.where(beyond, normal_before(sign * quotient(gap, scale)), loss)
    return reduce(name, loss, where, weights, reduction)


def _part(
    logit: Float[Array, "*shape"],
    concentration: Float[Array, "*shape"],
    share: Float[Array, "*shape"],
    log_share: Float[Array, "*shape"],
) -> Float[Array, "*shape"]:
    """What one of the two shares adds to the loss of a beta distribution.

    Stirling's formula cancels all but the divergence of the target from the mean, and small terms.
    """
    log_mean = -jax.nn.softplus(-logit)
    log_count = jnp.log(concentration) + log_mean
    count, surprise = concentration * jax.nn.sigmoid(logit), log_share - log_mean
    near = jnp.abs(surprise) < 0.5
    small = jnp.where(near, surprise, 0)
    series = count * small * small * exponential_series(2, small)
    divergence = jnp.where(near, series, concentration * share - count * (1 + surprise))
    none = log_count < -60
    rest = stirling_rest(jnp.where(none, 1, count)) - log_count / 2
    return divergence + log_share + jnp.where(none, -log_count - HALF_LOG_2_PI, rest)


def _log_circle(concentration: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    r""":math:`\log 2 \pi I_0(\kappa) - \kappa`, from 30 on by its asymptotic series."""
    large = concentration > 30
    low = jnp.where(large, 1, concentration)
    inverse = 1 / jnp.where(large, concentration, 30)
    series = jnp.zeros_like(inverse)
    for coefficient in (
        72763141 / 24576, 24713030909 / 46137344, 2180461 / 20480, 55384775 / 2359296,
        23797 / 4096, 375733 / 229376, 103 / 192, 1073 / 5120, 13 / 128, 25 / 384, 1 / 16, 1 / 8,
    ):  # fmt: skip
        series = inverse * (coefficient + series)
    high = math.log(2 * math.pi) / 2 + jnp.log(inverse) / 2 + series
    return jnp.where(large, high, math.log(2 * math.pi) + jnp.log(i0e(low)))
