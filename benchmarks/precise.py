"""Numbers of many digits that NumPy computes with, so that an oracle's plain formula is exact.

NumPy hands the functions of an object array to methods of its elements: ``np.exp(x)`` calls
``x.exp()``. With such methods a textbook formula like ``log(sum(exp(z)))`` keeps its digits at
logits of 10^4, where in double precision it would overflow.
"""

import math
from collections.abc import Callable
from typing import Any

import mpmath
import numpy as np

DIGITS = 250
"""Enough where no exponential of a large number is added to 1."""
MANY_DIGITS = 4600
"""Enough to tell ``1 - sigmoid(10**4)`` from 0."""

context: Any = mpmath.MPContext()
context.dps = DIGITS

_FUNCTIONS: dict[str, Callable[[Any], Any]] = {
    "exp": context.exp,
    "expm1": context.expm1,
    "log": lambda x: -context.inf if x == 0 else context.log(x),
    "log1p": lambda x: -context.inf if x == -1 else context.log1p(x),
    "log2": lambda x: context.log(x) / context.log(2),
    "sqrt": context.sqrt,
    "sin": context.sin,
    "cos": context.cos,
    "tanh": context.tanh,
    "cosh": context.cosh,
    "arctan": context.atan,
    "arccos": context.acos,
    "rint": context.nint,
}

for _name, _function in _FUNCTIONS.items():
    setattr(context.mpf, _name, (lambda function: lambda self: function(self))(_function))


def precise(array: Any) -> Any:
    """The array with its floating-point numbers in full precision."""
    array = np.asarray(array)
    if not np.issubdtype(array.dtype, np.floating):
        return array
    return np.vectorize(lambda x: context.mpf(float(x)), otypes=[object])(array)


def double(array: Any) -> np.ndarray:
    """The array in float64; NaN for what has no value."""

    def number(x: Any) -> float:
        try:
            return float(x)
        except TypeError:  # complex
            return math.nan
        except OverflowError:
            return math.copysign(math.inf, x)

    return np.vectorize(number, otypes=[np.float64])(array)
