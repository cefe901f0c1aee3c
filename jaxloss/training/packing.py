"""Many small arrays in few, since each one that goes in and out of a compiled step costs time.

A tracker keeps some twenty numbers. As arrays of their own they would cost a step half a
microsecond each way; as two vectors, of integers and of floats, they cost next to nothing.
"""

import itertools
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PyTree


class Packed(NamedTuple):
    """The numbers of a pytree by their kind, in the order of its leaves."""

    integers: Int[Array, " integers"]
    """also booleans, as 0 and 1"""
    floats: Float[Array, " floats"]
    others: tuple[Array, ...]
    """leaves whose dtype is neither int32, float32 nor bool"""


class Layout(NamedTuple):
    """How to find a pytree in a :class:`Packed` of it."""

    structure: Any
    leaves: tuple[jax.ShapeDtypeStruct, ...]


def layout_of(tree: PyTree) -> Layout:
    """The layout of ``tree``, whose leaves may be arrays or just shapes and dtypes."""
    leaves, structure = jax.tree.flatten(tree)
    return Layout(structure, tuple(jax.ShapeDtypeStruct(x.shape, x.dtype) for x in leaves))


def pack(tree: PyTree) -> Packed:
    """Put the leaves of ``tree`` one after the other."""
    leaves = jax.tree.leaves(tree)
    integers = [x.astype(jnp.int32) for x in leaves if _kind(x) == "integers"]
    floats = [x for x in leaves if _kind(x) == "floats"]
    others = tuple(x for x in leaves if _kind(x) == "others")
    return Packed(_joined(integers, jnp.int32), _joined(floats, jnp.float32), others)


def unpack(layout: Layout, packed: Packed) -> PyTree:
    """The pytree that was packed."""
    at = {"integers": 0, "floats": 0, "others": 0}
    leaves = []
    for leaf in layout.leaves:
        kind = _kind(leaf)
        if kind == "others":
            leaves.append(packed.others[at[kind]])
            at[kind] += 1
            continue
        vector = packed.integers if kind == "integers" else packed.floats
        size = math.prod(leaf.shape)
        part = jax.lax.slice_in_dim(vector, at[kind], at[kind] + size)
        leaves.append(part.reshape(leaf.shape).astype(leaf.dtype))
        at[kind] += size
    return jax.tree.unflatten(layout.structure, leaves)


def _joined(arrays: Sequence[Array], dtype: Any) -> Array:
    """All elements one after the other; each run of scalars by one kernel, not one for each."""
    parts = [jnp.zeros(0, dtype)]
    for is_scalar, group in itertools.groupby(arrays, lambda x: x.ndim == 0):
        run = list(group)
        parts += [_stacked(run, dtype)] if is_scalar else [x.reshape(-1) for x in run]
    return jnp.concatenate(parts)


def _stacked(scalars: Sequence[Array], dtype: Any) -> Array:
    at = jnp.arange(len(scalars), dtype=jnp.int32)
    vector = jnp.zeros(len(scalars), dtype)
    for i, scalar in enumerate(scalars):
        vector = jnp.where(at == i, scalar, vector)
    return vector


def _kind(leaf: Any) -> str:
    if leaf.dtype in (jnp.int32, jnp.bool_):
        return "integers"
    return "floats" if leaf.dtype == jnp.float32 else "others"
