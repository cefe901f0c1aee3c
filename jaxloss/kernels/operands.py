"""What an output layer and a loss on its logits take, and sums over parts of it."""

import dataclasses
import functools
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxloss.core.inputs import at_least_float32
from jaxloss.core.ratios import magnitude
from jaxloss.kernels.plans import FEATURE_PARTS, chunks_of


class Operands(NamedTuple):
    """Arrays, and trees of arrays, that the value of a loss depends on.

    A tree of the same structure says which of them a gradient is wanted of, or how each is divided
    over a mesh. Gradients are a list: of those that are wanted, in the order of the tree.
    """

    hidden: Any
    """``*batch features``, or ``*batch answers tokens features`` for a loss of several tokens"""
    kernel: Any
    """``features vocabulary``"""
    bias: Any
    """``vocabulary``, or None"""
    rows: Any
    """``*batch ...``: what the loss takes per token beside the logits"""
    weights: Any
    """``*batch``: how much each token counts"""
    options: Any
    """hyper-parameters of the loss"""
    link: Any
    """numbers that act on every logit"""

    def flat(self) -> "Operands":
        """The same with one axis of what there is one loss of."""
        axes = self.weights.ndim

        def flatten(x: Array) -> Array:
            return x.reshape(-1, *x.shape[axes:])

        hidden, weights = flatten(self.hidden), flatten(self.weights)
        return self._replace(hidden=hidden, weights=weights, rows=jax.tree.map(flatten, self.rows))


def chosen(tree: Any, wanted: Any) -> list[Any]:
    """The leaves that are wanted."""
    pairs = zip(jax.tree.leaves(tree), jax.tree.leaves(wanted), strict=True)
    return [x for x, keep in pairs if keep]


def replaced(tree: Any, wanted: Any, leaves: list[Any]) -> Any:
    """The tree with those that are wanted replaced."""
    fresh = iter(leaves)
    return jax.tree.map(lambda x, keep: next(fresh) if keep else x, tree, wanted)


def constant_weights(operands: Operands) -> Operands:
    """The operands of what does not depend on the weights but for their shape."""
    return operands._replace(weights=jax.lax.stop_gradient(operands.weights))


def logits(
    hidden: Float[Array, "*rows features"],
    kernel: Float[Array, "features columns"],
    bias: Float[Array, " columns"] | None,
    dtype: Any,
) -> Float[Array, "*rows columns"]:
    """The outputs of a linear layer, multiplied in the dtype of ``hidden``, added in float32."""
    z = product(hidden, kernel.astype(hidden.dtype), (hidden.ndim - 1, 0), dtype)
    return z if bias is None else z + jnp.expand_dims(bias.astype(dtype), range(z.ndim - 1))


def product(a: Array, b: Array, over: tuple[int, int], dtype: Any) -> Array:
    """The matrix product that sums over one axis of each."""
    dimensions = (((over[0],), (over[1],)), ((), ()))
    return jax.lax.dot_general(a, b, dimensions, preferred_element_type=dtype)


def wide(x: Array) -> Any:
    """The dtype that is computed with: float32 at least."""
    return at_least_float32(jnp.zeros((), x.dtype)).dtype


def waiting(x: Array) -> Any:
    """The dtype in which a gradient waits for what it is to be multiplied with: that of ``x``.

    But not float16, in which what is still to be made larger may vanish.
    """
    return wide(x) if x.dtype == jnp.float16 else x.dtype


def unit_of(hidden: Array, weights: Any) -> Float[Array, ""]:
    """A power of two to divide weights by, and to multiply gradients with, where they would vanish.

    A mean over many tokens leaves each a gradient below the smallest float16, which is 6e-8.
    """
    dtype = wide(hidden)
    if hidden.dtype != jnp.float16:
        return jnp.ones((), dtype)
    largest = [jnp.abs(x).max(initial=0) for x in jax.tree.leaves(weights)]
    return magnitude(functools.reduce(jnp.maximum, largest, jnp.zeros(()))).astype(dtype)


