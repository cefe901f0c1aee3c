"""Limits and extremes of the evidential losses."""

import functools

import jax
import jax.numpy as jnp
import mpmath
import numpy as np
import pytest

from jaxloss.losses.evidential import classification, regression
from jaxloss.losses.likelihood import student_t
from jaxloss.losses.scoring import brier

close = functools.partial(np.testing.assert_allclose, rtol=3e-6)
ONE = jnp.ones(1)


def test_without_its_penalty_the_regression_is_students():
    errors = jnp.array([0.0, 1e-3, 2.0, 1e30])
    full = functools.partial(jnp.full, 4)
    found = regression(
        errors * 0, full(0.5), full(2.0), full(0.7), errors, evidence_weight=0.0, reduction="none"
    )
    scale = np.sqrt(0.7 * 1.5 / 0.5 / 2)
    expected = student_t(errors * 0, full(scale), errors, df=4.0, reduction="none")
    close(found, expected, rtol=1e-5)


def test_regression_is_finite_with_finite_slopes():
    at = jax.jit(jax.value_and_grad(regression, argnums=(0, 1, 2, 3)))
    for error in (0.0, 1.0, 1e20):
        for evidence in (1e-6, 1.0, 1e6):
            value, slopes = at(0.0, evidence, 1 + evidence, 1.0, error)
            assert jnp.isfinite(value)
            assert all(jnp.isfinite(slope) for slope in slopes)


@pytest.mark.parametrize("form", ["squared", "log", "digamma"])
@pytest.mark.parametrize("sure", [0.0, 0.3, 10.0, 1e4, 1e8])
def test_exact_however_much_evidence(form, sure):
    with mpmath.workdps(40):
        a, total = mpmath.mpf(float(np.float32(sure))) + 1, mpmath.mpf(float(np.float32(sure))) + 3
        p = 1 / total
        expected = {
            "squared": (2 * p) ** 2
            + 2 * p**2
            + (2 * p * (1 - p) + a / total * 2 * p) / (total + 1),
            "log": mpmath.log(total / a),
            "digamma": mpmath.digamma(total) - mpmath.digamma(a),
        }[form]
    evidence = jnp.array([[sure, 0.0, 0.0]])
    value, slope = jax.value_and_grad(classification)(evidence, jnp.array([0]), form=form)
    close(value, float(expected), rtol=1e-5)
    assert jnp.isfinite(slope).all()
    assert slope[0, 0] <= 0


def test_sure_evidence_has_the_score_of_its_probabilities():
    evidence, labels = jnp.array([[7e6, 2e6, 1e6]]), jnp.array([1])
    close(classification(evidence, labels), brier(jnp.array([[0.7, 0.2, 0.1]]), labels), rtol=1e-5)


def test_only_evidence_for_wrong_classes_costs_extra():
    labels = jnp.array([0])

    def extra(evidence):
        at = functools.partial(classification, evidence, labels)
        return at(kl_weight=1.0) - at(kl_weight=0.0)

    close(extra(jnp.array([[50.0, 0.0, 0.0]])), 0, atol=3e-6)
    assert extra(jnp.array([[50.0, 3.0, 0.0]])) > 0.1


def test_a_label_out_of_range_is_nan_in_value_and_gradient():
    labels = jnp.array([0, 3, -1])
    losses, pull = jax.vjp(lambda e: classification(e, labels, reduction="none"), jnp.ones((3, 3)))
    assert jnp.isnan(losses).tolist() == [False, True, True]
    assert jnp.isnan(pull(jnp.ones(3))[0]).any(-1).tolist() == [False, True, True]
