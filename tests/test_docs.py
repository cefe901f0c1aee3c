"""The examples in the docstrings and in the README run, and the README's tables are current."""

import doctest
import importlib
import pathlib
import pkgutil

import jax
import jax.numpy as jnp
import pytest

import jaxloss
from jaxloss import catalogue

README = pathlib.Path(jaxloss.__file__).parents[1] / "README.md"
MODULES = [
    module.name
    for module in pkgutil.walk_packages(jaxloss.__path__, "jaxloss.")
    if not module.name.endswith("__main__")
]


@pytest.mark.parametrize("name", MODULES)
def test_docstring_examples(name: str):
    names = {"jax": jax, "jnp": jnp}
    module = importlib.import_module(name)
    result = doctest.testmod(module, extraglobs=names, optionflags=doctest.ELLIPSIS)
    assert not result.failed
    if name.startswith("jaxloss.losses."):
        assert result.attempted


@pytest.mark.usefixtures("as_others_promote")  # optax.adam promotes its step count
def test_readme_examples():
    result = doctest.testfile(str(README), module_relative=False, optionflags=doctest.ELLIPSIS)
    assert result.attempted
    assert not result.failed


def test_readme_lists_every_loss():
    assert catalogue.table() in README.read_text()
