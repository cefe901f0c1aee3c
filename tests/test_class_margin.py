"""Limits and extremes of the losses on the margin between classes."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxloss.losses.class_margin import (
    multiclass_hinge,
    multiclass_perceptron,
    multilabel_margin,
    weston_watkins,
)

inf = np.inf
close = functools.partial(np.testing.assert_allclose, rtol=1e-6)
LABELED = [multiclass_perceptron, multiclass_hinge, weston_watkins]


def both(loss, logits, truth, **options):
    """Value and slope for one example."""
    logits = jnp.array(logits, jnp.float32)
    value, slope = jax.value_and_grad(functools.partial(loss, **options))(logits, jnp.array(truth))
    return value.tolist(), slope.tolist()


def test_nothing_lost_is_nothing_learnt():
    """Also exactly at the margin, where the loss has a kink."""
    assert both(multiclass_perceptron, [2, 2, 0], 0) == (0, [0, 0, 0])
    assert both(multiclass_hinge, [3, 2, 0], 0) == (0, [0, 0, 0])
    assert both(weston_watkins, [3, 2, 0], 0) == (0, [0, 0, 0])
    assert both(weston_watkins, [3, 2, 0], 0, power=2.0) == (0, [0, 0, 0])
    assert both(multilabel_margin, [3, 2, 4], [1, 0, 1]) == (0, [0, 0, 0])


def test_rivals_that_tie_share_the_slope():
    assert both(multiclass_perceptron, [1, 2, 2], 0) == (1, [-1, 0.5, 0.5])
    assert both(multiclass_hinge, [2, 2, 2], 0) == (1, [-1, 0.5, 0.5])


def test_every_rival_within_the_margin_pushes():
    value, slope = both(weston_watkins, [1, 0.5, 0, -5], 0)
    close(value, 0.5 / 4)
    assert slope == [-0.25, 0.25, 0, 0]
    value, slope = both(weston_watkins, [1, 0.5, 1, -5], 0, power=2.0)
    close(value, (0.25 + 1) / 4)
    assert slope == [-0.75, 0.25, 0.5, 0]


def test_the_square_has_the_right_curvature():
    hessian = jax.hessian(functools.partial(weston_watkins, power=2.0))
    found = hessian(jnp.array([0.0, 0.5, -3.0]), jnp.array(0))
    close(found, np.array([[2, -2, 0], [-2, 2, 0], [0, 0, 0]]) / 3)


@pytest.mark.parametrize("loss", LABELED)
def test_an_excluded_class_is_no_rival(loss):
    value, slope = both(loss, [0.2, 0.5, -inf], 0)
    assert np.isfinite(value)
    assert slope[2] == 0
    assert slope[0] == -slope[1]
    close(value * (3 if loss is weston_watkins else 1), 0.3 + (loss is not multiclass_perceptron))


@pytest.mark.parametrize("loss", LABELED)
def test_infinite_logits_give_the_limit(loss):
    assert both(loss, [inf, 0, -inf], 0) == (0, [0, 0, 0])
    value, slope = both(loss, [-inf, 0, -inf], 0)
    assert value == inf
    assert np.isfinite(slope).all()
    for level in ([inf, inf, 0], [-inf, -inf, -inf]):
        value, slope = both(loss, level, 0)
        assert np.isfinite(value)
        assert np.isfinite(slope).all()


def test_a_single_class_has_no_rival():
    for loss in LABELED:
        assert both(loss, [0.3], 0) == (0, [0])
    assert both(multilabel_margin, [0.3], [1]) == (0, [0])


def test_no_class_or_every_class_costs_nothing():
    for targets in ([0, 0, 0], [1, 1, 1]):
        assert both(multilabel_margin, [3, -2, inf], targets) == (0, [0, 0, 0])


def test_one_class_that_applies_is_weston_watkins():
    logits = jax.random.normal(jax.random.key(0), (6, 4))
    labels = jnp.array([0, 1, 2, 3, 0, 1])
    one_hot = jax.nn.one_hot(labels, 4)
    among = multilabel_margin(logits, one_hot, margin=0.8, reduction="none")
    close(among, weston_watkins(logits, labels, margin=0.8, reduction="none"))


@pytest.mark.parametrize("loss", LABELED)
def test_a_label_out_of_range_is_nan(loss):
    losses = loss(jnp.zeros((3, 4)), jnp.array([0, 4, -1]), reduction="none")
    assert jnp.isnan(losses).tolist() == [False, True, True]


def test_wrong_arguments_are_refused(as_users_run_it):
    with pytest.raises(TypeError, match="multiclass_hinge: labels must be integers, got float32"):
        multiclass_hinge(jnp.zeros((3, 2)), jnp.zeros(3))
    with pytest.raises(ValueError, match=r"multilabel_margin: shapes must be equal, got logits"):
        multilabel_margin(jnp.zeros((3, 2)), jnp.zeros(3))
    with pytest.raises(ValueError, match="multilabel_margin: logits must be rows of classes"):
        multilabel_margin(jnp.zeros(()), jnp.zeros(()))
