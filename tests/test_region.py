"""What no law can know about the losses on the overlap of regions."""

import functools

import jax
import jax.numpy as jnp
import jaxtyping
import numpy as np
import pytest
from jax.experimental import checkify

from jaxloss.losses import region

LOSSES = [region.tversky, region.dice, region.jaccard]
every_loss = pytest.mark.parametrize("loss", LOSSES)


def pixels(*values):
    """One example with one class in one row of pixels."""
    return jnp.array(values, jnp.float32)[None, :, None]


HALF = pixels(1, 1, 0, 0)


@every_loss
def test_limits(loss):
    assert loss(HALF, HALF) == 0
    assert loss(HALF, HALF, smoothing=0.0) == 0
    assert loss(1 - HALF, HALF, smoothing=0.0) == 1
    assert loss(pixels(0, 0), pixels(0, 0)) == 0


def test_values_by_hand():
    probabilities = pixels(1, 0, 0, 1)  # TP = FP = FN = 1
    for loss, expected in ((region.dice, 1 / 2), (region.jaccard, 2 / 3)):
        np.testing.assert_allclose(loss(probabilities, HALF, smoothing=0.0), expected, rtol=1e-6)
    np.testing.assert_allclose(region.dice(probabilities, HALF, smoothing=3.0), 2 / 7, rtol=1e-6)
    np.testing.assert_allclose(region.jaccard(probabilities, HALF, smoothing=3.0), 1 / 3, rtol=1e-6)


def test_each_kind_of_error_has_its_own_weight():
    loss = functools.partial(region.tversky, fp_weight=0.3, fn_weight=0.7, smoothing=0.0)
    only_fp, only_fn = pixels(1, 1, 1, 0), pixels(1, 0, 0, 0)
    np.testing.assert_allclose(loss(only_fp, HALF), 0.3 / 2.3, rtol=1e-6)
    np.testing.assert_allclose(loss(only_fn, HALF), 0.7 / 1.7, rtol=1e-6)
    free = region.tversky(only_fp, HALF, fp_weight=0.0, fn_weight=1.0, smoothing=0.0)
    assert free == 0


def test_tversky_becomes_dice_and_jaccard():
    keys = jax.random.split(jax.random.key(0))
    arrays = jax.random.uniform(keys[0], (2, 5, 3)), jax.random.bernoulli(keys[1], 0.4, (2, 5, 3))
    arrays = arrays[0], arrays[1].astype(jnp.float32)
    halves = region.tversky(*arrays, fp_weight=0.5, fn_weight=0.5, smoothing=0.3)
    np.testing.assert_allclose(halves, region.dice(*arrays, smoothing=0.6), rtol=1e-6)
    ones = region.tversky(*arrays, fp_weight=1.0, fn_weight=1.0, smoothing=0.3)
    np.testing.assert_allclose(ones, region.jaccard(*arrays, smoothing=0.3), rtol=1e-6)


def test_a_nearly_perfect_overlap_keeps_its_digits():
    error = 2.0**-22
    probabilities = jnp.full((1, 30, 30, 1), 1 - error)
    targets = jnp.ones((1, 30, 30, 1))
    for loss, expected in ((region.dice, error / (2 - error)), (region.jaccard, error)):
        actual = loss(probabilities, targets, smoothing=0.0)
        np.testing.assert_allclose(actual, expected, rtol=1e-6)


def test_a_hopeless_overlap_keeps_the_digits_of_its_gradient():
    """Among 10^4 false positives it is s / (FP + s)^2, of which 1 - ratio leaves three digits."""
    slope = jax.grad(region.jaccard)(jnp.ones((1, 10_000, 1)), jnp.zeros((1, 10_000, 1)))
    np.testing.assert_allclose(slope, 1 / 10_001**2, rtol=1e-5)


@every_loss
def test_nothing_to_find_and_nothing_found(loss):
    empty = pixels(0, 0, 0)

    def unsmoothed(probabilities):
        return loss(probabilities, empty, smoothing=0.0)

    value, slope = jax.value_and_grad(unsmoothed)(empty)
    assert value == 0
    assert (slope == 0).all()
    assert (jax.hessian(unsmoothed)(empty) == 0).all()
    slope = jax.grad(lambda smoothing: loss(empty, empty, smoothing=smoothing))(0.0)
    assert slope == 0


