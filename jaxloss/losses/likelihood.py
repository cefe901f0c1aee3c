"""Negative log-likelihoods of targets under distributions whose parameters a model predicts.

All are complete, with their constants, so that they compare across distributions. As logarithms of
densities they may be negative, and change with the unit of the targets.
"""

import math

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Bool, Float, Real

from jaxloss.core.checks import check_positive, require_rank, require_shape
from jaxloss.core.compiling import compiled
from jaxloss.core.gamma_functions import gamma_step
from jaxloss.core.inputs import Scalar, masked, modulus, promoted, same_shape, selection
from jaxloss.core.ratios import quotient
from jaxloss.core.reducing import Reduction, reduce

HALF_LOG_2_PI = math.log(2 * math.pi) / 2


@compiled("reduction")
def gaussian(
    predictions: Real[ArrayLike, "*shape"],
    scales: Real[ArrayLike, "*shape"],
    targets: Real[ArrayLike, "*shape"],
    *,
    where: Bool[ArrayLike, "*#shape"] | None = None,
    weights: Real[ArrayLike, "..."] | None = None,
    reduction: Reduction = "mean",
) -> Float[Array, "..."]:
    r"""Negative log-likelihood of a normal distribution.

    .. math::
        \ell = \frac{z^2}{2} + \log \sigma + \frac12 \log 2\pi,
        \qquad z = \frac{\text{targets} - \text{predictions}}{\sigma}

    Squared error that says how sure it is, and learns to. From a variance it is
    ``scales=jnp.sqrt(variances)``, from a logarithm ``jnp.exp(log_scales)``. With few scales near
    0 dominating the gradient, ``weights=jax.lax.stop_gradient(scales)`` balances it (Seitzer et
    al., 2022). The unreduced shape is that of ``predictions``.

    Args:
        scales: :math:`\sigma`, standard deviations; positive, as from a softplus.
        where, weights, reduction: see :func:`jaxloss.core.reducing.reduce`.

    Example:
        >>> gaussian(jnp.array([0.0]), jnp.array([2.0]), jnp.array([4.0]))
        Array(3.6120...

    Reference:
        Nix & Weigend, "Estimating the Mean and Variance of the Target Probability Distribution",
        1994.
    """
    ratio, scale = _standardized("gaussian", predictions, scales, targets, where)
    loss = ratio * ratio / 2 + jnp.log(scale) + HALF_LOG_2_PI
    return reduce("gaussian", loss, where, weights, reduction)


@compiled("reduction")
def laplace(
    predictions: Real[ArrayLike, "*shape"],
    scales: Real[ArrayLike, "*shape"],
    targets: Real[ArrayLike, "*shape"],
    *,
    where: Bool[ArrayLike, "*#shape"] | None = None,
    weights: Real[ArrayLike, "..."] | None = None,
    reduction: Reduction = "mean",
) -> Float[Array, "..."]:
    r"""Negative log-likelihood of a Laplace distribution.

    .. math::
        \ell = |z| + \log 2 \sigma,
        \qquad z = \frac{\text{targets} - \text{predictions}}{\sigma}

    Absolute error that says how sure it is. Its tails are heavier than those of :func:`gaussian`,
    lighter than those of :func:`student_t`. The unreduced shape is that of ``predictions``.

    Args:
        scales: :math:`\sigma`, mean absolute deviations; positive.
        where, weights, reduction: see :func:`jaxloss.core.reducing.reduce`.

    Example:
        >>> laplace(jnp.array([0.0]), jnp.array([0.5]), jnp.array([1.0]))
        Array(2., dtype=float32)

    Reference:
        Kendall & Gal, "What Uncertainties Do We Need in Bayesian Deep Learning for Computer
        Vision?", 2017.
    """
    ratio, scale = _standardized("laplace", predictions, scales, targets, where)
    distance = modulus(ratio)
    return reduce("laplace", distance + jnp.log(2 * scale), where, weights, reduction)


