"""Every line of the README's table "coming from", evaluated in both libraries."""

import os
import re
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest

from jaxloss import classification, pairs, regression
from tests.test_docs import README

os.environ.setdefault("KERAS_BACKEND", "jax")

TABLE = README.read_text().partition("## Coming from")[2].partition("## All losses")[0]
LINES = [
    (theirs, ours)
    for cell, ours in re.findall(r"^\| (`.*) \| `(.*)` \|$", TABLE, flags=re.MULTILINE)
    for theirs in re.findall(r"`([^`]*)`", cell)
]
LIBRARIES = {"F.": "torch", "optax": "optax", "keras": "keras"}


def data() -> dict[str, np.ndarray]:
    """What the names in the table stand for."""
    random = np.random.default_rng(0)
    y = random.integers(0, 4, 6)
    return {
        "z": random.normal(size=(6, 4)),
        "y": y,
        "u": np.where(np.arange(6) < 2, -100, y),
        "p": random.dirichlet(np.ones(4), 6),
        "log_q": np.log(random.dirichlet(np.ones(4), 6)),
        "t": random.integers(0, 2, (6, 4)).astype(float),
        "w": random.uniform(1, 2, 4),
        "g": np.array([0, 1, 2, 2, 1, 0]),
        **{name: random.normal(size=(6, 4)) for name in ("x", "r", "a", "b", "n")},
    }


def evaluated(expression: str, array: Any, names: dict[str, Any]) -> np.ndarray:
    """The value of an expression in which the data are arrays of one library."""
    return np.asarray(eval(expression, {**names, **{k: array(v) for k, v in data().items()}}))


def jax_array(x: np.ndarray) -> Any:
    return jnp.asarray(x, jnp.int32 if x.dtype.kind == "i" else jnp.float32)


def test_the_table_is_read():
    assert len(LINES) > 30


@pytest.mark.oracles
@pytest.mark.usefixtures("as_others_promote")
@pytest.mark.filterwarnings("default")  # theirs
@pytest.mark.parametrize(("theirs", "ours"), LINES)
def test_a_line_of_the_table_is_true(theirs, ours):
    (name,) = (name for sign, name in LIBRARIES.items() if sign in theirs)
    library = pytest.importorskip(name)
    array, names = jax_array, {name: library}
    if name == "torch":
        names = {"F": library.nn.functional}

        def array(x: np.ndarray) -> Any:
            return library.tensor(x, dtype=library.long if x.dtype.kind == "i" else library.float)

    expected = evaluated(theirs, array, names)
    modules = {m.__name__.rpartition(".")[2]: m for m in (classification, pairs, regression)}
    actual = evaluated(ours, jax_array, {"jnp": jnp, **modules})
    np.testing.assert_allclose(actual, expected, rtol=1e-5)
