"""Every loss against its independent twin in ``tests/oracles``."""

import functools
import importlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxloss import catalogue
from tests.compiling import jit
from tests.inputs import example

ROWS = [
    row
    for family in catalogue.families()
    for row in importlib.import_module(f"tests.oracles.{family}").ROWS
]


def in_double(array):
    array = np.asarray(array)
    return array.astype(np.float64) if jnp.issubdtype(array.dtype, jnp.floating) else array


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row.loss.__name__}-{row.options}")
def test_agrees_with_its_oracle(row, seed):
    inputs = example(row.loss, seed) if row.inputs is None else row.inputs()
    expected = row.oracle(*map(in_double, inputs), **row.options)
    actual = row.loss(*inputs, reduction="none", **row.options)
    assert actual.shape == np.shape(expected)
    np.testing.assert_allclose(actual, expected, rtol=2e-6, atol=2e-7)
    with jax.enable_x64(True):
        doubles = [jnp.asarray(in_double(array)) for array in inputs]
        actual = jit(functools.partial(row.loss, reduction="none", **row.options))(*doubles)
        assert actual.dtype == jnp.float64
        np.testing.assert_allclose(actual, expected, rtol=1e-12, atol=1e-14)


def test_every_loss_has_an_oracle():
    assert {entry.loss for entry in catalogue.entries()} == {row.loss for row in ROWS}


def test_every_option_is_told_apart_by_some_row():
    """A row that leaves an option at its default proves nothing about it."""
    for entry in catalogue.entries():
        rows = [row for row in ROWS if row.loss is entry.loss]
        given = {option for row in rows for option in row.options}
        parameters = catalogue.options(entry.loss)
        assert set(parameters) <= given, f"{entry.family}.{entry.name}: {set(parameters) - given}"
