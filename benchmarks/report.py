"""What came out: as a table to read and as JSON to keep."""

import os
import platform
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

import jax

from benchmarks.timing import FLOOR, OURS, Outcome

HEADER = f"  {'':16}{'median':>11}{'ours/it':>10}{'it/floor':>10}{'compile':>10}{'temporary':>12}"


def table(outcome: Outcome) -> str:
    """One contest as text: a line for each contestant."""
    contest = outcome.contest
    rounds = len(outcome.seconds[FLOOR])
    floor = duration(outcome.median(FLOOR))
    lines = [
        f"{contest.name}: {contest.measure}  (floor: {contest.floor_work} in {floor}; "
        f"{rounds} rounds)",
        HEADER,
    ]
    for name, contestant in contest.contestants.items():
        compile_seconds, temporary = contestant.compile_seconds, contestant.temporary_bytes
        lines.append(
            f"  {name:16}{duration(outcome.median(name)):>11}{outcome.ratio(OURS, name):>10.2f}"
            f"{outcome.ratio(name, FLOOR):>10.2f}"
            f"{'' if compile_seconds is None else duration(compile_seconds):>10}"
            f"{'' if temporary is None else f'{temporary / 1e6:.3f} MB':>12}"
        )
    return "\n".join(lines)


def duration(seconds: float) -> str:
    """With the unit that suits."""
    for unit, size in (("s", 1.0), ("ms", 1e-3)):
        if seconds >= size:
            return f"{seconds / size:.2f} {unit}"
    return f"{seconds / 1e-6:.1f} µs"


def record(outcomes: Iterable[Outcome], missing: Mapping[str, str]) -> dict[str, Any]:
    """Everything measured, and on what."""
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": machine(),
        "versions": versions(),
        "missing": dict(missing),
        "contests": [entry(outcome) for outcome in outcomes],
    }


def entry(outcome: Outcome) -> dict[str, Any]:
    """One contest."""
    contest = outcome.contest
    return {
        "name": contest.name,
        "measure": contest.measure,
        "rounds": len(outcome.seconds[FLOOR]),
        "floor": {"work": contest.floor_work, "median_seconds": outcome.median(FLOOR)},
        "contestants": {
            name: {
                "median_seconds": outcome.median(name),
                "ours_over_it": outcome.ratio(OURS, name),
                "it_over_floor": outcome.ratio(name, FLOOR),
                "compile_seconds": contestant.compile_seconds,
                "temporary_bytes": contestant.temporary_bytes,
            }
            for name, contestant in contest.contestants.items()
        },
    }


def machine() -> dict[str, Any]:
    """What the times depend on."""
    return {
        "processor": processor(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_gb": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9, 1),
        "devices": [device.device_kind for device in jax.devices()],
        "system": platform.system(),
    }


def processor() -> str:
    """Its name as the system knows it."""
    information = Path("/proc/cpuinfo")
    if information.exists():
        for line in information.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def versions() -> dict[str, str]:
    """Of Python and of every library that is installed."""
    installed = {distribution.name for distribution in metadata.distributions()}
    names = ("jax", "jaxlib", "numpy", "optax", "keras", "torch")
    found = {name: metadata.version(name) for name in names if name in installed}
    return {"python": platform.python_version(), **found}
