r"""Losses for a classifier of yes and no that sees some yeses, and no noes: the rest is unlabeled.

A target is 1 for an example known to be a yes, and 0 for an unlabeled one, of which an unknown
part, but a known share :math:`\pi`, are yeses too. Each row is one sample, and gives one number: a
risk, to which the examples add up with signs. A batch of shape (items,) is one such row.
"""

from typing import Literal, get_args

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Bool, Float, Real

from jaxloss.core.checks import check_unit_interval, require_option
from jaxloss.core.compiling import compiled
from jaxloss.core.inputs import Scalar, masked, rows, selection
from jaxloss.core.reducing import Reduction, reduce

Surrogate = Literal["sigmoid", "logistic"]


@compiled("surrogate", "reduction")
def unbiased(
    logits: Float[ArrayLike, "*batch items"],
    targets: Real[ArrayLike, "*batch items"],
    *,
    prior: Scalar = 0.5,
    surrogate: Surrogate = "sigmoid",
    where: Bool[ArrayLike, "*#batch #items"] | None = None,
    weights: Real[ArrayLike, "..."] | None = None,
    reduction: Reduction = "mean",
) -> Float[Array, "..."]:
    r"""Unbiased estimate of the risk on all examples, from yeses and unlabeled ones.

    .. math::
        \ell = \pi \overline{L(z_+)} + \overline{L(-z_u)} - \pi \overline{L(-z_+)}

    with means over the yeses, :math:`z_+`, and the unlabeled, :math:`z_u`: what these lose as
    noes, less what the yeses among them do. It may be negative, and a flexible model will make it
    so; see :func:`non_negative`. The unreduced shape is ``*batch``.

    Args:
        targets: 1 for a yes, 0 for an unlabeled example.
        prior: :math:`\pi`, the share of yeses among the unlabeled; in [0, 1].
        surrogate: what a yes of logit :math:`z` loses: ``"sigmoid"`` for
            :math:`L(z) = \sigma(-z)`, ``"logistic"`` for :math:`\log(1 + e^{-z})`.
        where: which items exist. A row without any does not count.
        weights, reduction: see :func:`jaxloss.core.reducing.reduce`; they act on rows.

    Example:
        >>> unbiased(jnp.array([100.0, 100.0, -100.0]), jnp.array([1, 0, 0]), prior=0.5)
        Array(0., dtype=float32)

    Reference:
        du Plessis, Niu & Sugiyama, "Convex Formulation for Learning from Positive and Unlabeled
        Data", 2015.
    """
    of_yeses, of_noes, exists = _risks("unbiased", logits, targets, prior, surrogate, where)
    return reduce("unbiased", of_yeses + of_noes, exists, weights, reduction)


@compiled("surrogate", "reduction")
def non_negative(
    logits: Float[ArrayLike, "*batch items"],
    targets: Real[ArrayLike, "*batch items"],
    *,
    prior: Scalar = 0.5,
    surrogate: Surrogate = "sigmoid",
    where: Bool[ArrayLike, "*#batch #items"] | None = None,
    weights: Real[ArrayLike, "..."] | None = None,
    reduction: Reduction = "mean",
) -> Float[Array, "..."]:
    r"""Estimate of the risk on all examples of which the part of the noes is not below zero.

    .. math::
        \ell = \pi \overline{L(z_+)}
            + \max\bigl( 0,\; \overline{L(-z_u)} - \pi \overline{L(-z_+)} \bigr)

    :func:`unbiased` for flexible models, which would overfit that. Where the maximum is 0 the noes
    have no gradient; the authors also step back from there, which is
    ``non_negative(...) - unbiased(...)`` added. The unreduced shape is ``*batch``.

    Args:
        targets, prior, surrogate, where, weights, reduction: see :func:`unbiased`.

    Example:
        >>> non_negative(jnp.array([0.0, -100.0]), jnp.array([1, 0]), prior=0.5)
        Array(0.25, dtype=float32)

    Reference:
        Kiryo et al., "Positive-Unlabeled Learning with Non-Negative Risk Estimator", 2017.
    """
    name = "non_negative"
    of_yeses, of_noes, exists = _risks(name, logits, targets, prior, surrogate, where)
    return reduce(name, of_yeses + jax.nn.relu(of_noes), exists, weights, reduction)


def _risks(
    name: str,
    logits: Float[ArrayLike, "*batch items"],
    targets: Real[ArrayLike, "*batch items"],
    prior: Scalar,
    surrogate: Surrogate,
    where: Bool[ArrayLike, "*#batch #items"] | None,
) -> tuple[Float[Array, "*batch"], Float[Array, "*batch"], Bool[Array, "*batch"] | None]:
    """What yeses lose, what noes lose as far as can be told, and where there is anything."""
    require_option(name, "surrogate", surrogate, get_args(Surrogate))
    score, actual = rows(name, None, logits=logits, targets=targets)
    selected = selection(name, where, score.shape)
    score, actual = masked(score, selected), masked(actual, selected)
    share = check_unit_interval(name, "prior", jnp.asarray(prior)).astype(score.dtype)
    yes = check_unit_interval(name, "targets", actual) > 0.5
    exists = jnp.ones(score.shape, bool) if selected is None else selected
    loss = jax.nn.sigmoid if surrogate == "sigmoid" else jax.nn.softplus

    def mean(x: Array, of: Array) -> Array:
        return jnp.where(of, x, 0).sum(-1) / jnp.maximum(of.sum(-1), 1).astype(x.dtype)

    as_yes, as_no = loss(-score), loss(score)
    of_noes = mean(as_no, exists & ~yes) - share * mean(as_no, exists & yes)
    return share * mean(as_yes, exists & yes), of_noes, exists.any(-1)
