"""Every loss in the package, read off the modules of ``jaxloss.losses``: no list to keep."""

import importlib
import inspect
import pkgutil
from collections.abc import Callable
from typing import Any, NamedTuple

import jaxloss.losses


class Entry(NamedTuple):
    """One loss: its name, its family (the module it is in), its first line, the function."""

    name: str
    family: str
    summary: str
    loss: Callable[..., Any]


def families() -> list[str]:
    """The modules of ``jaxloss.losses``."""
    return [module.name for module in pkgutil.iter_modules(jaxloss.losses.__path__)]


def entries() -> list[Entry]:
    """All losses, in the order they are written: public functions that take a ``reduction``."""
    return [entry for family in families() for entry in _of(family)]


def _of(family: str) -> list[Entry]:
    module = importlib.import_module(f"jaxloss.losses.{family}")
    return [
        Entry(name, family, (inspect.getdoc(function) or "").partition("\n")[0], function)
        for name, function in vars(module).items()
        if inspect.isfunction(function)
        and function.__module__ == module.__name__
        and not name.startswith("_")
        and "reduction" in inspect.signature(function).parameters
    ]


def table() -> str:
    """All losses by family, as a Markdown table."""
    lines = ["| family | loss | what it does |", "|---|---|---|"]
    lines += [f"| `{e.family}` | `{e.name}` | {e.summary} |" for e in entries()]
    return "\n".join(lines)


def options(loss: Callable[..., Any]) -> list[str]:
    """The hyper-parameters of a loss: its keywords but for the three that all losses share."""
    keywords = inspect.signature(loss).parameters.values()
    return [p.name for p in keywords if p.kind is p.KEYWORD_ONLY][:-3]
