r"""Losses of models that predict how much evidence they have: how sure, and sure of what.

One network, once evaluated, predicts a distribution over distributions: its spread tells noise in
the targets from ignorance. The evidence may be trusted as a ranking more than as a number.
"""

from typing import Literal, get_args

import jax
import jax.numpy as jnp
from jax.scipy.special import digamma, gammaln
from jaxtyping import Array, ArrayLike, Bool, Float, Int, Real

from jaxloss.core.checks import (
    check_not_negative,
    check_positive,
    poison_unless_class,
    require_floating,
    require_integer,
    require_option,
    require_rank,
    require_shape,
)
from jaxloss.core.classes import is_label, pick
from jaxloss.core.compiling import compiled
from jaxloss.core.gamma_functions import gamma_step, stirling_rest
from jaxloss.core.inputs import (
    Scalar,
    at_least_float32,
    masked,
    modulus,
    same_shape,
    selection,
)
from jaxloss.core.ratios import quotient
from jaxloss.core.reducing import Reduction, reduce
from jaxloss.core.summing import row_sum
from jaxloss.core.tails import HALF_LOG_2_PI

Form = Literal["squared", "log", "digamma"]


@compiled("reduction")
def regression(
    predictions: Real[ArrayLike, "*shape"],
    pseudo_counts: Real[ArrayLike, "*shape"],
    concentrations: Real[ArrayLike, "*shape"],
    rates: Real[ArrayLike, "*shape"],
    targets: Real[ArrayLike, "*shape"],
    *,
    evidence_weight: Scalar = 0.01,
    where: Bool[ArrayLike, "*#shape"] | None = None,
    weights: Real[ArrayLike, "..."] | None = None,
    reduction: Reduction = "mean",
) -> Float[Array, "..."]:
    r"""Negative log-likelihood of a normal whose mean and variance are uncertain, and its regret.

    .. math::
        \ell = -\log \text{St} \Bigl( t;\; \mu,\; \frac{\beta (1 + \nu)}{\nu \alpha},\;
            2 \alpha \Bigr) + \lambda\, |t - \mu|\, (2 \nu + \alpha)

    The parameters are of a normal-inverse-gamma distribution, which makes the target's Student's t
    with :math:`2 \alpha` degrees of freedom. The second term punishes evidence where the error is
    large. The variance expected of targets is :math:`\beta / (\alpha - 1)`, that of their mean
    :math:`\nu` times less. The unreduced shape is that of ``predictions``.

    Args:
        predictions: :math:`\mu`, the mean.
        pseudo_counts: :math:`\nu`, positive; how many observations the mean is worth.
        concentrations: :math:`\alpha`, positive, usually one plus a softplus.
        rates: :math:`\beta`, positive.
        evidence_weight: :math:`\lambda`, what evidence costs where it is wrong; not negative.
        where, weights, reduction: see :func:`jaxloss.core.reducing.reduce`.

    Example:
        >>> one = jnp.ones(1)
        >>> regression(jnp.zeros(1), one, one, one, one, evidence_weight=0.1)
        Array(2.0210..., dtype=float32)

    Reference:
        Amini et al., "Deep Evidential Regression", 2020.
    """
    name = "regression"
    predicted, count, shape, rate, actual = same_shape(
        name,
        predictions=predictions,
        pseudo_counts=pseudo_counts,
        concentrations=concentrations,
        rates=rates,
        targets=targets,
    )
    selected = selection(name, where, predicted.shape)
    error = masked(actual - predicted, selected)
    count = check_positive(name, "pseudo_counts", masked(count, selected, fill=1))
    shape = check_positive(name, "concentrations", masked(shape, selected, fill=1))
    rate = check_positive(name, "rates", masked(rate, selected, fill=1))
    evidence_weight = check_not_negative(name, "evidence_weight", evidence_weight)
    variance = rate / shape * (1 + 1 / count)
    ratio = quotient(error, jnp.sqrt(2 * shape * variance))
    # Where the 1 is lost to rounding, nothing is squared, lest it overflow.
    far = jnp.abs(ratio) * float(jnp.finfo(ratio.dtype).eps) > 1
    near, distance = jnp.where(far, 0, ratio), jnp.where(far, jnp.abs(ratio), 1)
    tail = jnp.where(far, 2 * jnp.log(distance), jnp.log1p(near * near))
    nll = (shape + 0.5) * tail + jnp.log(variance) / 2 + HALF_LOG_2_PI - gamma_step(shape)
    loss = nll + evidence_weight * modulus(error) * (2 * count + shape)
    return reduce(name, loss, where, weights, reduction)


