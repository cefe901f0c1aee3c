"""``in_ring``: a contrastive loss of a batch that is divided over a mesh.

Each device keeps its rows; the columns go round, and with them what is known of each, so that after
as many steps as there are devices every pair has been seen and everything is home. No device ever
holds more than two shares of the batch.
"""

import functools
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.sharding import AxisType, NamedSharding, PartitionSpec
from jaxtyping import Array

from jaxloss.distributed.placement import names
from jaxloss.kernels import tiles
from jaxloss.kernels.sides import Kind, Side, Sum, Tiles


def in_ring(
    loss: Callable[..., Any], *, mesh: Any = None, axis: str | tuple[str, ...] | None = None
) -> Callable[..., Any]:
    r"""A contrastive loss whose batch is divided over a mesh; no device sees all of it at once.

    It is the loss of the whole batch. Each device compares its own rows with the columns that are
    at hand, and passes these on: as many comparisons as there are pairs, shared equally, in the
    memory of a tile and of a share of the batch. Nothing is brought together.

    On a mesh with explicit axes, the type of the first argument says how the batch is divided.

    Args:
        loss: one of :mod:`jaxloss.kernels.contrastive`.
        mesh, axis: for automatic axes, the mesh, and the axis over which the batch is divided, or
            several.

    Returns:
        A function of the same arguments; ``tile`` counts rows of one device. The number of rows,
        and of ``negatives``, must be divisible among the devices.

    Example:
        >>> from jax.sharding import PartitionSpec as P
        >>> from jaxloss.kernels import contrastive
        >>> mesh = jax.make_mesh((1,), ("data",))
        >>> with jax.set_mesh(mesh):
        ...     images = jax.device_put(jnp.eye(3), P("data"))
        ...     in_ring(contrastive.clip)(images, images, temperature=1.0)
        Array(0.5514447, dtype=float32)
    """
    if (mesh is None) != (axis is None):
        raise ValueError(f"in_ring: mesh and axis must be given together, got {mesh}, {axis}")

    @functools.wraps(loss)
    def call(first: Any, *arrays: Any, tile: int = 1024, **options: Any) -> Any:
        first = jnp.asarray(first)
        ring = from_type(first) if mesh is None else Ring(mesh, names(axis))
        place = functools.partial(ring.placed, first.shape[:1])
        options = {name: place(x) for name, x in options.items()}
        return loss(first, *map(place, arrays), tile=Tiles(tile, ring), **options)

    return call


