"""Preconditions on values that raise under ``checkify`` and are nothing at all without it.

``checkify.debug_check`` promises the same, but marks whatever calls it as effectful, and JAX
dispatches an effectful function by a path that costs some 0.15 ms a call, ten times the usual. So a
precondition is an identity with a note attached. It compiles to nothing; ``checkify`` reads the
note and puts a ``debug_check`` in its place. JAX has no public way to tell ``checkify`` about a new
primitive, hence the one import of a private module.
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp
from jax._src import checkify as discharging
from jax.experimental import checkify
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir
from jaxtyping import Array, Bool, Shaped

precondition_p = Primitive("precondition")


def check(
    value: Shaped[Array, "*shape"], valid: Bool[Array, "*#shape"], must: str
) -> Shaped[Array, "*shape"]:
    """``value``, on the precondition that it is ``valid`` throughout.

    Use what is returned: a precondition on something that is not needed is not checked either.

    Args:
        must: what it must be, as in ``"huber: delta must be positive"``; the message goes on with
            the first value that is not.
    """
    return precondition_p.bind(value, jnp.broadcast_to(valid, value.shape), must=must)


def _debug_check(value: Array, valid: Array, *, must: str) -> None:
    if value.size:
        first = value.reshape(-1)[jnp.argmin(valid.reshape(-1))]
        checkify.debug_check(valid.all(), f"{must}, got {{got}}", got=first)


def _discharge(*arguments: Any, must: str) -> tuple[Any, Any]:
    """What ``checkify`` does with a precondition: (new error, value)."""
    *context, error, enabled, value, valid = arguments
    noted = jax.make_jaxpr(functools.partial(_debug_check, must=must))(value, valid)
    error, _ = discharging.checkify_jaxpr(*context, noted, enabled, error, value, valid)
    return error, value


def _jvp(primals: Any, tangents: Any, must: str) -> tuple[Array, Any]:
    return precondition_p.bind(*primals, must=must), tangents[0]


def _batch(operands: Any, axes: Any, must: str) -> tuple[Array, int]:
    size = next(x.shape[a] for x, a in zip(operands, axes, strict=True) if a is not None)
    operands = [batching.bdim_at_front(x, a, size) for x, a in zip(operands, axes, strict=True)]
    return precondition_p.bind(*operands, must=must), 0


precondition_p.def_impl(lambda value, valid, must: value)
precondition_p.def_abstract_eval(lambda value, valid, must: value)
mlir.register_lowering(precondition_p, lambda context, value, valid, must: [value])
ad.primitive_jvps[precondition_p] = _jvp
batching.primitive_batchers[precondition_p] = _batch
discharging.error_checks[precondition_p] = _discharge