@compiled("form", "reduction")
def classification(
    evidence: Float[ArrayLike, "*batch classes"],
    labels: Int[ArrayLike, "*batch"],
    *,
    form: Form = "squared",
    kl_weight: Scalar = 0.0,
    where: Bool[ArrayLike, "*#batch"] | None = None,
    weights: Real[ArrayLike, "..."] | None = None,
    reduction: Reduction = "mean",
) -> Float[Array, "..."]:
    r"""Expected loss of class probabilities that are uncertain, and the cost of wrong evidence.

    With :math:`\alpha_c` one more than the evidence, and :math:`S` their sum:

    .. math::
        \ell = \begin{cases}
            \sum_c ([c = y] - \hat p_c)^2 + \frac{\hat p_c (1 - \hat p_c)}{S + 1} & \text{squared}\\
            \log S - \log \alpha_y & \text{log} \\
            \psi(S) - \psi(\alpha_y) & \text{digamma}
        \end{cases} \\
        + \lambda \operatorname{KL}(\text{Dir}(\tilde \alpha) \,\|\, \text{Dir}(1)),
        \qquad \hat p = \alpha / S, \quad \tilde \alpha_y = 1, \quad
        \tilde \alpha_{c \ne y} = \alpha_c

    Of probabilities with a Dirichlet distribution: the expected squared error, the cross-entropy
    of the expectation, and the expected cross-entropy. Without any evidence all classes are as
    likely, and the uncertainty :math:`C / S` is 1. The unreduced shape is ``*batch``.

    Args:
        evidence: not negative, as from a softplus.
        form: what is expected: ``"squared"``, ``"log"`` or ``"digamma"``.
        kl_weight: :math:`\lambda`, what evidence for wrong classes costs; the paper raises it from
            0 to 1 over the first ten epochs.
        where, weights, reduction: see :func:`jaxloss.core.reducing.reduce`. A label whose
            ``where`` is false may hold any integer; any other label outside [0, C) gives NaN.

    Example:
        >>> classification(jnp.array([[3.0, 0.0]]), jnp.array([0]), form="log")  # log 5/4
        Array(0.2231..., dtype=float32)

    Reference:
        Sensoy, Kaplan & Kandemir, "Evidential Deep Learning to Quantify Classification
        Uncertainty", 2018.
    """
    name = "classification"
    require_option(name, "form", form, get_args(Form))
    require_floating(name, evidence=evidence)
    require_integer(name, labels=labels)
    require_rank(name, 1, wanted="one row of classes per label", evidence=evidence)
    given, truth = at_least_float32(evidence), jnp.asarray(labels)
    batch, classes = given.shape[:-1], given.shape[-1]
    require_shape(name, batch, wanted="one class id per row of evidence,", labels=truth)
    selected = selection(name, where, batch)
    given, truth = masked(given, selected), masked(truth, selected)
    given = check_not_negative(name, "evidence", given)
    poison = poison_unless_class(name, truth, classes)
    truth = truth.clip(0, classes - 1).astype(jnp.int32)
    own = is_label(given, truth)
    mine, others = 1 + pick(given, truth), jnp.where(own, 0, 1 + given)
    rest = row_sum(others)
    total = mine + rest
    if form == "squared":
        p = others / total[..., None]
        missing = rest / total
        spread = row_sum(p * (1 - p)) + missing * (1 - missing)
        loss = missing * missing + row_sum(p * p) + spread / (total + 1)
    elif form == "log":
        loss = jnp.log1p(rest / mine)
    else:  # digammas are logarithms less something small
        loss = jnp.log1p(rest / mine) + _log_less_digamma(mine) - _log_less_digamma(total)
    misled = jnp.where(own, 1, 1 + given)
    loss += check_not_negative(name, "kl_weight", kl_weight) * _divergence_from_uniform(misled)
    return reduce(name, loss * poison, where, weights, reduction)


def _divergence_from_uniform(shape: Float[Array, "*batch classes"]) -> Float[Array, "*batch"]:
    """Kullback-Leibler divergence of a Dirichlet distribution from the one that is uniform."""
    total, classes = row_sum(shape), shape.shape[-1]
    surprise = digamma(shape) - digamma(total)[..., None]
    constant = gammaln(jnp.asarray(classes, shape.dtype))
    return gammaln(total) - constant + row_sum((shape - 1) * surprise - gammaln(shape))


def _log_less_digamma(x: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """``log(x) - digamma(x)``, some ``1 / (2 x)``."""
    _, slope = jax.jvp(stirling_rest, (x,), (jnp.ones_like(x),))
    return 1 / (2 * x) - slope
