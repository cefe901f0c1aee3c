"""Independent truth for :mod:`jaxloss.losses.warping`: every alignment, one by one."""

import numpy as np

from jaxloss.losses import warping
from tests.oracles import Row


def alignments(rows, columns):
    """Every path from the first cell to the last."""
    if (rows, columns) == (1, 1):
        return [[(0, 0)]]
    before = [(rows - 1, columns), (rows, columns - 1), (rows - 1, columns - 1)]
    paths = [path for r, c in before if r and c for path in alignments(r, c)]
    return [[*path, (rows - 1, columns - 1)] for path in paths]


def between(x, y, temperature):
    costs = [
        sum(np.square(x[i] - y[j]).sum() for i, j in path) for path in alignments(len(x), len(y))
    ]
    least = min(costs)
    return least - temperature * np.log(sum(np.exp((least - c) / temperature) for c in costs))


def soft_dtw(signals, target_signals, temperature=1.0, target_where=None):
    exists = np.ones(target_signals.shape[:2], bool) if target_where is None else target_where
    examples = zip(signals, target_signals, exists, strict=True)
    return np.array([between(x, y[some], temperature) for x, y, some in examples])


def soft_dtw_divergence(signals, target_signals, temperature=1.0, target_where=None):
    across = soft_dtw(signals, target_signals, temperature, target_where)
    within = soft_dtw(signals, signals, temperature)
    beside = np.empty(len(across))
    for example, y in enumerate(target_signals):
        some = y if target_where is None else y[target_where[example]]
        beside[example] = between(some, some, temperature)
    return across - within / 2 - beside / 2


def of_short_signals():
    generator = np.random.default_rng(0)
    return tuple(generator.standard_normal((3, time, 2), np.float32) for time in (5, 4))


SOME = np.array([[True, True, True, True], [True, True, False, False], [False, True, False, True]])
OPTIONS = {"temperature": 0.3, "target_where": SOME}
ROWS = [
    Row(warping.soft_dtw, soft_dtw, inputs=of_short_signals),
    Row(warping.soft_dtw, soft_dtw, OPTIONS, of_short_signals),
    Row(warping.soft_dtw_divergence, soft_dtw_divergence, inputs=of_short_signals),
    Row(warping.soft_dtw_divergence, soft_dtw_divergence, OPTIONS, of_short_signals),
]
