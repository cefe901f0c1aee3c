"""How an output layer lies on a mesh, and the fused computations mapped over it.

The derivatives of fused losses are rules of their own, and those rules stay outside the mapping:
what is mapped returns gradients, and no collective is ever differentiated.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
from jax.sharding import PartitionSpec
from jaxtyping import Array

from jaxloss.kernels import chunked, streamed
from jaxloss.kernels.operands import Operands, chosen
from jaxloss.kernels.plans import Plan
from jaxloss.kernels.statistics import Known, Statistics
from jaxloss.kernels.streamed import Measure


class Placement(NamedTuple):
    """Over which axes of a mesh hidden states and kernel are divided."""

    mesh: Any
    hidden: PartitionSpec
    """of ``*batch features``"""
    kernel: PartitionSpec
    """of ``features vocabulary``"""

    @property
    def batch(self) -> PartitionSpec:
        """How tokens are divided."""
        return PartitionSpec(*self.hidden[:-1])

    @property
    def tokens(self) -> tuple[str, ...]:
        """The axes over which tokens are divided."""
        return tuple(axis for entry in self.batch for axis in names(entry))

    @property
    def features(self) -> tuple[str, ...]:
        """The axes over which the features of the kernel are divided."""
        return names(self.kernel[0])

    @property
    def vocabulary(self) -> tuple[str, ...]:
        """The axes over which the vocabulary is divided."""
        return names(self.kernel[1])

    @property
    def alone(self) -> tuple[str, ...]:
        """The axes over which each device has tokens of its own."""
        return tuple(axis for axis in self.tokens if axis not in self.vocabulary)

    def losses(self, rule: Any, plan: Plan, operands: Operands) -> Array:
        """See :func:`jaxloss.kernels.chunked.losses`."""

        def local(operands: Operands) -> Array:
            return self._own(chunked.losses(rule, of_one(plan), self._together(operands)))

        return self.mapped(local, (self.specs(operands),), self.batch)(operands)

    def losses_and_gradient(
        self, rule: Any, plan: Plan, wanted: Operands, operands: Operands
    ) -> tuple[Array, list[Array]]:
        """See :func:`jaxloss.kernels.chunked.losses_and_gradient`."""

        def local(operands: Operands) -> tuple[Array, list[Array]]:
            together = self._together(operands)
            found, gradient = chunked.losses_and_gradient(rule, of_one(plan), wanted, together)
            return self._own(found), self._apart(gradient, wanted, operands)

        specs = self.specs(operands)
        out = (self.batch, chosen(specs, wanted))
        return self.mapped(local, (specs,), out)(operands)

    def known(self, measure: Measure, plan: Plan, operands: Operands) -> Known:
        """See :func:`jaxloss.kernels.streamed.known`."""

        def local(operands: Operands) -> Known:
            found = streamed.known(measure, of_one(plan), self._together(operands))
            return jax.tree.map(self._own, found)

        return self.mapped(local, (self.specs(operands),), self.batch)(operands)

    def pulled_back(
        self,
        measure: Measure,
        plan: Plan,
        wanted: Operands,
        operands: Operands,
        found: Known,
        cotangent: Statistics,
    ) -> list[Array]:
        """See :func:`jaxloss.kernels.streamed.pulled_back`."""

        def local(operands: Operands, found: Known, cotangent: Statistics) -> list[Array]:
            together = self._together(operands)
            found, cotangent = jax.tree.map(self._all_tokens, (found, cotangent))
            gradient = streamed.pulled_back(
                measure, of_one(plan), wanted, together, found, cotangent
            )
            return self._apart(gradient, wanted, operands)

        specs = self.specs(operands)
        mapped = self.mapped(local, (specs, self.batch, self.batch), chosen(specs, wanted))
        return mapped(operands, found, cotangent)

    def mapped(self, local: Callable[..., Any], into: Any, out: Any) -> Callable[..., Any]:
        """A function of what each device has, over the mesh."""
        return jax.shard_map(local, mesh=self.mesh, in_specs=into, out_specs=out, check_vma=False)

    def specs(self, operands: Operands) -> Operands:
        """How each of the operands is divided."""

        def all_of(tree: Any, spec: PartitionSpec) -> Any:
            return jax.tree.map(lambda _: spec, tree)

        return Operands(
            hidden=self.hidden,
            kernel=self.kernel,
            bias=None if operands.bias is None else PartitionSpec(self.kernel[1]),
            rows=all_of(operands.rows, self.batch),
            weights=self.batch,
            options=all_of(operands.options, PartitionSpec()),
            link=all_of(operands.link, PartitionSpec()),
        )

    def _together(self, operands: Operands) -> Operands:
        """What a device computes with: whole features, and the tokens of all who have columns."""
        kernel = operands.kernel
        for axis in reversed(self.features):
            kernel = jax.lax.all_gather(kernel, axis, axis=0, tiled=True)
        hidden, rows, weights = jax.tree.map(
            self._all_tokens, (operands.hidden, operands.rows, operands.weights)
        )
        return operands._replace(hidden=hidden, kernel=kernel, rows=rows, weights=weights)

    def _all_tokens(self, x: Array) -> Array:
        for position, axis in self._gathering():
            x = jax.lax.all_gather(x, axis, axis=position, tiled=True)
        return x

    def _own(self, x: Array) -> Array:
        """Of what all tokens have, what those of this device have."""
        for position, axis in reversed(self._gathering()):
            size = x.shape[position] // jax.lax.axis_size(axis)
            start = jax.lax.axis_index(axis) * size
            x = jax.lax.dynamic_slice_in_dim(x, start, size, position)
        return x

    def _gathering(self) -> list[tuple[int, str]]:
        """Positions and axes, in the order in which tokens are brought together."""
        return [
            (position, axis)
            for position, entry in enumerate(self.batch)
            for axis in reversed(names(entry))
            if axis in self.vocabulary
        ]

    def _apart(self, gradient: list[Array], wanted: Operands, operands: Operands) -> list[Array]:
        """The gradients as the operands are divided, summed over those who had other tokens."""
        others = self.alone

        def kernel(g: Array) -> Array:
            for axis in self.features:
                if axis in others:
                    g = jax.lax.psum_scatter(g, axis, scatter_dimension=0, tiled=True)
                else:
                    size = g.shape[0] // jax.lax.axis_size(axis)
                    g = jax.lax.dynamic_slice_in_dim(g, jax.lax.axis_index(axis) * size, size, 0)
            rest = tuple(axis for axis in others if axis not in self.features)
            return summed(g, rest)

        total = functools.partial(summed, axes=others)
        kinds = Operands(
            hidden=self._own,
            kernel=kernel,
            bias=None if operands.bias is None else total,
            rows=jax.tree.map(lambda _: self._own, operands.rows),
            weights=self._own,
            options=jax.tree.map(lambda _: total, operands.options),
            link=jax.tree.map(lambda _: total, operands.link),
        )
        finish = chosen(kinds, wanted)
        return [f(g) for f, g in zip(finish, gradient, strict=True)]


def of_one(plan: Plan) -> Plan:
    """The plan of one device."""
    return plan._replace(placed=None)


def summed(x: Array, axes: tuple[str, ...]) -> Array:
    """The sum over some axes of the mesh, maybe none."""
    return jax.lax.psum(x, axes) if axes else x


def names(entry: Any) -> tuple[str, ...]:
    """The axes of the mesh in one entry of a partition spec."""
    if entry is None:
        return ()
    return entry if isinstance(entry, tuple) else (entry,)
