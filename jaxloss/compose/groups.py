"""Reductions by group, for any unreduced loss: the mean of each, and that of the worst.

Each takes what a loss returns with ``reduction="none"`` and no weights.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Bool, Float, Int, Real

from jaxloss.compose.balancing import Balancer
from jaxloss.compose.gram import Gram
from jaxloss.core.checks import require_integer, require_same_shape
from jaxloss.core.inputs import Scalar, at_least_float32, masked, selection
from jaxloss.core.preconditions import check
from jaxloss.core.reducing import weighed


def group_means(
    losses: Float[Array, "*shape"],
    groups: Int[ArrayLike, "*shape"],
    *,
    count: int,
    where: Bool[ArrayLike, "*#shape"] | None = None,
    weights: Real[ArrayLike, "*#shape"] | None = None,
) -> Float[Array, " groups"]:
    r"""Mean of each group.

    .. math::
        L_g = \frac{\sum_{i \in g} w_i \ell_i}{\sum_{i \in g} w_i}

    The mean of these is the loss in which every group counts the same. A group that is absent has
    mean 0, and gradient 0.

    Args:
        groups: the group of each element, in [0, ``count``); any other gives NaN.
        count: how many groups there are.
        where, weights: see :func:`jaxloss.core.reducing.reduce`.

    Example:
        >>> group_means(jnp.array([1.0, 3.0, 5.0]), jnp.array([0, 0, 2]), count=3)
        Array([2., 0., 5.], dtype=float32)
    """
    mean, _ = _means("group_means", losses, groups, count, where, weights)
    return mean


def worst_group(
    losses: Float[Array, "*shape"],
    groups: Int[ArrayLike, "*shape"],
    *,
    count: int,
    where: Bool[ArrayLike, "*#shape"] | None = None,
    weights: Real[ArrayLike, "*#shape"] | None = None,
) -> Float[Array, ""]:
    r"""Mean of the group whose mean is largest.

    .. math::
        L = \max_g L_g

    Of groups as bad as each other the first. On small batches it jumps from group to group, for
    which the weights of :func:`group_dro` are smoother.

    Args:
        groups, count, where, weights: see :func:`group_means`.

    Example:
        >>> worst_group(jnp.array([1.0, 3.0, -5.0]), jnp.array([0, 0, 2]), count=3)
        Array(2., dtype=float32)

    Reference:
        Sagawa et al., "Distributionally Robust Neural Networks for Group Shifts", 2020.
    """
    mean, mass = _means("worst_group", losses, groups, count, where, weights)
    present = jnp.where(mass > 0, mean, -jnp.inf)
    return mean[jnp.argmax(jax.lax.stop_gradient(present))]


def group_dro(*, rate: Scalar = 0.01) -> Balancer:
    r"""Weigh groups the more, the worse they have been: group distributionally robust.

    .. math::
        w_g \propto w_g\, e^{\eta L_g}, \qquad \sum_g w_g = 1

    A :class:`~jaxloss.compose.Balancer` of the :func:`group_means`.

    Args:
        rate: :math:`\eta`, in units of one over the loss.

    Example:
        >>> balancer = group_dro(rate=1.0)
        >>> _, weights = balancer.update(balancer.init(2), jnp.log(jnp.array([1.0, 3.0])), None)
        >>> weights
        Array([0.25, 0.75], dtype=float32)

    Reference:
        Sagawa et al., "Distributionally Robust Neural Networks for Group Shifts", 2020.
    """

    def update(logits: Array, losses: Array, gram: Gram | None) -> tuple[Array, Array]:
        logits = jax.nn.log_softmax(logits + rate * losses)
        return logits, jnp.exp(logits)

    return Balancer(jnp.zeros, update, needs_gradients=False)


def _means(
    name: str,
    losses: Float[Array, "*shape"],
    groups: Int[ArrayLike, "*shape"],
    count: int,
    where: Bool[ArrayLike, "*#shape"] | None,
    weights: Real[ArrayLike, "*#shape"] | None,
) -> tuple[Float[Array, " groups"], Float[Array, " groups"]]:
    """The mean and the total weight of each group."""
    groups = jnp.asarray(groups)
    require_integer(name, groups=groups)
    require_same_shape(name, losses=losses, groups=groups)
    loss, weight = weighed(name, at_least_float32(losses), where, weights)
    groups = masked(groups, selection(name, where, loss.shape))
    valid = (groups >= 0) & (groups < count)
    groups = check(groups, valid, f"{name}: groups must lie in [0, {count})")
    loss = jnp.where(valid, loss, jnp.nan)
    index = groups.clip(0, count - 1).reshape(-1)
    total = jax.ops.segment_sum((weight * loss).reshape(-1), index, count)
    mass = jax.ops.segment_sum(weight.reshape(-1), index, count)
    return total / jnp.where(mass == 0, 1, mass), mass
