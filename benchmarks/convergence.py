"""How often each rule stops too early, how late it stops, and whether at all.

``python -m benchmarks convergence`` runs the rules on simulated losses, whose mean is known, and on
real runs, whose loss on all the data is; ``python -m benchmarks convergence real`` on some of them.
What was written with ``--json`` becomes a page by ``python -m benchmarks.convergence FILE ...``.
"""

import json
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.curves import TUNING, Family, Runs, simulate
from benchmarks.limits import least_early
from benchmarks.real import REAL
from benchmarks.stopping import UNINFORMED, Rule, Stops, Task, rules
from benchmarks.unseen import HELD_OUT
from jaxloss.training.convergence import Reason

LATE = 0.4
"""A run should have been stopped if it had converged by this share of its steps."""
SEEDS = 100
PAGE = """# When training is stopped

{count} simulated runs of each kind, of {steps} steps; real runs are fewer. A cell is
**early / stopped / when**: the percentage of runs stopped while more than 1 % was still to be
gained over the best so far; the percentage stopped at all; and the median step, as a multiple of
the step at which a run had converged, for kinds of which runs had by two fifths of the time, or
else in thousands of steps. *Right* is the median of that step, in thousands. Means of 50 steps are
shown to the rules, of 500 to those made for evaluations. Made by

    python -m benchmarks convergence {sets} --json convergence.json
    python -m benchmarks.convergence convergence.json > benchmarks/results/convergence.md

The goal for a default: early in at most 5 % of every kind that descends; stopped in at least 95 %
of the runs that had converged by two fifths of their steps; at no more than twice the right step
where no budget is known. What follows each table says what of it is reached. The default was made
on the tuning set and on other seeds of the held-out kinds, whose own were run once.

On *hidden lines* it cannot be. A rule that stops 95 % of the same runs without their line by twice
the right step stops at least {twice:.0f} % of those with it too early, whatever it does, and one
that may wait for four times the right step {four:.0f} % (`benchmarks/limits.py`). Nor can a look
at the loss foresee a drop after a long flat stretch: *with schedule* is told of a cut.
"""


def run(quick: bool, names: Sequence[str] = ()) -> Iterator[list[dict[str, Any]]]:
    """Print a table for each set of runs that is asked for; give what is known after each line."""
    chosen, records = rules(), []
    runs = 4 if quick else SEEDS

    def simulated(families: Sequence[Family], seed: int) -> Iterable[Runs]:
        return (simulate(family, runs, seed) for family in families[:: 8 if quick else 1])

    sets: dict[str, Callable[[], Iterable[Runs]]] = {
        "tuning": lambda: simulated(TUNING, 1),
        "held out": lambda: simulated(HELD_OUT, 2),
        "real": lambda: (make(quick) for make in REAL),
    }
    for title, make in sets.items():
        if not names or title in names:
            for line in table(title, make(), chosen):
                records += line
                yield records


def table(
    title: str, sets: Iterable[Runs], chosen: Mapping[str, Rule]
) -> Iterator[list[dict[str, Any]]]:
    """Run every rule on every set of runs; print what comes out, a line each, and give it."""
    print(f"{title}: stopped early % / stopped % / median step as a multiple of the right one")
    print(f"{'':20}{'right':>7}" + "".join(f"{name:>17}" for name in chosen))
    for runs in sets:
        task, stops = Task(runs.values, runs.rates, runs.stride), {}
        for name, rule in chosen.items():
            same = UNINFORMED.get(name) if np.ptp(runs.rates) == 0 else None
            stops[name] = stops[same] if same in stops else rule(task)
        cells = [record(title, runs, name, found) for name, found in stops.items()]
        right = np.median(runs.converged) / 1000
        print(f"{runs.name:20}{right:6.1f}k" + "".join(f"{cell(c):>17}" for c in cells), flush=True)
        yield cells
    print()


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
        "right": float(np.median(runs.converged)),
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


def page(records: Sequence[Mapping[str, Any]]) -> str:
    """All tables in Markdown, and what of the goal was reached."""
    titles = dict.fromkeys(found["set"] for found in records)
    limits = {"twice": 100 * least_early(2), "four": 100 * least_early(4)}
    sets = " ".join(f'"{title}"' for title in titles)
    parts = [PAGE.format(count=SEEDS, steps="50,000", sets=sets, **limits)]
    for title in titles:
        some = [found for found in records if found["set"] == title]
        parts += [f"## {title.capitalize()}\n", markdown(some), "", *reached(some), ""]
    return "\n".join(parts)


def markdown(records: Sequence[Mapping[str, Any]]) -> str:
    """A table, one line to a kind of runs."""
    names = list(dict.fromkeys(found["rule"] for found in records))
    lines = ["| | right | " + " | ".join(names) + " |", "|---|" + "---|" * (len(names) + 1)]
    for kind in dict.fromkeys(found["runs"] for found in records):
        row = [found for found in records if found["runs"] == kind]
        cells = [cell(found).replace("/", " / ") for found in row]
        lines.append(f"| {kind} | {row[0]['right'] / 1000:.1f} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def reached(records: Sequence[Mapping[str, Any]]) -> list[str]:
    """What the default and its rivals reached of the goal, a line each."""
    lines = []
    for rule in dict.fromkeys(found["rule"] for found in records):
        mine = [found for found in records if found["rule"] == rule]
        falling = [found for found in mine if found["kind"] in ("descending", "real")]
        due = [found for found in mine if found["converged"] >= 0.1 and found["kind"] != "rising"]
        timed = [found for found in due if found["median_ratio"] is not None]
        early = [found["early"] <= 0.05 for found in falling]
        fired = [found["fired_of_converged"] >= 0.95 for found in due]
        median = [found["median_ratio"] <= 2 for found in timed]
        if early:
            lines.append(
                f"- {rule}: early in at most 5 % of {sum(early)} kinds of {len(early)}; "
                f"stopped in 95 % of converged runs of {sum(fired)} of {len(fired)}, "
                f"by twice the right step in the median of {sum(median)} of {len(median)}."
            )
    return lines


if __name__ == "__main__":
    found = [record for file in sys.argv[1:] for record in json.loads(Path(file).read_text())]
    print(page(found), end="")
