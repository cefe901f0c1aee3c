"""Limits and extremes of the classification losses that follow from their formulas."""

import functools

import jax
import jax.numpy as jnp
import mpmath
import numpy as np
import optax
import pytest

from jaxloss.losses.classification import (
    binary_cross_entropy,
    hinge,
    kl,
    nll,
    sigmoid_cross_entropy,
    sigmoid_focal,
    smooth_labels,
    soft_cross_entropy,
    softmax_cross_entropy,
    softmax_focal,
)

inf = np.inf
close = functools.partial(np.testing.assert_allclose, rtol=5e-7)
mpmath.mp.dps = 60


def unreduced(loss, *arrays, **options):
    return loss(*arrays, reduction="none", **options)


# An excluded class


def test_an_excluded_class_takes_no_part():
    """Logits [-inf, 0, 0] and label 1: ln 2, with slope [0, -1/2, 1/2] by every mode."""
    logits, label = jnp.array([-inf, 0.0, 0.0]), jnp.array(1)
    close(softmax_cross_entropy(logits, label), np.log(2))
    for derivative in (jax.grad, jax.jacrev, jax.jacfwd):
        close(derivative(softmax_cross_entropy)(logits, label), [0, -0.5, 0.5])
    expected = [[0, 0, 0], [0, 0.25, -0.25], [0, -0.25, 0.25]]
    close(jax.hessian(softmax_cross_entropy)(logits, label), expected)
    targets = jnp.array([0.0, 1.0, 0.0])
    close(soft_cross_entropy(logits, targets), np.log(2))
    close(jax.jacfwd(soft_cross_entropy)(logits, targets), [0, -0.5, 0.5])
    close(jax.hessian(soft_cross_entropy)(logits, targets), expected)


@pytest.mark.parametrize(
    ("logits", "label", "value", "slope"),
    [
        ([inf, 0, 0], 0, 0, [0, 0, 0]),
        ([inf, 0, 0], 1, inf, [1, -1, 0]),
        ([inf, inf, 0], 0, np.log(2), [-0.5, 0.5, 0]),
        ([-inf, 0, 0], 0, inf, [-1, 0.5, 0.5]),
        ([1e4, -1e4, 0], 0, 0, [0, 0, 0]),
        ([1e4, -1e4, 0], 1, 2e4, [1, -1, 0]),
        ([3e38, -3e38, 0], 1, inf, [1, -1, 0]),
    ],
)
def test_extreme_logits_give_the_limit(logits, label, value, slope):
    logits, label = jnp.array(logits, jnp.float32), jnp.array(label)
    one_hot = jax.nn.one_hot(label, 3)
    for loss, truth in ((softmax_cross_entropy, label), (soft_cross_entropy, one_hot)):
        found, gradient = jax.value_and_grad(loss)(logits, truth)
        close(found, value)
        close(gradient, slope)
    found, gradient = jax.value_and_grad(softmax_focal)(logits, label)
    assert found == value or value == pytest.approx(np.log(2))
    assert jnp.isfinite(gradient).all()


def test_nan_is_not_hidden():
    logits = jnp.array([[jnp.nan, 0.0], [1.0, 0.0]])
    losses = unreduced(softmax_cross_entropy, logits, jnp.array([1, 1]))
    assert jnp.isnan(losses).tolist() == [True, False]


# To a few ulp, against sixty digits


def exact_cross_entropy(logits, label):
    z = [mpmath.mpf(float(x)) for x in logits]
    total = sum(mpmath.exp(x) for x in z)
    value = mpmath.log(total) - z[label]
    slope = [mpmath.exp(x) / total - (c == label) for c, x in enumerate(z)]
    return float(value), [float(x) for x in slope]


@pytest.mark.parametrize(
    "logits",
    [[0.3, -0.2, 0.1], [20, 0, -1], [40, 0, -1], [-3, 80, 2], [1e4, 1e4 - 10, 0], [5, 5, 5.0001]],
)
@pytest.mark.parametrize("label", [0, 1, 2])
def test_cross_entropy_keeps_its_digits(logits, label):
    """A sure model's loss of 1e-18 is neither 0 nor lost in the subtraction of large numbers."""
    logits = jnp.array(logits, jnp.float32)
    value, slope = exact_cross_entropy(logits, label)
    found, gradient = jax.value_and_grad(softmax_cross_entropy)(logits, jnp.array(label))
    close(found, value, atol=1e-45)
    close(gradient, slope, atol=1e-44)
    one_hot = jax.nn.one_hot(label, 3)
    found, gradient = jax.value_and_grad(soft_cross_entropy)(logits, one_hot)
    close(found, value, atol=1e-45)
    close(gradient, slope, rtol=1e-6, atol=1e-44)


