"""``sharded``: a fused loss over a mesh, by what the types or the caller say of its arrays."""

import functools
import inspect
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import AxisType, NamedSharding, PartitionSpec
from jaxtyping import Array

from jaxloss.distributed.placement import Placement, names
from jaxloss.distributed.ring import Ring
from jaxloss.kernels.plans import Plan, fitted
from jaxloss.kernels.reducing import layer_of


def sharded(
    loss: Callable[..., Any],
    *,
    mesh: Any = None,
    hidden: PartitionSpec | None = None,
    kernel: PartitionSpec | None = None,
    ring: bool = False,
) -> Callable[..., Any]:
    r"""A fused loss whose arrays are divided over a mesh: each device does its share of the work.

    On a mesh with explicit axes, the types of ``hidden`` and ``kernel`` say how they are divided,
    and nothing more needs to be given. How they are divided says what is done:

    - tokens over some axes: each device computes its own, and the gradient of the kernel is summed;
    - the vocabulary over others: each has its columns, and two numbers per token are exchanged;
    - the vocabulary over an axis that divides tokens as well (sequence parallelism): tokens are
      brought together over it, so that each device has all of these, and its columns; or, in a
      ring, the columns go round and each device keeps its tokens;
    - the features of the kernel (fully sharded parameters): it is brought together once, and its
      gradient scattered.

    Without this, on a mesh with automatic axes, a fused loss is right too, and each device computes
    its own tokens only, as every chunk has some of each; but it is XLA that decides what is moved.

    Args:
        loss: one of :mod:`jaxloss.kernels`, or what :func:`jaxloss.kernels.over_linear` returns.
        mesh, hidden, kernel: for automatic axes, the mesh, and how hidden states and kernel are
            divided over it.
        ring: pass slices of the kernel round the one axis that divides both the vocabulary and the
            tokens. Takes least memory, and a fourth matrix product.

    Returns:
        A function of the same arguments.

    Example:
        >>> from jax.sharding import PartitionSpec as P
        >>> from jaxloss import kernels
        >>> mesh = jax.make_mesh((1, 1), ("data", "model"))
        >>> loss = sharded(kernels.linear_softmax_cross_entropy)
        >>> with jax.set_mesh(mesh):
        ...     hidden = jax.device_put(jnp.ones((4, 8)), P("data"))
        ...     head = jax.device_put(jnp.zeros((8, 1000)), P(None, "model"))
        ...     labels = jax.device_put(jnp.arange(4), P("data"))
        ...     loss(hidden, head, labels)  # log 1000
        Array(6.907755..., dtype=float32)
    """
    given = (mesh, hidden, kernel)
    if any(x is None for x in given) and any(x is not None for x in given):
        raise ValueError(
            f"sharded: mesh, hidden and kernel must be given together, got {mesh}, {hidden}, "
            f"{kernel}"
        )

    @functools.wraps(loss)
    def call(states: Any, matrix: Any, *arrays: Any, **options: Any) -> Any:
        states, matrix = jnp.asarray(states), jnp.asarray(matrix)
        if mesh is None:
            placement = from_types(states, matrix)
        else:
            placement = Placement(mesh, padded(hidden, states.ndim), padded(kernel, matrix.ndim))
        plan = fitting(loss, placement, states, matrix, options, ring)
        plan = ringed(plan, placement, matrix.shape[1]) if ring else plan
        options = {name: x for name, x in options.items() if name not in ("plan", "memory")}
        place = functools.partial(placed, placement, states.shape[:-1])
        arrays = tuple(place(array) for array in arrays)
        options = {name: place(x) for name, x in options.items()}
        return loss(states, matrix, *arrays, plan=plan, **options)

    return call


def ringed(plan: Plan, placement: Placement, columns: int) -> Plan:
    """The plan with the kernel going round."""
    if placement.features or placement.vocabulary not in [(axis,) for axis in placement.tokens]:
        raise ValueError(
            "sharded: in a ring, kernel must be divided by its columns over one axis that divides "
            f"the tokens too, got hidden {placement.hidden}, kernel {placement.kernel}"
        )
    return plan._replace(axis=None, columns=plan.columns or columns, placed=Ring(placement))


def from_types(hidden: Array, kernel: Array) -> Placement:
    """How the types say that they are divided."""
    found = jax.typeof(hidden).sharding, jax.typeof(kernel).sharding
    mesh = found[0].mesh
    if mesh.empty or AxisType.Explicit not in mesh.axis_types:
        raise ValueError(
            "sharded: mesh, hidden and kernel must be given, as the types do not say how the "
            f"arrays are divided, got {found[0]}, {found[1]}"
        )
    specs = (padded(s.spec, x.ndim) for s, x in zip(found, (hidden, kernel), strict=True))
    return Placement(mesh, *specs)


def padded(spec: PartitionSpec | None, rank: int) -> PartitionSpec:
    """The spec with an entry for each axis."""
    entries = () if spec is None else tuple(spec)
    return PartitionSpec(*entries, *(None,) * (rank - len(entries)))


def fitting(
    loss: Callable[..., Any],
    placement: Placement,
    hidden: Array,
    kernel: Array,
    options: Any,
    ring: bool,
) -> Plan:
    """The plan for what one device has to do."""
    name = f"sharded({getattr(loss, '__name__', 'loss')})"
    if names(placement.hidden[-1]):
        raise ValueError(f"{name}: features of hidden must not be divided, got {placement.hidden}")
    sizes = placement.mesh.shape
    own = placement.tokens if ring else placement.alone
    layer = layer_of(hidden, kernel)
    layer = layer._replace(
        tokens=layer.tokens // math.prod(sizes[axis] for axis in own),
        vocabulary=layer.vocabulary // math.prod(sizes[axis] for axis in placement.vocabulary),
    )
    scalar = "reduction" in inspect.signature(loss).parameters
    plan = fitted(
        name,
        layer,
        plan=options.get("plan"),
        memory=options.get("memory"),
        per_token=ring or not scalar or options.get("reduction") == "none",
    )
    return plan._replace(axis=placement.vocabulary or None, placed=placement)


def placed(placement: Placement, batch: tuple[int, ...], x: Any) -> Any:
    """``x`` divided as the tokens are, if it has an entry for each and says how it is divided."""
    if not hasattr(x, "shape") or x.shape[: len(batch)] != batch or not batch:
        return x
    if AxisType.Explicit not in jax.typeof(x).sharding.mesh.axis_types:
        return x
    return jax.sharding.reshard(x, NamedSharding(placement.mesh, placement.batch))
