"""Limits and extremes of the divergences between distributions."""

import functools

import jax
import jax.numpy as jnp
import mpmath
import numpy as np
import pytest

from jaxloss.losses.classification import kl, softmax_cross_entropy
from jaxloss.losses.divergence import (
    augmix,
    chi_squared,
    forward_kl,
    hellinger,
    jensen_shannon,
    reverse_kl,
    total_variation,
)

inf = np.inf
close = functools.partial(np.testing.assert_allclose, rtol=1e-6)
mpmath.mp.dps = 60
log = mpmath.log


def jensen_shannon_term(q, t, share):
    m = share * t + (1 - share) * q
    return share * t * log(t / m) + (1 - share) * q * log(q / m)


TERMS = [
    (forward_kl, {}, lambda q, t: t * log(t / q) - t + q),
    (reverse_kl, {}, lambda q, t: q * log(q / t) - q + t),
    (jensen_shannon, {}, lambda q, t: jensen_shannon_term(q, t, mpmath.mpf(1) / 2)),
    (
        jensen_shannon,
        {"target_share": 0.125},
        lambda q, t: jensen_shannon_term(q, t, mpmath.mpf(1) / 8),
    ),
    (total_variation, {}, lambda q, t: abs(q - t) / 2),
    (hellinger, {}, lambda q, t: (mpmath.sqrt(q) - mpmath.sqrt(t)) ** 2 / 2),
    (chi_squared, {}, lambda q, t: (q - t) ** 2 / q),
]
LOSSES = [forward_kl, reverse_kl, jensen_shannon, total_variation, hellinger, chi_squared]
PAIRS = [(-1, -1.0001), (-1, -1.3), (-2, -0.4), (-0.1, -15), (-15, -0.1), (-3, -40), (-40, -3)]


@pytest.mark.parametrize(("loss", "options", "term"), TERMS)
def test_a_term_keeps_its_digits_from_near_to_far(loss, options, term):
    """Value and both slopes of a single term, where the logarithms are exact as given."""
    at = jax.value_and_grad(functools.partial(loss, **options), argnums=(0, 1))
    for pair in PAIRS:
        log_q, log_t = (mpmath.mpf(float(np.float32(x))) for x in pair)

        def exact(x, y):
            return term(mpmath.exp(x), mpmath.exp(y))

        value, slopes = at(*(jnp.array([x], jnp.float32) for x in pair))
        close(value, float(exact(log_q, log_t)), rtol=2e-5, atol=1e-37)
        expected = [float(mpmath.diff(exact, (log_q, log_t), n)) for n in ((1, 0), (0, 1))]
        size = np.exp(max(pair))
        close(np.squeeze(slopes), expected, rtol=2e-5, atol=2e-7 * size)


@pytest.mark.parametrize("loss", LOSSES)
def test_equal_distributions_cost_nothing(loss):
    p = jnp.array([0.25, 0.75, 0.0])
    value, slope = jax.value_and_grad(loss)(jnp.log(p), jnp.log(p))
    assert value == 0
    assert (slope == 0).all()


@pytest.mark.parametrize(
    ("loss", "options", "factor"),
    [
        (forward_kl, {}, 1),
        (reverse_kl, {}, 1),
        (jensen_shannon, {"target_share": 0.25}, 0.25 * 0.75),
        (hellinger, {}, 1 / 4),
        (chi_squared, {}, 2),
    ],
)
def test_the_curvature_between_equals_is_fishers(loss, options, factor):
    p = jnp.array([0.25, 0.75, 0.0])
    found = jax.hessian(functools.partial(loss, **options))(jnp.log(p), jnp.log(p))
    close(found, factor * np.diag(p), atol=1e-7)


EXCLUDED = jnp.array([-inf, np.log(0.5), np.log(0.5)])
INCLUDED = jnp.log(jnp.array([0.5, 0.25, 0.25]))
APART = jnp.array([0.0, -inf, -inf])