@every_loss
@pytest.mark.parametrize("trace", [1e-10, 1e-25, 1e-37])
def test_a_trace_where_nothing_is_costs_all_and_pulls_nowhere(loss, trace):
    """The loss is one however small the trace, though the square of the trace underflows."""
    value, slope = jax.value_and_grad(loss)(pixels(trace, trace), pixels(0, 0), smoothing=0.0)
    assert value == 1
    assert (slope == 0).all()


@every_loss
@pytest.mark.parametrize("half", [jnp.float16, jnp.bfloat16])
def test_long_sums_are_taken_in_float32(loss, half):
    """Of 90000 pixels float16 would make infinity, and bfloat16 256."""
    probabilities = jnp.full((1, 300, 300, 1), 0.75, half)
    actual = loss(probabilities, jnp.ones((1, 300, 300, 1), half))
    errors = 0.25 * 90_000
    expected = {
        region.tversky: errors / 2 / (90_000 - errors / 2 + 1),
        region.dice: errors / (2 * 90_000 - errors + 1),
        region.jaccard: errors / (90_000 + 1),
    }
    np.testing.assert_allclose(actual, expected[loss], rtol=1e-6)


@every_loss
def test_where_acts_inside_the_sums(loss):
    where = jnp.array([[True, False, True, False]])
    actual = loss(pixels(1, 0.3, 0.2, jnp.nan), pixels(1, 1, 0, 1), where=where)
    np.testing.assert_allclose(actual, loss(pixels(1, 0.2), pixels(1, 0)), rtol=1e-6)


@every_loss
def test_an_example_without_pixels_does_not_count(loss):
    probabilities = jnp.concatenate([pixels(0.3, 0.9), pixels(0.5, 0.5)])
    targets = jnp.concatenate([pixels(0, 1), pixels(1, 0)])
    where = jnp.array([[True, True], [False, False]])
    alone = loss(probabilities[:1], targets[:1])
    assert loss(probabilities, targets, where=where) == alone
    none = loss(probabilities, targets, where=where, reduction="none")
    np.testing.assert_array_equal(none, [[alone], [0]])


@every_loss
def test_weights_choose_classes(loss):
    probabilities = jax.random.uniform(jax.random.key(0), (2, 3, 3, 3))
    targets = jnp.round(jax.random.uniform(jax.random.key(1), (2, 3, 3, 3)))
    none = loss(probabilities, targets, reduction="none")
    assert none.shape == (2, 3)
    actual = loss(probabilities, targets, weights=jnp.array([0, 1, 1]))
    np.testing.assert_allclose(actual, none[:, 1:].mean(), rtol=1e-6)


@every_loss
def test_hard_integer_targets(loss):
    targets = HALF.astype(jnp.int8)
    assert loss(1 - HALF, targets) == loss(1 - HALF, HALF)


@pytest.fixture
def without_shape_checks(monkeypatch):
    """What a user meets, who has no import hook that checks annotations first."""
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)


@pytest.mark.usefixtures("without_shape_checks")
@every_loss
def test_errors(loss):
    name = loss.__name__
    with pytest.raises(ValueError, match=rf"{name}: .* at least one axis of space, got .*\(4, 1\)"):
        loss(HALF[0], HALF[0])
    with pytest.raises(
        ValueError, match=rf"{name}: shapes must be equal, got probabilities \(1, 4"
    ):
        loss(HALF, HALF[..., 0])
    with pytest.raises(TypeError, match=f"{name}: targets must be real numbers, got bool"):
        loss(HALF, HALF > 0)
    with pytest.raises(
        ValueError, match=rf"{name}: where must broadcast to \(1, 4\), got \(1, 4, 1"
    ):
        loss(HALF, HALF, where=HALF > 0)


@every_loss
def test_values_outside_the_unit_interval_are_reported(loss):
    checked = checkify.checkify(loss)
    must = f"{loss.__name__}: {{}} must lie in \\[0, 1\\], got {{}}"
    with pytest.raises(checkify.JaxRuntimeError, match=must.format("probabilities", "1.5")):
        checked(pixels(0, 1.5), pixels(0, 1))[0].throw()
    with pytest.raises(checkify.JaxRuntimeError, match=must.format("targets", "-1.0")):
        checked(pixels(0, 1), pixels(-1, 1))[0].throw()
    masked, _ = checked(pixels(0, 1.5), pixels(0, 255), where=jnp.array([[True, False]]))
    assert masked.get() is None