@compiled("reduction")
def student_t(
    predictions: Real[ArrayLike, "*shape"],
    scales: Real[ArrayLike, "*shape"],
    targets: Real[ArrayLike, "*shape"],
    *,
    df: Scalar = 5.0,
    where: Bool[ArrayLike, "*#shape"] | None = None,
    weights: Real[ArrayLike, "..."] | None = None,
    reduction: Reduction = "mean",
) -> Float[Array, "..."]:
    r"""Negative log-likelihood of Student's t-distribution, which expects outliers.

    .. math::
        \ell = \frac{\nu + 1}{2} \log \Bigl( 1 + \frac{z^2}{\nu} \Bigr) + \log \sigma
            + \log \frac{\sqrt{\nu \pi}\; \Gamma(\nu / 2)}{\Gamma((\nu + 1) / 2)},
        \qquad z = \frac{\text{targets} - \text{predictions}}{\sigma}

    With ``df`` 1 the Cauchy distribution; as ``df`` grows, :func:`gaussian`. It can be learnt. The
    unreduced shape is that of ``predictions``.

    Args:
        scales: :math:`\sigma`, positive; less than the standard deviation, by the factor
            :math:`\sqrt{1 - 2 / \nu}`.
        df: :math:`\nu`, degrees of freedom; positive.
        where, weights, reduction: see :func:`jaxloss.core.reducing.reduce`.

    Example:
        >>> student_t(jnp.zeros(1), jnp.ones(1), jnp.array([1.0]), df=1.0)
        Array(1.8378...

    Reference:
        Lange, Little & Taylor, "Robust Statistical Modeling Using the t Distribution", 1989.
    """
    ratio, scale = _standardized("student_t", predictions, scales, targets, where)
    df = check_positive("student_t", "df", df).astype(ratio.dtype)
    # Where the 1 is lost to rounding, nothing is squared, lest it overflow.
    far = jnp.abs(ratio) * float(jnp.finfo(ratio.dtype).eps) > jnp.sqrt(df)
    near, distance = jnp.where(far, 0, ratio), jnp.where(far, jnp.abs(ratio), 1)
    tail = jnp.where(far, 2 * jnp.log(distance) - jnp.log(df), jnp.log1p(near * near / df))
    loss = (df + 1) / 2 * tail + jnp.log(scale) + HALF_LOG_2_PI - gamma_step(df / 2)
    return reduce("student_t", loss, where, weights, reduction)


@compiled("reduction")
def log_normal(
    predictions: Real[ArrayLike, "*shape"],
    scales: Real[ArrayLike, "*shape"],
    target_amounts: Real[ArrayLike, "*shape"],
    *,
    where: Bool[ArrayLike, "*#shape"] | None = None,
    weights: Real[ArrayLike, "..."] | None = None,
    reduction: Reduction = "mean",
) -> Float[Array, "..."]:
    r"""Negative log-likelihood of positive amounts whose logarithm is normally distributed.

    .. math::
        \ell = \frac{z^2}{2} + \log \sigma + \log t + \frac12 \log 2\pi,
        \qquad z = \frac{\log t - \text{predictions}}{\sigma}

    :func:`gaussian` of the logarithms, and the logarithm of each amount, in which the two units
    differ. The unreduced shape is that of ``predictions``.

    Args:
        predictions: of the logarithm, so that their exponential is the predicted median.
        scales: :math:`\sigma`, standard deviations of the logarithm; positive.
        target_amounts: :math:`t`, positive.
        where, weights, reduction: see :func:`jaxloss.core.reducing.reduce`.

    Example:
        >>> log_normal(jnp.zeros(1), jnp.ones(1), jnp.ones(1))
        Array(0.9189...

    Reference:
        Aitchison & Brown, "The Lognormal Distribution", 1957.
    """
    name = "log_normal"
    predicted, scale, actual = same_shape(
        name, predictions=predictions, scales=scales, target_amounts=target_amounts
    )
    selected = selection(name, where, predicted.shape)
    predicted, scale = masked(predicted, selected), masked(scale, selected, fill=1)
    scale = check_positive(name, "scales", scale)
    logarithm = jnp.log(check_positive(name, "target_amounts", masked(actual, selected, fill=1)))
    ratio = quotient(logarithm - predicted, scale)
    loss = ratio * ratio / 2 + jnp.log(scale) + logarithm + HALF_LOG_2_PI
    return reduce(name, loss, where, weights, reduction)


