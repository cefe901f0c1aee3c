"""Every line of the README's table "coming from", evaluated in both libraries."""

import os
import re
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxloss
from tests.test_docs import README

os.environ.setdefault("KERAS_BACKEND", "jax")

TABLE = README.read_text().partition("## Coming from")[2].partition("## All losses")[0]
LINES = [
    (theirs, ours)
    for cell, ours in re.findall(r"^\| (`.*) \| `(.*)` \|$", TABLE, flags=re.MULTILINE)
    for theirs in re.findall(r"`([^`]*)`", cell)
]
LIBRARIES = {"F.": "torch", "optax": "optax", "keras": "keras"}


NOT_HERE = {"multiclass_generalized_dice_loss", "ctc_loss_with_forward_probs"}


def data() -> dict[str, np.ndarray]:
    """What the names in the table stand for."""
    random = np.random.default_rng(0)
    y = random.integers(0, 4, 6)
    a = random.normal(size=(6, 4))
    return {
        "z": random.normal(size=(6, 4)),
        "y": y,
        "u": np.where(np.arange(6) < 2, -100, y),
        "one_label": np.stack([y, np.full(6, -1), *np.zeros((2, 6), int)], 1),
        "p": random.dirichlet(np.ones(4), 6),
        "log_q": np.log(random.dirichlet(np.ones(4), 6)),
        "t": random.integers(0, 2, (6, 4)).astype(float),
        "h": random.integers(0, 2, 6).astype(float),
        "w": random.uniform(1, 2, 4),
        "w_out": random.normal(size=(4, 5)),
        "g": np.array([0, 1, 2, 2, 1, 0]),
        "k": random.integers(0, 5, (6, 4)).astype(float),
        "s": random.uniform(0.5, 2, (6, 4)),
        "a": a,
        "a_unit": a / np.linalg.norm(a, axis=-1, keepdims=True),
        **{name: random.normal(size=(6, 4)) for name in ("x", "r", "b", "n")},
        "frames": random.normal(size=(2, 7, 4)),
        "text": np.array([[1, 2, 2], [3, 1, 2]]),
        "lengths": np.array([7, 7]),
        "sizes": np.array([3, 3]),
    }


def evaluated(expression: str, array: Any, names: dict[str, Any]) -> np.ndarray:
    """The value of an expression in which the data are arrays of one library."""
    return np.asarray(eval(expression, {**names, **{k: array(v) for k, v in data().items()}}))


def jax_array(x: np.ndarray) -> Any:
    return jnp.asarray(x, jnp.int32 if x.dtype.kind == "i" else jnp.float32)


def test_the_table_is_read():
    assert len(LINES) > 75


@pytest.mark.oracles
@pytest.mark.filterwarnings("default")  # theirs
@pytest.mark.parametrize("name", ["optax", "torch", "keras"])
def test_every_loss_of_the_library_is_in_the_table(name):
    library = pytest.importorskip(name)
    if name == "optax":
        losses = {n for n in dir(library.losses) if not n.startswith(("_", "make"))} - NOT_HERE
    elif name == "keras":
        losses = {n for n in dir(library.losses) if n[0].isupper()} - {"Loss"}
    else:
        functional = library.nn.functional
        losses = {n for n in dir(functional) if n.endswith(("_loss", "cross_entropy", "_logits"))}
        losses = {n for n in losses if not n.startswith(("_", "gumbel"))} | {"kl_div"}
    said = " ".join(theirs for theirs, _ in LINES)
    assert not {loss for loss in losses if f".{loss}(" not in said}


@pytest.mark.oracles
@pytest.mark.usefixtures("as_others_promote")
@pytest.mark.filterwarnings("default")  # theirs
@pytest.mark.parametrize(("theirs", "ours"), LINES)
def test_a_line_of_the_table_is_true(theirs, ours):
    (name,) = (name for sign, name in LIBRARIES.items() if sign in theirs)
    library = pytest.importorskip(name)
    array, names = jax_array, {name: library, "jnp": jnp, "jax": jax}
    if name == "torch":
        names = {"F": library.nn.functional}

        def array(x: np.ndarray) -> Any:
            return library.tensor(x, dtype=library.long if x.dtype.kind == "i" else library.float)

    expected = evaluated(theirs, array, names)
    named = set(re.findall(r"[a-z_]+(?=\.)", ours)) & set(dir(jaxloss))
    modules = {name: getattr(jaxloss, name) for name in named}
    actual = evaluated(ours, jax_array, {"jnp": jnp, "jax": jax, **modules})
    np.testing.assert_allclose(actual, expected, rtol=1e-5)
