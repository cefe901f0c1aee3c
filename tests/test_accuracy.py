"""The measure of accuracy is right, and what is claimed of the everyday losses holds."""

import numpy as np
import pytest

from benchmarks import accuracy
from benchmarks.extremes import extreme
from jaxloss import regression
from tests.oracles import Row


def outcome(name: str, points: int = 40) -> accuracy.Outcome:
    family, _, loss = name.partition(".")
    row = next(row for row in accuracy.rows(family) if row.loss.__name__ == loss)
    found = accuracy.measured(family, name, row, points, peers=False)
    assert found is not None
    return found


@pytest.mark.parametrize(
    "name",
    ["regression.squared", "regression.absolute", "regression.huber", "regression.quantile",
     "robust.smooth_l1", "robust.berhu", "redescending.cauchy", "redescending.welsch",
     "counts.poisson", "counts.tweedie"],
)  # fmt: skip
def test_elementwise_losses_are_right_to_a_few_units_in_the_last_place(name):
    (found,) = outcome(name).accuracies.values()
    assert found.value <= 4
    assert found.gradient <= 4
    assert found.nans == 0


def singles(*values: float) -> np.ndarray:
    return np.array(values, np.float32)


def test_the_truth_is_the_formula_to_all_digits():
    row = Row(regression.squared, lambda p, t: np.log(1 + np.exp(p - t)) + 0 * t)
    inputs = [singles(-200, 0, 300), singles(0, 0, 0)]
    truth = accuracy.truth_of(row, inputs)
    assert truth is not None
    np.testing.assert_allclose(truth.value, [1.383896526736737e-87, np.log(2), 300], rtol=1e-15)
    np.testing.assert_allclose(truth.gradient, [1.383896526736737e-87, 0.5, 1], rtol=1e-15)


def test_a_kink_does_not_count():
    row = Row(regression.absolute, lambda p, t: abs(p - t))
    truth = accuracy.truth_of(row, [singles(0, 1), singles(0, 0)])
    assert truth is not None
    np.testing.assert_array_equal(truth.gradient, [np.nan, 1])


def test_units_in_the_last_place():
    one = np.array([1.0, 1.0, 0.0, 1e-40])
    found = singles(1, 1 + 3 * 2.0**-23, 0, 0)
    assert accuracy.ulps(found, one, np.abs(one)) == (3, 0)
    assert accuracy.ulps(singles(np.nan, 1, 0, 0), one, np.abs(one)) == (0, 1)


def test_an_error_is_also_held_against_what_the_inputs_can_move():
    """Of a difference that all but vanishes, each input is half of what the other is."""
    row = Row(regression.absolute, lambda p, t: p - t)
    inputs = [singles(1 + 2.0**-23, 3), singles(1, 1)]
    truth = accuracy.truth_of(row, inputs)
    assert truth is not None
    condition = accuracy.condition_of(row, inputs, truth)
    assert condition is not None
    np.testing.assert_allclose(condition.value, [2 + 2.0**-23, 4], rtol=1e-12)
    np.testing.assert_allclose(condition.gradient, [0, 0], atol=1e-12)
    found = accuracy.accuracy((singles(2.0**-22, 2), singles(1, 1)), truth, condition)
    assert found.value > 1e6
    assert found.conditioned_value == 0.5


def test_extreme_inputs_span_the_range():
    predictions, _ = extreme(regression.squared, 200)
    assert predictions.shape == (200, 4)
    assert np.abs(predictions).min() < 1e-10
    assert np.abs(predictions).max() > 1e10
