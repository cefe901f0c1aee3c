"""Limits and extremes of the families of divergences."""

import functools

import jax
import jax.numpy as jnp
import mpmath
import numpy as np
import pytest

from jaxloss.losses.power_divergence import (
    alpha,
    beta,
    generalized_kl,
    itakura_saito,
    renyi,
)

inf = np.inf
close = functools.partial(np.testing.assert_allclose, rtol=1e-6)
mpmath.mp.dps = 60
log = mpmath.log
ORDERS = [-1.5, 0.0, 0.5, 0.75, 1.0, 1.25, 2.0, 6.0]
PAIRS = [(-1, -1.0001), (-1, -1.3), (-2, -0.4), (-0.1, -15), (-15, -0.1), (-3, -40), (2, 9)]


def alpha_term(q, t, a):
    """For distributions that need not be normalized."""
    if a == 1:
        return t * log(t / q) - t + q
    if a == 0:
        return q * log(q / t) - q + t
    return (t**a * q ** (1 - a) - a * t - (1 - a) * q) / (a * (a - 1))


def beta_term(p, t, b):
    if b == 1:
        return t * log(t / p) - t + p
    if b == 0:
        return t / p - log(t / p) - 1
    return (t**b + (b - 1) * p**b - b * t * p ** (b - 1)) / (b * (b - 1))


@pytest.mark.parametrize(("loss", "term"), [(alpha, alpha_term), (beta, beta_term)])
def test_a_term_keeps_its_digits_from_near_to_far(loss, term):
    """Value and both slopes of a single term, where the logarithms are exact as given."""

    @jax.jit
    @functools.partial(jax.vmap, in_axes=(0, 0, None))
    @functools.partial(jax.value_and_grad, argnums=(0, 1))
    def at(predicted, actual, order):
        return loss(predicted[None], actual[None], order=order)

    predicted, actual = np.array(PAIRS, np.float32).T
    for order in ORDERS:
        values, slopes = at(predicted, actual, order)
        for i, pair in enumerate(zip(predicted, actual, strict=True)):
            point = [mpmath.mpf(float(x)) for x in pair]

            def exact(x, y, order=order):
                return term(mpmath.exp(x), mpmath.exp(y), mpmath.mpf(order))

            value = float(exact(point[0], point[1]))
            if value > 1e38:
                assert values[i] == inf
                continue
            close(values[i], value, rtol=3e-5, atol=1e-37)
            for slope, n in zip(slopes, [(1, 0), (0, 1)], strict=True):
                expected = float(mpmath.diff(exact, point, n))
                close(slope[i], expected, rtol=3e-5, atol=3e-7 * value)


@pytest.mark.parametrize("loss", [alpha, renyi, beta])
def test_the_order_may_be_learnt(loss):
    """Also at 0 and 1, where the formula is 0/0: against differences of the exact formula."""
    with jax.enable_x64(True):
        predicted = jax.nn.log_softmax(jnp.array([0.0, 1.2, -1.0, 0.3]))
        actual = jax.nn.log_softmax(jnp.array([3.5, 0.0, -1.1, 0.3]))
        pairs = [
            [mpmath.mpf(float(x)) for x in pair] for pair in zip(predicted, actual, strict=True)
        ]

        def exact(order):
            terms = [[mpmath.exp(x) for x in pair] for pair in pairs]
            if loss is beta:
                return sum(beta_term(p, t, order) for p, t in terms) / len(terms)
            if loss is alpha:
                return sum(alpha_term(q, t, order) for q, t in terms)
            excess = sum(alpha_term(q, t, order) for q, t in terms)
            return log(1 + order * (order - 1) * excess) / (order - 1)

        at = jax.jit(jax.value_and_grad(lambda order: loss(predicted, actual, order=order)))
        step = mpmath.mpf("1e-20")
        for order in (0.0, 1e-6, 0.5, 1 - 1e-6, 1.0, 1 + 1e-6, 2.0):
            if loss is renyi and order < 0.5:
                continue
            ahead, behind = (exact(mpmath.mpf(order) + s) for s in (step, -step))
            value, slope = at(order)
            close(value, float((ahead + behind) / 2), rtol=1e-11)
            close(slope, float((ahead - behind) / (2 * step)), rtol=1e-9)


