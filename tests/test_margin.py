"""Limits and extremes of the losses on the margin of a yes-or-no answer."""

import functools

import jax
import jax.numpy as jnp
import mpmath
import numpy as np
import pytest

from jaxloss.losses.margin import (
    exponential,
    logistic,
    modified_huber,
    perceptron,
    savage,
    smooth_hinge,
    squared_hinge,
    tangent,
)

inf = np.inf
close = functools.partial(np.testing.assert_allclose, rtol=1e-6)
mpmath.mp.dps = 60
KINKED = [squared_hinge, smooth_hinge, perceptron, modified_huber]


def slopes(loss, logits, **options):
    """The slope at each logit, for a target of 1."""
    at = functools.partial(loss, **options)
    return jax.vmap(jax.grad(at), (0, None))(jnp.array(logits), jnp.array(1.0))


def values(loss, logits, **options):
    logits = jnp.array(logits)
    return loss(logits, jnp.ones_like(logits), reduction="none", **options)


def test_a_target_of_zero_mirrors_a_target_of_one():
    logits = jnp.array([-2.0, -0.3, 0.4, 1.7])
    for loss in (*KINKED, logistic, exponential, savage, tangent):
        mirrored = loss(-logits, jnp.zeros(4), reduction="none")
        assert mirrored.tolist() == values(loss, logits).tolist()


def test_slopes_at_the_kinks():
    """Nothing is learnt where nothing is lost; at a bend between two pieces both agree."""
    assert slopes(squared_hinge, [0.5, 1.0, 2.0]).tolist() == [-1, 0, 0]
    assert slopes(smooth_hinge, [-0.5, 0.0, 0.5, 1.0], delta=0.5).tolist() == [-1, -1, -1, 0]
    assert slopes(smooth_hinge, [0.75], delta=0.5).tolist() == [-0.5]
    assert slopes(perceptron, [-1.0, 0.0, 1.0]).tolist() == [-1, 0, 0]
    assert slopes(modified_huber, [-2.0, -1.0, 0.0, 1.0]).tolist() == [-4, -4, -2, 0]
    assert slopes(logistic, [0.0]).tolist() == [-0.5]
    assert slopes(savage, [0.0]).tolist() == [-0.25]


def test_a_bend_may_be_learnt():
    """d/d delta of e^2 / (2 delta) is -e^2 / (2 delta^2); of e - delta / 2 it is -1/2."""
    at = jax.grad(lambda delta, z: smooth_hinge(z, jnp.array(1.0), delta=delta))
    found = [at(2.0, jnp.array(z)) for z in (0.5, -1.0, -3.0)]
    close(found, [-0.03125, -0.5, -0.5])


def test_infinite_logits_give_the_limit():
    ends = [-inf, inf]
    assert values(squared_hinge, ends).tolist() == [inf, 0]
    assert values(exponential, ends).tolist() == [inf, 0]
    assert values(savage, ends).tolist() == [1, 0]
    close(values(tangent, ends), [(np.pi + 1) ** 2, (np.pi - 1) ** 2])
    assert slopes(savage, ends).tolist() == [0, 0]
    assert slopes(tangent, ends).tolist() == [0, 0]
    for loss, steepest in ((smooth_hinge, -1), (perceptron, -1), (logistic, -1)):
        assert values(loss, ends).tolist() == [inf, 0]
        assert slopes(loss, ends).tolist() == [steepest, 0]
    assert values(modified_huber, ends).tolist() == [inf, 0]
    assert slopes(modified_huber, ends).tolist() == [-4, 0]


def test_one_loss_becomes_another():
    logits = [-3.0, -1.0, 0.2, 0.9, 1.5]
    hinge = [4.0, 2.0, 0.8, 0.1, 0.0]
    close(values(smooth_hinge, logits, delta=1e-9), hinge, atol=1e-6)
    close(values(logistic, logits, margin=1.0, scale=1e6), hinge, rtol=1e-5, atol=1e-6)
    close(4 * values(smooth_hinge, logits, delta=2.0), values(modified_huber, logits))


LOGITS = np.array([-1e4, -90, -40, -16, -3, -0.2, 0, 1e-3, 1, 9, 40, 85, 1e4], np.float32)


@pytest.mark.parametrize(
    ("loss", "exact"),
    [
        (logistic, lambda v: mpmath.log1p(mpmath.exp(-v))),
        (savage, lambda v: (1 + mpmath.exp(v)) ** -2),
        (tangent, lambda v: (2 * mpmath.atan(v) - 1) ** 2),
    ],
)
def test_keeps_its_digits_from_hopeless_to_certain(loss, exact):
    expected = [[float(mpmath.diff(exact, float(z), n)) for z in LOGITS] for n in (0, 1, 2)]
    near = functools.partial(close, rtol=4e-6, atol=1e-37)
    near(values(loss, LOGITS), expected[0])
    near(slopes(loss, LOGITS), expected[1])
    curvatures = jax.vmap(jax.hessian(loss), (0, None))(jnp.asarray(LOGITS), jnp.array(1.0))
    np.testing.assert_allclose(curvatures, expected[2], rtol=4e-6, atol=1e-7)


def test_wrong_arguments_are_refused(as_users_run_it):
    with pytest.raises(ValueError, match=r"savage: shapes must be equal, got logits \(3,\)"):
        savage(jnp.zeros(3), jnp.zeros((3, 1)))
    with pytest.raises(TypeError, match="perceptron: logits must be floating-point, got int32"):
        perceptron(jnp.zeros(3, int), jnp.zeros(3))
