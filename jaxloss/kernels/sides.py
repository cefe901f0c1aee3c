"""Who is compared with whom in a contrastive loss, and what is added up over their scores."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int


class Side(NamedTuple):
    """The rows or the columns: vectors, and who they are."""

    vectors: Float[Array, "batch features"]
    scale: Float[Array, " batch"]
    shift: Float[Array, " batch"] | None
    """of columns"""
    exists: Bool[Array, " batch"] | None
    """None: all do; or it does not matter, since those of a row are nobody else's sums"""
    things: Int[Array, " batch"]
    """what they show"""
    indices: Int[Array, " batch"]
    """which example they are"""


class Sum(NamedTuple):
    """What is added up over the columns of each row, or over the rows of each column."""

    term: str
    """of a score: ``"exponential"``, of whose sum the logarithm is taken, ``"softplus"``,
    ``"itself"``, ``"one"``; or its ``"excess"``, the softplus of how far the first sum is above it,
    and ``"pull"``, the slope of that"""
    over: str
    """``"different"`` things, ``"alike"`` ones, all ``"others"``, or ``"all"``"""
    axis: int = 1
    """0 for the sums of columns"""


class Tiles(NamedTuple):
    """How many rows of scores exist at a time."""

    rows: int = 1024
    placed: Any = None
    """what maps the work over a mesh; set by :func:`jaxloss.distributed.in_ring`"""


class Kind(NamedTuple):
    """Which sums, how exact, and how many rows at a time."""

    sums: tuple[Sum, ...]
    later: tuple[Sum, ...] = ()
    """sums that need to know the first one, in a second pass; no one else sees it then"""
    dtype: str = "float32"
    """of the vectors in products"""
    tile: int = 1024
    placed: Any = None
    """what maps the work over a mesh"""
    name: str = ""
    """of the loss, for messages"""
    dense: str = ""
    """the loss that has every derivative"""


def among(over: str, rows: Side, columns: Side) -> Bool[Array, "rows columns"] | None:
    """Which pairs are meant."""
    same = rows.things[:, None] == columns.things[None, :]
    itself = rows.indices[:, None] == columns.indices[None, :]
    which = {"different": ~same, "alike": same & ~itself, "others": ~itself, "all": None}[over]
    for exists in (
        None if rows.exists is None else rows.exists[:, None],
        None if columns.exists is None else columns.exists[None, :],
    ):
        if exists is not None:
            which = jnp.broadcast_to(exists, same.shape) if which is None else which & exists
    return which


def inner(kind: Kind, rows: Side, columns: Side) -> Float[Array, "rows columns"]:
    """Products of the vectors, added up in float32 at least."""
    return product(kind, rows.vectors, columns.vectors, (1, 1))


def product(kind: Kind, x: Array, y: Array, over: tuple[int, int]) -> Array:
    """The matrix product that sums over one axis of each."""
    exact = None if kind.dtype == "bfloat16" else "highest"
    wide = x.dtype if kind.dtype != "bfloat16" else jnp.float32
    x, y = x.astype(kind.dtype), y.astype(kind.dtype)
    dimensions = (((over[0],), (over[1],)), ((), ()))
    return jax.lax.dot_general(x, y, dimensions, precision=exact, preferred_element_type=wide)


def scores(
    products: Float[Array, "rows columns"], rows: Side, columns: Side
) -> Float[Array, "rows columns"]:
    """Products, scaled and shifted."""
    z = products * rows.scale[:, None] * columns.scale[None, :]
    return z if columns.shift is None else z + columns.shift[None, :]