@pytest.mark.parametrize("logit", [-1e4, -90, -30, -1, -1e-3, 0, 1e-3, 1, 30, 90, 1e4])
@pytest.mark.parametrize("target", [0.0, 1.0, 0.3])
def test_sigmoid_cross_entropy_keeps_its_digits(logit, target):
    t, z = (mpmath.mpf(float(np.float32(x))) for x in (target, logit))
    value = t * mpmath.log1p(mpmath.exp(-z)) + (1 - t) * mpmath.log1p(mpmath.exp(z))
    slope = 1 / (1 + mpmath.exp(-z)) - t
    curvature = mpmath.exp(-abs(z)) / (1 + mpmath.exp(-abs(z))) ** 2
    logit, target = jnp.float32(logit), jnp.float32(target)
    found, gradient = jax.value_and_grad(sigmoid_cross_entropy)(logit, target)
    close(found, float(value), atol=1e-38)
    close(gradient, float(slope), rtol=1e-6, atol=1e-38)
    close(jax.hessian(sigmoid_cross_entropy)(logit, target), float(curvature), atol=1e-38)


def test_sigmoid_cross_entropy_at_infinity():
    logits = jnp.array([inf, inf, -inf, -inf])
    targets = jnp.array([1.0, 0.0, 0.0, 1.0])
    assert unreduced(sigmoid_cross_entropy, logits, targets).tolist() == [0, inf, 0, inf]
    slope = jax.grad(lambda z: sigmoid_cross_entropy(z, targets, reduction="sum"))(logits)
    assert slope.tolist() == [0, 1, 0, -1]


# Label smoothing


def test_label_smoothing_of_one_ignores_the_label():
    logits = jax.random.normal(jax.random.key(0), (4, 3))
    first = unreduced(softmax_cross_entropy, logits, jnp.zeros(4, int), label_smoothing=1.0)
    second = unreduced(softmax_cross_entropy, logits, jnp.ones(4, int), label_smoothing=1.0)
    close(first, second)


def test_no_label_smoothing_is_a_smoothing_of_zero_even_with_an_excluded_class():
    logits = jnp.array([[-inf, 0.5, 0.0]])
    smoothed = softmax_cross_entropy(logits, jnp.array([1]), label_smoothing=0.0)
    close(smoothed, softmax_cross_entropy(logits, jnp.array([1])))


def test_smoothing_towards_an_excluded_class_costs_infinitely_much():
    logits = jnp.array([[-inf, 0.5, 0.0]])
    assert softmax_cross_entropy(logits, jnp.array([1]), label_smoothing=0.1) == inf


# Focal


@pytest.mark.parametrize("gamma", [0.0, 0.5, 1.0, 2.0, 5.0])
def test_focal_is_exact_from_certain_to_hopeless(gamma):
    logits = np.array([-1e3, -50, -3, -0.1, 0, 0.1, 3, 15], np.float32)
    exact = []
    for z in logits:
        p = 1 / (1 + mpmath.exp(-mpmath.mpf(float(z))))
        value = (1 - p) ** gamma * -mpmath.log(p)
        slope = (1 - p) ** gamma * (gamma * p * mpmath.log(p) + p - 1)
        exact.append((float(value), float(slope)))
    values, slopes = np.array(exact).T
    ones = jnp.ones(8)
    binary = jax.vmap(jax.value_and_grad(functools.partial(sigmoid_focal, gamma=gamma)))
    found = binary(jnp.asarray(logits), ones)
    close(found[0], values, rtol=3e-6, atol=1e-37)
    close(found[1], slopes, rtol=3e-6, atol=1e-37)
    two = jnp.stack([jnp.zeros(8), jnp.asarray(logits)], -1)
    among = jax.vmap(jax.value_and_grad(functools.partial(softmax_focal, gamma=gamma)))
    found = among(two, jnp.ones(8, int))
    close(found[0], values, rtol=3e-6, atol=1e-37)
    close(found[1][:, 1], slopes, rtol=3e-6, atol=1e-37)


def test_focal_without_focus_is_the_cross_entropy():
    logits = jax.random.normal(jax.random.key(0), (5, 3))
    labels = jnp.array([0, 1, 2, 0, 1])
    plain = jax.value_and_grad(softmax_cross_entropy)(logits, labels)
    focal = jax.value_and_grad(functools.partial(softmax_focal, gamma=0.0))(logits, labels)
    for found, expected in zip(focal, plain, strict=True):
        close(found, expected, rtol=1e-6)


@pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0])
def test_focal_is_finite_for_a_certain_answer(gamma):
    """At p = 1 the derivative of the power is 0 or infinite, that of the loss is 0."""
    for top in (1e4, inf):
        logits, labels = jnp.array([[top, 0.0]]), jnp.array([0])
        loss = jax.value_and_grad(softmax_focal)
        value, slope = loss(logits, labels, gamma=gamma)
        assert value == 0
        assert (slope == 0).all()
        learn = jax.grad(lambda g, z=logits, y=labels: softmax_focal(z, y, gamma=g))
        assert jnp.isfinite(learn(gamma))


# Hinge


def test_hinge_is_flat_at_the_margin():
    slopes = jax.vmap(jax.grad(hinge))(jnp.array([0.9, 1.0, 1.1]), jnp.ones(3))
    assert slopes.tolist() == [-1, 0, 0]


# Divergence


def test_kl_of_equal_distributions_is_zero_with_the_right_curvature():
    log_p = jnp.log(jnp.array([0.25, 0.75]))
    targets = jnp.array([0.25, 0.75])
    assert kl(log_p, targets) == 0
    close(jax.hessian(kl)(log_p, targets), np.diag([0.25, 0.75]), atol=1e-7)


