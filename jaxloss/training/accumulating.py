"""The value and the gradient of an objective, over a whole batch or in parts of it, exactly.

The mean over a batch is a ratio of sums: its denominator is not known before the last part has been
seen, and no mean of the means of the parts equals it. So there are two passes:

1. the totals and weights of all parts are added up, which tells what the value is, and what its
   gradient is with respect to each total, weight and coefficient;
2. that gradient is pulled back through each part, and the results are added up.

What pass 2 needs of pass 1 is, as a rule, the weights alone. The rest of pass 1, and with it the
model, is then dead code, which the compiler removes.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PyTree

from jaxloss.compose.weighting import WeightedSum
from jaxloss.core.inputs import at_least_float32
from jaxloss.core.reducing import PartialMean

UNNAMED = ""
"""The name of the only term of an objective that is no sum."""


class Measured(NamedTuple):
    """What an objective finds on a batch, or on a part of one."""

    terms: WeightedSum
    model_state: PyTree
    aux: PyTree


Measure = Callable[[PyTree, PyTree, PyTree, Int[Array, ""] | None], Measured]
"""``(params, model_state, batch, micro_batch)``; the number is None if there is only one."""


class Division(NamedTuple):
    """In what parts a batch is seen."""

    micro_batches: int
    """one after the other"""
    axis_name: Any
    """of the devices that see theirs at the same time, if the step is mapped over them, or None"""

    @property
    def is_whole(self) -> bool:
        """Whether there is just one part."""
        return self.micro_batches == 1 and self.axis_name is None


class Problem(NamedTuple):
    """What is to be minimized in one step, as a function of params."""

    measure: Measure
    model_state: PyTree
    batch: PyTree
    division: Division
    value: Callable[[WeightedSum], Array] = WeightedSum.value
    """what is made of the terms over the whole batch"""
    several: bool = False
    """whether that is a vector, of which every element has a gradient of its own"""


def value_and_gradient(
    problem: Problem, params: PyTree, scale: Float[Array, ""] | None = None
) -> tuple[Measured, PyTree]:
    """What was measured over the whole batch, and the gradient of its value.

    The auxiliary outputs of several micro-batches are stacked along a new first axis, and so are
    the gradients of several values. With a ``scale``, the value is multiplied with it before, and
    the gradient divided by it after.
    """
    measure, model_state, batch, division = problem[:4]
    slope = jax.jacrev if problem.several else jax.grad
    if division.is_whole:

        def value(params: PyTree) -> tuple[Array, Measured]:
            measured = measure(params, model_state, batch, None)
            return scaled(problem.value(measured.terms), scale), measured

        gradient, measured = slope(value, has_aux=True)(params)
        return measured, unscaled(gradient, scale)

    share = share_of(measure, division)
    total = added_up(problem, params)
    sensitivity = slope(lambda terms: scaled(problem.value(terms), scale))(total)
    rows = jax.tree.leaves(sensitivity)[0].shape
    params, model_state, sensitivity = varying((params, model_state, sensitivity), division)

    def pulled_back(model_state: PyTree, part: PyTree) -> tuple[PyTree, Measured]:
        def forward(params: PyTree) -> tuple[WeightedSum, Measured]:
            measured = share(params, model_state, part)
            return varying(measured.terms, division), measured

        _, pull, measured = jax.vjp(forward, params, has_aux=True)
        (gradient,) = (jax.vmap(pull) if problem.several else pull)(sensitivity)
        return jax.tree.map(lambda g: g.astype(sum_dtype(g)), gradient), measured

    if division.micro_batches == 1:
        gradient, measured = pulled_back(model_state, (None, batch))
    else:

        def add(carry: tuple[PyTree, PyTree], part: PyTree) -> tuple[Any, tuple[Any, Any]]:
            gradient, model_state = carry
            piece, measured = pulled_back(model_state, part)
            model_state = varying(measured.model_state, division)
            carry = jax.tree.map(jnp.add, gradient, piece), model_state
            return carry, (measured.terms, measured.aux)

        def zero(p: Array) -> Array:
            return jnp.broadcast_to(jnp.zeros_like(p, sum_dtype(p)), (*rows, *p.shape))

        zeros = jax.tree.map(zero, params)
        parts = split(batch, division.micro_batches)
        (gradient, model_state), (terms, aux) = jax.lax.scan(add, (zeros, model_state), parts)
        measured = Measured(jax.tree.map(lambda x: x.sum(0), terms), model_state, aux)

    terms, gradient = over_devices((measured.terms, gradient), division)
    model_state = averaged(measured.model_state, division)
    return Measured(terms, model_state, measured.aux), unscaled(gradient, scale)


def value_only(problem: Problem, params: PyTree) -> Float[Array, ""]:
    """The value over the whole batch, as :func:`value_and_gradient` would find it."""
    measure, model_state, batch, division = problem[:4]
    if division.is_whole:
        return problem.value(measure(params, model_state, batch, None).terms)
    return problem.value(added_up(problem, params))


Share = Callable[[PyTree, PyTree, tuple[Int[Array, ""] | None, PyTree]], Measured]
"""``(params, model_state, (number, part of the batch))``"""


def share_of(measure: Measure, division: Division) -> Share:
    """``measure`` for one part, such that the terms of all parts add up to those of the whole."""

    def share(
        params: PyTree, model_state: PyTree, part: tuple[Int[Array, ""] | None, PyTree]
    ) -> Measured:
        number, batch = part
        measured = measure(params, model_state, batch, number)
        require_partial_means(measured.terms)
        parts = division.micro_batches
        if division.axis_name is not None:
            parts *= jax.lax.axis_size(division.axis_name)
        coefficients = {name: c / parts for name, c in measured.terms.coefficients.items()}
        return measured._replace(terms=measured.terms._replace(coefficients=coefficients))

    return share


def added_up(problem: Problem, params: PyTree) -> WeightedSum:
    """The terms over all parts."""
    measure, model_state, batch, division = problem[:4]
    share = share_of(measure, division)
    if division.micro_batches == 1:
        terms = share(params, model_state, (None, batch)).terms
    else:

        def visit(model_state: PyTree, part: PyTree) -> tuple[PyTree, WeightedSum]:
            measured = share(params, model_state, part)
            return varying(measured.model_state, division), measured.terms

        parts = split(batch, division.micro_batches)
        _, terms = jax.lax.scan(visit, varying(model_state, division), parts)
        terms = jax.tree.map(lambda x: x.sum(0), terms)
    return over_devices(terms, division)


def split(batch: PyTree, micro_batches: int) -> tuple[Int[Array, " micro_batches"], PyTree]:
    """The micro-batches, numbered: row i goes to micro-batch i modulo ``micro_batches``.

    Unlike contiguous slices, these move no row of a batch that is sharded over devices.
    """

    def strided(rows: Array) -> Array:
        count = rows.shape[0] if rows.ndim else 0
        if rows.ndim == 0 or count % micro_batches:
            axis = f"{count} rows" if rows.ndim else "a scalar"
            raise ValueError(
                "make_train_step: every array of a batch must have a first axis divisible by "
                f"accumulate={micro_batches}, got {axis}"
            )
        return rows.reshape(count // micro_batches, micro_batches, *rows.shape[1:]).swapaxes(0, 1)

    return jnp.arange(micro_batches, dtype=jnp.int32), jax.tree.map(strided, batch)


def require_partial_means(terms: WeightedSum) -> None:
    """Raise ``ValueError`` unless every term tells its denominator."""
    for name, term in terms.terms.items():
        if not isinstance(term, PartialMean):
            what = "objective" if name == UNNAMED else f"term {name!r} of the objective"
            raise ValueError(
                f"make_train_step: {what} must be a PartialMean(total, weight) if accumulate > 1 "
                "or axis_name is given, or PartialMean(loss, 1.0) to declare that each part of a "
                "batch counts the same, got a scalar. A loss that compares the examples of a batch "
                "with one another, such as a contrastive one, is then that of the parts"
            )


def scaled(value: Array, scale: Float[Array, ""] | None) -> Array:
    """``value`` times ``scale``, if there is one."""
    return value if scale is None else value * scale.astype(value.dtype)


def unscaled(gradient: PyTree, scale: Float[Array, ""] | None) -> PyTree:
    """What the gradient would be had the value not been scaled, in float32 at least."""
    if scale is None:
        return gradient
    inverse = 1 / scale
    return jax.tree.map(lambda g: g.astype(sum_dtype(g)) * inverse.astype(sum_dtype(g)), gradient)


def varying(tree: PyTree, division: Division) -> PyTree:
    """``tree`` as something that may differ from device to device, if the step is mapped.

    Only then is its cotangent that of the part on one device.
    """

    def cast(x: Array) -> Array:
        try:
            return jax.lax.pcast(x, division.axis_name, to="varying")
        except ValueError:  # it is already
            return x

    return tree if division.axis_name is None else jax.tree.map(cast, tree)


def over_devices(tree: PyTree, division: Division) -> PyTree:
    """The sum over the devices, if the step is mapped."""
    axis_name = division.axis_name
    return tree if axis_name is None else jax.lax.psum(varying(tree, division), axis_name)


def averaged(model_state: PyTree, division: Division) -> PyTree:
    """The mean over the devices; of what is no floating-point number, the largest."""

    def leaf(x: Array) -> Array:
        floating = jnp.issubdtype(x.dtype, jnp.floating)
        over_devices = jax.lax.pmean if floating else jax.lax.pmax
        return over_devices(x, division.axis_name)

    if division.axis_name is None:
        return model_state
    return jax.tree.map(leaf, varying(model_state, division))


def sum_dtype(x: Array) -> jnp.dtype:
    """The dtype in which gradients of ``x`` are added up."""
    return at_least_float32(jnp.zeros((), x.dtype)).dtype
