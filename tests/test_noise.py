"""Limits and extremes of the cross-entropies that bound what a wrong label can cost."""

import functools

import jax
import jax.numpy as jnp
import mpmath
import numpy as np
import pytest

from jaxloss.losses.classification import sigmoid_cross_entropy
from jaxloss.losses.noise import (
    active_passive,
    bi_tempered_logistic,
    bi_tempered_sigmoid,
    generalized_cross_entropy,
    normalized_cross_entropy,
    poly,
    sigmoid_poly,
    symmetric_cross_entropy,
    taylor_cross_entropy,
)

inf = np.inf
close = functools.partial(np.testing.assert_allclose, rtol=1e-6)
mpmath.mp.dps = 60
LOSSES = [
    generalized_cross_entropy,
    symmetric_cross_entropy,
    poly,
    taylor_cross_entropy,
    normalized_cross_entropy,
    active_passive,
    bi_tempered_logistic,
]
LOGITS = np.array(
    [[0.3, -0.2, 0.1], [9, 0, -1], [30, 1, 0], [-3, 80, 2], [1e4, 0, 1e4 - 9], [5, 5, 5]],
    np.float32,
)


def mp_softmax(z):
    z = [mpmath.mpf(float(x)) for x in z]
    powers = [mpmath.exp(x - max(z)) for x in z]
    return [x / sum(powers) for x in powers]


def cross_entropy(logits, label):
    """Value and slope, to sixty digits and then rounded."""
    p = mp_softmax(logits)
    return float(-mpmath.log(p[label])), [float(x - (c == label)) for c, x in enumerate(p)]


def both(loss, logits, label=0, **options):
    logits = jnp.asarray(logits, jnp.float32)
    return jax.value_and_grad(functools.partial(loss, **options))(logits, jnp.array(label))


# Options at which a loss becomes another, in value and slope


@pytest.mark.parametrize(
    ("loss", "options"),
    [
        (generalized_cross_entropy, {"power": 0.0}),
        (symmetric_cross_entropy, {"forward_weight": 1.0, "reverse_weight": 0.0}),
        (poly, {"linear_weight": 0.0}),
        (bi_tempered_logistic, {"power": 0.0, "tail": 0.0}),
    ],
)
@pytest.mark.parametrize("logits", LOGITS, ids=str)
def test_becomes_the_cross_entropy(loss, options, logits):
    for label in (0, 1, 2):
        value, slope = cross_entropy(logits, label)
        found, gradient = both(loss, logits, label, **options)
        close(found, value, rtol=2e-6, atol=1e-37)
        close(gradient, slope, rtol=2e-6, atol=1e-37)


@pytest.mark.parametrize(
    ("loss", "options"),
    [
        (generalized_cross_entropy, {"power": 1.0}),
        (symmetric_cross_entropy, {"forward_weight": 0.0, "reverse_weight": 1.0}),
        (taylor_cross_entropy, {"terms": 1}),
    ],
)
@pytest.mark.parametrize("logits", LOGITS, ids=str)
def test_becomes_the_probability_of_being_wrong(loss, options, logits):
    for label in (0, 1, 2):
        p = mp_softmax(logits)
        slope = [float(-p[label] * ((c == label) - x)) for c, x in enumerate(p)]
        found, gradient = both(loss, logits, label, **options)
        close(found, float(sum(p[:label] + p[label + 1 :])), rtol=2e-6, atol=1e-37)
        close(gradient, slope, rtol=3e-6, atol=1e-37)


def test_many_terms_are_the_cross_entropy():
    value, slope = cross_entropy(LOGITS[0], 0)
    found, gradient = both(taylor_cross_entropy, LOGITS[0], terms=80)
    close(found, value)
    close(gradient, slope, rtol=3e-6)


@pytest.mark.parametrize("power", [0.0, 1e-6, 1e-3, 0.1, 0.7, 1.0])
def test_the_power_may_be_learnt(power):
    """d/dq of (1 - p^q) / q, which is -log(p)^2 / 2 at q = 0."""
    for logit in (-30.0, -2.0, 1.0, 8.0):
        logits = jnp.array([logit, 0.0])
        n = mpmath.log1p(mpmath.exp(-mpmath.mpf(logit)))
        q = mpmath.mpf(float(np.float32(power)))
        exact = (mpmath.exp(-q * n) * (1 + q * n) - 1) / q**2 if q else -(n**2) / 2
        found = jax.grad(lambda q, z=logits: generalized_cross_entropy(z, jnp.array(0), power=q))
        close(found(power), float(exact), rtol=5e-6)


