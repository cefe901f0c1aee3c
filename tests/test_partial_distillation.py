"""What is left of distillation without a whole distribution to match."""

import functools

import jax
import jax.numpy as jnp
import mpmath
import numpy as np
import pytest

from jaxloss import distillation
from jaxloss.losses.partial_distillation import (
    decoupled_kl,
    margin_squared,
    top_k_kl,
    universal,
)

inf = np.inf
close = functools.partial(np.testing.assert_allclose, rtol=2e-6)
mpmath.mp.dps = 60
STUDENT = 2 * jax.random.normal(jax.random.key(0), (5, 6))
TEACHER = 2 * jax.random.normal(jax.random.key(1), (5, 6))


def top(logits, k):
    return jax.lax.top_k(jax.nn.log_softmax(logits), k)


def test_all_classes_kept_is_the_whole_divergence():
    expected = distillation.kl(STUDENT, TEACHER, reduction="none")
    close(top_k_kl(STUDENT, *top(TEACHER, 6), reduction="none"), expected, rtol=1e-5)


def test_the_more_is_kept_the_more_is_seen():
    losses = [top_k_kl(STUDENT, *top(TEACHER, k)) for k in range(1, 7)]
    assert (np.diff(losses) >= 0).all()


def test_a_tail_of_the_same_shape_costs_nothing_more():
    teacher = STUDENT.at[:, 0].add(3.0)
    labels = jnp.zeros((5, 1), int)
    kept = jax.nn.log_softmax(teacher)[:, :1]
    close(top_k_kl(STUDENT, kept, labels), distillation.kl(STUDENT, teacher), rtol=1e-5)


def test_the_tail_of_a_sure_teacher_keeps_its_digits():
    """Probabilities of 1 - 1e-9 and 1e-9: neither a difference from one nor a rounded sum."""
    kept, labels = jnp.array([-1e-9]), jnp.array([0])
    student = jnp.array([40.0, 1.0, 0.0])
    p = mpmath.exp(mpmath.mpf(float(kept[0])))
    z = [mpmath.mpf(float(x)) for x in student]
    q = 1 / (1 + mpmath.exp(z[1] - z[0]) + mpmath.exp(z[2] - z[0]))
    expected = p * mpmath.log(p / q) + (1 - p) * mpmath.log((1 - p) / (1 - q))
    value, slope = jax.value_and_grad(top_k_kl)(student, kept, labels)
    close(value, float(expected), rtol=1e-5)
    close(slope[0], float(q - p), rtol=1e-5)


def test_what_neither_knows_costs_nothing():
    """The rest of a teacher is lost in rounding, and the student excludes it."""
    teacher = jnp.array([0.3, 0.1, -0.2, -0.4, -inf, -inf])
    student = jnp.array([0.1, 0.3, -0.2, -0.4, -inf, -inf])
    value, slope = jax.value_and_grad(top_k_kl)(student, *top(teacher, 4))
    close(value, distillation.kl(student, teacher), rtol=1e-5)
    close(slope, jax.grad(distillation.kl)(student, teacher), atol=1e-7)
    known = top_k_kl(student, *top(teacher, 3))
    assert jnp.isfinite(known)
    assert top_k_kl(student, *top(jnp.zeros(6), 4)) == inf


def test_a_kept_class_out_of_range_is_nan():
    kept, labels = top(TEACHER, 2)
    losses = top_k_kl(STUDENT, kept, labels.at[1, 1].set(6).at[2, 0].set(-1), reduction="none")
    assert jnp.isnan(losses).tolist() == [False, True, True, False, False]


def test_decoupled_halves_make_the_whole():
    """Weighted with one and with what the teacher gives to the others."""
    labels = jnp.arange(5)
    for s, t, y in zip(STUDENT, TEACHER, labels, strict=True):
        rest = 1 - jax.nn.softmax(t / 2.0)[y]
        found = decoupled_kl(s, t, y, others_weight=rest, temperature=2.0)
        close(found, distillation.kl(s, t, temperature=2.0), rtol=1e-5)


def test_a_sure_teacher_still_tells_of_the_others():
    student, teacher = jnp.array([90.0, 1.0, 0.0]), jnp.array([100.0, 0.0, 1.0])
    value, slope = jax.value_and_grad(decoupled_kl)(student, teacher, 0, temperature=1.0)
    p = 1 / (1 + np.exp(-1))
    close(value, 8 * (2 * p - 1), rtol=1e-5)
    close(slope, [0, 8 * (2 * p - 1), -8 * (2 * p - 1)], rtol=1e-5, atol=1e-7)


def test_decoupled_of_infinite_logits():
    student, teacher = jnp.array([0.0, -inf, 2.0]), jnp.array([1.0, -inf, 0.0])
    at = jax.value_and_grad(functools.partial(decoupled_kl, temperature=1.0))
    value, slope = at(student, teacher, 0)
    expected = distillation.kl(student[::2], teacher[::2])
    close(value, expected)
    assert jnp.isfinite(slope).all()
    value, slope = at(student, teacher, 1)
    close(value, 8 * expected)
    assert jnp.isfinite(slope).all()


def test_names_of_classes_do_not_matter_to_universal():
    shuffled = jax.random.permutation(jax.random.key(2), TEACHER, axis=1)
    close(universal(STUDENT, TEACHER), universal(STUDENT, shuffled))
    close(universal(STUDENT, TEACHER), universal(TEACHER, STUDENT))
    padded = jnp.pad(TEACHER, [(0, 0), (0, 3)], constant_values=-inf)
    close(universal(STUDENT, TEACHER), universal(STUDENT, padded))
    value, slope = jax.value_and_grad(universal)(TEACHER, TEACHER)
    assert value == 0
    assert (slope == 0).all()


def test_scales_of_scores_do_not_matter_to_margins():
    found = margin_squared(jnp.array([5.0]), jnp.array([4.0]), jnp.array([1e3]), jnp.array([999.0]))
    assert found == 0


def test_wrong_arguments_are_refused(as_users_run_it):
    with pytest.raises(ValueError, match="top_k_kl: labels must be the kept classes of each row"):
        top_k_kl(STUDENT, top(TEACHER, 2)[0], top(TEACHER, 2)[1][:3])
    with pytest.raises(ValueError, match="universal: teacher_logits must be rows of classes, one"):
        universal(STUDENT, TEACHER[:3])
