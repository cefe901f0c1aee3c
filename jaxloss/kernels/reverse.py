"""Functions with a gradient of their own, that say what to use for any other derivative.

``jax.custom_vjp`` says only that there is no forward mode, and not even that of a second
derivative. So here the tangent is a primitive that knows its transpose and nothing else: what is
not transposed is never computed, and the attempt is a ``TypeError`` in our own words.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.custom_derivatives import SymbolicZero
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir
from jaxtyping import Array

ONE_BY_ONE = (
    "of a fused loss per token: the loss of hidden @ kernel + bias has it, and so has a fused mean "
    "or sum under a plan that leaves rows whole"
)
"""What to use instead, for :func:`reverse_only`."""

tangent_p = Primitive("tangent_of_reverse_only")
tangent_p.multiple_results = True

Forward = Callable[[Any, tuple[bool, ...]], tuple[Any, Any]]
"""``(operands, wanted) -> (value, kept)``; ``wanted`` says which leaves are differentiated."""

Backward = Callable[[Any, Any, tuple[bool, ...]], Sequence[Array]]
"""``(kept, slopes of the value, wanted) -> gradients`` of the leaves that are wanted, in order."""


def reverse_only(
    value: Callable[[Any], Any],
    forward: Forward,
    backward: Backward,
    instead: str,
    *,
    again: bool = False,
) -> Callable[[Any], Any]:
    """``value``, whose gradient is what ``backward`` makes of what ``forward`` kept.

    Args:
        instead: the rest of the message for any other derivative, which begins with "no forward
            mode or second derivative".
        again: whether there are second derivatives, those of ``forward`` and ``backward``; the
            message then begins with "no forward mode", and slopes that are zero are None.
    """
    missing = "no forward mode" if again else "no forward mode or second derivative"
    return functools.partial(_call, value, forward, backward, f"{missing} {instead}", again)


@functools.partial(jax.custom_jvp, nondiff_argnums=(0, 1, 2, 3, 4))
def _call(
    value: Callable[[Any], Any],
    forward: Forward,
    backward: Backward,
    message: str,
    again: bool,
    operands: Any,
) -> Any:
    return value(operands)


def _call_jvp(
    value: Callable[[Any], Any],
    forward: Forward,
    backward: Backward,
    message: str,
    again: bool,
    primals: tuple[Any],
    tangents: tuple[Any],
) -> tuple[Any, Any]:
    (operands,), moving = primals, jax.tree.leaves(tangents[0], is_leaf=_is_zero)
    wanted = tuple(not _is_zero(x) for x in moving)
    if not again:
        operands = jax.tree.map(functools.partial(_once, message), operands)
    found, kept = forward(operands, wanted)
    kept, kept_tree = jax.tree.flatten(kept)
    leaves, tree = jax.tree.flatten(found)
    real = [jnp.issubdtype(x.dtype, jnp.inexact) for x in leaves]

    def flat_backward(kept: list[Array], slopes: list[Any]) -> list[Array]:
        given = iter(slopes)
        every = jax.tree.unflatten(tree, [next(given) if is_real else None for is_real in real])
        return list(backward(jax.tree.unflatten(kept_tree, kept), every, wanted))

    out = tangent_p.bind(
        *kept,
        *(x for x, needed in zip(moving, wanted, strict=True) if needed),
        kept=len(kept),
        kinds=tuple(jax.typeof(x) for x, is_real in zip(leaves, real, strict=True) if is_real),
        backward=flat_backward,
        again=again,
        message=message,
    )
    given = iter(out)
    moved = [
        next(given) if is_real else np.zeros(x.shape, jax.dtypes.float0)
        for x, is_real in zip(leaves, real, strict=True)
    ]
    return found, jax.tree.unflatten(tree, moved)


_call.defjvp(_call_jvp, symbolic_zeros=True)


def _is_zero(x: Any) -> bool:
    return isinstance(x, SymbolicZero)


@functools.partial(jax.custom_jvp, nondiff_argnums=(0,))
def _once(message: str, x: Array) -> Array:
    return x


@_once.defjvp
def _twice(message: str, primals: Any, tangents: Any) -> Any:
    raise TypeError(message)


def _fail(*arguments: Any, message: str, **_: Any) -> Any:
    raise TypeError(message)


def _transpose(
    slopes: Sequence[Any], *arguments: Any, kept: int, backward: Any, again: bool, **_: Any
) -> list[Any]:
    if again:
        slopes = [None if isinstance(x, ad.Zero) else x for x in slopes]
    else:
        slopes = [ad.instantiate_zeros(x) for x in slopes]
    return [None] * kept + backward(list(arguments[:kept]), slopes)


def _batch(
    arguments: Any, axes: Any, *, kept: int, kinds: Any, backward: Any, **others: Any
) -> tuple[Any, Any]:
    size = next(x.shape[a] for x, a in zip(arguments, axes, strict=True) if a is not None)
    moving = [
        batching.bdim_at_front(x, axis, size)
        for x, axis in zip(arguments[kept:], axes[kept:], strict=True)
    ]
    kinds = tuple(kind.update(shape=(size, *kind.shape)) for kind in kinds)
    backward = jax.vmap(backward, in_axes=(list(axes[:kept]), 0))
    out = tangent_p.bind(
        *arguments[:kept], *moving, kept=kept, kinds=kinds, backward=backward, **others
    )
    return out, [0] * len(out)


tangent_p.def_impl(_fail)
tangent_p.def_abstract_eval(lambda *_, kinds, **__: kinds)
mlir.register_lowering(tangent_p, lambda context, *x, **parameters: _fail(*x, **parameters))
ad.primitive_jvps[tangent_p] = lambda primals, tangents, **parameters: _fail(**parameters)
ad.primitive_transposes[tangent_p] = _transpose
batching.primitive_batchers[tangent_p] = _batch
