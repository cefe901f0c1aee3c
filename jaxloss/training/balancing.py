"""The terms of an objective under a balancer: what each weighs, and the gradient of their sum.

A balancer that sees losses only is asked before the one backward pass there is. One that sees
gradients has a backward pass for each term, and adds up what comes back.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree

from jaxloss.compose.balancing import Balancer
from jaxloss.compose.gram import combined, gram
from jaxloss.compose.weighting import WeightedSum
from jaxloss.training.accumulating import UNNAMED, Measured, Problem, value_and_gradient

Weights = dict[str, Float[Array, ""]]


class Balance(NamedTuple):
    """A balancer, and the terms it weighs; what else an objective has is added as it is."""

    balancer: Balancer
    names: tuple[str, ...]


class Balanced(NamedTuple):
    """What was measured in one step, and what its balancer made of it."""

    found: Measured
    gradient: PyTree
    problem: Problem
    """the one that was given, with the weights of this step, whose gradient it is"""
    value: Float[Array, ""]
    """the sum of the terms with these weights"""
    state: PyTree
    """what the balancer keeps"""
    weights: Weights


def first_balance(balance: Balance | None) -> PyTree:
    """What the balancer keeps of a run that has not begun."""
    return None if balance is None else balance.balancer.init(len(balance.names))


def balanced_gradient(
    balance: Balance | None,
    state: PyTree,
    problem: Problem,
    params: PyTree,
    scale: Float[Array, ""] | None,
) -> Balanced:
    """What was measured, and the gradient as ``balance`` would have it, or as it is without one."""
    if balance is None:
        found, gradient = value_and_gradient(problem, params, scale)
        return Balanced(found, gradient, problem, found.terms.value(), state, {})
    balancer, names = balance
    if balancer.needs_gradients:
        apart = problem._replace(value=lambda terms: values_apart(terms, names), several=True)
        found, gradients = value_and_gradient(apart, params, scale)
        count = len(names)
        measured = gram(jax.tree.map(lambda g: g[:count], gradients))
        state, weights = balancer.update(state, losses_of(found.terms, names), measured)
        rows = len(jax.tree.leaves(gradients)[0])
        gradient = combined(gradients, jnp.ones(rows, weights.dtype).at[:count].set(weights))
    else:

        def update(terms: WeightedSum) -> tuple[PyTree, Array]:
            losses = jax.lax.stop_gradient(losses_of(terms, names))
            return balancer.update(state, losses, None)

        at_once = problem._replace(value=lambda terms: weighed(names, update(terms)[1], terms))
        found, gradient = value_and_gradient(at_once, params, scale)
        state, weights = update(found.terms)
    frozen = jax.lax.stop_gradient(weights)
    problem = problem._replace(value=lambda terms: weighed(names, frozen, terms))
    by_name = dict(zip(names, frozen, strict=True))
    return Balanced(found, gradient, problem, problem.value(found.terms), state, by_name)


def weighed(names: tuple[str, ...], weights: Array, terms: WeightedSum) -> Float[Array, ""]:
    """The sum of the terms, those that are named times their weights."""
    values = values_apart(terms, names)
    ours, rest = values[: len(names)], values[len(names) :]
    return (weights.astype(ours.dtype) * ours).sum() + rest.sum()


def values_apart(terms: WeightedSum, names: tuple[str, ...]) -> Float[Array, " values"]:
    """The terms that are named, each times its coefficient, and the sum of the others, if any."""
    others = [product(terms, name) for name in terms.terms if name not in names]
    rest = [sum(others[1:], start=others[0])] if others else []
    return jnp.concatenate([losses_of(terms, names), *(x[None] for x in rest)])


def losses_of(terms: WeightedSum, names: tuple[str, ...]) -> Float[Array, " losses"]:
    """The terms that are named, each times its coefficient."""
    there = sorted(terms.terms)
    if missing := [name for name in names if name not in there]:
        found = "one loss" if there == [UNNAMED] else f"{there}"
        raise ValueError(
            "make_train_step: objective must return a WeightedSum with all the terms that are "
            f"balanced, got {found} without {missing}"
        )
    return jnp.stack([product(terms, name) for name in names])


def product(terms: WeightedSum, name: str) -> Float[Array, ""]:
    """A term times its coefficient."""
    return terms.coefficients[name] * terms.values()[name]


def require_balance(balancer: Balancer | None, balanced: tuple[str, ...]) -> Balance | None:
    """Both, or ``ValueError`` unless there are both or neither."""
    if balancer is None:
        if balanced:
            raise ValueError(
                f"make_train_step: balancer must be given with balanced={balanced}, got None"
            )
        return None
    if len(set(balanced)) < max(len(balanced), 2):
        raise ValueError(
            "make_train_step: balanced must name two or more terms, each once, which balancer "
            f"weighs, got {balanced}"
        )
    return Balance(balancer, balanced)