# The tempered softmax


def exact_bi_tempered(logits, label, power, tail):
    """With the normalizer by bisection to fifty digits."""
    z = [mpmath.mpf(float(x)) for x in logits]
    q, h = mpmath.mpf(power), mpmath.mpf(tail)

    def at(level):
        return [(1 + h * (level + max(z) - x)) ** (-1 / h) for x in z]

    low, high = mpmath.mpf(0), mpmath.mpf(1)
    while sum(at(high)) > 1:
        high *= 2
    for _ in range(220):
        middle = (low + high) / 2
        low, high = (middle, high) if sum(at(middle)) > 1 else (low, middle)
    p = at(low)
    value = (1 - p[label] ** q) / q - (1 - sum(x ** (1 + q) for x in p)) / (1 + q)
    escort = [x ** (1 + h) for x in p]
    escort = [x / sum(escort) for x in escort]
    own = p[label] ** (q - 1)
    outer = [x**q - (own if c == label else 0) for c, x in enumerate(p)]
    # dp_c / dz_k = p_c^(1 + h) (delta_ck - escort_k)
    pull = sum(o * x ** (1 + h) for o, x in zip(outer, p, strict=True))
    slope = [o * x ** (1 + h) - pull * e for o, x, e in zip(outer, p, escort, strict=True)]
    return float(value), [float(x) for x in slope]


@pytest.mark.parametrize("logits", [*LOGITS, [0, 1e4, -1e6]], ids=str)
@pytest.mark.parametrize(("power", "tail"), [(0.25, 0.25), (1.0, 0.125), (0.5, 3.0)])
def test_bi_tempered_keeps_its_digits(logits, power, tail):
    for label in (0, 1, 2):
        value, slope = exact_bi_tempered(logits, label, power, tail)
        found, gradient = both(bi_tempered_logistic, logits, label, power=power, tail=tail)
        close(found, value, rtol=4e-6, atol=1e-37)
        close(gradient, slope, rtol=2e-5, atol=1e-37)


def test_bi_tempered_normalizes_many_classes():
    """Equal logits have p = 1/C, hence a loss that can be written down."""
    classes, q = 50_000, 0.3
    logits, p = jnp.zeros((1, classes)), 1 / classes
    expected = (1 - p**q) / q - (1 - classes * p ** (1 + q)) / (1 + q)
    for tail in (0.0, 0.4, 4.0):
        close(bi_tempered_logistic(logits, jnp.array([7]), power=q, tail=tail), expected, rtol=5e-6)


@pytest.mark.parametrize("tail", [0.0, 1e-6, 1e-3, 0.2, 2.0])
def test_the_tail_may_be_learnt(tail):
    """Against central differences in float64; one-sided at 0, where negative tails are refused."""
    with jax.enable_x64(True):
        logits, label = jnp.array([0.3, -2.0, 1.5]), jnp.array(1)
        at = functools.partial(bi_tempered_logistic, logits, label)
        learn = jax.grad(lambda tail: at(tail=tail))
        step = 1e-5
        if tail > step:
            numeric = (at(tail=tail + step) - at(tail=tail - step)) / (2 * step)
        else:
            numeric = (-3 * at(tail=tail) + 4 * at(tail=tail + step) - at(tail=tail + 2 * step)) / (
                2 * step
            )
        close(learn(tail), numeric, rtol=1e-7)


# Extremes


@pytest.mark.parametrize("loss", LOSSES)
def test_infinite_logits_give_the_limit(loss):
    value, slope = both(loss, [inf, 0, -inf])
    assert value == 0
    assert (slope == 0).all()
    for logits in ([-inf, 0, 0], [inf, inf, 0], [-inf, 0.3, 1], [0.3, -inf, 1], [0, inf, 1]):
        value, slope = both(loss, logits)
        assert not jnp.isnan(value)
        assert jnp.isfinite(slope).all()


@pytest.mark.parametrize("loss", LOSSES)
def test_an_excluded_class_takes_no_part(loss):
    if loss in (normalized_cross_entropy, active_passive):
        pytest.skip("its own cross-entropy is infinite, and in the denominator")
    value, slope = both(loss, [0.4, -inf, 1])
    expected, steep = both(loss, [0.4, 1])
    close(value, expected)
    assert slope[1] == 0
    close(slope[jnp.array([0, 2])], steep)


