"""The curves of a run, gathered without waiting for the device."""

import contextlib
import importlib
import importlib.util
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import ArrayLike, Float, Int

from jaxloss.training.convergence import Reason
from jaxloss.training.state import StepReport


class History(NamedTuple):
    """The curves of a run, as numpy arrays of one element per step, or per evaluation."""

    step: np.ndarray
    """steps taken before the loss was measured"""
    loss: np.ndarray
    terms: dict[str, np.ndarray]
    evaluation_step: np.ndarray
    """steps taken before the evaluation"""
    evaluation: np.ndarray


class Measurement(NamedTuple):
    """What the history keeps of a call of the step."""

    loss: Float[ArrayLike, "*steps"]
    terms: dict[str, Any]
    code: Int[ArrayLike, "*steps"]


class Recorder:
    """The measurements of a run, and how far the host may be ahead of the device."""

    def __init__(self, in_flight: int) -> None:
        self._ahead = in_flight
        self._in_flight: list[Measurement] = []
        self._arrived: list[Measurement] = []

    def add(self, report: StepReport) -> None:
        """Note one more call; wait until the device is no more than ``in_flight`` behind."""
        self._in_flight.append(Measurement(report.loss, report.terms, report.code))
        if len(self._in_flight) > self._ahead:
            jax.block_until_ready(self._in_flight[-1 - self._ahead].loss)

    def poll(self) -> bool:
        """Fetch all but the last ``in_flight`` calls; whether the latest of them says stop.

        Which call that is depends on their number only, so it is the same on every host.
        """
        keep = max(0, len(self._in_flight) - self._ahead)
        arrived, self._in_flight = self._in_flight[:keep], self._in_flight[keep:]
        self._arrived += jax.device_get(arrived)
        return bool(arrived) and bool(np.max(self._arrived[-1].code) != Reason.RUNNING)

    def finish(self) -> None:
        """Fetch everything."""
        self._ahead = 0
        self.poll()

    @property
    def steps(self) -> int:
        """How many steps have been fetched."""
        return sum(np.size(measurement.loss) for measurement in self._arrived)

    @property
    def last_loss(self) -> float:
        """The loss fetched last."""
        return float(np.atleast_1d(self._arrived[-1].loss)[-1])

    def history(self, start: int, end: int, evaluations: Mapping[int, float]) -> History:
        """The curves of the steps from ``start`` to ``end``."""
        steps = end - start
        names = self._arrived[0].terms if self._arrived else ()
        losses = [measurement.loss for measurement in self._arrived]
        terms = {name: [m.terms[name] for m in self._arrived] for name in names}
        return History(
            step=np.arange(start, start + steps),
            loss=joined(losses)[:steps],
            terms={name: joined(values)[:steps] for name, values in terms.items()},
            evaluation_step=np.array(list(evaluations), int),
            evaluation=np.array(list(evaluations.values()), float),
        )


def joined(pieces: Sequence[ArrayLike]) -> np.ndarray:
    """Numbers, and arrays of them, one after the other."""
    return np.concatenate([np.atleast_1d(piece) for piece in pieces]) if pieces else np.array([])


def progress_bar(shown: bool, steps: int | None) -> contextlib.AbstractContextManager[Any]:
    """A bar over ``steps``; a context that holds None if it is not shown, or tqdm not there."""
    if shown and importlib.util.find_spec("tqdm"):
        return importlib.import_module("tqdm.auto").tqdm(total=steps)
    return contextlib.nullcontext()


def show(bar: Any, done: int, recorder: Recorder) -> None:
    """Move ``bar``, if there is one, on to the last of the steps fetched, ``done`` before."""
    if bar is not None and recorder.steps:
        bar.set_postfix(loss=f"{recorder.last_loss:.4g}", refresh=False)
        bar.update(done + recorder.steps - bar.n)