@dataclasses.dataclass(frozen=True)
class Product:
    """A product ``factor * left.T @ right`` that is added to a total, and need not be stored.

    It sums over all axes but the last.
    """

    left: Array
    right: Array
    dtype: Any
    factor: Array

    def value(self) -> Float[Array, "features columns"]:
        """The product by itself."""
        axes = tuple(range(self.left.ndim - 1))
        total = jax.lax.dot_general(
            self.left, self.right, ((axes, axes), ((), ())), preferred_element_type=self.dtype
        )
        return total * self.factor.astype(self.dtype)

    def added_to(self, total: Float[Array, "features columns"]) -> Float[Array, "features columns"]:
        """``total`` plus the product.

        A GPU adds up where the total is. XLA for a CPU would first store the product as a whole.
        """
        features = self.left.shape[-1]
        parts = math.gcd(features, FEATURE_PARTS)

        def by_parts(total: Array, left: Array, right: Array) -> Array:
            def add(index: Array, total: Array) -> Array:
                some = jax.lax.dynamic_index_in_dim(apart, index, left.ndim - 1, False)
                term = dataclasses.replace(self, left=some, right=right).value()
                sofar = jax.lax.dynamic_index_in_dim(total, index, 0, False)
                return jax.lax.dynamic_update_index_in_dim(total, sofar + term, index, 0)

            apart = left.reshape(*left.shape[:-1], parts, features // parts)
            total = total.reshape(parts, features // parts, -1)
            return jax.lax.fori_loop(0, parts, add, total).reshape(features, -1)

        def at_once(total: Array, left: Array, right: Array) -> Array:
            return total + dataclasses.replace(self, left=left, right=right).value()

        return jax.lax.platform_dependent(
            total, self.left, self.right, cpu=by_parts, default=at_once
        )


def _plus(total: Array, term: Array | Product) -> Array:
    return term.added_to(total) if isinstance(term, Product) else total + term


def _alone(terms: Any) -> Any:
    return jax.tree.map(lambda t: t.value() if isinstance(t, Product) else t, terms)


def add_up(
    body: Callable[[Any], tuple[Any, Any]], arrays: Any, most: int | None
) -> tuple[Any, Any]:
    """Of at most so many rows of ``arrays`` at a time: sums over all, and what each row gives.

    Chunk ``c`` of ``C`` has the rows ``c``, ``c + C``, ``c + 2 C``, and so on. Where devices hold
    stretches of the rows, each has a share in every chunk, so that nothing is moved, nor computed
    by all of them. Rows that are left over are a last chunk.

    Args:
        body: from some rows of the arrays to what adds up, arrays or :class:`Product`, and what
            has an entry for each row.
    """
    count, size = chunks_of(jax.tree.leaves(arrays)[0].shape[0], most)
    if count == 1:
        terms, entries = body(arrays)
        return _alone(terms), entries
    whole = count * size

    def interleaved(x: Array) -> Array:
        return x[:whole].reshape(size, count, *x.shape[1:])

    def restored(x: Array) -> Array:
        return jnp.swapaxes(x, 0, 1).reshape(whole, *x.shape[2:])

    chunks = jax.tree.map(interleaved, arrays)

    def chunk(index: Array | int) -> Any:
        return jax.tree.map(lambda x: jax.lax.dynamic_index_in_dim(x, index, 1, False), chunks)

    def step(total: Any, index: Array) -> tuple[Any, Any]:
        terms, entries = body(chunk(index))
        return jax.tree.map(_plus, total, terms), entries

    terms = jax.eval_shape(lambda: _alone(body(chunk(0))[0]))
    start = jax.tree.map(jnp.zeros_like, terms)
    total, entries = jax.lax.scan(step, start, jnp.arange(count, dtype=jnp.int32))
    entries = jax.tree.map(restored, entries)
    rest = jax.tree.map(lambda x: x[whole:], arrays)
    if not jax.tree.leaves(rest)[0].shape[0]:
        return total, entries
    terms, last = body(rest)
    total = jax.tree.map(_plus, total, terms)
    return total, jax.tree.map(lambda x, y: jnp.concatenate([x, y]), entries, last)


def carried(start: Any, step: Callable[[Any], Any]) -> Any:
    """``start`` in the type of what ``step`` makes of it.

    What is carried round a loop inside ``shard_map`` has to vary over an axis from the start, if it
    ever does.
    """
    return jax.tree.map(
        lambda x, kind: varying(x, varies(kind)), start, jax.eval_shape(step, start)
    )


def alike(tree: Any) -> Any:
    """The arrays, varying over every axis of ``shard_map`` over which one of them does.

    A gradient then varies as what it belongs to; JAX adds up what varies no longer.
    """
    axes = frozenset[str]().union(*(varies(x) for x in jax.tree.leaves(tree)))
    return jax.tree.map(lambda x: varying(x, axes), tree)


def varying(x: Array, axes: frozenset[str]) -> Array:
    """``x``, varying over these axes of ``shard_map``."""
    missing = tuple(sorted(axes - varies(x)))
    return jax.lax.pcast(x, missing, to="varying") if missing else x


def varies(x: Any) -> frozenset[str]:
    """The axes of ``shard_map`` over which an array, or the type of one, varies."""
    kind = getattr(jax.eval_shape(lambda x: x, x), "manual_axis_type", None)
    return frozenset() if kind is None else frozenset(kind.varying)
