"""Losses made of losses."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxloss import PartialMean
from jaxloss.compose import WeightedSum, weighted


def squared(x, y):
    return ((x - y) ** 2).mean()


def absolute(x, y):
    errors = jnp.abs(x - y)
    return PartialMean(errors.sum(), jnp.float32(errors.size))


X, Y = jnp.array([1.0, 2.0, 4.0]), jnp.array([0.0, 4.0, 1.0])  # squared 14 / 3, absolute 2


def test_value_is_the_weighted_sum_and_values_are_not_weighted():
    both = weighted({"a": squared, "b": absolute}, {"a": 0.3, "b": 0.7})(X, Y)
    assert isinstance(both, WeightedSum)
    np.testing.assert_allclose(both.value(), 0.3 * 14 / 3 + 0.7 * 2, rtol=1e-6)
    np.testing.assert_allclose(both.values()["a"], 14 / 3, rtol=1e-6)
    np.testing.assert_allclose(both.values()["b"], 2, rtol=1e-6)
    assert isinstance(both.terms["b"], PartialMean)
    np.testing.assert_allclose(both.coefficients["b"], 0.7, rtol=1e-6)


def test_a_weight_left_out_is_one():
    np.testing.assert_allclose(
        weighted({"a": squared, "b": absolute}, {"b": 3})(X, Y).value(), 14 / 3 + 6, rtol=1e-6
    )
    np.testing.assert_allclose(weighted({"a": squared})(X, Y).value(), 14 / 3, rtol=1e-6)


def test_weights_are_schedules_and_traced():
    ramp = optax.linear_schedule(0.0, 1.0, 10)
    objective = weighted({"a": squared, "b": absolute}, {"b": ramp})
    value = jax.jit(lambda step: objective(X, Y, step=step).value())
    np.testing.assert_allclose(value(5), 14 / 3 + 0.5 * 2, rtol=1e-6)

    def total(weight):
        return weighted({"a": squared, "b": absolute}, {"b": weight})(X, Y).value()

    np.testing.assert_allclose(jax.grad(total)(0.3), 2, rtol=1e-6)


def test_keyword_arguments_reach_every_loss():
    def scaled(x, y, *, scale):
        return scale * squared(x, y)

    both = weighted({"a": scaled, "b": scaled})(X, Y, scale=3.0)
    np.testing.assert_allclose(both.value(), 2 * 14, rtol=1e-6)


def test_a_term_that_is_nan_is_never_hidden():
    broken = weighted({"a": squared, "b": lambda x, y: squared(x, y) / 0 * 0}, {"b": 0.0})
    assert np.isnan(broken(X, Y).value())
    np.testing.assert_allclose(broken(X, Y).values()["a"], 14 / 3, rtol=1e-6)


def test_half_precision_and_integer_terms_add_up_in_float32():
    terms = {"a": lambda: jnp.bfloat16(0.5), "b": lambda: jnp.int32(3)}
    value = weighted(terms, {"a": 2, "b": 0.25})().value()
    assert value.dtype == jnp.float32
    np.testing.assert_allclose(value, 1.75)


def test_errors_name_function_and_argument():
    with pytest.raises(ValueError, match=r"weighted: losses must not be empty"):
        weighted({})
    with pytest.raises(ValueError, match=r"weighted: weights must name losses \['a'\].*\['c'\]"):
        weighted({"a": squared}, {"c": 1.0})
    with pytest.raises(ValueError, match=r"weighted: step must be given.*'a' is a schedule"):
        weighted({"a": squared}, {"a": lambda step: step})(X, Y)
    with pytest.raises(ValueError, match=r"losses\['a'\] must return a scalar.*shape \(3,\)"):
        weighted({"a": lambda x, y: x - y})(X, Y)
