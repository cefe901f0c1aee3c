"""Functions with a gradient of their own, that say what to use for any other derivative.

``jax.custom_vjp`` says only that there is no forward mode, and not even that of a second
derivative. So here the tangent is a primitive that knows its transpose and nothing else: what is
not transposed is never computed, and the attempt is a ``TypeError`` in our own words.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
from jax.custom_derivatives import SymbolicZero
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir
from jaxtyping import Array

tangent_p = Primitive("tangent_of_reverse_only")
tangent_p.multiple_results = True

Forward = Callable[[Any, tuple[bool, ...]], tuple[Any, Any]]
"""``(operands, wanted) -> (value, kept)``; ``wanted`` says which leaves are differentiated."""

Backward = Callable[[Any, Any, tuple[bool, ...]], Sequence[Array]]
"""``(kept, slopes of the value, wanted) -> gradients`` of the leaves that are wanted, in order."""


def reverse_only(
    value: Callable[[Any], Any], forward: Forward, backward: Backward, instead: str
) -> Callable[[Any], Any]:
    """``value``, whose gradient is what ``backward`` makes of what ``forward`` kept.

    Args:
        instead: the rest of the message for any other derivative, which begins with "no forward
            mode or second derivative".
    """
    return functools.partial(_call, value, forward, backward, instead)


@functools.partial(jax.custom_jvp, nondiff_argnums=(0, 1, 2, 3))
def _call(
    value: Callable[[Any], Any], forward: Forward, backward: Backward, instead: str, operands: Any
) -> Any:
    return value(operands)


def _call_jvp(
    value: Callable[[Any], Any],
    forward: Forward,
    backward: Backward,
    instead: str,
    primals: tuple[Any],
    tangents: tuple[Any],
) -> tuple[Any, Any]:
    (operands,), moving = primals, jax.tree.leaves(tangents[0], is_leaf=_is_zero)
    wanted = tuple(not _is_zero(x) for x in moving)
    operands = jax.tree.map(functools.partial(_once, instead), operands)
    found, kept = forward(operands, wanted)
    kept, kept_tree = jax.tree.flatten(kept)
    leaves, tree = jax.tree.flatten(found)

    def flat_backward(kept: list[Array], slopes: list[Array]) -> list[Array]:
        kept, slopes = jax.tree.unflatten(kept_tree, kept), jax.tree.unflatten(tree, slopes)
        return list(backward(kept, slopes, wanted))

    out = tangent_p.bind(
        *kept,
        *(x for x, needed in zip(moving, wanted, strict=True) if needed),
        kept=len(kept),
        kinds=tuple(jax.typeof(x) for x in leaves),
        backward=flat_backward,
        instead=instead,
    )
    return found, jax.tree.unflatten(tree, out)


_call.defjvp(_call_jvp, symbolic_zeros=True)


def _is_zero(x: Any) -> bool:
    return isinstance(x, SymbolicZero)


@functools.partial(jax.custom_jvp, nondiff_argnums=(0,))
def _once(instead: str, x: Array) -> Array:
    return x


@_once.defjvp
def _twice(instead: str, primals: Any, tangents: Any) -> Any:
    raise TypeError(_message(instead))


def _message(instead: str) -> str:
    return f"no forward mode or second derivative {instead}"


def _fail(*arguments: Any, instead: str, **_: Any) -> Any:
    raise TypeError(_message(instead))


def _transpose(
    slopes: Sequence[Any], *arguments: Any, kept: int, backward: Any, **_: Any
) -> list[Any]:
    slopes = [ad.instantiate_zeros(x) for x in slopes]
    return [None] * kept + backward(list(arguments[:kept]), slopes)


def _batch(
    arguments: Any, axes: Any, *, kept: int, kinds: Any, backward: Any, instead: str
) -> tuple[Any, Any]:
    size = next(x.shape[a] for x, a in zip(arguments, axes, strict=True) if a is not None)
    moving = [
        batching.bdim_at_front(x, axis, size)
        for x, axis in zip(arguments[kept:], axes[kept:], strict=True)
    ]
    kinds = tuple(kind.update(shape=(size, *kind.shape)) for kind in kinds)
    backward = jax.vmap(backward, in_axes=(list(axes[:kept]), 0))
    out = tangent_p.bind(
        *arguments[:kept], *moving, kept=kept, kinds=kinds, backward=backward, instead=instead
    )
    return out, [0] * len(out)


tangent_p.def_impl(_fail)
tangent_p.def_abstract_eval(lambda *_, kinds, **__: kinds)
mlir.register_lowering(tangent_p, lambda context, *x, **parameters: _fail(*x, **parameters))
ad.primitive_jvps[tangent_p] = lambda primals, tangents, **parameters: _fail(**parameters)
ad.primitive_transposes[tangent_p] = _transpose
batching.primitive_batchers[tangent_p] = _batch