class Ring(NamedTuple):
    """Devices with a share of the batch each."""

    mesh: Any
    axes: tuple[str, ...]

    @property
    def spec(self) -> PartitionSpec:
        """How everything is divided that has an entry for each example."""
        return PartitionSpec(self.axes)

    def found(self, kind: Kind, rows: Side, columns: Side) -> tuple[Array, ...]:
        """See :func:`jaxloss.kernels.tiles.found`."""

        def local(rows: Side, columns: Side) -> tuple[Array, ...]:
            return tiles.in_passes(kind, functools.partial(self._absorbed, kind, rows, columns))

        return self._mapped(local)(rows, columns)

    def gradient(
        self,
        kind: Kind,
        needed: tiles.Needed,
        rows: Side,
        columns: Side,
        found: tuple[Array, ...],
        slopes: tuple[Array, ...],
    ) -> tuple[tuple[Any, ...], tuple[Any, ...], Array | None]:
        """See :func:`jaxloss.kernels.tiles.gradient`."""
        every = kind.sums + kind.later

        def local(rows: Side, columns: Side, found: Any, slopes: Any) -> Any:
            known = found or (None,) * len(every)
            own, facts = zip(*(tiles.parted(every, x) for x in (known, slopes)), strict=True)

            def step(total: Any, visiting: Any) -> tuple[Any, Any]:
                columns, facts, of_columns = visiting
                following = self._onwards((columns, facts))  # beside the work on what is here
                known, slopes = (tiles.joined(every, *x) for x in zip(own, facts, strict=True))
                of_rows, of_columns, value = tiles.gradients(
                    kind, needed, rows, columns, known if found else (), slopes, of_columns
                )
                total = jax.tree.map(jnp.add, total, (of_rows, value))
                return total, (*following, self._onwards(of_columns))

            start = (
                (
                    jnp.zeros_like(rows.vectors) if needed.row_vectors else None,
                    jnp.zeros_like(rows.scale) if needed.row_scale else None,
                ),
                (None if found else jnp.zeros_like(rows.scale)),
            )
            blank = tiles.blank_gradient(needed, columns)
            visiting = (narrow(kind, columns), facts, blank)
            (of_rows, value), (_, _, of_columns) = self._around(step, start, visiting)
            return of_rows, of_columns, value

        return self._mapped(local)(rows, columns, found, slopes)

    def divided(self, name: str, operands: Any) -> Any:
        """Rows and columns, as the types say that they are divided."""
        for x in jax.tree.leaves(operands):
            if x.shape[0] % self._size():
                raise ValueError(
                    f"{name}: a batch in a ring must be divisible among its {self._size()} "
                    f"devices, got {x.shape[0]}"
                )
        return jax.tree.map(lambda x: self.placed(x.shape[:1], x), operands)

    def placed(self, batch: tuple[int, ...], x: Any) -> Any:
        """``x`` divided as the batch is, if it has an entry for each and says how it is divided."""
        if not hasattr(x, "shape") or x.shape[:1] != batch:
            return x
        if AxisType.Explicit not in self.mesh.axis_types:
            return x
        return jax.sharding.reshard(x, NamedSharding(self.mesh, self.spec))

    def _absorbed(
        self, kind: Kind, rows: Side, columns: Side, sums: tuple[Sum, ...], given: Array | None
    ) -> tuple[Any, ...]:
        """The states of the sums, once all columns have come round."""

        def step(of_rows: Any, visiting: Any) -> tuple[Any, Any]:
            columns, of_columns = visiting
            following = self._onwards(columns)  # beside the work on what is here
            states = tiles.joined(sums, of_rows, of_columns)
            states = tiles.absorbed(kind, sums, states, rows, columns, given)
            of_rows, of_columns = tiles.parted(sums, states)
            return of_rows, (following, self._onwards(of_columns))

        of_rows, of_columns = tiles.parted(sums, tiles.blank(sums, rows, columns))
        visiting = (narrow(kind, columns), of_columns)
        of_rows, (_, of_columns) = self._around(step, of_rows, visiting)
        return tiles.joined(sums, of_rows, of_columns)

    def _around(
        self, step: Callable[[Any, Any], tuple[Any, Any]], staying: Any, visiting: Any
    ) -> tuple[Any, Any]:
        """What stays and what went round, after a step on each device."""
        return jax.lax.fori_loop(0, self._size(), lambda _, x: step(*x), (staying, visiting))

    def _mapped(self, local: Callable[..., Any]) -> Callable[..., Any]:
        """A function of what each device has, over the mesh."""
        spec = self.spec
        return jax.shard_map(local, mesh=self.mesh, in_specs=spec, out_specs=spec, check_vma=False)

    def _onwards(self, tree: Any) -> Any:
        """Everything one device further."""
        size = self._size()
        route = [(device, (device + 1) % size) for device in range(size)]
        return jax.tree.map(lambda x: jax.lax.ppermute(x, self.axes, route), tree)

    def _size(self) -> int:
        return math.prod(self.mesh.shape[axis] for axis in self.axes)


def narrow(kind: Kind, columns: Side) -> Side:
    """The columns with their vectors as they are multiplied: in bfloat16, half as much to pass."""
    return columns._replace(vectors=columns.vectors.astype(kind.dtype))


def from_type(x: Array) -> Ring:
    """How the type says that the batch is divided."""
    found = jax.typeof(x).sharding
    if not found.mesh.empty and AxisType.Explicit in found.mesh.axis_types:
        axes = names(found.spec[0]) if len(found.spec) else ()
        if axes:
            return Ring(found.mesh, axes)
    raise ValueError(
        "in_ring: mesh and axis must be given, as the type does not say how the batch is divided, "
        f"got {found}"
    )
