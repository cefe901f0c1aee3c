"""The value and the gradient of an objective, over a whole batch or in micro-batches, exactly.

The mean over a batch is a ratio of sums: its denominator is not known before the last micro-batch
has been seen, and no mean of the means of micro-batches equals it. So there are two passes:

1. the totals and weights of all micro-batches are added up, which tells what the value is, and what
   its gradient is with respect to each total, weight and coefficient;
2. that gradient is pulled back through each micro-batch, and the results are added up.

What pass 2 needs of pass 1 is, as a rule, the weights alone. The rest of pass 1, and with it the
model, is then dead code, which the compiler removes.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PyTree

from jaxloss.compose.weighting import WeightedSum
from jaxloss.core.reducing import PartialMean

Measure = Callable[[PyTree, PyTree, Int[Array, ""] | None], tuple[WeightedSum, PyTree]]
"""``(params, batch, micro_batch) -> (terms, aux)``; the number is None if the batch is whole."""

UNNAMED = ""
"""The name of the only term of an objective that is no sum."""


def value_and_gradient(
    measure: Measure, params: PyTree, batch: PyTree, accumulate: int
) -> tuple[WeightedSum, PyTree, PyTree]:
    """The terms over the whole batch, the gradient of their value, and what else was returned.

    With micro-batches, the auxiliary output of each is stacked along a new first axis.
    """
    if accumulate == 1:

        def value(params: PyTree) -> tuple[Float[Array, ""], tuple[WeightedSum, PyTree]]:
            terms, aux = measure(params, batch, None)
            return terms.value(), (terms, aux)

        (_, (terms, aux)), gradient = jax.value_and_grad(value, has_aux=True)(params)
        return terms, gradient, aux

    share = share_of(measure, accumulate)
    micro_batches = split(batch, accumulate)
    total = add_up(jax.lax.map(lambda micro: share(params, micro)[0], micro_batches))
    sensitivity = jax.grad(WeightedSum.value)(total)

    def pull_back(gradient: PyTree, micro: PyTree) -> tuple[PyTree, tuple[WeightedSum, PyTree]]:
        terms, pull, aux = jax.vjp(lambda params: share(params, micro), params, has_aux=True)
        (part,) = pull(sensitivity)
        gradient = jax.tree.map(lambda sum_, x: sum_ + x.astype(sum_.dtype), gradient, part)
        return gradient, (terms, aux)

    zeros = jax.tree.map(lambda p: jnp.zeros_like(p, at_least_float32_dtype(p)), params)
    gradient, (terms, aux) = jax.lax.scan(pull_back, zeros, micro_batches)
    return add_up(terms), gradient, aux


def value_only(
    measure: Measure, params: PyTree, batch: PyTree, accumulate: int
) -> Float[Array, ""]:
    """The value over the whole batch, as :func:`value_and_gradient` would find it."""
    if accumulate == 1:
        return measure(params, batch, None)[0].value()
    share = share_of(measure, accumulate)
    micro_batches = split(batch, accumulate)
    return add_up(jax.lax.map(lambda micro: share(params, micro)[0], micro_batches)).value()


def share_of(
    measure: Measure, accumulate: int
) -> Callable[[PyTree, tuple[Int[Array, ""], PyTree]], tuple[WeightedSum, PyTree]]:
    """``measure`` for one micro-batch, such that the shares of all add up to the whole."""

    def share(params: PyTree, micro: tuple[Int[Array, ""], PyTree]) -> tuple[WeightedSum, PyTree]:
        number, batch = micro
        terms, aux = measure(params, batch, number)
        require_partial_means(terms)
        coefficients = {name: c / accumulate for name, c in terms.coefficients.items()}
        return terms._replace(coefficients=coefficients), aux

    return share


def add_up(shares: WeightedSum) -> WeightedSum:
    """The sum of the shares that lie along the first axis of every leaf."""
    return jax.tree.map(lambda x: x.sum(0), shares)


def split(batch: PyTree, accumulate: int) -> tuple[Int[Array, " accumulate"], PyTree]:
    """The micro-batches, numbered: row i goes to micro-batch i modulo ``accumulate``.

    Unlike contiguous slices, these move no row of a batch that is sharded over devices.
    """

    def strided(rows: Array) -> Array:
        count = rows.shape[0] if rows.ndim else 0
        if rows.ndim == 0 or count % accumulate:
            axis = f"{count} rows" if rows.ndim else "a scalar"
            raise ValueError(
                "make_train_step: every array of a batch must have a first axis divisible by "
                f"accumulate={accumulate}, got {axis}"
            )
        return rows.reshape(count // accumulate, accumulate, *rows.shape[1:]).swapaxes(0, 1)

    return jnp.arange(accumulate, dtype=jnp.int32), jax.tree.map(strided, batch)


def require_partial_means(terms: WeightedSum) -> None:
    """Raise ``ValueError`` unless every term tells its denominator."""
    for name, term in terms.terms.items():
        if not isinstance(term, PartialMean):
            what = "objective" if name == UNNAMED else f"term {name!r} of the objective"
            raise ValueError(
                f"make_train_step: {what} must be a PartialMean(total, weight) if accumulate > 1, "
                "or PartialMean(loss, 1.0) to declare that each micro-batch counts the same, "
                "got a scalar"
            )


def at_least_float32_dtype(x: Array) -> jnp.dtype:
    """The dtype in which gradients of ``x`` are added up."""
    return jnp.dtype(jnp.float32) if jnp.finfo(x.dtype).bits < 32 else x.dtype
