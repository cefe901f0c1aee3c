"""``python -m jaxloss`` lists the losses, ``python -m jaxloss show NAME`` explains one."""

import argparse
import inspect
import itertools

from jaxloss import catalogue


def main() -> None:
    """Read the command line and print."""
    parser = argparse.ArgumentParser(prog="python -m jaxloss", description="The losses of jaxloss.")
    commands = parser.add_subparsers(dest="command")
    show = commands.add_parser("show", help="signature, formula, options and source of a loss")
    show.add_argument("name", help="as in 'huber' or 'regression.huber'")
    given = parser.parse_args()
    if given.command is None:
        print(listing())
        return
    found = [e for e in catalogue.entries() if given.name in (e.name, f"{e.family}.{e.name}")]
    if not found:
        parser.error(f"no loss is called {given.name!r}; python -m jaxloss lists them all")
    print("\n\n".join(map(explained, found)))


def listing() -> str:
    """Each family with the losses in it, a line each."""
    lines = []
    for family, losses in itertools.groupby(catalogue.entries(), key=lambda e: e.family):
        lines += ["", family, *(f"  {e.name:30} {e.summary}" for e in losses)]
    return "\n".join(lines[1:])


def explained(entry: catalogue.Entry) -> str:
    """How to call a loss, and its docstring."""
    parameters = inspect.signature(entry.loss).parameters.values()
    call = ", ".join(
        p.name if p.default is p.empty else f"{p.name}={p.default!r}" for p in parameters
    )
    relatives = [e.name for e in catalogue.entries() if e.family == entry.family and e != entry]
    return "\n".join(
        [
            f"{entry.family}.{entry.name}({call})",
            "",
            inspect.getdoc(entry.loss) or "",
            "",
            f"Also in {entry.family}: {', '.join(relatives) or 'nothing yet'}.",
        ]
    )


if __name__ == "__main__":
    main()