@compiled("reduction")
def multivariate_gaussian(
    predictions: Real[ArrayLike, "*batch features"],
    factors: Real[ArrayLike, "*batch features features"],
    targets: Real[ArrayLike, "*batch features"],
    *,
    where: Bool[ArrayLike, "*#batch"] | None = None,
    weights: Real[ArrayLike, "..."] | None = None,
    reduction: Reduction = "mean",
) -> Float[Array, "..."]:
    r"""Negative log-likelihood of a normal distribution of vectors, with its correlations.

    .. math::
        \ell = \frac{\|z\|^2}{2} + \sum_i \log L_{ii} + \frac{d}{2} \log 2\pi,
        \qquad L z = \text{targets} - \text{predictions}

    The covariance is :math:`L L^\top`; the factor, unlike the covariance, is easy to predict and
    needs no decomposition. If it is diagonal, this is the sum of :func:`gaussian`. The unreduced
    shape is ``*batch``.

    Args:
        factors: :math:`L`, with a positive diagonal; what is above the diagonal is ignored.
        where, weights, reduction: see :func:`jaxloss.core.reducing.reduce`.

    Example:
        >>> factors = jnp.array([[1.0, 0.0], [0.5, 1.0]])
        >>> multivariate_gaussian(jnp.zeros(2), factors, jnp.array([2.0, 1.0]))
        Array(3.83787...

    Reference:
        Williams, "Using Neural Networks to Model Conditional Multivariate Densities", 1996.
    """
    name = "multivariate_gaussian"
    require_rank(name, 1, wanted="rows of features", predictions=predictions)
    predicted, actual = same_shape(name, predictions=predictions, targets=targets)
    size = predicted.shape[-1]
    require_shape(name, (*predicted.shape, size), wanted="one matrix per row,", factors=factors)
    predicted, actual, factor = promoted(predicted, actual, factors)
    selected = selection(name, where, predicted.shape[:-1])
    error = masked(actual - predicted, selected)
    identity = jnp.broadcast_to(jnp.eye(size, dtype=factor.dtype), factor.shape)
    factor = jnp.tril(factor)
    if selected is not None:
        factor = jnp.where(selected[..., None, None], factor, identity)
    diagonal = check_positive(name, "the diagonals of factors", factor.diagonal(0, -2, -1))
    ratio = jax.scipy.linalg.solve_triangular(factor, error[..., None], lower=True).squeeze(-1)
    loss = ((ratio * ratio / 2) + jnp.log(diagonal) + HALF_LOG_2_PI).sum(-1)
    return reduce(name, loss, where, weights, reduction)


@compiled("reduction")
def low_rank_gaussian(
    predictions: Real[ArrayLike, "*batch features"],
    scales: Real[ArrayLike, "*batch features"],
    factors: Real[ArrayLike, "*batch features rank"],
    targets: Real[ArrayLike, "*batch features"],
    *,
    where: Bool[ArrayLike, "*#batch"] | None = None,
    weights: Real[ArrayLike, "..."] | None = None,
    reduction: Reduction = "mean",
) -> Float[Array, "..."]:
    r"""Negative log-likelihood of a normal distribution of vectors that share a few causes.

    .. math::
        \ell = \frac12 e^\top \Sigma^{-1} e + \frac12 \log \det 2 \pi \Sigma, \qquad
        \Sigma = \operatorname{diag}(\sigma)^2 + F F^\top, \quad
        e = \text{targets} - \text{predictions}

    :func:`multivariate_gaussian` of many features with few parameters: time grows with the
    features times the square of the rank. The unreduced shape is ``*batch``.

    Args:
        scales: :math:`\sigma`, standard deviations of what features do not share; positive.
        factors: :math:`F`, how far each shared cause moves each feature.
        where, weights, reduction: see :func:`jaxloss.core.reducing.reduce`.

    Example:
        >>> shared = jnp.ones((2, 1))
        >>> low_rank_gaussian(jnp.zeros(2), jnp.ones(2), shared, jnp.ones(2))
        Array(2.7205..., dtype=float32)

    Reference:
        Salinas et al., "High-Dimensional Multivariate Forecasting with Low-Rank Gaussian Copula
        Processes", 2019.
    """
    name = "low_rank_gaussian"
    require_rank(name, 1, wanted="rows of features", predictions=predictions)
    predicted, scale, actual = same_shape(
        name, predictions=predictions, scales=scales, targets=targets
    )
    rank = jnp.shape(factors)[-1:]
    require_shape(name, (*predicted.shape, *rank), wanted="one matrix per row,", factors=factors)
    predicted, scale, actual, factor = promoted(predicted, scale, actual, factors)
    selected = selection(name, where, predicted.shape[:-1])
    scale = check_positive(name, "scales", masked(scale, selected, fill=1))
    ratio = quotient(masked(actual - predicted, selected), scale)
    factor = masked(factor, selected) / scale[..., None]
    inner = jnp.swapaxes(factor, -1, -2) @ factor
    identity = jnp.broadcast_to(jnp.eye(*rank, dtype=inner.dtype), inner.shape)
    root = jnp.linalg.cholesky(identity + inner)
    projected = jnp.swapaxes(factor, -1, -2) @ ratio[..., None]
    cause = jax.scipy.linalg.cho_solve((root, True), projected)
    # The distance from the best causes, and of those from none: a difference would cancel.
    rest = ratio - (factor @ cause).squeeze(-1)
    loss = ((rest * rest / 2) + jnp.log(scale) + HALF_LOG_2_PI).sum(-1)
    loss += (cause * cause / 2).sum((-2, -1)) + jnp.log(root.diagonal(0, -2, -1)).sum(-1)
    return reduce(name, loss, where, weights, reduction)