def test_renyi_keeps_its_digits_from_near_to_far():
    at = jax.jit(lambda q, t, order: renyi(q, t, order=order))
    for apart in (1e-3, 0.3, 3.0, 60.0, 300.0):
        log_q = jax.nn.log_softmax(jnp.array([0.0, apart, -1.0]))
        log_t = jax.nn.log_softmax(jnp.array([apart, 0.0, -1.0]))
        q, t = ([mpmath.exp(mpmath.mpf(float(x))) for x in array] for array in (log_q, log_t))
        for order in (0.25, 0.9375, 1.0, 1.0625, 2.0, 5.0):
            a = mpmath.mpf(order)
            # Rounded to float32, neither sums to one; the loss asks for divergence, not for mass.
            excess = sum(alpha_term(x, y, a) for x, y in zip(q, t, strict=True))
            total = 1 + a * (a - 1) * excess
            exact = excess if order == 1 else log(total) / (a - 1)
            close(at(log_q, log_t, order), float(exact), rtol=2e-5)


def test_one_divergence_is_another():
    q = jax.nn.log_softmax(jax.random.normal(jax.random.key(0), (5, 4)))
    t = jax.nn.log_softmax(jax.random.normal(jax.random.key(1), (5, 4)))
    each = functools.partial(functools.partial, reduction="none")
    close(each(alpha)(q, t, order=0.25), each(alpha)(t, q, order=0.75), rtol=5e-6)
    close(each(beta)(q, t, order=0.0), each(itakura_saito)(q, t), rtol=5e-6)
    close(each(beta)(q, t, order=1.0), each(generalized_kl)(q, t), rtol=5e-6)
    close(each(beta)(q, t, order=2.0), (jnp.exp(q) - jnp.exp(t)) ** 2 / 2, rtol=2e-5)


@pytest.mark.parametrize("loss", [alpha, renyi])
def test_equal_distributions_cost_nothing(loss):
    p = jnp.array([0.25, 0.75, 0.0])
    value, slope = jax.value_and_grad(loss)(jnp.log(p), jnp.log(p))
    assert value == 0
    assert (slope == 0).all()
    at = functools.partial(loss, order=1.75)
    factor = 1.75 if loss is renyi else 1
    close(jax.hessian(at)(jnp.log(p), jnp.log(p)), factor * np.diag(p), atol=1e-7)


EXCLUDED = jnp.array([-inf, np.log(0.5), np.log(0.5)])
INCLUDED = jnp.log(jnp.array([0.5, 0.25, 0.25]))
APART = jnp.array([0.0, -inf, -inf])


@pytest.mark.parametrize(
    ("loss", "order", "from_included", "from_excluded", "from_apart"),
    [
        (alpha, 0.5, 4 * (1 - np.sqrt(0.5)), 4 * (1 - np.sqrt(0.5)), 4),
        (alpha, 1.0, np.log(2), inf, inf),
        (alpha, 0.0, inf, np.log(2), inf),
        (alpha, 2.0, 0.5, inf, inf),
        (renyi, 0.5, np.log(2), np.log(2), inf),
        (renyi, 1.0, np.log(2), inf, inf),
        (renyi, 2.0, np.log(2), inf, inf),
    ],
)
def test_impossible_events(loss, order, from_included, from_excluded, from_apart):
    """Target (0, 1/2, 1/2) from (1/2, 1/4, 1/4), the converse, and from (1, 0, 0)."""
    at = jax.value_and_grad(functools.partial(loss, order=order))
    for q, t, expected in (
        (INCLUDED, EXCLUDED, from_included),
        (EXCLUDED, INCLUDED, from_excluded),
        (APART, EXCLUDED, from_apart),
    ):
        value, slope = at(q, t)
        close(value, expected, rtol=3e-6)
        if np.isfinite(expected):
            assert jnp.isfinite(slope).all()


def test_a_target_of_zero():
    at = (jnp.array([0.7]), jnp.array([-inf]))
    value, slope = jax.value_and_grad(generalized_kl)(*at)
    close([value, *slope], [np.exp(0.7), np.exp(0.7)])
    assert itakura_saito(*at) == inf
    close(beta(*at, order=2.0), np.exp(1.4) / 2)


def test_wrong_arguments_are_refused(as_users_run_it):
    with pytest.raises(ValueError, match="beta: shapes must be equal, got log_predictions"):
        beta(jnp.zeros((3, 2)), jnp.zeros((3, 1)))
    with pytest.raises(TypeError, match="renyi: log_probabilities must be floating-point"):
        renyi(jnp.zeros((3, 2), int), jnp.zeros((3, 2)))
