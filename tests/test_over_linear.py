"""Any loss on logits, fused; and the plans by which logits are divided."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxloss import classification, fenchel_young, kernels, noise
from jaxloss.kernels import Plan, over_linear, plans
from jaxloss.kernels.plans import Layer, fitted, needed_bytes
from tests.kernels import (
    BIAS,
    HIDDEN,
    KERNEL,
    LABELS,
    TOKENS,
    VOCABULARY,
    WEIGHTS,
    agree,
    dense_logits,
    in_double,
    products,
    quick,
)

TARGETS = jax.nn.softmax(2 * jax.random.normal(jax.random.key(8), (TOKENS, VOCABULARY)))
CASES = {
    "softmax cross-entropy": (classification.softmax_cross_entropy, LABELS, {}),
    "soft cross-entropy": (classification.soft_cross_entropy, TARGETS, {}),
    "taylor": (noise.taylor_cross_entropy, LABELS, {"terms": 3}),
    "sparsemax": (fenchel_young.sparsemax, LABELS, {}),
    "focal": (classification.softmax_focal, LABELS, {"gamma": 1.5}),
}


@pytest.mark.parametrize("case", CASES)
def test_a_fused_loss_is_that_of_the_logits(case):
    loss, truth, options = CASES[case]

    def expected(hidden, kernel, bias, truth, weights):
        def mean(hidden, kernel, bias):
            none = loss(dense_logits(hidden, kernel, bias), truth, reduction="none", **options)
            return (weights * none).sum() / weights.sum(), none

        return jax.value_and_grad(mean, (0, 1, 2), has_aux=True)(hidden, kernel, bias)

    @quick
    def found(hidden, kernel, bias, truth, weights):
        fused = functools.partial(over_linear(loss), plan=Plan(tokens=8), **options)

        def mean(hidden, kernel, bias):
            return fused(hidden, kernel, truth, bias=bias, weights=weights)

        none = fused(hidden, kernel, truth, bias=bias, reduction="none")
        return jax.value_and_grad(mean, (0, 1, 2))(hidden, kernel, bias), none

    arguments = (HIDDEN, KERNEL, BIAS, truth, WEIGHTS)
    (mean, losses), slopes = in_double(expected, *arguments)
    (value, gradient), none = found(*arguments)
    agree((value, none), (mean, losses), 1e-6)
    agree(gradient, slopes)


def test_arrays_and_options_have_gradients_too():
    def loss(logits, targets, *, scale, reduction):
        assert reduction == "none"
        return scale * classification.soft_cross_entropy(logits, targets, reduction=reduction) ** 2

    def expected(targets, scale, hidden, kernel):
        return loss(dense_logits(hidden, kernel), targets, scale=scale, reduction="none").mean()

    @quick
    def found(targets, scale):
        fused = functools.partial(over_linear(loss), plan=Plan(tokens=8))
        mean = jax.grad(lambda t, s: fused(HIDDEN, KERNEL, t, scale=s), (0, 1))
        none = jax.grad(
            lambda t, s: fused(HIDDEN, KERNEL, t, scale=s, reduction="none").mean(), (0, 1)
        )
        return mean(targets, scale), none(targets, scale)

    scale = jnp.array(1.5)
    slopes = in_double(jax.grad(expected, (0, 1)), TARGETS, scale, HIDDEN, KERNEL)
    for gradient in found(TARGETS, scale):
        agree(gradient, slopes)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_logits_may_be_rewritten_in_place(monkeypatch, dtype):
    """A large tile becomes its gradient, block after block of its rows."""
    monkeypatch.setattr(plans, "BLOCK_BYTES", 1)
    hidden, kernel = HIDDEN[:16].astype(dtype), KERNEL.astype(dtype)
    targets, plan = TARGETS[:16], Plan(dtype=jnp.dtype(dtype).name)

    def loss(logits, targets, *, scale, reduction):
        return scale * classification.soft_cross_entropy(logits, targets, reduction=reduction)

    def mean(hidden, kernel, targets, scale, bias):
        return over_linear(loss)(hidden, kernel, targets, scale=scale, bias=bias, plan=plan)

    def expected(hidden, kernel, targets, scale, bias):
        z = dense_logits(hidden, kernel, bias)
        return loss(z, targets, scale=scale, reduction="none").mean()

    arguments = (hidden, kernel, targets, jnp.array(1.5), BIAS)
    value, gradient = quick(jax.value_and_grad(mean, range(5)))(*arguments)
    exact, slopes = in_double(jax.value_and_grad(expected, range(5)), *arguments)
    agree(value, exact, 1e-6 if dtype == jnp.float32 else 1e-2)
    agree(gradient, slopes, 2e-6 if dtype == jnp.float32 else 2e-2)
    text = str(jax.make_jaxpr(jax.grad(mean))(*arguments))
    assert "dynamic_update_slice" in text


@pytest.mark.parametrize("rows", [16, 19])
def test_wide_logits_exist_a_block_at_a_time(monkeypatch, rows):
    """Those of a bfloat16 model, in float32; rows that are left over are padded."""
    monkeypatch.setattr(plans, "WIDE_BYTES", 1)
    monkeypatch.setattr(plans, "WIDE_TOKENS", 4)
    hidden, kernel = HIDDEN[:rows].astype(jnp.bfloat16), KERNEL.astype(jnp.bfloat16)
    weights = WEIGHTS[:rows].at[-1].set(0.0)

    def loss(logits, targets, *, scale, reduction):
        return scale * classification.soft_cross_entropy(logits, targets, reduction=reduction)

    def mean(hidden, kernel, targets, scale, bias, weights):
        fused = over_linear(loss)
        return fused(hidden, kernel, targets, scale=scale, bias=bias, weights=weights)

    def expected(hidden, kernel, targets, scale, bias, weights):
        each = loss(dense_logits(hidden, kernel, bias), targets, scale=scale, reduction="none")
        return (weights * each).sum() / weights.sum()

    arguments = (hidden, kernel, TARGETS[:rows], jnp.array(1.5), BIAS, weights)
    value, gradient = quick(jax.value_and_grad(mean, range(6)))(*arguments)
    exact, slopes = in_double(jax.value_and_grad(expected, range(6)), *arguments)
    agree((value, *gradient[3:]), (exact, *slopes[3:]), 2e-6)
    agree(gradient[:3], slopes[:3], 5e-3)
    agree(quick(mean)(*arguments), exact, 1e-6)
    text = str(jax.make_jaxpr(jax.grad(mean))(*arguments))
    assert f"bf16[{-(-rows // 4)},4,{VOCABULARY}]" in text


def test_what_is_masked_may_be_anything():
    where = np.arange(TOKENS) % 5 != 3
    hidden = jnp.where(where[:, None], HIDDEN, jnp.nan)
    labels = jnp.where(where, LABELS, -100)
    fused = functools.partial(
        over_linear(classification.softmax_cross_entropy), plan=Plan(tokens=8)
    )

    def mean(hidden, kernel):
        return fused(hidden, kernel, labels, where=where, label_smoothing=0.1)

    value, (dhidden, dkernel) = jax.value_and_grad(mean, (0, 1))(hidden, KERNEL)
    expected, (dkept, dkernel_kept) = jax.value_and_grad(
        lambda h, w: fused(h, w, LABELS[where], label_smoothing=0.1), (0, 1)
    )(HIDDEN[where], KERNEL)
    agree((value, dhidden[where], dkernel), (expected, dkept, dkernel_kept))
    assert (dhidden[~where] == 0).all()


def test_padded_columns_are_not_shown_to_the_loss():
    padded = jnp.pad(KERNEL, ((0, 0), (0, 5)), constant_values=jnp.nan)
    fused = functools.partial(
        over_linear(classification.softmax_cross_entropy), plan=Plan(tokens=8)
    )
    value, slope = jax.value_and_grad(fused, 1)(HIDDEN, padded, LABELS, classes=VOCABULARY)
    agree(value, fused(HIDDEN, KERNEL, LABELS))
    assert (slope[:, VOCABULARY:] == 0).all()


def test_a_sequence_level_loss_is_made_of_fused_parts():
    """Direct preference optimization from log-probabilities, with the gradient of the logits."""
    chosen, rejected = LABELS.reshape(2, 11), LABELS[::-1].reshape(2, 11)

    def dpo(hidden, kernel, score):
        margin = score(hidden, kernel, chosen).sum(-1) - score(2 * hidden, kernel, rejected).sum(-1)
        return jax.nn.softplus(-0.1 * margin).mean()

    def dense(hidden, kernel, labels):
        log_p = jax.nn.log_softmax(hidden @ kernel)
        return jnp.take_along_axis(log_p, labels[..., None], -1)[..., 0]

    fused = functools.partial(kernels.linear_log_probabilities, plan=Plan(tokens=8, columns=64))
    hidden = HIDDEN.reshape(2, 11, -1)
    expected = in_double(jax.value_and_grad(lambda h, w: dpo(h, w, dense), (0, 1)), hidden, KERNEL)
    agree(jax.value_and_grad(dpo, (0, 1))(hidden, KERNEL, fused), expected)


def test_no_product_is_taken_that_is_not_needed():
    fused = functools.partial(over_linear(classification.softmax_focal), plan=Plan(tokens=11))
    assert products(lambda h: fused(h, KERNEL, LABELS), HIDDEN) == 1
    assert products(jax.grad(lambda h: fused(h, KERNEL, LABELS)), HIDDEN) == 2
    assert products(jax.grad(lambda h, w: fused(h, w, LABELS), (0, 1)), HIDDEN, KERNEL) == 3


# Refusals


def zeros(*shape, dtype=jnp.float32):
    return jnp.zeros(shape, dtype)


labels = jnp.zeros(3, jnp.int32)


@pytest.mark.usefixtures("as_users_run_it")
@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda loss: loss(zeros(3, 4), zeros(5, 9), labels), ValueError,
         r"kernel must be one row per feature of hidden, \(4, 9\), got \(5, 9\)"),
        (lambda loss: loss(zeros(3, 4), zeros(4), labels), ValueError,
         r"kernel must be features by classes, got shape \(4,\)"),
        (lambda loss: loss(zeros(3, 4), zeros(4, 9), labels, bias=zeros(4)), ValueError,
         r"bias must be one number per column of kernel, \(9,\), got \(4,\)"),
        (lambda loss: loss(zeros(3, 4), zeros(4, 9), labels[:2]), ValueError,
         r"labels must be one class id per row of hidden, \(3,\), got \(2,\)"),
        (lambda loss: loss(zeros(3, 4), zeros(4, 9), zeros(3)), TypeError,
         "labels must be integers, got float32"),
        (lambda loss: loss(zeros(3, 4, dtype=int), zeros(4, 9), labels), TypeError,
         "hidden must be floating-point, got int32"),
        (lambda loss: loss(zeros(3, 4), zeros(4, 9), labels, classes=10), ValueError,
         r"classes must lie in \[1, 9\], got 10"),
        (lambda loss: loss(zeros(3, 4), zeros(4, 9), labels, reduction="avg"), ValueError,
         "reduction must be 'mean'"),
        (lambda loss: loss(zeros(3, 4), zeros(4, 9), labels, where=zeros(3)), TypeError,
         "where must be boolean"),
        (lambda loss: loss(zeros(3, 4), zeros(4, 9), labels, weights=zeros(2, 3)), ValueError,
         "weights must broadcast"),
        (lambda loss: loss(zeros(3, 4), zeros(4, 9), labels, plan=Plan(tokens=0)), ValueError,
         "plan.tokens must be at least 1, got 0"),
        (lambda loss: loss(zeros(3, 4), zeros(4, 9), labels, memory=10), ValueError,
         r"memory must be at least \d+ bytes for 3 tokens, 4 features and 9 columns, got 10"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("name", ["linear_softmax_cross_entropy", "linear_softmax_focal"])
def test_wrong_arguments_are_refused(name, call, error, words):
    with pytest.raises(error, match=rf"^{name}: .*{words}"):
        call(getattr(kernels, name))


@pytest.mark.usefixtures("as_users_run_it")
def test_a_loss_that_gives_no_number_per_row_is_refused():
    fused = over_linear(lambda z, reduction: z)
    with pytest.raises(ValueError, match=r"loss must return one number per row, \(3,\), got"):
        fused(zeros(3, 4), zeros(4, 9))
    with pytest.raises(ValueError, match=r"arrays\[0\] must have the leading axes of hidden"):
        fused(zeros(3, 4), zeros(4, 9), labels[:2])
    with pytest.raises(ValueError, match="plan must leave rows whole, as a loss sees them, got"):
        fused(zeros(3, 4), zeros(4, 9), plan=Plan(columns=4))
    with pytest.raises(ValueError, match="labels must be given for 'nll', got None"):
        kernels.linear_statistics(zeros(3, 4), zeros(4, 9), wanted=("nll",))
    with pytest.raises(ValueError, match="wanted must be 'log_sum_exp'"):
        kernels.linear_statistics(zeros(3, 4), zeros(4, 9), wanted=("variance",))


# Plans

LLAMA = Layer(tokens=8192, features=4096, vocabulary=128256, item=2, kernel_item=2, wide=4)
GIB = 2**30


def planned(layer, memory=None, plan=None, per_token=False):
    return fitted("loss", layer, plan=plan, memory=memory, per_token=per_token)


@pytest.mark.parametrize(
    ("memory", "plan"),
    [
        (None, Plan()),
        (7 * GIB, Plan()),
        (3 * GIB, Plan()),
        (GIB, Plan(columns=8192)),
        (GIB // 2, Plan(columns=4096)),
        (GIB // 4, Plan(tokens=4096, columns=2048)),
    ],
)
def test_a_plan_is_the_fastest_that_fits(memory, plan):
    found = planned(LLAMA, memory)
    assert found == plan
    if memory is not None:
        assert needed_bytes(LLAMA, found) <= memory


def test_many_tokens_are_divided():
    many = LLAMA._replace(tokens=2**16)
    assert planned(many) == Plan(tokens=2048)
    assert planned(many, 7 * GIB) == Plan(tokens=16384)


def test_small_shapes_are_not_divided():
    small = Layer(tokens=512, features=256, vocabulary=1000, item=4, kernel_item=4, wide=4)
    assert planned(small) == Plan()
    assert planned(small, per_token=True) == Plan()
    assert planned(LLAMA, per_token=True).columns is not None


def test_a_plan_that_does_not_fit_says_what_it_needs():
    with pytest.raises(
        ValueError, match=r"^loss: memory must be at least \d{9} bytes for 8192 tok"
    ):
        planned(LLAMA, 10**6)
    with pytest.raises(ValueError, match=r"memory must be at least \d{10} bytes .* under Plan\("):
        planned(LLAMA, GIB, Plan(tokens=2048))
    assert planned(LLAMA, 4 * GIB, Plan(tokens=2048)) == Plan(tokens=2048)


@pytest.mark.parametrize("share", [1.0, 0.4, 0.2, 0.1])
def test_a_plan_takes_the_memory_it_was_given(share):
    tokens, features, vocabulary = 2048, 64, 8192
    memory = int(share * 4 * tokens * vocabulary)

    def loss(hidden, kernel, labels):
        return kernels.linear_softmax_cross_entropy(hidden, kernel, labels, memory=memory)

    shapes = (
        ((tokens, features), jnp.float32),
        ((features, vocabulary), jnp.float32),
        ((tokens,), jnp.int32),
    )
    types = [jax.ShapeDtypeStruct(shape, dtype) for shape, dtype in shapes]
    step = quick(jax.value_and_grad(loss, (0, 1))).lower(*types).compile()
    analysis = step.memory_analysis()
    assert analysis is not None
    # on a CPU newer XLA stores the terms of sums over classes, which no plan counts
    limit = 1.1 if jax.__version_info__ < (0, 10, 2) else 1.6
    assert analysis.temp_size_in_bytes <= limit * memory
