"""How often each rule stops too early, how late it stops, and whether at all.

``python -m benchmarks convergence`` runs the rules on simulated losses, whose mean is known, and on
real runs, whose loss on all the data is.
"""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from benchmarks.curves import TUNING, Runs, simulate
from benchmarks.real import REAL
from benchmarks.stopping import UNINFORMED, Rule, Stops, Task, rules
from benchmarks.unseen import HELD_OUT
from jaxloss.training.convergence import Reason

LATE = 0.4
"""A run should have been stopped if it had converged by this share of its steps."""


def run(quick: bool) -> list[dict[str, Any]]:
    """Print a table for each set of runs, and return all of it as records."""
    chosen, records = rules(), []
    runs = 4 if quick else 100
    for title, families, seed in (("tuning", TUNING, 1), ("held out", HELD_OUT, 2)):
        some = families[::8] if quick else families
        records += table(title, (simulate(family, runs, seed) for family in some), chosen)
    records += table("real", (make(quick) for make in REAL), chosen)
    return records


def table(title: str, sets: Iterable[Runs], chosen: Mapping[str, Rule]) -> list[dict[str, Any]]:
    """Run every rule on every set of runs, and print what comes out, a line each."""
    print(f"{title}: stopped early % / stopped % / median step as a multiple of the right one")
    print(f"{'':20}{'right':>7}" + "".join(f"{name:>17}" for name in chosen))
    records: list[dict[str, Any]] = []
    for runs in sets:
        task, stops = Task(runs.values, runs.rates, runs.stride), {}
        for name, rule in chosen.items():
            same = UNINFORMED.get(name) if np.ptp(runs.rates) == 0 else None
            stops[name] = stops[same] if same in stops else rule(task)
        cells = [record(title, runs, name, found) for name, found in stops.items()]
        right = np.median(runs.converged) / 1000
        print(f"{runs.name:20}{right:6.1f}k" + "".join(f"{cell(c):>17}" for c in cells), flush=True)
        records += cells
    print()
    return records


def record(title: str, runs: Runs, name: str, stops: Stops) -> dict[str, Any]:
    """How a rule did on a set of runs."""
    rows = np.arange(len(stops.after))
    fired = stops.after > 0
    last = np.maximum(stops.after - 1, 0)
    over, double = runs.over[rows, last], runs.over_double[rows, last]
    step = stops.after * runs.stride
    length = runs.values.shape[1] * runs.stride
    converged = runs.converged <= LATE * length
    ratio = step / np.maximum(runs.converged, 1)
    due = ratio[fired & converged & (runs.converged > 0)]
    return {
        "set": title,
        "runs": runs.name,
        "kind": runs.kind,
        "rule": name,
        "early": float((fired & (over > 1)).mean()),
        "early_by_twice": float((fired & (over > 2)).mean()),
        "early_if_doubled": float((fired & (double > 1)).mean()),
        "fired": float(fired.mean()),
        "diverged": float((stops.codes == Reason.DIVERGED).mean()),
        "converged": float(converged.mean()),
        "fired_of_converged": float(fired[converged].mean()) if converged.any() else None,
        "within_twice": float((due <= 2).sum() / converged.sum()) if converged.any() else None,
        "median_ratio": float(np.median(due)) if len(due) else None,
        "median_step": float(np.median(step[fired])) if fired.any() else None,
        "latest_step": float(step[fired].max()) if fired.any() else None,
    }


def cell(found: Mapping[str, Any]) -> str:
    """A record in short."""
    ratio = found["median_ratio"]
    step = found["median_step"]
    when = "" if step is None else f"{step / 1000:.1f}k" if ratio is None else f"{ratio:.2f}"
    return f"{100 * found['early']:.0f}/{100 * found['fired']:.0f}/{when or 'never'}"
