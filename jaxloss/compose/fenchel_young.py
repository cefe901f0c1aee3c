"""Losses built from a maximum over structures: labels, permutations, trees, anything."""

from collections.abc import Callable
from typing import Any

import jax
from jaxtyping import Array, ArrayLike, Bool, Float, Real

from jaxloss.core.inputs import masked, rows, selection
from jaxloss.core.reducing import Reduction, reduce

Loss = Callable[..., Array]
"""``loss(logits, targets, *per_row, where=None, weights=None, reduction="mean")``."""


def fenchel_young(
    maximum: Callable[..., Array],
    regularizer: Callable[[Array], Array] | None = None,
) -> Loss:
    r"""The loss whose gradient is the distance of a regularized argmax from the target.

    .. math::
        \ell = \Omega^*(z) + \Omega(t) - \langle z, t \rangle, \qquad
        \Omega^*(z) = \max_p \; \langle z, p \rangle - \Omega(p)

    Convex in the logits, never negative, and zero only if the target is the argmax. Its gradient is
    that argmax, the gradient of the maximum, minus the target: the argmax itself need not be known.
    With ``jax.nn.logsumexp`` the softmax cross-entropy, with half the squared norm the squared
    error; :mod:`jaxloss.losses.fenchel_young` has those of sparse softmaxes, more exactly.

    Args:
        maximum: :math:`\Omega^*` of the logits of one example; differentiable.
        regularizer: :math:`\Omega` of a target, a constant to the model: without it the loss is
            that much off from zero.

    Returns:
        ``loss(logits, targets, *per_row, where=None, weights=None, reduction="mean")``, over the
        last axis of both; unreduced it has the shape of all other axes. What is given ``per_row``
        has that shape first and goes to ``maximum``, as the keys of :func:`perturbed_maximum`.

    Example:
        >>> cross_entropy = fenchel_young(jax.nn.logsumexp)
        >>> cross_entropy(jnp.zeros((3, 2)), jnp.array([[1, 0], [0, 1], [0.5, 0.5]]))
        Array(0.6931472, dtype=float32)

    Reference:
        Blondel, Martins & Niculae, "Learning with Fenchel-Young Losses", 2020.
    """
    name = "fenchel_young"

    def loss(
        logits: Float[ArrayLike, "*batch features"],
        targets: Real[ArrayLike, "*batch features"],
        *per_row: Any,
        where: Bool[ArrayLike, "*#batch"] | None = None,
        weights: Real[ArrayLike, "..."] | None = None,
        reduction: Reduction = "mean",
    ) -> Float[Array, "..."]:
        score, actual = rows(name, None, logits=logits, targets=targets)
        selected = selection(name, where, score.shape[:-1])
        score, actual = masked(score, selected), masked(actual, selected)
        best = _each(maximum, score, *per_row)
        offset = 0 if regularizer is None else _each(regularizer, actual)
        value = best + offset - (score * actual).sum(-1)
        return reduce(name, value, where, weights, reduction)

    return loss


def _each(
    function: Callable[..., Array], x: Float[Array, "*batch features"], *rest: Any
) -> Float[Array, "*batch"]:
    """The function of each row, and of what else there is for that."""
    batch = x.shape[:-1]
    flat = [jax.tree.map(lambda y: y.reshape(-1, *y.shape[len(batch) :]), y) for y in (x, *rest)]
    return jax.vmap(function)(*flat).reshape(batch)
