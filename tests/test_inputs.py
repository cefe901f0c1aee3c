"""The maker of inputs has to vary them: laws checked at one point prove nothing."""

import jax.numpy as jnp
import pytest

from jaxloss import catalogue
from tests.inputs import example, positional, where_of

LOSSES = [pytest.param(e.loss, id=f"{e.family}.{e.name}") for e in catalogue.entries()]


@pytest.mark.parametrize("loss", LOSSES)
def test_inputs_vary_with_the_seed_and_within(loss):
    for first, second in zip(example(loss, seed=0), example(loss, seed=1), strict=True):
        assert first.shape == second.shape
        assert (first != second).any()
        assert len(jnp.unique(first)) > 1


@pytest.mark.parametrize("loss", LOSSES)
def test_the_axes_of_where_lead_the_axes_of_the_inputs(loss):
    axes = where_of(loss).axes
    assert positional(loss)[0].axes[: len(axes)] == axes
