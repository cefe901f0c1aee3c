"""Ways to combine the gradients of several losses that pull in different directions.

Each is a :class:`~jaxloss.compose.Balancer` that needs gradients, and each works on lengths and
angles alone. In float32 it is right for gradients whose lengths differ by a factor of 10^4 and
more. A gradient that is zero has no say, unless it is said to.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from jaxloss.compose.balancing import Balancer, required
from jaxloss.compose.gram import Gram
from jaxloss.compose.simplex import minimum
from jaxloss.core.inputs import Scalar

STILL = 1e-6
"""What is as good as zero, compared with the length of a unit vector."""


class DrawState(NamedTuple):
    """A key, and how often it has been drawn from."""

    key: Array
    step: Int[Array, ""]


def pcgrad(key: Array) -> Balancer:
    r"""Take out of each gradient what conflicts with any other, and add up what is left.

    .. math::
        g_i \leftarrow g_i - \frac{\min(g_i^\top g_j, 0)}{\lVert g_j \rVert^2}\, g_j
        \qquad \text{for all } j \ne i \text{ in random order}

    "Gradient surgery". Without a conflict it is the plain sum: all weights are 1.

    Args:
        key: of the random orders, which are drawn anew at each update.

    Example:
        >>> from jaxloss.compose import combined, gram
        >>> balancer = pcgrad(jax.random.key(0))
        >>> gradients = jnp.array([[1.0, 0.0], [-1.0, 1.0]])
        >>> _, weights = balancer.update(balancer.init(2), jnp.ones(2), gram(gradients))
        >>> combined(gradients, weights)  # [0.5, 0.5] and [0, 1]
        Array([0.5, 1.5], dtype=float32)

    Reference:
        Yu et al., "Gradient Surgery for Multi-Task Learning", 2020.
    """

    def init(count: int) -> DrawState:
        return DrawState(key, jnp.int32(0))

    def update(state: DrawState, losses: Array, gram: Gram | None) -> tuple[DrawState, Array]:
        lengths, cosines = required("pcgrad", gram)
        count = lengths.size

        def projected(number: Array, key: Array) -> Array:
            """What is left of a unit vector, in terms of unit vectors."""

            def project(left: Array, other: Array) -> tuple[Array, None]:
                overlap = jnp.where(other == number, 0, jnp.minimum(left @ cosines[other], 0))
                return left.at[other].add(-overlap), None

            start = jax.nn.one_hot(number, count, dtype=cosines.dtype)
            return jax.lax.scan(project, start, jax.random.permutation(key, count))[0]

        keys = jax.random.split(jax.random.fold_in(state.key, state.step), count)
        left = jax.vmap(projected)(jnp.arange(count), keys)
        there = lengths > 0
        # row i in terms of the gradients themselves
        ratio = lengths[:, None] / jnp.where(there, lengths, 1)[None]
        ratio = jnp.where(jnp.eye(count, dtype=bool), 1, jnp.where(there[None], ratio, 0))
        return DrawState(state.key, state.step + 1), (left * ratio).sum(0)

    return Balancer(init, update, needs_gradients=True)


def mgda() -> Balancer:
    r"""Take the shortest of all weighted means of the gradients.

    .. math::
        \min_w \Big\lVert \sum_k w_k g_k \Big\rVert^2, \qquad w \ge 0, \quad \sum_k w_k = 1

    Multiple-gradient descent: to first order no loss rises, and where that cannot be had any more
    the result is zero. A gradient that is zero is then the result.

    Reference:
        Sener and Koltun, "Multi-Task Learning as Multi-Objective Optimization", 2018.
    """

    def weigh(gram: Gram) -> Array:
        lengths, cosines = gram
        still = lengths == 0
        costs = _costs(lengths)
        matrix = _regular(cosines)
        shares = minimum(lambda y: (matrix @ y, matrix), costs, ~still)
        alone = still.astype(lengths.dtype)
        return jnp.where(still.any(), alone / jnp.maximum(alone.sum(), 1), costs * shares)

    return _stateless("mgda", weigh)


def cagrad(*, radius: Scalar = 0.4) -> Balancer:
    r"""Help the loss that is helped least, without straying far from the mean gradient.

    .. math::
        \max_d \min_k g_k^\top d \qquad \text{with } \lVert d - g_0 \rVert \le c \lVert g_0 \rVert,
        \qquad g_0 = \frac1K \sum_k g_k

    Conflict-averse gradient descent: unlike the others it converges to a minimum of the mean loss.
    With a radius of 0 it is the mean, and as the radius grows it turns into :func:`mgda`.

    Args:
        radius: :math:`c`, how far to stray; in [0, 1).

    Reference:
        Liu et al., "Conflict-Averse Gradient Descent for Multi-task Learning", 2021.
    """

    def weigh(gram: Gram) -> Array:
        lengths, cosines = gram.lengths, _regular(gram.cosines)
        count, there, costs = lengths.size, lengths > 0, _costs(lengths)
        largest = jnp.where(there.any(), lengths.max(), 1)
        mean = lengths / largest / count
        size = jnp.sqrt(jnp.maximum(mean @ cosines @ mean, 0))
        overlaps = cosines @ mean / jnp.where(size == 0, 1, size)

        # In the dual, overlaps @ y + radius * |y|, whose root is an infimum over another variable.
        def derivatives(point: Array) -> tuple[Array, Array]:
            y, root = point[:-1], point[-1]
            products = cosines @ y
            square = y @ products
            by_y = overlaps + radius * products / root
            by_root = radius / 2 * (1 - square / root**2)
            corner = -radius * products / root**2
            return jnp.append(by_y, by_root), jnp.block(
                [
                    [radius * cosines / root, corner[:, None]],
                    [corner[None], radius * (square / root**3)[None, None]],
                ]
            )

        point = minimum(derivatives, jnp.append(costs, 0), jnp.append(there, True))
        shares = point[:-1]
        length = jnp.sqrt(jnp.maximum(shares @ cosines @ shares, 0))
        aside = radius * size / jnp.maximum(length, STILL) * shares
        return 1 / count + aside * jnp.where(there, largest / jnp.where(there, lengths, 1), 0)

    return _stateless("cagrad", weigh)


def nash() -> Balancer:
    r"""Settle on the direction that losses would agree to if they bargained.

    .. math::
        \max_{\lVert d \rVert \le r} \sum_k \log g_k^\top d
        \qquad \Longleftrightarrow \qquad
        d = \sum_k w_k g_k, \quad w_k\, g_k^\top d = 1

    Nash-MTL: the result does not depend on the scale of any of the losses. Its length is the square
    root of their number, also near a minimum, so let the learning rate fall.

    Reference:
        Navon et al., "Multi-Task Learning as a Bargaining Game", 2022.
    """

    def weigh(gram: Gram) -> Array:
        lengths, cosines = gram
        count, there = lengths.size, lengths > 0
        matrix = _regular(cosines)

        def newton(_: Any, y: Array) -> Array:
            """Damped, for half of ``y @ matrix @ y`` minus the logarithms of y."""
            slope = jnp.where(there, y * (matrix @ y) - 1, 0)
            curvature = y[:, None] * matrix * y[None] + jnp.eye(count, dtype=y.dtype)
            step = jnp.linalg.solve(curvature, slope)
            decrement = jnp.sqrt(jnp.maximum(slope @ step, 0))
            return y * (1 - step / (1 + decrement))

        y = jax.lax.fori_loop(0, 40, newton, jnp.ones(count, lengths.dtype))
        return jnp.where(there, y / jnp.where(there, lengths, 1), 0)

    return _stateless("nash", weigh)


def _stateless(name: str, weigh: Any) -> Balancer:
    """A balancer without a state; if all gradients are zero, its weights are uniform."""

    def update(state: None, losses: Array, gram: Gram | None) -> tuple[None, Array]:
        gram = required(name, gram)
        uniform = jnp.full_like(gram.lengths, 1 / gram.lengths.size)
        return state, jnp.where((gram.lengths == 0).all(), uniform, weigh(gram))

    return Balancer(lambda count: None, update, needs_gradients=True)


def _regular(cosines: Float[Array, "losses losses"]) -> Float[Array, "losses losses"]:
    """The inner products of vectors a little apart: what equal ones share, they share equally."""
    return cosines + STILL * jnp.eye(len(cosines), dtype=cosines.dtype)


def _costs(lengths: Float[Array, " losses"]) -> Float[Array, " losses"]:
    """The shortest length over each: what a unit vector costs if gradients share a weight of 1."""
    there = lengths > 0
    shortest = jnp.where(there, lengths, jnp.inf).min()
    return jnp.where(there, shortest / jnp.where(there, lengths, 1), 0)
