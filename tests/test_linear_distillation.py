"""Fused distillation is the dense one under every plan, in the memory that is given."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxloss import distillation, partial_distillation
from jaxloss.kernels import Plan
from jaxloss.kernels.linear_distillation import (
    linear_jensen_shannon,
    linear_kl,
    linear_reverse_kl,
    over_two_linear,
)
from tests.kernels import (
    BIAS,
    HIDDEN,
    KERNEL,
    LABELS,
    TOKENS,
    VOCABULARY,
    WEIGHTS,
    agree,
    in_double,
    products,
    quick,
)

keys = jax.random.split(jax.random.key(7), 3)
TEACHER = jax.random.normal(keys[0], (TOKENS, 9))
TAUGHT = 0.7 * jax.random.normal(keys[1], (9, VOCABULARY))
TILT = jax.random.normal(keys[2], (VOCABULARY,))
PLANS = {"whole": Plan(), "tokens": Plan(tokens=8)}
CASES = {
    "kl": (linear_kl, distillation.kl, {"temperature": 1.7}),
    "reverse": (linear_reverse_kl, distillation.reverse_kl, {"temperature": 0.6}),
    "jensen_shannon": (linear_jensen_shannon, distillation.jensen_shannon, {"teacher_share": 0.3}),
}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("classes", [None, 150])
def test_is_the_loss_of_both_logits(case, classes):
    """Value and the gradient in all six arrays."""
    fused, dense, options = CASES[case]
    arrays = (HIDDEN, KERNEL, TEACHER, TAUGHT, BIAS, TILT)
    every = tuple(range(6))

    def expected(weights, *arrays):
        def mean(hidden, kernel, teacher, taught, bias, tilt):
            student = (hidden @ kernel + bias[None])[:, :classes]
            told = (teacher @ taught + tilt[None])[:, :classes]
            return dense(student, told, weights=weights, **options)

        return jax.value_and_grad(mean, every)(*arrays)

    @quick
    def found(*arrays):
        def mean(hidden, kernel, teacher, taught, bias, tilt, plan):
            return fused(
                hidden, kernel, teacher, taught, bias=bias, teacher_bias=tilt, classes=classes,
                plan=plan, weights=WEIGHTS, **options,
            )  # fmt: skip

        return [jax.value_and_grad(mean, every)(*arrays, plan) for plan in PLANS.values()]

    value, slopes = in_double(expected, WEIGHTS, *arrays)
    for total, gradient in found(*arrays):
        agree(total, value, 1e-6)
        agree(gradient, slopes, 5e-6)


@pytest.mark.parametrize("plan", PLANS.values(), ids=PLANS)
def test_what_is_masked_may_be_anything(plan):
    where = np.arange(TOKENS) % 5 != 3
    hidden, teacher = (jnp.where(where[:, None], x, jnp.nan) for x in (HIDDEN, TEACHER))
    mean = functools.partial(linear_kl, where=where, plan=plan)
    value, slopes = jax.value_and_grad(mean, (0, 1))(hidden, KERNEL, teacher, TAUGHT)
    expected, kept = jax.value_and_grad(linear_kl, (0, 1))(
        HIDDEN[where], KERNEL, TEACHER[where], TAUGHT
    )
    agree((value, slopes[0][where], slopes[1]), (expected, *kept))
    assert (slopes[0][~where] == 0).all()
    nothing = jax.grad(functools.partial(linear_kl, where=np.zeros(TOKENS, bool), plan=plan))
    assert (nothing(hidden, KERNEL, teacher, TAUGHT) == 0).all()


def test_any_loss_of_two_logits_and_labels():
    fused = over_two_linear(partial_distillation.decoupled_kl)
    options = {"others_weight": 2.0, "temperature": 1.5, "reduction": "none"}
    for plan in PLANS.values():
        found = fused(HIDDEN, KERNEL, TEACHER, TAUGHT, LABELS, plan=plan, **options)
        dense = partial_distillation.decoupled_kl(
            HIDDEN @ KERNEL, TEACHER @ TAUGHT, LABELS, **options
        )
        agree(found, dense, 5e-6)


def test_a_teacher_that_is_constant_costs_one_product():
    def gradient(plan, *argnums):
        return jax.grad(functools.partial(linear_kl, plan=plan), argnums)

    arguments = (HIDDEN, KERNEL, TEACHER, TAUGHT)
    assert products(gradient(Plan(), 0, 1), *arguments) == 4
    assert products(gradient(Plan(), 0), *arguments) == 3


def test_memory_is_kept_to():
    """Of 2^19 logits each for student and teacher, 2 MiB a tile, no more than what is given."""
    tokens, vocabulary, memory = 256, 2048, 2**21
    shapes = ((tokens, 16), (16, vocabulary), (tokens, 16), (16, vocabulary))
    arrays = [jax.random.normal(keys[i % 3], shape) for i, shape in enumerate(shapes)]

    def temporary(memory):
        loss = functools.partial(linear_jensen_shannon, memory=memory)
        compiled = jax.jit(jax.value_and_grad(loss, (0, 1))).lower(*arrays).compile()
        analysis = compiled.memory_analysis()
        return 0 if analysis is None else analysis.temp_size_in_bytes

    assert temporary(memory) <= memory
    assert temporary(2**27) > 2 * memory


def test_wrong_arguments_are_refused(as_users_run_it):
    with pytest.raises(ValueError, match="teacher_kernel must be one row per feature of teacher"):
        linear_kl(HIDDEN, KERNEL, TEACHER, TAUGHT[:, :5])
    with pytest.raises(ValueError, match="teacher_hidden must be rows like hidden"):
        linear_kl(HIDDEN, KERNEL, TEACHER[:3], TAUGHT)
    with pytest.raises(ValueError, match="plan must leave rows whole"):
        linear_kl(HIDDEN, KERNEL, TEACHER, TAUGHT, plan=Plan(columns=64))
    with pytest.raises(ValueError, match=r"memory must be at least \d+ bytes"):
        linear_kl(HIDDEN, KERNEL, TEACHER, TAUGHT, memory=100)
