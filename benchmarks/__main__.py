"""``python -m benchmarks [name ...] [--json FILE] [--quick]``."""

import argparse
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from benchmarks import convergence, fused, report, steps, timing
from benchmarks.contestants import Loss
from benchmarks.libraries import LIBRARIES
from benchmarks.rows import ROWS, available, contests

CONVERGENCE = "convergence"
"""Asks for the benchmark of when training is stopped, by itself: it times nothing."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the rows that were asked for; print, and if wanted write, each as it ends."""
    options = parser().parse_args(arguments)
    if CONVERGENCE in options.names:
        sets = [name for name in options.names if name != CONVERGENCE]
        for records in convergence.run(options.quick, sets):
            if options.json:
                options.json.write_text(json.dumps(records, indent=2) + "\n")
        return
    losses, missing = available([timing.OURS, *options.against])
    for name, reason in missing.items():
        print(f"without {name}: {reason}")
    seconds, least_rounds = (0.05, 3) if options.quick else (options.seconds, 7)
    outcomes = []
    for contest in chosen(options.names, losses, options.quick):
        outcomes.append(timing.run(contest, seconds=seconds, least_rounds=least_rounds))
        print(report.table(outcomes[-1]), end="\n\n", flush=True)
        if options.json:  # each time, so that an interrupted run keeps what it has
            options.json.write_text(json.dumps(report.record(outcomes, missing), indent=2) + "\n")


def parser() -> argparse.ArgumentParser:
    """What can be asked for."""
    peers = [name for name in LIBRARIES if name != timing.OURS]
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument(
        "names", nargs="*", help="rows whose name contains one of these; else all; or convergence"
    )
    parser.add_argument("--against", nargs="*", choices=peers, default=peers, metavar="LIBRARY")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the results there, too")
    parser.add_argument("--quick", action="store_true", help="small shapes: tries, not measures")
    parser.add_argument("--seconds", type=float, default=10.0, help="spent on each contest")
    return parser


def chosen(
    names: Sequence[str], losses: Mapping[str, Mapping[str, Loss]], quick: bool
) -> Iterator[timing.Contest]:
    """The contests of every row that was asked for, each made when its turn comes."""
    rows = [row for row in ROWS if wanted(row.name, names)]
    heads = [head for head in fused.HEADS if wanted(head.name, names)]
    networks = [network for network in steps.NETWORKS if wanted(network.name, names)]
    if not rows and not heads and not networks:
        known = [one.name for one in (*ROWS, *fused.HEADS, *steps.NETWORKS)]
        raise SystemExit("no row has such a name; there are:\n  " + "\n  ".join(known))
    if quick:
        rows = dict.fromkeys(row.small() for row in rows)
        heads = dict.fromkeys(head.small() for head in heads)
        networks = [network.small() for network in networks]
    for row in rows:
        yield from contests(row, losses)
    for head in heads:
        yield fused.contest(head, losses)
    for network in networks:
        yield steps.contest(network)


def wanted(name: str, names: Sequence[str]) -> bool:
    """Whether the user asked for it; nothing asked for means everything."""
    return not names or any(part in name for part in names)


if __name__ == "__main__":
    main()