def test_what_a_wrong_label_costs_is_bounded():
    logits = jnp.array([-1e4, 0.0, 1.0])
    label = jnp.array(0)
    close(generalized_cross_entropy(logits, label, power=0.5), 2)
    close(taylor_cross_entropy(logits, label, terms=3), 1 + 1 / 2 + 1 / 3)
    close(normalized_cross_entropy(logits, label), 1, rtol=2e-4)
    close(bi_tempered_logistic(logits, label, power=0.5, tail=0.0), 2, rtol=0.1)


def test_taylor_refuses_to_have_no_terms():
    with pytest.raises(ValueError, match="taylor_cross_entropy: terms must be at least 1, got 0"):
        taylor_cross_entropy(jnp.zeros((1, 2)), jnp.array([0]), terms=0)


@pytest.mark.parametrize("loss", LOSSES)
def test_a_label_out_of_range_is_nan(loss):
    losses = loss(jnp.zeros((3, 4)), jnp.array([0, 4, -1]), reduction="none")
    assert jnp.isnan(losses).tolist() == [False, True, True]


# Of yes-or-no questions

SCORES = jnp.array([-1e4, -30.0, -2.0, 0.0, 0.5, 9.0, 200.0])


@pytest.mark.parametrize("target", [0.0, 0.3, 1.0])
@pytest.mark.parametrize(
    ("loss", "options"),
    [(sigmoid_poly, {"linear_weight": 0.0}), (bi_tempered_sigmoid, {"power": 0.0, "tail": 0.0})],
)
def test_becomes_the_sigmoid_cross_entropy(loss, options, target):
    targets = jnp.full(SCORES.shape, target)
    at = functools.partial(loss, **options)
    found = jax.vmap(jax.value_and_grad(at))(SCORES, targets)
    expected = jax.vmap(jax.value_and_grad(sigmoid_cross_entropy))(SCORES, targets)
    close(found[0], expected[0], rtol=3e-6, atol=1e-37)
    close(found[1], expected[1], rtol=3e-6, atol=1e-37)


@pytest.mark.parametrize(
    ("loss", "relative", "options"),
    [
        (sigmoid_poly, poly, {"linear_weight": 1.5}),
        (bi_tempered_sigmoid, bi_tempered_logistic, {"power": 0.3, "tail": 0.7}),
    ],
)
def test_two_classes_are_a_yes_or_no(loss, relative, options):
    pairs = jnp.stack([jnp.zeros_like(SCORES), SCORES], -1)
    for target in (0, 1):
        labels, targets = jnp.full(7, target), jnp.full(7, float(target))
        found, steep = jax.value_and_grad(loss)(SCORES, targets, **options)
        expected, slopes = jax.value_and_grad(relative)(pairs, labels, **options)
        close(found, expected)
        close(steep, slopes[:, 1], rtol=3e-6, atol=1e-37)


@pytest.mark.parametrize("loss", [sigmoid_poly, bi_tempered_sigmoid])
def test_infinite_scores_have_finite_slopes(loss):
    for target in (0.0, 0.3, 1.0):
        slope = jax.vmap(jax.grad(loss), (0, None))(jnp.array([-inf, inf]), target)
        assert jnp.isfinite(slope).all()
    assert loss(inf, 1.0) == loss(-inf, 0.0) == 0


def test_active_and_passive_add_up():
    logits, labels = jnp.asarray(LOGITS), jnp.array([0, 1, 2, 0, 1, 2])
    active = active_passive(logits, labels, active_weight=1.0, passive_weight=0.0)
    close(active, normalized_cross_entropy(logits, labels))
    passive = active_passive(logits, labels, active_weight=0.0, passive_weight=1.0)
    close(passive, generalized_cross_entropy(logits, labels, power=1.0))


def test_active_and_passive_do_not_mind_even_noise():
    """Over all labels the loss adds up to a constant: it is symmetric."""
    logits = jnp.tile(jnp.array([0.3, -2.0, 1.5, 0.1]), (4, 1))
    for gamma in (0.0, 1.5):
        total = active_passive(logits, jnp.arange(4), gamma=gamma, reduction="sum")
        close(total, 1 + 3)
