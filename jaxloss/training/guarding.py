"""What is finite and what is not, and the scale that keeps half-precision gradients from zero."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, PyTree

from jaxloss.core.inputs import Scalar, at_least_float32
from jaxloss.core.summing import row_sum

LARGEST_SCALE = 2.0**64


def squared_length(tree: PyTree) -> Float[Array, ""]:
    """The sum of the squares of all numbers in ``tree``.

    It is finite only if they are, and none is so large that its square is not. That square enters
    the state of Adam and its like, where it would be infinite ever after.
    """
    return sum((square_sum(leaf) for leaf in jax.tree.leaves(tree)), start=jnp.zeros(()))


def square_sum(x: Array) -> Float[Array, ""]:
    """The sum of the squares of all elements."""
    x = at_least_float32(jnp.abs(x) if jnp.iscomplexobj(x) else x)
    return row_sum(x * x).sum() if x.ndim else x * x


def stay_finite(before: PyTree, after: PyTree) -> Bool[Array, ""]:
    """Whether no number that was finite before is not so after."""
    finite = jnp.bool_(True)
    for old, new in zip(jax.tree.leaves(before), jax.tree.leaves(after), strict=True):
        if jnp.issubdtype(new.dtype, jnp.inexact):
            finite &= (jnp.isfinite(new) | ~jnp.isfinite(old)).all()
    return finite


class Scale(NamedTuple):
    """What the loss is multiplied with before it is differentiated."""

    scale: Float[Array, ""]
    good: Int[Array, ""]
    """steps in a row that it has served well"""


def next_scale(
    before: Scale, finite: Bool[Array, ""], overflow: Bool[Array, ""], window: Scalar
) -> Scale:
    """Half of it after an overflow, twice of it after ``window`` good steps in a row."""
    good = jnp.where(finite, before.good + 1, 0)
    grown = good >= window
    scale = jnp.where(grown, jnp.minimum(2 * before.scale, LARGEST_SCALE), before.scale)
    scale = jnp.where(overflow, jnp.maximum(before.scale / 2, 1), scale)
    return Scale(scale, jnp.where(grown, 0, good))
