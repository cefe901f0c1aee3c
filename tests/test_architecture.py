"""Who may import whom, and how little ``import jaxloss`` costs."""

import ast
import inspect
import pathlib
import subprocess
import sys

import pytest

import jaxloss
from jaxloss import catalogue

ROOT = pathlib.Path(jaxloss.__file__).parent
LOSSES = {"core", "losses"}
ALLOWED = {
    "core": {"core"},
    "losses": {"core"},
    "compose": LOSSES | {"compose"},
    "kernels": LOSSES | {"kernels"},
    "distributed": LOSSES | {"distributed", "kernels"},
    "catalogue": LOSSES,
    "training": LOSSES | {"compose", "training"},
    "evaluation": LOSSES | {"compose", "training", "evaluation"},
    "plotting": LOSSES | {"compose", "training", "evaluation", "plotting"},
}
MODULES = sorted(path for path in ROOT.rglob("*.py") if path.parent != ROOT)


def imports(path: pathlib.Path) -> set[str]:
    """The modules of this package that a file imports, without the package's name."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return {name.removeprefix("jaxloss.") for name in found if name.startswith("jaxloss.")}


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(ROOT)))
def test_imports_go_one_way(path: pathlib.Path):
    part = path.relative_to(ROOT).parts[0]
    for module in imports(path):
        assert module.split(".")[0] in ALLOWED[part]
        if part == "losses":
            assert not module.startswith("losses"), "what two families share belongs in core"


@pytest.mark.parametrize("path", sorted(ROOT.rglob("*.py")), ids=lambda p: p.stem)
def test_files_stay_readable(path: pathlib.Path):
    assert len(path.read_text().splitlines()) <= 420


def test_every_family_is_announced_to_editors():
    for family in catalogue.families():
        assert f"from jaxloss.losses import {family} as {family}" in inspect.getsource(jaxloss)
        assert family in dir(jaxloss)


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'regresion'"):
        getattr(jaxloss, "regresion")  # noqa: B009


def test_importing_the_package_imports_no_family():
    """What is not used is not paid for: the families load when they are first named."""
    code = (
        "import sys, jax, optax; before = set(sys.modules); import jaxloss;"
        "print(len(set(sys.modules) - before));"
        "from jaxloss import regression; print(regression.huber.__module__)"
    )
    lines = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout.split()
    assert int(lines[0]) < 5
    assert lines[1] == "jaxloss.losses.regression"
