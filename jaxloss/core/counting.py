"""Negative log-likelihoods of counts, as the distance of a count from its mean.

A textbook's difference of log-gammas has no digit left at a million counts.
"""

import math

import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxloss.core import doubled
from jaxloss.core.exponentials import exponential_series
from jaxloss.core.gamma_functions import stirling_rest


def poisson_nll(
    log_rate: Float[Array, "*shape"], count: Float[Array, "*shape"]
) -> Float[Array, "*shape"]:
    """Half the deviance, and Stirling's formula for the rest; without counts, the rate."""
    none = count == 0
    some = jnp.where(none, 1, count)
    log_some = doubled.log(some)
    # To more digits than one number holds: a large count is steep in the distance of logarithms.
    surprise = (jnp.where(none, 0, log_rate) - log_some.high) - log_some.low
    near = jnp.abs(surprise) < 1
    small, large = jnp.where(near, surprise, 0), jnp.where(near, 0, surprise)
    # Farther off the rate itself, since the rounding of its logarithm's distance would show.
    far = jnp.exp(jnp.where(near | none, 0, log_rate)) - some - some * large
    deviance = jnp.where(near, some * small * small * exponential_series(2, small), far)
    rest = (log_some.high + math.log(2 * math.pi)) / 2 + stirling_rest(some)
    return jnp.where(none, jnp.exp(jnp.where(none, log_rate, 0)), deviance + rest)


def negative_binomial_nll(
    log_rate: Float[Array, "*shape"],
    concentration: Float[Array, "*shape"],
    count: Float[Array, "*shape"],
) -> Float[Array, "*shape"]:
    """As :func:`poisson_nll`; half the deviance is here a sum over counts and concentration."""
    none = count == 0
    some = jnp.where(none, 1, count)
    total, log_rest = concentration + some, jnp.log(concentration)
    log_some = doubled.log(some)
    surprise = (jnp.where(none, 0, log_rate) - log_some.high) - log_some.low
    deviance = concentration * _log_blend(some / total, concentration / total, surprise)
    deviance += some * _log_blend(concentration / total, some / total, -surprise)
    rest = (log_some.high + math.log(2 * math.pi) + jnp.log(total) - log_rest) / 2
    rest += stirling_rest(some) + stirling_rest(concentration) - stirling_rest(total)
    # Not of the difference of the logarithms, whose rounding would show.
    many = log_rate - log_rest > 40
    odds = jnp.exp(jnp.where(many, 0, log_rate)) / concentration
    nothing = concentration * jnp.where(many, log_rate - log_rest, jnp.log1p(odds))
    return jnp.where(none, nothing, deviance + rest)


def _log_blend(
    share: Float[Array, "*shape"], rest: Float[Array, "*shape"], x: Float[Array, "*shape"]
) -> Float[Array, "*shape"]:
    """``log(rest + share * exp(x))``, of shares that add up to one: zero for ``x`` zero."""
    excess = share * jnp.expm1(jnp.minimum(x, 80))
    near = (excess > -0.5) & (x < 80)
    far = jnp.logaddexp(jnp.log(rest), jnp.log(share) + jnp.where(near, 0, x))
    return jnp.where(near, jnp.log1p(jnp.where(near, excess, 0)), far)
