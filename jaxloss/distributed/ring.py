"""Slices of the kernel that go round a ring of devices, each of which keeps its own tokens.

For a kernel that is divided by columns over the very axis that divides the tokens. No device ever
holds the whole kernel, nor any tokens but its own: after as many steps as there are devices, each
has seen all columns. The gradient of a slice travels with it, and both end at home.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array

from jaxloss.distributed.placement import Placement, summed
from jaxloss.kernels import streamed
from jaxloss.kernels.operands import Operands, chosen, wide
from jaxloss.kernels.plans import Plan
from jaxloss.kernels.statistics import Known, Statistics, empty
from jaxloss.kernels.streamed import Measure


class Ring(NamedTuple):
    """A placement whose vocabulary goes round."""

    placement: Placement

    def known(self, measure: Measure, plan: Plan, operands: Operands) -> Known:
        """See :func:`jaxloss.kernels.streamed.known`."""
        measure = measure._replace(axis=None)

        def local(operands: Operands) -> Known:
            flat, batch = operands.flat(), operands.weights.shape
            state = empty(flat.weights.shape, wide(flat.hidden), measure.wanted)

            def step(index: Array, carried: Any) -> Any:
                state, part = carried
                following = self._onwards(part)  # beside the work on the part that is here
                here = flat._replace(kernel=part[0], bias=part[1])
                before = self._before(index, part[0])
                return streamed.seen(measure, plan, here, state, before), following

            part = (flat.kernel, flat.bias)
            state, _ = jax.lax.fori_loop(0, self._size(), step, (state, part))
            return jax.tree.map(lambda x: x.reshape(batch), measure.completed(state))

        place = self.placement
        return place.mapped(local, (place.specs(operands),), place.batch)(operands)

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
        measure = measure._replace(axis=None)
        place = self.placement

        def local(operands: Operands, found: Known, cotangent: Statistics) -> list[Array]:
            flat, dtype = operands.flat(), wide(operands.hidden)
            found, cotangent = jax.tree.map(lambda x: x.reshape(-1), (found, cotangent))

            def step(index: Array, carried: Any) -> Any:
                dhidden, dlink, part, dpart = carried
                here = flat._replace(kernel=part[0], bias=part[1])
                before = self._before(index, part[0])
                following = self._onwards(part)
                hidden, kernel, bias, link = streamed.slopes(
                    measure, plan, wanted, here, found, cotangent, before
                )
                dhidden, dlink, dpart = jax.tree.map(
                    lambda total, term: total + term.astype(dtype),
                    (dhidden, dlink, dpart),
                    (hidden, link, (kernel, bias)),
                )
                return dhidden, dlink, following, self._onwards(dpart)

            def zeros(x: Any, keep: Any) -> list[Array]:
                return [jnp.zeros(x.shape, dtype)] if keep else []

            start = (
                zeros(flat.hidden, wanted.hidden),
                [jnp.zeros_like(x) for x in chosen(flat.link, wanted.link)],
                (flat.kernel, flat.bias),
                (zeros(flat.kernel, wanted.kernel), zeros(flat.bias, wanted.bias)),
            )
            hidden, link, _, (kernel, bias) = jax.lax.fori_loop(0, self._size(), step, start)
            others = tuple(axis for axis in place.tokens if axis != self._axis())
            kernel, bias = jax.tree.map(lambda g: summed(g, others), (kernel, bias))
            link = [summed(g, place.tokens) for g in link]
            gradient = zip([*hidden, *kernel, *bias, *link], chosen(operands, wanted), strict=True)
            return [g.reshape(x.shape).astype(x.dtype) for g, x in gradient]

        specs = place.specs(operands)
        into = (specs, place.batch, place.batch)
        return place.mapped(local, into, chosen(specs, wanted))(operands, found, cotangent)

    def _axis(self) -> str:
        return self.placement.vocabulary[0]

    def _size(self) -> int:
        return self.placement.mesh.shape[self._axis()]

    def _before(self, index: Array, kernel: Array) -> Array:
        """How many columns come before the part that is here after so many steps."""
        owner = (jax.lax.axis_index(self._axis()) - index) % self._size()
        return owner * kernel.shape[1]

    def _onwards(self, tree: Any) -> Any:
        """Everything one device further."""
        size = self._size()
        route = [(device, (device + 1) % size) for device in range(size)]
        return jax.tree.map(lambda x: jax.lax.ppermute(x, self._axis(), route), tree)