@compiled("reduction")
def gaussian_mixture(
    component_logits: Float[ArrayLike, "*batch classes"],
    predictions: Real[ArrayLike, "*batch classes"],
    scales: Real[ArrayLike, "*batch classes"],
    targets: Real[ArrayLike, "*batch"],
    *,
    where: Bool[ArrayLike, "*#batch"] | None = None,
    weights: Real[ArrayLike, "..."] | None = None,
    reduction: Reduction = "mean",
) -> Float[Array, "..."]:
    r"""Negative log-likelihood of a mixture of normal distributions.

    .. math::
        \ell = -\log \sum_k \operatorname{softmax}(a)_k \,
            \frac{1}{\sqrt{2\pi}\, \sigma_k} \, e^{-z_k^2 / 2},
        \qquad z_k = \frac{\text{targets} - \text{predictions}_k}{\sigma_k}

    For targets with several likely values, between which :func:`gaussian` would predict the
    middle. The density is unbounded as a scale shrinks onto a target: keep scales from 0. The
    unreduced shape is ``*batch``.

    Args:
        component_logits: :math:`a`, unnormalized; ``-inf`` leaves a component out.
        predictions, scales: means and standard deviations of the components, along the last axis.
        where, weights, reduction: see :func:`jaxloss.core.reducing.reduce`.

    Example:
        >>> logits, means, scales = jnp.zeros((1, 2)), jnp.array([[-1.0, 1.0]]), jnp.ones((1, 2))
        >>> gaussian_mixture(logits, means, scales, jnp.zeros(1))
        Array(1.4189...

    Reference:
        Bishop, "Mixture Density Networks", 1994.
    """
    name = "gaussian_mixture"
    require_rank(name, 1, wanted="rows of components", component_logits=component_logits)
    logits, predicted, scale = same_shape(
        name, component_logits=component_logits, predictions=predictions, scales=scales
    )
    require_shape(name, logits.shape[:-1], wanted="one per row of components,", targets=targets)
    logits, predicted, scale, actual = promoted(logits, predicted, scale, targets)
    selected = selection(name, where, actual.shape)
    logits, predicted, actual = (masked(x, selected) for x in (logits, predicted, actual))
    scale = check_positive(name, "scales", masked(scale, selected, fill=1))
    ratio = quotient(actual[..., None] - predicted, scale)
    joint = logits - ratio * ratio / 2 - jnp.log(scale)
    loss = jax.nn.logsumexp(logits, -1) - jax.nn.logsumexp(joint, -1) + HALF_LOG_2_PI
    return reduce(name, loss, where, weights, reduction)


def _standardized(
    name: str,
    predictions: Real[ArrayLike, "*shape"],
    scales: Real[ArrayLike, "*shape"],
    targets: Real[ArrayLike, "*shape"],
    where: Bool[ArrayLike, "*#shape"] | None,
) -> tuple[Float[Array, "*shape"], Float[Array, "*shape"]]:
    """The errors in units of the scales, and the scales; 0 and 1 where ``where`` is false."""
    predicted, scale, actual = same_shape(
        name, predictions=predictions, scales=scales, targets=targets
    )
    selected = selection(name, where, predicted.shape)
    scale = check_positive(name, "scales", masked(scale, selected, fill=1))
    return quotient(masked(actual - predicted, selected), scale), scale
