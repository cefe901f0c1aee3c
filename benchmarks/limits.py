"""What no rule can do: tell from flat, in time, a line that noise hides.

Take an exponential, and the same one with a slow line beside it. A rule that stops 95 % of the
first by some step has all it will ever know of the second by then, and is a test of one against the
other. Neyman and Pearson's is the best of them, even one that is told how steep the line would be
and how strong the noise is, and needs to find out no more than the exponential.
"""

import numpy as np
from scipy.stats import norm

from benchmarks.curves import TOLERANCE
from benchmarks.unseen import HiddenLine, hidden_line

FIRES = 0.95
"""The share of runs without a line that are to be stopped in time."""
POINTS = 400
"""At how many times the curves are compared; the noise is scaled accordingly."""


def least_early(by: float, runs: int = 400, seed: int = 2) -> float:
    """The share of hidden lines that are stopped too early, at the very least.

    Args:
        by: until when 95 % of the same runs without the line are to be stopped, as a multiple of
            the step at which they have converged.
        runs, seed: how many lines are drawn, and how.
    """
    lines = [hidden_line(np.random.default_rng([seed, number])) for number in range(runs)]
    return float(np.mean([missed(line, by) for line in lines]))


def missed(line: HiddenLine, by: float) -> float:
    """The probability that the best test does not see the line."""
    last = by * line.time * np.log(line.height / (TOLERANCE * line.level))
    time = (np.arange(POINTS) + 0.5) / POINTS * last
    decay = np.exp(-time / line.time)
    # whatever the level, the height and the time of the exponential explain as well is no evidence
    explained, _ = np.linalg.qr(np.stack([np.ones(POINTS), decay, time / line.time * decay], 1))
    evidence = line.slope * time
    evidence -= explained @ (explained.T @ evidence)
    distance = np.sqrt((evidence @ evidence) * last / POINTS) / line.noise
    return float(norm.cdf(norm.ppf(FIRES) - distance))
