"""Gradients that are wrong, missing, or at odds."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxloss.compose import weighted
from jaxloss.evaluation import check_gradient, gradient_conflict, zero_gradients

KEYS = jax.random.split(jax.random.key(0), 3)
X = jax.random.normal(KEYS[0], (16, 3))
PARAMS = {
    "kernel": jax.random.normal(KEYS[1], (3, 4)),
    "scale": jnp.float32(3.0),
    "zero": jnp.zeros(2),
    "step": jnp.int32(7),
    "key": KEYS[2],
}


@jax.custom_jvp
def broken(x):
    return x**3


@broken.defjvp
def _broken_jvp(primals, tangents):
    return broken(*primals), 3.03 * primals[0] ** 2 * tangents[0]  # one percent off


def loss(params):
    noise = jax.random.normal(params["key"], (16, 4))
    hidden = jnp.tanh(X @ params["kernel"] + noise)
    return (hidden**2).mean() + broken(params["scale"]) + jnp.sin(params["zero"]).sum()


def test_the_wrong_gradient_is_found_and_no_other():
    found = check_gradient(loss, PARAMS)
    assert {path: check.agrees for path, check in found.items()} == {
        "['kernel']": True,
        "['scale']": False,
        "['zero']": True,
    }
    scale = found["['scale']"]
    assert scale.derivative == pytest.approx(1.01 * scale.difference, rel=1e-3)
    assert scale.uncertainty < 1e-3 * abs(scale.difference)


def test_in_double_precision_more_can_be_told():
    with jax.enable_x64(True):
        x = jnp.linspace(0.1, 2.0, 7, dtype=jnp.float64)
        (check,) = check_gradient(lambda x: jnp.exp(jnp.sin(x)).sum(), x).values()
        assert check.agrees
        assert check.difference == pytest.approx(check.derivative, rel=1e-8)
        assert check.uncertainty < 1e-7 * abs(check.derivative)


@pytest.mark.parametrize("offset", [0.0, 1e4])
def test_a_large_constant_hides_the_gradient_and_is_no_alarm(offset):
    (check,) = check_gradient(lambda x: jnp.cos(x).sum() + offset, jnp.ones(3)).values()
    assert check.agrees
    assert (check.uncertainty > 1e-3) == (offset > 0)


def test_parameters_that_nothing_reaches():
    def loss(params, batch):
        hidden = jax.nn.relu(batch @ params["kernel"] + params["bias"][None])
        return hidden.sum() + jax.lax.stop_gradient(params["stopped"]).sum()

    params = {
        "kernel": jnp.ones((3, 2)),
        "bias": jnp.array([0.0, -1e3]),  # the second unit never fires
        "stopped": jnp.ones(2),
        "unused": jnp.ones(4),
        "count": jnp.int32(1),
    }
    batches = [np.abs(X[:8]), np.abs(X[8:])]
    assert zero_gradients(loss, params, batches) == {
        "['bias']": 0.5,
        "['kernel']": 0.5,
        "['stopped']": 1.0,
        "['unused']": 1.0,
    }
    first = jnp.array([[1.0, 0.0, 0.0]])  # zero on one batch is not zero on all
    assert zero_gradients(loss, params, [first])["['kernel']"] == pytest.approx(5 / 6)
    assert zero_gradients(loss, params, [first, *batches])["['kernel']"] == 0.5


def test_terms_that_pull_apart():
    objective = weighted(
        {
            "near": lambda p, target: ((p["x"] - target) ** 2).sum(),
            "small": lambda p, target: (p["x"] ** 2).sum(),
            "flat": lambda p, target: jnp.float32(1.0),
        },
        weights={"small": lambda step: 0.1 * step},
    )
    x, target = jnp.array([1.0, 2.0]), jnp.array([3.0, 2.5])
    found = gradient_conflict(objective, {"x": x}, target, step=jnp.float32(5))
    assert found.names == ("near", "small", "flat")
    near, small = 2 * (x - target), x
    np.testing.assert_allclose(found.values, [4.25, 2.5, 1])
    np.testing.assert_allclose(found.lengths, [jnp.linalg.norm(near), jnp.linalg.norm(small), 0])
    cosine = near @ small / jnp.linalg.norm(near) / jnp.linalg.norm(small)
    np.testing.assert_allclose(
        found.cosines, [[1, cosine, 0], [cosine, 1, 0], [0, 0, 0]], rtol=1e-6
    )
    assert f"{cosine:+.2f}" in found.table().splitlines()[1]
