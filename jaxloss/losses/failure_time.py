"""Negative log-likelihoods of times until failure, observed exactly or only known to within bounds.

The logarithm of the time is a prediction plus a scaled error: the factors of a model stretch or
shrink time. Each time is given by two bounds: equal if it was observed, infinity above if it was
not over yet, zero below if it was over already, and an inspection interval otherwise. All are
complete, with their constants.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Bool, Float, Real

from jaxloss.core.checks import check_not_negative, check_positive, require_same_shape
from jaxloss.core.compiling import compiled
from jaxloss.core.exponentials import exponential_series
from jaxloss.core.inputs import masked, same_shape, selection
from jaxloss.core.preconditions import check
from jaxloss.core.reducing import Reduction, reduce
from jaxloss.core.tails import log_complement, logistic_between, normal_before, normal_between

HALF_LOG_2_PI = math.log(2 * math.pi) / 2


@compiled("reduction")
def weibull(
    predictions: Real[ArrayLike, "*shape"],
    scales: Real[ArrayLike, "*shape"],
    lower_times: Real[ArrayLike, "*shape"],
    upper_times: Real[ArrayLike, "*shape"],
    *,
    where: Bool[ArrayLike, "*#shape"] | None = None,
    weights: Real[ArrayLike, "..."] | None = None,
    reduction: Reduction = "mean",
) -> Float[Array, "..."]:
    r"""Negative log-likelihood of failure times whose hazard is a power of time.

    .. math::
        \ell = \begin{cases}
            e^z - z + \log \sigma t & \text{failed at } t \\
            -\log ( S(\text{lower}) - S(\text{upper}) ) & \text{in between}
        \end{cases}
        \qquad S = e^{-e^z}, \quad z = \frac{\log t - \text{predictions}}{\sigma}

    The hazard rises with time for scales below 1, and falls above; at 1 it is :func:`exponential`.
    Its hazards are proportional too, with log-hazards ``-predictions / scales``. The unreduced
    shape is that of ``predictions``.

    Args:
        predictions: of the logarithm of the time, which 63 % do not survive.
        scales: :math:`\sigma`, positive; the inverse of the usual shape parameter.
        lower_times, upper_times: what is known of the time: equal where failure was observed,
            ``upper_times`` infinite where it was not before ``lower_times``, and ``lower_times``
            0 where it was before ``upper_times``.
        where, weights, reduction: see :func:`jaxloss.core.reducing.reduce`.

    Example:
        One failure, and one still running, at time 2:

        >>> times, upper = jnp.array([2.0, 2.0]), jnp.array([2.0, jnp.inf])
        >>> weibull(jnp.zeros(2), jnp.ones(2), times, upper, reduction="none")
        Array([2., 2.], dtype=float32)

    Reference:
        Wei, "The Accelerated Failure Time Model: A Useful Alternative to the Cox Regression Model
        in Survival Analysis", 1992.
    """
    name = "weibull"
    loss = _nll(name, MINIMUM, predictions, scales, lower_times, upper_times, where)
    return reduce(name, loss, where, weights, reduction)


@compiled("reduction")
def exponential(
    predictions: Real[ArrayLike, "*shape"],
    lower_times: Real[ArrayLike, "*shape"],
    upper_times: Real[ArrayLike, "*shape"],
    *,
    where: Bool[ArrayLike, "*#shape"] | None = None,
    weights: Real[ArrayLike, "..."] | None = None,
    reduction: Reduction = "mean",
) -> Float[Array, "..."]:
    r"""Negative log-likelihood of failure times whose hazard does not change with time.

    .. math::
        \ell = \begin{cases}
            t / \mu + \log \mu & \text{failed at } t \\
            -\log ( e^{-\text{lower} / \mu} - e^{-\text{upper} / \mu} ) & \text{in between}
        \end{cases}
        \qquad \mu = e^{\text{predictions}}

    :func:`weibull` with scale 1; the log-hazard is ``-predictions``. The unreduced shape is that
    of ``predictions``.

    Args:
        predictions: of the logarithm of the mean time.
        lower_times, upper_times: see :func:`weibull`.
        where, weights, reduction: see :func:`jaxloss.core.reducing.reduce`.

    Example:
        >>> exponential(jnp.zeros(1), jnp.array([3.0]), jnp.array([3.0]))
        Array(3., dtype=float32)

    Reference:
        Feigl & Zelen, "Estimation of Exponential Survival Probabilities with Concomitant
        Information", 1965.
    """
    name = "exponential"
    loss = _nll(name, MINIMUM, predictions, None, lower_times, upper_times, where)
    return reduce(name, loss, where, weights, reduction)


@compiled("reduction")
def log_normal(
    predictions: Real[ArrayLike, "*shape"],
    scales: Real[ArrayLike, "*shape"],
    lower_times: Real[ArrayLike, "*shape"],
    upper_times: Real[ArrayLike, "*shape"],
    *,
    where: Bool[ArrayLike, "*#shape"] | None = None,
    weights: Real[ArrayLike, "..."] | None = None,
    reduction: Reduction = "mean",
) -> Float[Array, "..."]:
    r"""Negative log-likelihood of failure times whose logarithm is normally distributed.

    .. math::
        \ell = \begin{cases}
            z^2 / 2 + \log \sigma t + \frac12 \log 2\pi & \text{failed at } t \\
            -\log ( \Phi(z_\text{upper}) - \Phi(z_\text{lower}) ) & \text{in between}
        \end{cases}
        \qquad z = \frac{\log t - \text{predictions}}{\sigma}

    The hazard rises and later falls. The unreduced shape is that of ``predictions``.

    Args:
        predictions: of the logarithm of the time, so that their exponential is the median.
        scales: :math:`\sigma`, standard deviations of the logarithm; positive.
        lower_times, upper_times: see :func:`weibull`.
        where, weights, reduction: see :func:`jaxloss.core.reducing.reduce`.

    Example:
        Not over at its median time:

        >>> log_normal(jnp.zeros(1), jnp.ones(1), jnp.ones(1), jnp.array([jnp.inf]))
        Array(0.69314...

    Reference:
        Barnwal, Cho & Hocking, "Survival Regression with Accelerated Failure Time Model in
        XGBoost", 2022.
    """
    name = "log_normal"
    loss = _nll(name, NORMAL, predictions, scales, lower_times, upper_times, where)
    return reduce(name, loss, where, weights, reduction)


@compiled("reduction")
def log_logistic(
    predictions: Real[ArrayLike, "*shape"],
    scales: Real[ArrayLike, "*shape"],
    lower_times: Real[ArrayLike, "*shape"],
    upper_times: Real[ArrayLike, "*shape"],
    *,
    where: Bool[ArrayLike, "*#shape"] | None = None,
    weights: Real[ArrayLike, "..."] | None = None,
    reduction: Reduction = "mean",
) -> Float[Array, "..."]:
    r"""Negative log-likelihood of failure times whose logarithm is logistically distributed.

    .. math::
        \ell = \begin{cases}
            \log(1 + e^z) + \log(1 + e^{-z}) + \log \sigma t & \text{failed at } t \\
            -\log ( F(z_\text{upper}) - F(z_\text{lower}) ) & \text{in between}
        \end{cases}
        \qquad F(z) = \frac{1}{1 + e^{-z}}, \quad z = \frac{\log t - \text{predictions}}{\sigma}

    As :func:`log_normal`, with heavier tails: outliers pull less. The odds of failure are
    proportional. The unreduced shape is that of ``predictions``.

    Args:
        predictions: of the logarithm of the time, so that their exponential is the median.
        scales: :math:`\sigma`, positive; the inverse of the usual shape parameter.
        lower_times, upper_times: see :func:`weibull`.
        where, weights, reduction: see :func:`jaxloss.core.reducing.reduce`.

    Example:
        Over by its median time, when nobody knows:

        >>> log_logistic(jnp.zeros(1), jnp.ones(1), jnp.zeros(1), jnp.ones(1))
        Array(0.69314...

    Reference:
        Bennett, "Log-Logistic Regression Models for Survival Data", 1983.
    """
    name = "log_logistic"
    loss = _nll(name, LOGISTIC, predictions, scales, lower_times, upper_times, where)
    return reduce(name, loss, where, weights, reduction)


@compiled("reduction")
def hazard(
    log_hazards: Real[ArrayLike, "*shape"],
    cumulative_hazards: Real[ArrayLike, "*shape"],
    events: Bool[ArrayLike, "*shape"] | Real[ArrayLike, "*shape"],
    *,
    where: Bool[ArrayLike, "*#shape"] | None = None,
    weights: Real[ArrayLike, "..."] | None = None,
    reduction: Reduction = "mean",
) -> Float[Array, "..."]:
    r"""Negative log-likelihood of survival, of any hazard that a model can integrate.

    .. math::
        \ell = H(t) - d \log h(t), \qquad H(t) = \int_0^t h(u)\, du

    For a network of the time, its integral by a quadrature of the caller's, or as the network
    whose derivative is the hazard. With constant hazard :func:`exponential`. The unreduced shape
    is that of ``log_hazards``.

    Args:
        log_hazards: :math:`\log h`, at the time of the event or of the last observation.
        cumulative_hazards: :math:`H`, until then; not negative.
        events: :math:`d`, 1 where the event happened, 0 where observation ended without.
        where, weights, reduction: see :func:`jaxloss.core.reducing.reduce`.

    Example:
        >>> hazard(jnp.zeros(2), jnp.full(2, 3.0), jnp.array([1, 0]), reduction="none")
        Array([3., 3.], dtype=float32)

    Reference:
        Cox & Oakes, "Analysis of Survival Data", 1984.
    """
    name = "hazard"
    require_same_shape(name, log_hazards=log_hazards, events=events)
    event = jnp.asarray(events)
    event = event.astype(jnp.int32) if event.dtype == jnp.bool_ else event
    log_hazard, total, event = same_shape(
        name, log_hazards=log_hazards, cumulative_hazards=cumulative_hazards, events=event
    )
    selected = selection(name, where, total.shape)
    log_hazard, event = masked(log_hazard, selected), masked(event, selected)
    total = check_not_negative(name, "cumulative_hazards", masked(total, selected))
    event = check(event, (event == 0) | (event == 1), f"{name}: events must be 0 or 1")
    loss = total - jnp.where(event != 0, log_hazard, 0)
    return reduce(name, loss, where, weights, reduction)


class _Errors(NamedTuple):
    """A distribution of standardized errors: four negative logarithms of its probabilities."""

    at: Callable[[Array], Array]  # the density
    after: Callable[[Array], Array]
    before: Callable[[Array], Array]
    between: Callable[[Array, Array], Array]  # from z to z + width


def _nll(
    name: str,
    errors: _Errors,
    predictions: ArrayLike,
    scales: ArrayLike | None,
    lower_times: ArrayLike,
    upper_times: ArrayLike,
    where: ArrayLike | None,
) -> Float[Array, "*shape"]:
    """Each probability is computed where it is wanted, and elsewhere of an error of 0."""
    given = {"predictions": predictions}
    if scales is not None:
        given["scales"] = scales
    predicted, *scaled, lower, upper = same_shape(
        name, **given, lower_times=lower_times, upper_times=upper_times
    )
    selected = selection(name, where, predicted.shape)
    predicted = masked(predicted, selected)
    lower = check_not_negative(name, "lower_times", masked(lower, selected, fill=1))
    upper = masked(upper, selected, fill=1)
    ordered = (upper >= lower) & (upper > 0)
    upper = check(upper, ordered, f"{name}: upper_times must be positive, not below lower_times")
    scale = check_positive(name, "scales", masked(scaled[0], selected, fill=1)) if scaled else 1.0

    observed, started, ended = lower == upper, lower > 0, upper < jnp.inf
    inside = started & ended & ~observed
    start, end = jnp.where(started, lower, 1), jnp.where(ended, upper, 1)
    log_start, log_end = jnp.log(start), jnp.log(end)
    z, last = (log_start - predicted) / scale, (log_end - predicted) / scale
    near = inside & (end < 2 * start)
    narrow = jnp.log1p(jnp.where(near, (end - start) / start, 0))
    width = jnp.where(inside, jnp.where(near, narrow, log_end - log_start), 1) / scale

    def only(wanted: Array, x: Array) -> Array:
        return jnp.where(wanted, x, 0)

    density = errors.at(only(observed, z)) + log_start + jnp.log(scale)
    after = errors.after(only(started & ~ended, z))
    before = errors.before(only(ended & ~started, last))
    between = errors.between(only(inside, z), jnp.where(inside, width, 1))
    censored = jnp.where(inside, between, jnp.where(started, after, jnp.where(ended, before, 0)))
    return jnp.where(observed, density, censored)


def _minimum_before(z: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """``-log(1 - exp(-exp(z)))``; far below 0 that is ``-z``."""
    early, late = z < 0, z > 10
    series = exponential_series(1, -jnp.exp(jnp.where(early, z, 0)))
    rest = jnp.exp(-jnp.exp(jnp.where(early | late, 1, z)))
    return jnp.where(early, -z - jnp.log(series), jnp.where(late, 0, -jnp.log1p(-rest)))


def _minimum_between(z: Float[Array, "*shape"], width: Float[Array, "*shape"]) -> Array:
    return jnp.exp(z) + _minimum_before(z + width + log_complement(width))


MINIMUM = _Errors(
    at=lambda z: jnp.exp(z) - z, after=jnp.exp, before=_minimum_before, between=_minimum_between
)
LOGISTIC = _Errors(
    at=lambda z: jax.nn.softplus(z) + jax.nn.softplus(-z),
    after=jax.nn.softplus,
    before=lambda z: jax.nn.softplus(-z),
    between=logistic_between,
)
NORMAL = _Errors(
    at=lambda z: z * z / 2 + HALF_LOG_2_PI,
    after=lambda z: normal_before(-z),
    before=normal_before,
    between=normal_between,
)