def test_kl_keeps_its_digits_between_close_distributions():
    p = np.array([0.3, 0.7])
    q = np.array([0.3001, 0.6999])
    log_q = np.log(q).astype(np.float32)
    q = [mpmath.exp(mpmath.mpf(float(x))) for x in log_q]
    p32 = [mpmath.mpf(float(x)) for x in p.astype(np.float32)]
    exact = sum(a * mpmath.log(a / b) - a + b for a, b in zip(p32, q, strict=True))
    close(kl(jnp.asarray(log_q), jnp.asarray(p, jnp.float32)), float(exact), rtol=3e-3)


def test_kl_with_impossible_events():
    log_q = jnp.array([-inf, 0.0])
    assert kl(log_q, jnp.array([0.0, 1.0])) == 0
    assert jnp.isfinite(jax.grad(kl, argnums=1)(log_q, jnp.array([0.0, 1.0]))).all()
    assert kl(log_q, jnp.array([0.5, 0.5])) == inf


# Refusals


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda: softmax_cross_entropy(jnp.zeros((3, 2)), jnp.zeros(3)), TypeError,
         "softmax_cross_entropy: labels must be integers, got float32"),
        (lambda: softmax_cross_entropy(jnp.zeros((3, 2)), jnp.zeros((3, 2), int)), ValueError,
         r"softmax_cross_entropy: labels must be one class id per row .* \(3,\), got \(3, 2\)"),
        (lambda: softmax_cross_entropy(jnp.zeros((3, 2), int), jnp.zeros(3, int)), TypeError,
         "softmax_cross_entropy: logits must be floating-point, got int32"),
        (lambda: softmax_cross_entropy(jnp.zeros(()), jnp.zeros((), int)), ValueError,
         "softmax_cross_entropy: logits must be one row of classes per label, got shape"),
        (lambda: soft_cross_entropy(jnp.zeros((3, 2)), jnp.zeros(3)), ValueError,
         r"soft_cross_entropy: shapes must be equal, got logits \(3, 2\), targets \(3,\)"),
        (lambda: sigmoid_cross_entropy(jnp.zeros(3), jnp.zeros((3, 1))), ValueError,
         r"sigmoid_cross_entropy: shapes must be equal, got logits \(3,\), targets \(3, 1\)"),
        (lambda: sigmoid_cross_entropy(jnp.zeros(3), jnp.zeros(3, bool)), TypeError,
         "sigmoid_cross_entropy: targets must be real numbers, got bool"),
    ],
)  # fmt: skip
def test_wrong_arguments_are_refused(as_users_run_it, call, error, words):
    with pytest.raises(error, match=words):
        call()


# From probabilities


def test_nll_of_what_was_ruled_out_is_infinite_with_a_finite_slope():
    scores = jnp.array([[-inf, 0.0], [0.0, -inf]])
    value, slope = jax.vmap(jax.value_and_grad(nll))(scores, jnp.zeros(2, jnp.int32))
    assert value.tolist() == [inf, 0]
    assert slope.tolist() == [[-1, 0], [-1, 0]]
    assert jnp.isnan(nll(scores, jnp.array([0, -1]), reduction="none")).tolist() == [False, True]


def test_binary_cross_entropy_at_certainty():
    p, t = jnp.array([0.0, 1.0, 0.0, 1.0, 0.0]), jnp.array([0.0, 1.0, 1.0, 0.0, 0.3])
    at = jax.value_and_grad(binary_cross_entropy)
    value, slope = jax.vmap(at)(p, t)
    assert value.tolist() == [0, 0, inf, inf, inf]
    close(slope, [1, -1, 0, 0, 0.7])
    assert jnp.isfinite(jax.vmap(jax.grad(jax.grad(binary_cross_entropy)))(p, t)).all()


def test_binary_cross_entropy_of_small_probabilities():
    p = jnp.array([1e-37, 1e-20, 1e-7, 0.9999999])
    t = jnp.array([1.0, 0.0, 0.0, 1.0])
    value, slope = jax.vmap(jax.value_and_grad(binary_cross_entropy))(p, t)
    exact = np.asarray(p, np.float64)
    close(value, np.where(t == 1, -np.log(exact), -np.log1p(-exact)))
    close(slope, np.where(t == 1, -1 / exact, 1 / (1 - exact)))


def test_smooth_labels_are_those_of_optax_and_of_the_option():
    labels, logits = jnp.array([2, 0, 1]), jax.random.normal(jax.random.key(0), (3, 4))
    targets = smooth_labels(jax.nn.one_hot(labels, 4), 0.3)
    close(targets, optax.smooth_labels(jax.nn.one_hot(labels, 4), 0.3), rtol=1e-6)
    close(
        soft_cross_entropy(logits, targets),
        softmax_cross_entropy(logits, labels, label_smoothing=0.3),
        rtol=1e-6,
    )
    assert smooth_labels(jnp.eye(3, dtype=jnp.bfloat16), 0.1).dtype == jnp.float32
