"""Limits and extremes of losses on ordered classes, and the helpers that go with them."""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import mpmath
import numpy as np
import pytest

from jaxloss.losses.ordinal import (
    all_thresholds,
    coral,
    corn,
    cumulative_link,
    cut_points,
    earth_mover,
    immediate_thresholds,
    soft_labels,
)
from jaxloss.losses.scoring import ranked_probability
from tests.test_checkify import message

close = functools.partial(np.testing.assert_allclose, rtol=2e-6)
CUTS = jnp.array([-1.0, 0.0, 2.0])
PREDICTIONS = np.array([-1e4, -90, -20, -0.3, 0.0, 1.7, 3, 20, 80], np.float32)


def probability(link, f, y, cuts):
    def below(c):
        x = c - f
        if link == "probit":
            return mpmath.erfc(-x / mpmath.sqrt(2)) / 2
        return 1 / (1 + mpmath.exp(-x)) if link == "logit" else 1 - mpmath.exp(-mpmath.exp(x))

    high = below(cuts[y]) if y < len(cuts) else 1
    return high - (below(cuts[y - 1]) if y > 0 else 0)


@pytest.mark.parametrize("link", ["logit", "probit", "cloglog"])
def test_cumulative_links_are_exact_far_from_the_cut_points(link):
    predictions = {
        "logit": PREDICTIONS,
        "probit": PREDICTIONS[2:],
        "cloglog": np.maximum(PREDICTIONS[2:], -4),
    }[link]
    f, y = (a.ravel() for a in np.meshgrid(predictions, np.arange(4)))
    at = jax.value_and_grad(functools.partial(cumulative_link, link=link), argnums=(0, 2))
    value, (slope, others) = jax.jit(jax.vmap(at, in_axes=(0, 0, None)))(f, y, CUTS)
    with mpmath.workdps({"logit": 9000, "probit": 3000, "cloglog": 400}[link]):
        cuts = [mpmath.mpf(float(c)) for c in CUTS]
        expected = [
            -mpmath.log(probability(link, mpmath.mpf(float(p)), int(k), cuts))
            for p, k in zip(f, y, strict=True)
        ]
        close(value, list(map(float, expected)), rtol=3e-6, atol=1e-37)
    assert (value >= 0).all()
    assert jnp.isfinite(slope).all()
    assert jnp.isfinite(others).all()
    # shifting everything changes nothing
    close(others.sum(-1), -slope, rtol=1e-4, atol=1e-6)


def test_probabilities_of_all_labels_add_up_to_one():
    for loss in (
        functools.partial(cumulative_link, jnp.full(4, 0.3), cut_points=CUTS),
        functools.partial(cumulative_link, jnp.full(4, 0.3), cut_points=CUTS, link="probit"),
        functools.partial(cumulative_link, jnp.full(4, 0.3), cut_points=CUTS, link="cloglog"),
        functools.partial(corn, jnp.array([[0.3, -1.0, 2.0]] * 4)),
    ):
        close(jnp.exp(-loss(labels=jnp.arange(4), reduction="none")).sum(), 1)


@pytest.mark.parametrize("loss", [coral, corn])
def test_sure_logits(loss):
    logits = jnp.array([[1e4, 1e4, -1e4], [jnp.inf, jnp.inf, -jnp.inf], [30.0, 30.0, -30.0]])
    at = jax.vmap(jax.value_and_grad(loss))
    value, slope = at(logits, jnp.full(3, 2))
    close(value, [0, 0, 3 * np.log1p(np.exp(-30))])
    assert jnp.isfinite(slope).all()
    value, slope = at(logits[:1], jnp.array([0]))
    close(value, [2e4 if loss is coral else 1e4])


@pytest.mark.parametrize("bad", [-1, 4])
@pytest.mark.parametrize("loss", [coral, corn])
def test_a_label_out_of_range_is_nan(loss, bad):
    value, slope = jax.vmap(jax.value_and_grad(loss))(jnp.zeros((2, 3)), jnp.array([1, bad]))
    assert jnp.isnan(value).tolist() == [False, True]
    assert jnp.isnan(slope).all(-1).tolist() == [False, True]


@pytest.mark.parametrize("bad", [-1, 4])
@pytest.mark.parametrize("loss", [cumulative_link, all_thresholds, immediate_thresholds])
def test_a_label_out_of_range_is_nan_between_cut_points(loss, bad):
    at = jax.vmap(jax.value_and_grad(loss), in_axes=(0, 0, None))
    value, slope = at(jnp.zeros(2), jnp.array([1, bad]), CUTS)
    assert jnp.isnan(value).tolist() == [False, True]
    assert jnp.isnan(slope).tolist() == [False, True]


def test_thresholds_far_and_near():
    labels = jnp.arange(4)
    predictions = jnp.full(4, -5.0)
    close(all_thresholds(predictions, labels, CUTS, reduction="none"), [0, 5, 11, 19])
    close(immediate_thresholds(predictions, labels, CUTS, reduction="none"), [0, 5, 6, 8])


def test_the_squared_earth_mover_of_a_sure_class_is_the_ranked_probability():
    p = jax.nn.softmax(jax.random.normal(jax.random.key(0), (4, 4)))
    found = earth_mover(p, jnp.eye(4), reduction="none")
    close(found, ranked_probability(p, jnp.arange(4), reduction="none"), rtol=1e-5)


def test_nothing_to_move_has_no_slope():
    p = jnp.array([0.25, 0.25, 0.5])
    for power in (0.5, 1.0, 2.0):
        value, slope = jax.value_and_grad(earth_mover)(p, p, power=power)
        assert value == 0
        assert (slope == 0).all()


def test_cut_points_increase():
    cuts = cut_points(jnp.array([[3.0, -20.0, 0.0, 50.0], [-1e3, 0.0, 0.0, 0.0]]))
    assert (jnp.diff(cuts) > 0)[:, 1:].all()
    close(cuts[0, 0], 3)
    assert jnp.isfinite(jax.jacobian(cut_points)(jnp.zeros(3))).all()


def test_soft_labels_from_even_to_one_hot():
    labels = jnp.array([0, 2])
    close(soft_labels(labels, 3, scale=0.0), np.full((2, 3), 1 / 3))
    close(soft_labels(labels, 3, scale=1e4), np.eye(3)[[0, 2]])
    weights = np.exp([0.0, -0.7, -0.7 * 4])
    close(soft_labels(labels[:1], 3, scale=0.7, power=2.0)[0], weights / weights.sum())
    assert jnp.isnan(soft_labels(jnp.array([3]), 3)).all()


def test_preconditions():
    found = message(cumulative_link, jnp.zeros(2), jnp.array([1, 0]), CUTS[::-1], link="cloglog")
    assert found == "cumulative_link: steps between cut_points must be positive, got -2.0"


@pytest.mark.usefixtures("as_users_run_it")
def test_an_unknown_link():
    loss: Callable[..., jax.Array] = cumulative_link
    with pytest.raises(ValueError, match=r"^cumulative_link: link must be 'logit', 'probit'"):
        loss(jnp.zeros(1), jnp.zeros(1, jnp.int32), CUTS, link="cauchit")
