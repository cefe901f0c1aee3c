"""Where batches come from, and how a run that is continued finds the one that is next."""

import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Protocol, runtime_checkable

from jaxtyping import PyTree


@runtime_checkable
class Resumable(Protocol):
    """An iterator over batches that tells where it is, such as those of grain."""

    def __iter__(self) -> Iterator[PyTree]:
        """Itself."""
        ...

    def __next__(self) -> PyTree:
        """The next batch."""
        ...

    def get_state(self) -> Any:
        """Where it is, as something that JSON can hold."""
        ...

    def set_state(self, state: Any) -> Any:
        """Go where it was."""
        ...


Batches = Iterable[PyTree] | Callable[[int], PyTree]
"""An iterable, or a function of the steps taken in the whole run."""


def batches_from(batches: Batches, start: int, step: int) -> Iterator[PyTree]:
    """The batches from ``step`` on, of a call of ``fit`` that began at step ``start``."""
    if isinstance(batches, Sequence):
        return itertools.islice(batches, step - start, None)
    if isinstance(batches, Iterable):
        return iter(batches)
    return map(batches, itertools.count(step))


def position(batches: Batches) -> Any:
    """What a checkpoint keeps of ``batches``, to be continued with the next."""
    return batches.get_state() if isinstance(batches, Resumable) else None


def go_to(batches: Batches, position: Any) -> None:
    """Continue ``batches`` where they were."""
    if isinstance(batches, Resumable):
        batches.set_state(position)


def require_resumable(batches: Batches) -> None:
    """Raise ``ValueError`` unless a run on ``batches`` can be continued after it was killed."""
    if isinstance(batches, Iterable) and not isinstance(batches, Sequence | Resumable):
        raise ValueError(
            "fit: batches must be a function of the step, a sequence, or an iterator with "
            "get_state and set_state, for a run with checkpoints to find the next of them, "
            f"got a {type(batches).__name__}"
        )
