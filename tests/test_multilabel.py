"""Limits, extremes and relatives of the losses on several yes-or-no answers."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import mpmath
import numpy as np
import pytest
from sklearn.metrics import fbeta_score

from jaxloss.losses.classification import sigmoid_cross_entropy, softmax_cross_entropy
from jaxloss.losses.multilabel import f_measure, multi_positive_cross_entropy, zlpr
from jaxloss.losses.region import tversky

close = functools.partial(np.testing.assert_allclose, rtol=2e-6)
inf = np.inf
SCORES = [
    [0.3, -0.2, 0.1, 1.0],
    [40.0, 30.0, -50.0, -60.0],
    [-40.0, 3.0, 50.0, -6.0],
    [1e4, -1e4, 1e4, -1e4],
]


def test_one_answer_is_the_sigmoid_cross_entropy():
    logits = jnp.array([[-1e4], [-30.0], [-0.3], [0.0], [2.0], [30.0], [1e4]])
    for target in (0.0, 1.0):
        targets = jnp.full((7, 1), target)
        found = jax.value_and_grad(zlpr)(logits, targets)
        expected = jax.value_and_grad(sigmoid_cross_entropy)(logits, targets)
        close(found[0], expected[0])
        close(found[1], expected[1], atol=1e-37)


@pytest.mark.parametrize("logits", SCORES, ids=str)
def test_one_positive_is_the_softmax_cross_entropy(logits):
    logits = jnp.array([logits])
    for label in range(4):
        found = jax.value_and_grad(multi_positive_cross_entropy)(
            logits, jax.nn.one_hot(jnp.array([label]), 4)
        )
        expected = jax.value_and_grad(softmax_cross_entropy)(logits, jnp.array([label]))
        close(found[0], expected[0], atol=1e-37)
        close(found[1], expected[1], atol=1e-37)


def exact(logits, targets):
    with mpmath.workdps(60):
        z, t = [mpmath.mpf(float(x)) for x in logits], targets
        yes = sum(mpmath.exp(-a) for a, b in zip(z, t, strict=True) if b)
        no = sum(mpmath.exp(a) for a, b in zip(z, t, strict=True) if not b)
        return float(mpmath.log1p(yes) + mpmath.log1p(no)), float(mpmath.log1p(yes * no))


@pytest.mark.parametrize("logits", SCORES, ids=str)
@pytest.mark.parametrize("targets", [[1, 1, 0, 0], [0, 0, 1, 1], [1, 1, 1, 1], [0, 0, 0, 0]])
def test_exact_however_sure(logits, targets):
    expected = exact(logits, targets)
    close(zlpr(jnp.array(logits), jnp.array(targets)), expected[0], atol=1e-37)
    found = multi_positive_cross_entropy(jnp.array(logits), jnp.array(targets))
    close(found, expected[1], atol=1e-37)


@pytest.mark.parametrize("loss", [zlpr, multi_positive_cross_entropy])
def test_infinite_logits_have_finite_slopes(loss):
    targets = jnp.array([1.0, 1.0, 0.0, 0.0])
    value, slope = jax.value_and_grad(loss)(jnp.array([inf, inf, -inf, -inf]), targets)
    assert value == 0
    assert (slope == 0).all()
    for logits in ([inf, 0, 0, 0], [-inf, 0, 0, 1], [0, 0, inf, -inf], [-inf, inf, inf, -inf]):
        value, slope = jax.value_and_grad(loss)(jnp.array(logits), targets)
        assert not jnp.isnan(value)
        assert jnp.isfinite(slope).all()


def test_f_measure_is_one_minus_that_of_scikit_learn():
    generator = np.random.default_rng(0)
    p, t = (generator.uniform(size=(2, 30, 4)) < 0.4).astype(np.float32)
    for beta in (0.5, 1.0, 2.0):
        loss = functools.partial(f_measure, recall_weight=beta)
        for average, found in (
            ("macro", loss(p.T, t.T)),
            ("micro", loss(p.ravel(), t.ravel())),
            ("samples", loss(p, t)),
        ):
            perfect: Any = 1
            truth = fbeta_score(t, p, beta=beta, average=average, zero_division=perfect)
            close(1 - found, truth, rtol=1e-5)


def test_f_measure_is_a_tversky_loss():
    p = jax.random.uniform(jax.random.key(0), (3, 8))
    t = jax.random.bernoulli(jax.random.key(1), 0.4, (3, 8)).astype(float)
    weights = {"fp_weight": 1 / 5, "fn_weight": 4 / 5, "smoothing": 0.0}
    close(
        f_measure(p, t, recall_weight=2.0, reduction="none"),
        tversky(p[..., None], t[..., None], **weights, reduction="none")[:, 0],
    )


def test_nothing_to_find_and_nothing_found_is_perfect():
    value, slope = jax.value_and_grad(f_measure)(jnp.zeros((2, 3)), jnp.zeros((2, 3)))
    assert value == 0
    assert (slope == 0).all()
    assert f_measure(jnp.zeros(3), jnp.ones(3)) == 1
