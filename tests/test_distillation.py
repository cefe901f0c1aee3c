"""Limits, extremes and digits of the losses of distillation."""

import functools

import jax
import jax.numpy as jnp
import mpmath
import numpy as np
import pytest

from jaxloss import divergence
from jaxloss.losses import distillation
from jaxloss.losses.distillation import (
    adaptive_kl,
    jensen_shannon,
    kl,
    reverse_kl,
    skew_kl,
    skew_reverse_kl,
    standardized_kl,
    total_variation,
)

inf = np.inf
close = functools.partial(np.testing.assert_allclose, rtol=2e-6)
mpmath.mp.dps = 60
log = mpmath.log

CASES = [
    (kl, {}, lambda s, t: t * log(t / s)),
    (reverse_kl, {}, lambda s, t: s * log(s / t)),
    (skew_kl, {"teacher_share": 0.125}, lambda s, t: t * log(8 * t / (t + 7 * s))),
    (skew_reverse_kl, {"teacher_share": 0.125}, lambda s, t: s * log(8 * s / (t + 7 * s))),
    (
        jensen_shannon,
        {"teacher_share": 0.125},
        lambda s, t: (t * log(8 * t / (t + 7 * s)) + 7 * s * log(8 * s / (t + 7 * s))) / 8,
    ),
    (total_variation, {}, lambda s, t: abs(s - t) / 2),
]
LOSSES = [kl, reverse_kl, standardized_kl, jensen_shannon, skew_kl, skew_reverse_kl, adaptive_kl]
LOSSES += [total_variation]
STUDENT = np.array([2.0, -1.0, 0.5, 0.25], np.float32)
TEACHERS = {
    "equal up to 1e-6": STUDENT + np.array([0, 2e-6, -1e-6, 0], np.float32),
    "equal up to 1e-3 and a shift": STUDENT + np.array([100, 100.001, 99.999, 100], np.float32),
    "alike but for the unlikely": STUDENT + np.array([0, -9, 1e-4, 0], np.float32),
    "unlike": np.array([-1.0, 3.0, 0.5, 0.0], np.float32),
    "opposite": np.array([-40.0, 1.0, 0.5, 0.0], np.float32),
    "sure of the same": np.array([90.0, -1.0, 0.5, 0.0], np.float32),
    "huge": np.array([1e4, 9.99e3, -1e4, 0.0], np.float32),
}


def mp_softmax(z):
    powers = [mpmath.exp(x - max(z)) for x in z]
    return [x / sum(powers) for x in powers]


@pytest.fixture(scope="module", params=CASES, ids=lambda case: case[0].__name__)
def case(request):
    loss, options, term = request.param
    return jax.jit(jax.value_and_grad(functools.partial(loss, **options))), term


@pytest.mark.parametrize("teacher", TEACHERS.values(), ids=TEACHERS)
def test_keeps_its_digits_from_near_to_far(case, teacher):
    """Value and slope to the accuracy of the logits as given."""
    at, term = case
    s, t = ([mpmath.mpf(float(x)) for x in z] for z in (STUDENT, teacher))

    def exact(*logits):
        pairs = zip(mp_softmax(logits), mp_softmax(t), strict=True)
        return sum(term(*pair) for pair in pairs)

    value, slope = at(jnp.asarray(STUDENT), jnp.asarray(teacher))
    close(value, float(exact(*s)), rtol=2e-5)
    units = np.eye(4, dtype=int).tolist()
    expected = np.array([float(mpmath.diff(exact, tuple(s), tuple(n))) for n in units])
    close(slope, expected, rtol=2e-5, atol=1e-6 * np.abs(expected).max())


@pytest.mark.parametrize("loss", LOSSES)
def test_equals_cost_nothing(loss):
    logits = jnp.array([0.3, -inf, 5.0, -2.0])
    for shift in (0.0, 3.0):
        value, slope = jax.value_and_grad(loss)(logits, logits + shift)
        close(value, 0, atol=1e-13)
        close(slope, 0, atol=2e-7)


