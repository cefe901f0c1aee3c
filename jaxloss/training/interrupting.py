"""Signals that ask a run to end, as something to look at between two steps, on all hosts alike."""

import contextlib
import signal
import threading
from collections.abc import Iterator
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils

SIGNALS = (signal.SIGINT, signal.SIGTERM)
"""Ctrl-C, and what a cluster sends some time before it takes the machine away."""


class Interrupt:
    """The signal that has been received, or None."""

    def __init__(self) -> None:
        self.signal: signal.Signals | None = None


@contextlib.contextmanager
def interruptible() -> Iterator[Interrupt]:
    """Note the first signal only; the second does what it usually does.

    An exception between a step and the assignment of its result would lose the state, whose
    buffers the step has used up.
    """
    interrupt = Interrupt()
    if threading.current_thread() is not threading.main_thread():
        yield interrupt
        return
    usual = {number: signal.getsignal(number) or signal.SIG_DFL for number in SIGNALS}

    def note(number: int, _: Any) -> None:
        interrupt.signal = signal.Signals(number)
        signal.signal(number, usual[signal.Signals(number)])

    for number in SIGNALS:
        signal.signal(number, note)
    try:
        yield interrupt
    finally:
        for number, handler in usual.items():
            signal.signal(number, handler)


def agreed(interrupt: Interrupt) -> signal.Signals | None:
    """A signal that any process has received. All must call this."""
    own = np.int32(interrupt.signal or 0)
    greatest = int(np.max(multihost_utils.process_allgather(own)))
    return signal.Signals(greatest) if greatest else None


def is_cluster() -> bool:
    """Whether other processes train along."""
    return jax.process_count() > 1
