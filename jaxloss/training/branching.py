"""An update that is made or left out as a whole.

Which is best depends on the platform. On a GPU it is a choice element by element, fused into what
computes the new state; a branch would make the host wait for its predicate. On a CPU that choice
is not fused, and needs old and new state side by side, where a branch updates in place.
"""

from collections.abc import Callable
from typing import TypeVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool

from jaxloss.training.convergence import select

State = TypeVar("State")


def update_if(predicate: Bool[Array, ""], update: Callable[[State], State], state: State) -> State:
    """``update(state)`` if ``predicate``, else ``state`` bit for bit."""

    def branch(predicate: Bool[Array, ""], state: State) -> State:
        return jax.lax.cond(predicate, update, lambda state: state, state)

    def choice(predicate: Bool[Array, ""], state: State) -> State:
        return select(predicate, update(state), state)

    return jax.lax.platform_dependent(predicate, state, cpu=branch, default=choice)


def update_few_if(
    predicate: Bool[Array, ""], update: Callable[[State], State], state: State
) -> State:
    """The same for a handful of numbers.

    On a CPU by a loop of at most one round, since XLA makes one kernel of a small loop, where a
    small branch takes dozens.
    """

    def loop(predicate: Bool[Array, ""], state: State) -> State:
        def once(carry: tuple[Bool[Array, ""], State]) -> tuple[Bool[Array, ""], State]:
            pending, state = carry
            return jnp.zeros_like(pending), update(state)

        return jax.lax.while_loop(lambda carry: carry[0], once, (predicate, state))[1]

    def choice(predicate: Bool[Array, ""], state: State) -> State:
        return select(predicate, update(state), state)

    return jax.lax.platform_dependent(predicate, state, cpu=loop, default=choice)
