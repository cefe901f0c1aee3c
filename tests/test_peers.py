"""Our losses against the real libraries, wherever those are installed.

``pip install 'jaxloss[oracles]'``; the options make the definitions equal, and where they cannot be
made equal, the row says how it gets from one to the other.
"""

import importlib
import os

import numpy as np
import pytest

from jaxloss import catalogue
from tests.inputs import example

os.environ.setdefault("KERAS_BACKEND", "jax")

PEERS = [
    row
    for family in catalogue.families()
    for row in importlib.import_module(f"tests.peers.{family}").PEERS
]


@pytest.mark.oracles
@pytest.mark.usefixtures("as_others_promote")
@pytest.mark.filterwarnings("default")  # theirs
@pytest.mark.parametrize("row", PEERS, ids=lambda r: f"{r.loss.__name__}-{r.oracle.__name__}")
def test_agrees_with_its_peer(row):
    inputs = example(row.loss) if row.inputs is None else row.inputs()
    expected = row.oracle(*map(np.array, inputs), **row.options)
    actual = row.loss(*inputs, reduction="none", **row.options)
    np.testing.assert_allclose(actual, expected, rtol=2e-5, atol=2e-6)
