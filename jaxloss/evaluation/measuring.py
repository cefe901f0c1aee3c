"""What one batch tells of its examples: the part of an evaluation that runs on the device."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Bool, Float, Int, PyTree, Real

from jaxloss.core.checks import require_integer, require_shape
from jaxloss.core.doubled import Doubled, exact, product, total
from jaxloss.core.inputs import at_least_float32
from jaxloss.core.reducing import weighed
from jaxloss.evaluation.exact import ExactMean, exact_mean

UNNAMED = ""
"""The name of what is measured if it is one thing only."""


class Examples(NamedTuple):
    """What a batch tells of its examples, one per row."""

    losses: Real[ArrayLike, "examples ..."]
    """unreduced and unweighted; what follows the first axis belongs to one example"""
    where: Bool[ArrayLike, "..."] | None = None
    weights: Real[ArrayLike, "..."] | None = None
    ids: Int[ArrayLike, " examples"] | None = None
    """of the examples in the data set; a negative one marks padding"""
    groups: Int[ArrayLike, " examples"] | None = None
    """what to report apart: the class, the source"""
    clusters: Int[ArrayLike, " examples"] | None = None
    """examples that may be alike: of one document, one patient"""


class Rows(NamedTuple):
    """The examples of a batch."""

    totals: Doubled
    weights: Doubled
    ids: Array | None
    groups: Array | None
    clusters: Array | None


class _Measured(NamedTuple):
    """What a batch tells, checked and cleaned."""

    losses: Float[Array, "examples ..."]
    """zero where they do not count"""
    weights: Float[Array, "examples ..."]
    """zero for padding"""
    ids: Int[Array, " examples"] | None
    groups: Int[Array, " examples"] | None
    clusters: Int[Array, " examples"] | None


@partial(jax.jit, static_argnums=(0, 1))
def measured_rows(
    measure: Callable[..., Any], single: bool, params: PyTree, batch: PyTree
) -> dict[str, Rows]:
    """Each example of a batch, by the name of what is measured."""

    def rows(found: _Measured) -> Rows:
        axes = tuple(range(1, found.losses.ndim))
        totals = total(product(found.losses, found.weights), axes)
        weights = total(exact(found.weights), axes)
        return Rows(totals, weights, found.ids, found.groups, found.clusters)

    return {name: rows(found) for name, found in _measured(measure, single, params, batch).items()}


@partial(jax.jit, static_argnums=(0, 1, 2))
def measured_means(
    measure: Callable[..., Any], single: bool, count: int, params: PyTree, batch: PyTree
) -> dict[str, tuple[ExactMean, ExactMean | None]]:
    """The mean over a batch and that of each of ``count`` groups, likewise."""

    def means(found: _Measured) -> tuple[ExactMean, ExactMean | None]:
        losses, weights, groups = found.losses, found.weights, found.groups
        overall = exact_mean(losses, weights=weights)
        if found.clusters is not None:
            raise ValueError(
                "evaluate: keep_examples must be true for clusters, whose rows may be anywhere, "
                "got false"
            )
        if groups is None:
            return overall, None
        if not count:
            raise ValueError(
                "evaluate: group_names must be given for groups if keep_examples is false, got None"
            )

        def of_group(number: Array) -> ExactMean:
            return exact_mean(losses, weights=_masked(weights, groups == number))

        return overall, jax.vmap(of_group)(jnp.arange(count, dtype=groups.dtype))

    return {name: means(found) for name, found in _measured(measure, single, params, batch).items()}


@jax.jit
def merged(ours: Any, theirs: Any) -> Any:
    """The means over two batches, or more, as those over all of them."""
    return jax.tree.map(ExactMean.merge, ours, theirs, is_leaf=lambda x: isinstance(x, ExactMean))


def _measured(
    measure: Callable[..., Any], single: bool, params: PyTree, batch: PyTree
) -> dict[str, _Measured]:
    """What ``measure`` says of a batch, in its most general form."""
    found = measure(params, batch)
    named = {UNNAMED: found} if single else found
    if not isinstance(named, Mapping):
        raise ValueError(f"evaluate_each: measure must return a dict, got a {type(named).__name__}")
    return {
        name: _checked(each if isinstance(each, Examples) else Examples(each))
        for name, each in named.items()
    }


def _checked(examples: Examples) -> _Measured:
    """The examples of a batch, or ``ValueError`` if they are no such thing."""
    losses = examples.losses
    single = not isinstance(losses, tuple | list | Mapping)
    if not single or jnp.ndim(losses) == 0:
        raise ValueError(
            "evaluate: measure must return unreduced losses, whose first axis is that of the "
            f"examples, got a {'scalar' if single else type(losses).__name__}"
        )
    losses = at_least_float32(losses)
    for argument, value in (("where", examples.where), ("weights", examples.weights)):
        if value is not None and jnp.ndim(value) not in (0, losses.ndim):
            raise ValueError(
                f"evaluate: {argument} must have as many axes as losses, of shape {losses.shape}, "
                f"got shape {jnp.shape(value)}"
            )
    numbers = {"ids": examples.ids, "groups": examples.groups, "clusters": examples.clusters}
    given = {name: jnp.asarray(value) for name, value in numbers.items() if value is not None}
    require_integer("evaluate", **given)
    require_shape("evaluate", losses.shape[:1], wanted="one number per example,", **given)
    loss, weight = weighed("evaluate", losses, examples.where, examples.weights)
    if "ids" in given:
        weight = _masked(weight, given["ids"] >= 0)
    return _Measured(
        losses=jnp.where(weight > 0, loss, 0),
        weights=weight,
        ids=given.get("ids"),
        groups=given.get("groups"),
        clusters=given.get("clusters"),
    )


def _masked(
    weights: Float[Array, "examples ..."], chosen: Bool[Array, " examples"]
) -> Float[Array, "examples ..."]:
    return jnp.where(chosen.reshape(-1, *[1] * (weights.ndim - 1)), weights, 0)
