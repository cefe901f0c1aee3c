"""``python -m jaxloss`` lists the losses, ``python -m jaxloss show NAME`` explains one."""

import argparse
import difflib
import importlib
import inspect
import itertools
import os
import re
import sys
import textwrap
from collections.abc import Callable
from typing import Any

import jaxloss
from jaxloss import catalogue

WIDTH = 100


def main() -> None:
    """Read the command line and print."""
    parser = argparse.ArgumentParser(
        prog="python -m jaxloss",
        description="List the losses of jaxloss, each family with a line for each loss.",
        epilog="example: python -m jaxloss show huber",
    )
    commands = parser.add_subparsers(dest="command")
    show = commands.add_parser("show", help="how to call a loss, its formula and its options")
    show.add_argument(
        "name", help="'huber', 'regression.huber', a family such as 'regression', or any function"
    )
    given = parser.parse_args()
    text = listing(catalogue.entries()) + "\n\npython -m jaxloss show NAME explains one."
    if given.command is not None:
        text = shown(given.name)
        if not text:
            parser.error(f"no loss is called {given.name!r}; {suggestion(given.name)}")
    try:
        print(text, flush=True)
    except BrokenPipeError:  # of ``| head``; nor shall Python complain when it closes the pipe
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def shown(name: str) -> str:
    """A family, all losses of that name, or else the function of that path; empty for none."""
    entries = catalogue.entries()
    family = [e for e in entries if e.family == name]
    parts = [listing(family)] if family else []
    parts += [explained(e) for e in entries if name in (e.name, f"{e.family}.{e.name}")]
    if not parts and (function := public(name)) is not None:
        parts = [called(name, function)]
    return "\n\n\n".join(parts)


def public(path: str) -> Callable[..., Any] | None:
    """The function of a path within jaxloss, such as ``training.fit``."""
    found: Any = jaxloss
    for part in path.split("."):
        found = None if part.startswith("_") else getattr(found, part, None)
    return found if inspect.isfunction(found) or inspect.isclass(found) else None


def suggestion(name: str) -> str:
    """What may have been meant."""
    entries = catalogue.entries()
    names = [e.name for e in entries] + [f"{e.family}.{e.name}" for e in entries]
    near = difflib.get_close_matches(name, dict.fromkeys(names))
    meant = " or ".join(map(repr, near))
    return f"perhaps {meant}" if near else "python -m jaxloss lists them all"


def listing(entries: list[catalogue.Entry]) -> str:
    """Each family with the losses in it, a line each."""
    lines = []
    for family, losses in itertools.groupby(entries, key=lambda e: e.family):
        module = importlib.import_module(f"jaxloss.losses.{family}")
        about, *_ = (inspect.getdoc(module) or "").splitlines()
        lines += ["", f"{family}: {plain(about)}"]
        lines += [f"  {e.name:30} {e.summary}" for e in losses]
    return "\n".join(lines[1:])


def explained(entry: catalogue.Entry) -> str:
    """How to call a loss, its docstring, and what else its family has."""
    relatives = [e.name for e in catalogue.entries() if e.family == entry.family and e != entry]
    also = f"Also in {entry.family}: {', '.join(relatives) or 'nothing yet'}."
    path = f"{entry.family}.{entry.name}"
    return f"{called(path, entry.loss)}\n\n{textwrap.fill(also, WIDTH)}"


def called(path: str, function: Callable[..., Any]) -> str:
    """How to call a function, and its docstring."""
    parameters = inspect.signature(function).parameters.values()
    words = [p.name if p.default is p.empty else f"{p.name}={p.default!r}" for p in parameters]
    keywords = [i for i, p in enumerate(parameters) if p.kind is p.KEYWORD_ONLY]
    if keywords:
        words.insert(keywords[0], "*")
    call = textwrap.fill(
        f"{path}({', '.join(words)})", WIDTH, subsequent_indent="    ", break_long_words=False
    )
    module, _, _ = path.rpartition(".")
    source = f"from jaxloss import {module.partition('.')[0]}\n" if module else ""
    return f"{source}{call}\n\n{plain(inspect.getdoc(function) or '')}"


def plain(text: str) -> str:
    """Without the roles that only a documentation tool reads."""
    return re.sub(r":\w+:`~?([^`]*)`", r"\1", text)


if __name__ == "__main__":
    main()
