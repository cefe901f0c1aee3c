"""Fused losses are the dense ones under every plan, and logits are made no more than is said."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import logsumexp

from jaxloss import classification, kernels, noise, scoring
from jaxloss.kernels import Plan, over_linear
from tests.kernels import (
    BIAS,
    FEATURES,
    HIDDEN,
    KERNEL,
    LABELS,
    PLANS,
    TOKENS,
    VOCABULARY,
    WEIGHTS,
    agree,
    dense_logits,
    distance,
    in_double,
    products,
    quick,
)

cross_entropy = kernels.linear_softmax_cross_entropy
every_plan = pytest.mark.parametrize("plan", PLANS.values(), ids=PLANS)


# The dense losses are the reference


def cross_entropy_in_numpy(
    hidden, kernel, bias, labels, label_smoothing=0.0, z_loss=0.0, softcap=None, temperature=1.0,
    classes=None,
):  # fmt: skip
    hidden, kernel, bias = (np.asarray(x, np.float64) for x in (hidden, kernel, bias))
    z = (hidden @ kernel + bias)[:, :classes]
    z = z if softcap is None else softcap * np.tanh(z / softcap)
    z = z / temperature
    total, rows = np.asarray(logsumexp(z, -1)), np.arange(len(z))
    loss = total - (1 - label_smoothing) * z[rows, labels] - label_smoothing * z.mean(-1)
    return loss + z_loss * total**2


def with_z_loss(z, labels, *, label_smoothing=None, z_loss=None, **reducing):
    loss = classification.softmax_cross_entropy(
        z, labels, label_smoothing=label_smoothing, reduction="none"
    )
    return loss if z_loss is None else loss + z_loss * jax.nn.logsumexp(z, -1) ** 2


def brier(z, labels, *, reduction):
    return scoring.brier(jax.nn.softmax(z), labels, reduction=reduction)


def confidence_penalty(z, labels, *, entropy_weight, reduction):
    log_p = jax.nn.log_softmax(z)
    entropy = -(jnp.exp(log_p) * log_p).sum(-1)
    nll = classification.softmax_cross_entropy(z, labels, reduction=reduction)
    return nll - entropy_weight * entropy


CASES = {
    "cross entropy": (cross_entropy, with_z_loss, {}),
    "smoothing": (cross_entropy, with_z_loss, {"label_smoothing": 0.1}),
    "z loss": (cross_entropy, with_z_loss, {"z_loss": 0.03}),
    "softcap": (cross_entropy, with_z_loss, {"softcap": 3.0}),
    "temperature": (cross_entropy, with_z_loss, {"temperature": 0.7}),
    "padding": (cross_entropy, with_z_loss, {"label_smoothing": 0.3, "classes": 150}),
    "all": (
        cross_entropy,
        with_z_loss,
        {"label_smoothing": 0.2, "z_loss": 0.01, "softcap": 4.0, "temperature": 1.3},
    ),
    "focal": (kernels.linear_softmax_focal, classification.softmax_focal, {"gamma": 1.7}),
    "poly": (kernels.linear_poly, noise.poly, {"linear_weight": 0.6}),
    "generalized": (
        kernels.linear_generalized_cross_entropy,
        noise.generalized_cross_entropy,
        {"power": 0.4},
    ),
    "brier": (kernels.linear_brier, brier, {"temperature": 2.0, "classes": 150}),
    "confidence": (
        kernels.linear_confidence_penalty,
        confidence_penalty,
        {"entropy_weight": 0.3, "softcap": 4.0, "classes": 150},
    ),
}


def split(options):
    """Those that act on the logits, and those of the loss on them."""
    linking = {k: v for k, v in options.items() if k in ("softcap", "temperature", "classes")}
    return linking, {k: v for k, v in options.items() if k not in linking}


@pytest.mark.parametrize("case", CASES)
def test_a_fused_loss_is_that_of_the_logits(case):
    fused, dense, options = CASES[case]
    labels = LABELS % options.get("classes", VOCABULARY)
    linking, own = split(options)
    plans = PLANS if case == "all" else {k: PLANS[k] for k in ("tokens", "columns")}

    def expected(hidden, kernel, bias, weights):
        def mean(hidden, kernel, bias):
            z = dense_logits(hidden, kernel, bias, **linking)
            loss = dense(z, labels, reduction="none", **own)
            return (weights * loss).sum() / weights.sum(), loss

        return jax.value_and_grad(mean, (0, 1, 2), has_aux=True)(hidden, kernel, bias)

    @quick
    def found(hidden, kernel, bias, weights):
        def mean(hidden, kernel, bias, plan):
            options_ = {"bias": bias, "plan": plan, "weights": weights, **options}
            return fused(hidden, kernel, labels, **options_)

        return [
            jax.value_and_grad(mean, (0, 1, 2))(hidden, kernel, bias, plan)
            for plan in plans.values()
        ]

    (mean, losses), slopes = in_double(expected, HIDDEN, KERNEL, BIAS, WEIGHTS)
    if fused is cross_entropy:
        exact = cross_entropy_in_numpy(HIDDEN, KERNEL, BIAS, np.asarray(labels), **options)
        agree(losses, exact, 1e-7)
    for value, gradient in found(HIDDEN, KERNEL, BIAS, WEIGHTS):
        agree(value, mean, 1e-6)
        agree(gradient, slopes)


@pytest.mark.parametrize("case", ["all", "brier", "confidence"])
def test_a_single_loss_is_that_of_its_logits(case):
    fused, dense, options = CASES[case]
    labels = LABELS % options.get("classes", VOCABULARY)
    linking, own = split(options)

    def expected(hidden, kernel, bias):
        def squares(hidden, kernel, bias):
            z = dense_logits(hidden, kernel, bias, **linking)
            loss = dense(z, labels, reduction="none", **own)
            return (loss**2).sum(), loss

        return jax.grad(squares, (0, 1, 2), has_aux=True)(hidden, kernel, bias)

    @quick
    def found(hidden, kernel, bias):
        def squares(hidden, kernel, bias, plan):
            loss = fused(hidden, kernel, labels, bias=bias, plan=plan, reduction="none", **options)
            return (loss**2).sum(), loss

        plans = PLANS.values()
        return [jax.grad(squares, (0, 1, 2), has_aux=True)(hidden, kernel, bias, p) for p in plans]

    slopes, losses = in_double(expected, HIDDEN, KERNEL, BIAS)
    for gradient, none in found(HIDDEN, KERNEL, BIAS):
        agree(none, losses, 1e-6)
        agree(gradient, slopes)


def test_weights_carry_gradient():
    def total(weights, plan):
        options = {"weights": weights, "plan": plan, "reduction": "sum"}
        return cross_entropy(HIDDEN, KERNEL, LABELS, **options)

    none = cross_entropy(HIDDEN, KERNEL, LABELS, reduction="none")
    for plan in (Plan(tokens=8), Plan(columns=64)):
        agree(jax.grad(total)(WEIGHTS, plan), none)
        agree(total(WEIGHTS, plan), (WEIGHTS * none).sum())


def test_options_are_traced_and_have_gradients():
    """Softcap, temperature, smoothing and the weight of the z loss can be learnt."""
    names = ("label_smoothing", "z_loss", "softcap", "temperature")
    values = jnp.array([0.1, 0.03, 3.0, 0.7])

    def expected(values, hidden, kernel):
        smoothing, z_loss, softcap, temperature = values
        z = dense_logits(hidden, kernel, softcap=softcap, temperature=temperature)
        return with_z_loss(z, LABELS, label_smoothing=smoothing, z_loss=z_loss).mean()

    @quick
    def found(values):
        def loss(values, plan):
            options = dict(zip(names, values, strict=True))
            return cross_entropy(HIDDEN, KERNEL, LABELS, plan=plan, **options)

        return [jax.grad(loss)(values, plan) for plan in PLANS.values()]

    slopes = in_double(jax.grad(expected), values, HIDDEN, KERNEL)
    for slope in found(values):
        agree(slope, slopes)


# Masks, weights, labels


@every_plan
def test_what_is_masked_may_be_anything(plan):
    where = np.arange(TOKENS) % 5 != 3
    hidden = jnp.where(where[:, None], HIDDEN, jnp.nan)
    labels = jnp.where(where, LABELS, -100)

    @quick
    def compute(hidden, labels, kernel):
        def mean(hidden, kernel):
            return cross_entropy(hidden, kernel, labels, where=where, plan=plan)

        none = cross_entropy(hidden, kernel, labels, where=where, plan=plan, reduction="none")
        return jax.value_and_grad(mean, (0, 1))(hidden, kernel), none

    @quick
    def kept(hidden, kernel):
        return jax.value_and_grad(lambda h, w: cross_entropy(h, w, LABELS[where]), (0, 1))(
            hidden, kernel
        )

    (mean, (dhidden, dkernel)), none = compute(hidden, labels, KERNEL)
    expected, (dkept, dkernel_kept) = kept(HIDDEN[where], KERNEL)
    assert (none[~where] == 0).all()
    assert (dhidden[~where] == 0).all()
    agree((mean, dhidden[where], dkernel), (expected, dkept, dkernel_kept))


@every_plan
def test_nothing_selected_is_zero(plan):
    hidden = jnp.full_like(HIDDEN, jnp.nan)
    where = np.zeros(TOKENS, bool)
    value, gradient = quick(
        jax.value_and_grad(
            lambda h, w: cross_entropy(h, w, LABELS - 500, where=where, plan=plan), (0, 1)
        )
    )(hidden, KERNEL)
    assert value == 0
    assert all((g == 0).all() for g in gradient)


@pytest.mark.parametrize("bad", [-1, VOCABULARY, 150])
@every_plan
def test_a_label_out_of_range_is_nan_in_value_and_gradient(plan, bad):
    classes = 150 if bad == 150 else None
    labels = (LABELS % 150).at[1].set(bad)

    @quick
    def compute(hidden):
        loss = functools.partial(cross_entropy, plan=plan, classes=classes)
        none = loss(hidden, KERNEL, labels, reduction="none")
        return none, jax.grad(lambda h: loss(h, KERNEL, labels, reduction="sum"))(hidden)

    none, slope = compute(HIDDEN)
    assert np.flatnonzero(np.isnan(none)).tolist() == [1]
    assert np.flatnonzero(np.isnan(slope).all(-1)).tolist() == [1]


def test_any_leading_axes_will_do():
    shaped = cross_entropy(
        HIDDEN.reshape(2, 11, -1), KERNEL, LABELS.reshape(2, 11), plan=Plan(tokens=8),
        weights=WEIGHTS.reshape(2, 11), reduction="none",
    )  # fmt: skip
    flat = cross_entropy(HIDDEN, KERNEL, LABELS, weights=WEIGHTS, reduction="none")
    agree(shaped.reshape(-1), flat)
    agree(cross_entropy(HIDDEN[3], KERNEL, LABELS[3]), flat[3] / WEIGHTS[3])


# Exact at every extreme


@every_plan
@pytest.mark.parametrize(
    ("logits", "label", "value", "slope"),
    [
        ([25.0, 0.0, 0.0, 0.0], 0, 4.1663831593e-11, [-4.1663831593e-11, 1.3887943865e-11]),
        ([1e4, 9990.0, 0.0, 0.0], 0, 4.5398899e-05, [-4.5397868e-05, 4.5397868e-05]),
        ([1e4, 0.0, 0.0, 0.0], 1, 1e4, [1.0, -1.0]),
        ([0.0, -jnp.inf, 0.0, 0.0], 0, 1.0986122887, [-2 / 3, 0.0]),
        ([2.0, 2.0, 2.0, 2.0], 3, 1.3862943611, [0.25, 0.25]),
    ],
)
def test_digits_are_kept_however_sure_the_model_is(plan, logits, label, value, slope):
    """The bias makes the logits; four columns in parts of one, and slices of one."""
    plan = plan._replace(columns=None if plan.columns is None else 2)

    @quick
    @jax.value_and_grad
    def compute(bias):
        hidden, kernel = jnp.zeros((1, 3)), jnp.zeros((3, 4))
        return cross_entropy(hidden, kernel, jnp.array([label]), bias=bias, plan=plan)

    found, gradient = compute(jnp.array(logits))
    np.testing.assert_allclose(found, value, rtol=2e-6)
    np.testing.assert_allclose(gradient[:2], slope, rtol=2e-6, atol=1e-30)


def test_a_sure_models_brier_score_keeps_its_digits():
    z = jnp.array([[20.0, 0.0, 0.0, 0.0]])
    found = kernels.linear_brier(
        jnp.zeros((1, 1)), jnp.zeros((1, 4)), jnp.array([0]), bias=z[0], reduction="none"
    )
    p = np.exp(-20.0) / (1 + 3 * np.exp(-20.0))
    np.testing.assert_allclose(found, [3 * p**2 + (3 * p) ** 2], rtol=2e-6)


# Scores per token


@every_plan
def test_scores_are_those_of_the_logits(plan):
    options = {"softcap": 4.0, "temperature": 1.3, "classes": 200}
    labels = LABELS % 200
    wanted = ("log_sum_exp", "nll", "even_nll", "entropy", "rivals", "squares", "prediction")

    def combined(log_sum_exp, nll, even_nll, entropy, rivals, squares):
        return (log_sum_exp**2 + nll * entropy + even_nll**2 + rivals * nll + 0.1 * squares).sum()

    def expected(hidden, kernel, bias):
        def total(hidden, kernel, bias):
            z = dense_logits(hidden, kernel, bias, **options)
            log_p = jax.nn.log_softmax(z)
            p, one = jnp.exp(log_p), jax.nn.one_hot(labels, 200, dtype=z.dtype)
            found = (
                jax.nn.logsumexp(z, -1), -(log_p * one).sum(-1), -log_p.mean(-1),
                -(p * log_p).sum(-1), ((1 - one) * p * p).sum(-1), (z * z).sum(-1),
            )  # fmt: skip
            return combined(*found), (*found, z.argmax(-1))

        return jax.value_and_grad(total, (0, 1, 2), has_aux=True)(hidden, kernel, bias)

    @quick
    def found(hidden, kernel, bias):
        def total(hidden, kernel, bias):
            found = kernels.linear_statistics(
                hidden, kernel, labels, wanted=wanted, bias=bias, plan=plan, **options
            )
            return combined(*found[:-1]), found

        others = functools.partial(dict, bias=bias, plan=plan, **options)
        separate = (
            kernels.linear_log_probabilities(hidden, kernel, labels, **others()),
            kernels.linear_entropy(hidden, kernel, **others()),
            kernels.linear_predictions(hidden, kernel, bias=bias, plan=plan, classes=200),
        )
        return jax.value_and_grad(total, (0, 1, 2), has_aux=True)(hidden, kernel, bias), separate

    ((_, known), slopes) = in_double(expected, HIDDEN, KERNEL, BIAS)
    ((_, statistics), gradient), (log_p, entropy, prediction) = found(HIDDEN, KERNEL, BIAS)
    agree(statistics[:-1], known[:-1], 1e-6)
    agree(gradient, slopes)
    assert (statistics.prediction == known[-1]).all()
    agree((log_p, entropy), (-known[1], known[3]), 1e-6)
    assert (prediction == known[-1]).all()


@every_plan
def test_the_first_of_the_largest_is_predicted(plan):
    kernel = jnp.zeros((FEATURES, VOCABULARY)).at[:, jnp.array([3, 14, 207])].set(1.0)
    hidden = jnp.ones((2, FEATURES))
    assert kernels.linear_predictions(hidden, kernel, plan=plan).tolist() == [3, 3]
    assert kernels.linear_predictions(-hidden, kernel, plan=plan).tolist() == [0, 0]


# Derivatives of any order and mode


def test_totals_have_forward_mode_and_second_derivatives():
    direction = jax.random.normal(jax.random.key(9), KERNEL.shape)

    def expected(hidden, kernel, direction):
        def loss(kernel):
            return with_z_loss(dense_logits(hidden, kernel), LABELS, z_loss=0.1).mean()

        _, slope = jax.jvp(loss, (kernel,), (direction,))
        _, curvature = jax.jvp(jax.grad(loss), (kernel,), (direction,))
        return slope, curvature

    @quick
    def found(kernel, direction):
        def loss(kernel, plan):
            return cross_entropy(HIDDEN, kernel, LABELS, z_loss=0.1, plan=plan)

        chunked = functools.partial(loss, plan=Plan(tokens=8))
        streamed = functools.partial(loss, plan=Plan(columns=64))
        _, slope = jax.jvp(chunked, (kernel,), (direction,))
        _, curvature = jax.jvp(jax.grad(chunked), (kernel,), (direction,))
        twice = jax.grad(lambda k: (jax.grad(streamed)(k) * direction).sum())(kernel)
        return slope, curvature, twice

    slope, curvature = in_double(expected, HIDDEN, KERNEL, direction)
    agree(found(KERNEL, direction), (slope, curvature, curvature), 5e-6)


def test_losses_per_token_have_second_derivatives_in_reverse_and_say_who_has_the_others():
    smoothed = over_linear(classification.softmax_cross_entropy)

    def expected(hidden, kernel):
        def total(hidden):
            losses = classification.softmax_cross_entropy(hidden @ kernel, LABELS, reduction="none")
            return (losses**2).sum()

        return jax.grad(lambda h: (jax.grad(total)(h) ** 2).sum())(hidden)

    slopes = in_double(expected, HIDDEN, KERNEL)
    for loss, plan in ((smoothed, Plan(tokens=8)), (cross_entropy, Plan(columns=64))):

        def each(hidden, loss=loss, plan=plan):
            return loss(hidden, KERNEL, LABELS, plan=plan, reduction="none")

        def total(hidden, each=each):
            return (each(hidden) ** 2).sum()

        twice = jax.grad(lambda h, total=total: (jax.grad(total)(h) ** 2).sum())
        agree(quick(twice)(HIDDEN), slopes, 5e-6)
        message = r"no forward mode of a fused loss per token: the loss of hidden @ kernel \+ bias"
        with pytest.raises(TypeError, match=message):
            jax.jvp(each, (HIDDEN,), (HIDDEN,))
        with pytest.raises(TypeError, match=message):
            jax.jacfwd(total)(HIDDEN)


def test_a_vmapped_loss_is_a_loop():
    hidden = jnp.stack([HIDDEN, 2 * HIDDEN])
    for plan in (Plan(tokens=8), Plan(columns=64)):
        loss = functools.partial(cross_entropy, labels=LABELS, plan=plan)
        each = [jax.grad(loss)(h, KERNEL) for h in hidden]
        agree(jax.vmap(jax.grad(loss), (0, None))(hidden, KERNEL), jnp.stack(each))
        summed = jax.grad(lambda k, loss=loss: jax.vmap(loss, (0, None))(hidden, k).sum())(KERNEL)
        agree(summed, sum(jax.grad(loss, 1)(h, KERNEL) for h in hidden))


# What is computed, and in which precision


@pytest.mark.parametrize(("argnums", "count"), [((), 1), ((0,), 2), ((1,), 2), ((0, 1), 3)])
def test_no_product_is_taken_that_is_not_needed(argnums, count):
    def gradient(plan):
        loss = functools.partial(cross_entropy, labels=LABELS, plan=plan)
        return jax.grad(loss, argnums) if argnums else loss

    assert products(gradient(Plan(tokens=11)), HIDDEN, KERNEL) == count
    again = 1 if argnums else 0
    assert products(gradient(Plan(columns=16)), HIDDEN, KERNEL) == count + again


def test_rematerialized_logits_are_made_once_more_at_most():
    loss = jax.checkpoint(lambda h, w: cross_entropy(h, w, LABELS))
    assert products(jax.value_and_grad(loss, (0, 1)), HIDDEN, KERNEL) <= 4


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
@every_plan
def test_half_precision_is_added_up_in_float32(plan, dtype):
    hidden, kernel = HIDDEN.astype(dtype), KERNEL.astype(dtype)

    @quick
    def compute(hidden, kernel):
        return jax.value_and_grad(lambda h, w: cross_entropy(h, w, LABELS, plan=plan), (0, 1))(
            hidden, kernel
        )

    value, (dhidden, dkernel) = compute(hidden, kernel)
    exact, slopes = compute(hidden.astype(jnp.float32), kernel.astype(jnp.float32))
    assert value.dtype == jnp.float32
    assert dhidden.dtype == dkernel.dtype == dtype
    agree(value, exact, 1e-6)
    agree((dhidden, dkernel), slopes, 5e-3)


def test_a_mean_over_many_tokens_does_not_vanish_in_float16():
    """One over 2^25 is below the smallest float16, and so is a gradient of that size."""
    hidden, kernel = HIDDEN.astype(jnp.float16), KERNEL.astype(jnp.float16)

    def loss(hidden, kernel, plan):
        losses = cross_entropy(hidden, kernel, LABELS, plan=plan, weights=2.0**-25, reduction="sum")
        return 2.0**25 * losses

    for plan in (Plan(tokens=11), Plan(columns=104)):
        expected = jax.grad(lambda w: cross_entropy(hidden, w, LABELS, reduction="sum"))(kernel)
        agree(jax.grad(loss, 1)(hidden, kernel, plan), expected, 3e-3)


def test_a_kernel_in_float32_gets_its_gradient_in_float32():
    """As where parameters are kept in float32 and a model computes in bfloat16."""
    hidden = HIDDEN.astype(jnp.bfloat16)
    for plan in PLANS.values():
        mixed = jax.grad(cross_entropy, 1)(hidden, KERNEL, LABELS, plan=plan)
        assert mixed.dtype == jnp.float32
        half = jax.grad(cross_entropy, 1)(hidden, KERNEL.astype(jnp.bfloat16), LABELS)
        agree(mixed, half, 5e-3)


def test_logits_in_bfloat16_are_a_choice():
    hidden, kernel = HIDDEN.astype(jnp.bfloat16), KERNEL.astype(jnp.bfloat16)
    exact, slope = jax.value_and_grad(cross_entropy)(hidden, kernel, LABELS)
    plan = Plan(tokens=16, dtype="bfloat16")
    coarse, steep = jax.value_and_grad(cross_entropy)(hidden, kernel, LABELS, plan=plan)
    agree(coarse, exact, 1e-2)
    agree(steep, slope, 2e-2)


@every_plan
def test_double_precision_stays(plan):
    with jax.enable_x64(True):
        hidden, kernel = (x.astype(jnp.float64) for x in (HIDDEN, KERNEL))
        value, slope = jax.value_and_grad(
            lambda h: cross_entropy(h, kernel, LABELS, plan=plan, label_smoothing=0.1, softcap=4.0)
        )(hidden)
        assert value.dtype == slope.dtype == jnp.float64
        exact = cross_entropy_in_numpy(
            hidden, kernel, np.zeros(VOCABULARY), np.asarray(LABELS), label_smoothing=0.1,
            softcap=4.0,
        )  # fmt: skip
        assert distance(value, exact.mean()) < 1e-13
