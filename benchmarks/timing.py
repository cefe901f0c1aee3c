"""Time contestants that do the same work: in one process, warm, one after the other, in rounds.

A shared machine changes its speed from second to second. So the contestants take turns, in a new
random order each round, and are compared by the median of their ratios within a round.
"""

import gc
import math
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import NamedTuple

import numpy as np

OURS = "jaxloss"
FLOOR = "floor"
SAMPLE_SECONDS = 0.005


class Contestant(NamedTuple):
    """One way to do the work."""

    run: Callable[[], object]
    """does the work once, and returns when it is done"""
    answer: Callable[[], list[np.ndarray]]
    """what the work gives, for comparison"""
    compile_seconds: float | None = None
    temporary_bytes: int | None = None


class Contest(NamedTuple):
    """Several ways to do the same work."""

    name: str
    measure: str
    """what is timed: ``value``, ``value and gradient`` or ``step``"""
    tolerance: float
    """largest relative difference, in norm, of two answers that count as equal"""
    contestants: Mapping[str, Contestant]
    """:data:`OURS` first"""
    floor: Callable[[], object]
    """the least the machine must do: moves the same bytes, or multiplies as often"""
    floor_work: str
    """the floor in words"""


class Outcome(NamedTuple):
    """Seconds per call of each contestant and of :data:`FLOOR`, one for each round."""

    contest: Contest
    seconds: Mapping[str, np.ndarray]

    def median(self, name: str) -> float:
        """Typical seconds per call."""
        return float(np.median(self.seconds[name]))

    def ratio(self, name: str, other: str) -> float:
        """How many times the other's time it takes, by the median of the rounds' ratios."""
        return float(np.median(self.seconds[name] / self.seconds[other]))


def run(contest: Contest, *, seconds: float, least_rounds: int, seed: int = 0) -> Outcome:
    """Compare the answers, then time everybody for about ``seconds``."""
    require_equal(contest)
    runs = {name: contestant.run for name, contestant in contest.contestants.items()}
    runs[FLOOR] = contest.floor
    return Outcome(without_data(contest), interleaved(runs, seconds, least_rounds, seed))


def without_data(contest: Contest) -> Contest:
    """The same, without the arrays that the work was done on: outcomes are kept to the end."""
    contestants = {
        name: contestant._replace(run=tuple, answer=list)
        for name, contestant in contest.contestants.items()
    }
    return contest._replace(contestants=contestants, floor=tuple)


def require_equal(contest: Contest) -> None:
    """Raise ``ValueError`` unless all answers agree: times of different work mean nothing."""
    expected = contest.contestants[OURS].answer()
    for name, contestant in contest.contestants.items():
        if name == OURS:
            continue
        for ours, theirs in zip(expected, contestant.answer(), strict=True):
            size = float(np.linalg.norm(np.ravel(theirs)))
            difference = float(np.linalg.norm(np.ravel(ours) - np.ravel(theirs)))
            if not difference <= contest.tolerance * size:
                raise ValueError(
                    f"{contest.name}, {contest.measure}: {name} gives another answer than {OURS}: "
                    f"they differ by {difference:.3g} where the size is {size:.3g}"
                )


def interleaved(
    runs: Mapping[str, Callable[[], object]], seconds: float, least_rounds: int, seed: int
) -> dict[str, np.ndarray]:
    """Seconds per call, an array over the rounds for each of the ``runs``.

    Each turn begins with a call that is not timed: it brings the contestant's data into the cache
    and puts the other libraries' threads to sleep. A short run is then called several times.
    """
    generator = np.random.default_rng(seed)
    for function in runs.values():
        function()
    once = {name: timed(function, 1) for name, function in runs.items()}
    calls = {name: max(1, math.ceil(SAMPLE_SECONDS / once[name])) for name in runs}
    round_seconds = sum((calls[name] + 1) * once[name] for name in runs)
    rounds = max(least_rounds, int(seconds / round_seconds))
    samples = {name: np.zeros(rounds) for name in runs}
    with without_garbage_collection():
        for turn in range(rounds):
            for name in generator.permutation(list(runs)):
                runs[name]()
                samples[name][turn] = timed(runs[name], calls[name])
    return samples


def timed(function: Callable[[], object], calls: int) -> float:
    """Seconds per call."""
    start = time.perf_counter()
    for _ in range(calls):
        function()
    return (time.perf_counter() - start) / calls


@contextmanager
def without_garbage_collection() -> Iterator[None]:
    """No pause falls into anybody's turn."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