@pytest.mark.parametrize("loss", [kl, reverse_kl, jensen_shannon, skew_kl, total_variation])
def test_is_the_divergence_of_the_softmaxes(loss):
    student, teacher = jax.random.normal(jax.random.key(0), (2, 5, 4))
    s, t = jax.nn.log_softmax(student), jax.nn.log_softmax(teacher)
    expected = {
        kl: lambda: divergence.reverse_kl(t, s),
        reverse_kl: lambda: divergence.reverse_kl(s, t),
        jensen_shannon: lambda: divergence.jensen_shannon(s, t),
        skew_kl: lambda: divergence.reverse_kl(t, jnp.log(0.1 * jnp.exp(t) + 0.9 * jnp.exp(s))),
        total_variation: lambda: divergence.total_variation(s, t),
    }[loss]()
    close(loss(student, teacher), expected, rtol=1e-5)


def test_a_high_temperature_compares_logits():
    student, teacher = jnp.array([[1.0, 2.0, -3.0, 0.5]]), jnp.array([[0.0, 1.0, 1.0, -1.0]])
    apart = np.asarray(teacher - student)
    for loss in (kl, reverse_kl):
        found = loss(student, teacher, temperature=1e4)
        close(found, apart.var() / 2, rtol=1e-3)


def test_standardized_logits_may_have_any_size():
    logits = jnp.array([1.0, 2.0, 4.0, -1.0])
    for other in (3 * logits - 7, 1e30 * logits, 1e-30 * logits):
        close(standardized_kl(logits, other), 0, atol=1e-12)
    excluded = jnp.array([1.0, 2.0, 4.0, -inf])
    expected = standardized_kl(excluded[:3], logits[:3])
    close(reverse_kl(*(jnp.array([-1.0, 0.5, -inf]), jnp.array([-1.0, 0.5, 2.0]))), 0.9, atol=1)
    close(standardized_kl(excluded, jnp.append(logits[:3], -inf)), expected)
    flat = jax.grad(standardized_kl)(jnp.ones(4), logits)
    assert (flat == 0).all()


def test_the_head_is_the_fewest_that_reach_the_mass():
    """Of 0.5, 0.3, 0.2: the first alone at 0.5, the first two just above."""
    teacher, student = jnp.log(jnp.array([0.5, 0.3, 0.2])), jnp.log(jnp.array([0.3, 0.3, 0.4]))
    forward, reverse = kl(student, teacher), reverse_kl(student, teacher)
    close(adaptive_kl(student, teacher, head_mass=0.4), (forward + reverse) / 2)
    close(adaptive_kl(student, teacher, head_mass=0.9), forward)
    close(adaptive_kl(student, teacher, head_mass=0.0), reverse)
    s, t, expected = jnp.array([0.2, 0.3, 0.5]), jnp.array([0.6, 0.3, 0.1]), 0.5
    slope = jax.grad(adaptive_kl)(jnp.log(s), jnp.log(t))
    both = [jax.grad(loss)(jnp.log(s), jnp.log(t)) for loss in (kl, reverse_kl)]
    close(slope, expected * (both[0] + both[1]), rtol=1e-5, atol=1e-7)


APART = jnp.array([[0.0, -inf, -inf], [-inf, 0.0, 0.0]])


@pytest.mark.parametrize(
    ("loss", "expected"),
    [
        (kl, inf),
        (reverse_kl, inf),
        (skew_kl, np.log(10)),
        (skew_reverse_kl, np.log(10)),
        (jensen_shannon, np.log(2)),
        (total_variation, 1),
    ],
)
def test_classes_that_only_one_of_them_excludes(loss, expected):
    for student, teacher in (APART, APART[::-1]):
        value, slope = jax.value_and_grad(loss)(student, teacher)
        close(value, expected)
        if np.isfinite(expected):
            assert jnp.isfinite(slope).all()
    finite = jnp.array([0.0, 1.0, 2.0])
    assert jnp.isfinite(kl(finite, APART[0]))
    assert jnp.isfinite(reverse_kl(APART[0], finite))


def test_wrong_arguments_are_refused(as_users_run_it):
    with pytest.raises(ValueError, match="kl: shapes must be equal, got student_logits"):
        distillation.kl(jnp.zeros((3, 2)), jnp.zeros((3, 1)))
