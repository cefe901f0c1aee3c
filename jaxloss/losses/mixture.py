r"""Negative log-likelihoods of mixtures of distributions of counts and of levels.

:math:`\ell = -\log \sum_k \operatorname{softmax}(a)_k\, P_k(t)` for targets with several likely
values; of normal distributions see ``likelihood.gaussian_mixture``. Where a mixture is nearly
sure, its surprise is computed from what it gives to other targets, and so keeps its digits.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Bool, Float, Real

from jaxloss.core.checks import (
    check_not_negative,
    check_positive,
    require_floating,
    require_rank,
    require_real,
    require_shape,
)
from jaxloss.core.classes import log_partition, softmax
from jaxloss.core.compiling import compiled
from jaxloss.core.counting import negative_binomial_nll, poisson_nll
from jaxloss.core.inputs import Scalar, masked, promoted, same_shape, selection
from jaxloss.core.preconditions import check
from jaxloss.core.ratios import quotient
from jaxloss.core.reducing import Reduction, reduce
from jaxloss.core.tails import logistic_between


@compiled("reduction")
def poisson(
    component_logits: Float[ArrayLike, "*batch classes"],
    log_rates: Real[ArrayLike, "*batch classes"],
    target_counts: Real[ArrayLike, "*batch"],
    *,
    where: Bool[ArrayLike, "*#batch"] | None = None,
    weights: Real[ArrayLike, "..."] | None = None,
    reduction: Reduction = "mean",
) -> Float[Array, "..."]:
    r"""Negative log-likelihood of a mixture of Poisson distributions of counts.

    .. math::
        \ell = -\log \sum_k \operatorname{softmax}(a)_k\, \frac{\lambda_k^n e^{-\lambda_k}}{n!},
        \qquad \lambda = e^{\text{log\_rates}}

    With one component ``counts.poisson``; with more, counts that vary more, and have several
    peaks. The unreduced shape is ``*batch``.

    Args:
        component_logits: :math:`a`, unnormalized; ``-inf`` leaves a component out.
        target_counts: :math:`n`, not negative.
        where, weights, reduction: see :func:`jaxloss.core.reducing.reduce`.

    Example:
        >>> poisson(jnp.zeros(2), jnp.log(jnp.array([2.0, 2.0])), 3)
        Array(1.71231...

    Reference:
        Olivares et al., "Probabilistic Hierarchical Forecasting with Deep Poisson Mixtures", 2023.
    """
    name = "poisson"
    (logit, log_rate), count = _components(
        name, where, target_counts, component_logits=component_logits, log_rates=log_rates
    )
    return reduce(name, _mixed(logit, poisson_nll(log_rate, count)), where, weights, reduction)


@compiled("reduction")
def negative_binomial(
    component_logits: Float[ArrayLike, "*batch classes"],
    log_rates: Real[ArrayLike, "*batch classes"],
    concentrations: Real[ArrayLike, "*batch classes"],
    target_counts: Real[ArrayLike, "*batch"],
    *,
    where: Bool[ArrayLike, "*#batch"] | None = None,
    weights: Real[ArrayLike, "..."] | None = None,
    reduction: Reduction = "mean",
) -> Float[Array, "..."]:
    r"""Negative log-likelihood of a mixture of negative binomial distributions of counts.

    .. math::
        \ell = -\log \sum_k \operatorname{softmax}(a)_k\, \text{NB}(n; e^{\text{log\_rates}_k}, r_k)

    With one component ``counts.negative_binomial``. The unreduced shape is ``*batch``.

    Args:
        component_logits: :math:`a`, unnormalized; ``-inf`` leaves a component out.
        concentrations: :math:`r`, positive.
        target_counts: :math:`n`, not negative.
        where, weights, reduction: see :func:`jaxloss.core.reducing.reduce`.

    Example:
        >>> negative_binomial(jnp.zeros(1), jnp.log(jnp.array([2.0])), jnp.ones(1), 3)
        Array(2.31500...

    Reference:
        Olivares et al., "Probabilistic Hierarchical Forecasting with Deep Poisson Mixtures", 2023.
    """
    name = "negative_binomial"
    parameters = {"log_rates": log_rates, "concentrations": concentrations}
    (logit, log_rate, concentration), count = _components(
        name, where, target_counts, component_logits=component_logits, **parameters
    )
    concentration = check_positive(name, "concentrations", concentration)
    loss = _mixed(logit, negative_binomial_nll(log_rate, concentration, count))
    return reduce(name, loss, where, weights, reduction)


@compiled("reduction")
def discretized_logistic(
    component_logits: Float[ArrayLike, "*batch classes"],
    predictions: Real[ArrayLike, "*batch classes"],
    scales: Real[ArrayLike, "*batch classes"],
    targets: Real[ArrayLike, "*batch"],
    *,
    lower: Scalar = -1.0,
    upper: Scalar = 1.0,
    width: Scalar = 2 / 255,
    where: Bool[ArrayLike, "*#batch"] | None = None,
    weights: Real[ArrayLike, "..."] | None = None,
    reduction: Reduction = "mean",
) -> Float[Array, "..."]:
    r"""Negative log-likelihood of levels, such as of a pixel, by a mixture of logistic ones.

    .. math::
        \ell = -\log \sum_k \operatorname{softmax}(a)_k \Bigl(
            F \Bigl( \frac{t + w/2 - \mu_k}{\sigma_k} \Bigr)
            - F \Bigl( \frac{t - w/2 - \mu_k}{\sigma_k} \Bigr) \Bigr),
        \qquad F(z) = \frac{1}{1 + e^{-z}}

    Each level has what the continuous distribution gives to its bin; the first and the last bin
    reach to infinity. Channels that depend on each other, as in PixelCNN++, have ``predictions``
    that do. The unreduced shape is ``*batch``.

    Args:
        component_logits: :math:`a`, unnormalized; ``-inf`` leaves a component out.
        predictions, scales: :math:`\mu` and :math:`\sigma` of the components; scales are positive.
        lower, upper: the first and the last level.
        width: :math:`w`, from one level to the next; by default 256 levels in [-1, 1].
        where, weights, reduction: see :func:`jaxloss.core.reducing.reduce`.

    Example:
        >>> at = jnp.array([0.0]), jnp.array([0.0]), jnp.array([1.0])
        >>> jnp.exp(-discretized_logistic(*at, 1.0, width=2.0))  # two levels
        Array(0.5, dtype=float32)

    Reference:
        Salimans et al., "PixelCNN++: Improving the PixelCNN with Discretized Logistic Mixture
        Likelihood and Other Modifications", 2017.
    """
    name = "discretized_logistic"
    parameters = {"predictions": predictions, "scales": scales}
    require_floating(name, component_logits=component_logits)
    require_rank(name, 1, wanted="rows of components", component_logits=component_logits)
    arrays = same_shape(name, component_logits=component_logits, **parameters)
    batch = arrays[0].shape[:-1]
    require_real(name, targets=targets)
    require_shape(name, batch, wanted="one per row of components,", targets=targets)
    logit, center, scale, actual = promoted(*arrays, targets)
    selected = selection(name, where, batch)
    logit, center = masked(logit, selected), masked(center, selected)
    scale = check_positive(name, "scales", masked(scale, selected, fill=1))
    width = check_positive(name, "width", width).astype(scale.dtype)
    first, last = (jnp.asarray(x).astype(scale.dtype) for x in (lower, upper))
    actual = masked(actual[..., None], selected)
    within = (actual >= first) & (actual <= last)
    if selected is not None:
        within |= ~selected[..., None]
    actual = check(actual, within, f"{name}: targets must lie between lower and upper")
    size = quotient(jnp.broadcast_to(width, scale.shape), scale)
    start = quotient(actual - width / 2 - center, scale)
    lowest, highest = actual < first + width / 2, actual > last - width / 2
    nll = logistic_between(start, size)
    nll = jnp.where(highest, jax.nn.softplus(start), nll)
    nll = jnp.where(lowest, jax.nn.softplus(-(start + size)), nll)
    nll = jnp.where(lowest & highest, 0, nll)
    return reduce(name, _mixed(logit, nll), where, weights, reduction)


def _components(
    name: str,
    where: Bool[ArrayLike, "*#batch"] | None,
    target_counts: Real[ArrayLike, "*batch"],
    **parameters: Real[ArrayLike, "*batch classes"],
) -> tuple[list[Float[Array, "*batch classes"]], Float[Array, "*batch classes"]]:
    """Logits and parameters of the components, and the count before each of them."""
    logits = parameters["component_logits"]
    require_floating(name, component_logits=logits)
    require_rank(name, 1, wanted="rows of components", component_logits=logits)
    arrays = same_shape(name, **parameters)
    batch = arrays[0].shape[:-1]
    require_real(name, target_counts=target_counts)
    require_shape(name, batch, wanted="one per row of components,", target_counts=target_counts)
    *arrays, count = promoted(*arrays, target_counts)
    selected = selection(name, where, batch)
    arrays = [masked(x, selected, fill=1) for x in arrays]
    count = check_not_negative(name, "target_counts", masked(count, selected))
    return arrays, jnp.broadcast_to(count[..., None], arrays[0].shape)


def _mixed(
    logits: Float[Array, "*batch classes"], nll: Float[Array, "*batch classes"]
) -> Float[Array, "*batch"]:
    """Minus the log-probability under a mixture of what has ``nll`` under each component."""
    missed = (softmax(logits) * -jnp.expm1(-nll)).sum(-1)
    near = missed < 0.5
    far = log_partition(logits) - log_partition(logits - nll)
    return jnp.where(near, -jnp.log1p(-jnp.where(near, missed, 0)), far)
