"""Every loss written a second time, independently, in float64 NumPy, straight from its formula."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple


class Row(NamedTuple):
    """One loss, its independent twin, and options whose values tell them apart.

    The twin is called with float64 (or integer) NumPy arrays and returns the unreduced loss.
    ``inputs`` makes the positional arguments where ``tests.inputs.example`` does not suit.
    """

    loss: Callable[..., Any]
    oracle: Callable[..., Any]
    options: Mapping[str, Any] = {}
    inputs: Callable[[], tuple[Any, ...]] | None = None
