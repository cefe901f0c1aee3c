"""``compiled``: ``jax.jit`` that leaves the function a plain, typed, picklable Python function."""

import functools
from collections.abc import Callable
from typing import ParamSpec, TypeVar

import jax

Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")


def compiled(
    *static: str,
) -> Callable[[Callable[Parameters, Result]], Callable[Parameters, Result]]:
    """Compile a function, tracing once for each value of the arguments named in ``static``.

    A bare ``jax.jit`` object hides the signature from editors, and is neither a function to
    :mod:`inspect` nor itself after :func:`copy.deepcopy`; the wrapper is all of these.
    """

    def decorate(function: Callable[Parameters, Result]) -> Callable[Parameters, Result]:
        jitted = jax.jit(function, static_argnames=static)

        @functools.wraps(function)
        def call(*args: Parameters.args, **kwargs: Parameters.kwargs) -> Result:
            return jitted(*args, **kwargs)

        return call

    return decorate
