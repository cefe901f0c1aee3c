"""The examples in the docstrings and in the README run, and the README's tables are current."""

import doctest
import importlib
import pathlib
import pkgutil
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxloss
from jaxloss import catalogue

README = pathlib.Path(jaxloss.__file__).parents[1] / "README.md"
MODULES = [
    module.name
    for module in pkgutil.walk_packages(jaxloss.__path__, "jaxloss.")
    if not module.name.endswith("__main__")
]

NUMBER = re.compile(r"(?<![\w.])-?(?:\d+\.\d*|\d+)(?:e[-+]?\d+)?(?![\w.])")


class UpToRounding(doctest.OutputChecker):
    """Takes output for what was expected if its numbers differ by no more than they round."""

    def check_output(self, want: str, got: str, optionflags: int) -> bool:
        """Whether the words are the same, and the numbers as good as the same."""
        if super().check_output(want, got, optionflags):
            return True
        wanted, found = (NUMBER.findall(text) for text in (want, got))
        same_words = ["".join(NUMBER.sub("", text).split()) for text in (want, got)]
        return (
            same_words[0] == same_words[1]
            and len(wanted) == len(found)
            and np.allclose(np.array(found, float), np.array(wanted, float), 2e-6, 1e-7)
        )


@pytest.mark.parametrize(
    ("got", "same"),
    [
        ("Array([0.5, -1.9999999], dtype=float32)", True),
        ("Array([0.5, -1.9999], dtype=float32)", False),
        ("Array([0.5, 2. ], dtype=float32)", False),
        ("Array([0.5], dtype=float32)", False),
        ("Array([0.5, -2. ], dtype=float16)", False),
    ],
)
def test_the_examples_are_compared_up_to_rounding(got: str, same: bool):
    assert UpToRounding().check_output("Array([ 0.5, -2. ], dtype=float32)", got, 0) == same


def failures(examples: list[doctest.DocTest]) -> int:
    runner = doctest.DocTestRunner(UpToRounding(), optionflags=doctest.ELLIPSIS)
    for example in examples:
        runner.run(example)
    return runner.summarize().failed


@pytest.mark.parametrize("name", MODULES)
def test_docstring_examples(name: str):
    names = {"jax": jax, "jnp": jnp}
    module = importlib.import_module(name)
    examples = doctest.DocTestFinder().find(module, extraglobs=names)
    assert not failures(examples)
    if name.startswith("jaxloss.losses."):
        assert any(test.examples for test in examples)


@pytest.mark.usefixtures("as_others_promote")  # optax.adam promotes its step count
def test_readme_examples():
    text = README.read_text()
    examples = doctest.DocTestParser().get_doctest(text, {}, README.name, str(README), 0)
    assert examples.examples
    assert not failures([examples])


def test_readme_lists_every_loss():
    assert catalogue.table() in README.read_text()


def test_readme_leads_to_every_family():
    """To a loss of it, and to no loss that does not exist."""
    _, _, rest = README.read_text().partition("## Which loss for my problem")
    guide, _, _ = rest.partition("\n## ")
    named = set(re.findall(r"`(\w+)\.(\w+)`", guide))
    for family, name in named:
        assert hasattr(getattr(jaxloss, family), name), f"{family}.{name}"
    losses = {(entry.family, entry.name) for entry in catalogue.entries()}
    assert {family for family, _ in losses} <= {family for family, _ in named & losses}