@pytest.mark.parametrize(
    ("loss", "options", "from_included", "from_excluded", "from_apart"),
    [
        (forward_kl, {}, np.log(2), inf, inf),
        (reverse_kl, {}, inf, np.log(2), inf),
        (jensen_shannon, {}, 0.215762, 0.215762, np.log(2)),
        (total_variation, {}, 0.5, 0.5, 1),
        (hellinger, {}, 1 - np.sqrt(0.5), 1 - np.sqrt(0.5), 1),
        (chi_squared, {}, 1, inf, inf),
    ],
)
def test_impossible_events(loss, options, from_included, from_excluded, from_apart):
    """Target (0, 1/2, 1/2) from (1/2, 1/4, 1/4), the converse, and from (1, 0, 0)."""
    at = jax.value_and_grad(functools.partial(loss, **options))
    for q, t, expected in (
        (INCLUDED, EXCLUDED, from_included),
        (EXCLUDED, INCLUDED, from_excluded),
        (APART, EXCLUDED, from_apart),
    ):
        value, slope = at(q, t)
        close(value, expected, rtol=3e-6)
        if np.isfinite(expected):
            assert jnp.isfinite(slope).all()


def test_jensen_shannon_lies_between_both_directions():
    q = jax.nn.log_softmax(jax.random.normal(jax.random.key(0), (5, 4)))
    t = jax.nn.log_softmax(jax.random.normal(jax.random.key(1), (5, 4)))
    each = functools.partial(jensen_shannon, reduction="none")
    close(each(q, t), each(t, q), rtol=5e-6)
    close(each(q, t, target_share=0.3), each(t, q, target_share=0.7), rtol=5e-6)
    reverse = functools.partial(reverse_kl, reduction="none")
    close(each(q, t, target_share=1 - 1e-4) / 1e-4, reverse(q, t), rtol=3e-3)
    close(each(q, t, target_share=1e-4) / 1e-4, reverse(t, q), rtol=3e-3)


def test_wrong_arguments_are_refused(as_users_run_it):
    with pytest.raises(ValueError, match="hellinger: shapes must be equal, got log_probabilities"):
        hellinger(jnp.zeros((3, 2)), jnp.zeros((3, 1)))
    with pytest.raises(TypeError, match="reverse_kl: log_probabilities must be floating-point"):
        reverse_kl(jnp.zeros((3, 2), int), jnp.zeros((3, 2)))


def test_forward_kl_is_the_same_from_logarithms():
    q = jax.nn.log_softmax(jax.random.normal(jax.random.key(0), (5, 4)))
    t = jax.nn.log_softmax(jax.random.normal(jax.random.key(1), (5, 4)))
    close(forward_kl(q, t), kl(q, jnp.exp(t)))
    close(forward_kl(q, t), reverse_kl(t, q))


def test_augmix_is_the_mean_divergence_of_two_views():
    logits = jax.random.normal(jax.random.key(5), (3, 2, 4))
    labels = jnp.array([0, 3, 1])
    logs = jax.nn.log_softmax(logits)
    expected = softmax_cross_entropy(logits[:, 0], labels) + 2 * jensen_shannon(
        logs[:, 0], logs[:, 1]
    )
    np.testing.assert_allclose(augmix(logits, labels, scale=2.0), expected, rtol=1e-6)


def test_augmix_of_nearly_equal_excluding_and_sure_views():
    near, label = jnp.array([0.3, -1.0, 2.0]), jnp.array(2)
    views = jnp.stack([near, near + jnp.array([1e-3, 0, 0]), near])

    def apart(views):
        return jax.grad(lambda scale: augmix(views, label, scale=scale))(1.0)

    found = apart(views)
    with jax.enable_x64(True):
        close(found, apart(views.astype(float)), rtol=1e-3)
    wild = jnp.array([[0.0, -inf, 0.0], [1e4, -inf, 0.0], [-inf, -inf, 100.0]])
    value, slope = jax.value_and_grad(augmix)(wild, jnp.array(0))
    assert jnp.isfinite(value)
    assert jnp.isfinite(slope).all()
