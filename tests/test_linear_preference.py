"""Fused losses on answers are the dense ones under every plan, without the logits of all tokens."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType
from jax.sharding import PartitionSpec as P

from jaxloss import (
    language,
    preference,
    preference_variants,
    reference_free,
    unpaired_preference,
)
from jaxloss.distributed import sharded
from jaxloss.kernels import (
    Plan,
    linear_dpo,
    linear_log_probabilities,
    linear_sequence_log_probabilities,
    over_answers,
)
from tests.kernels import BIAS, FEATURES, KERNEL, VOCABULARY, agree, in_double, products, quick

PAIRS, LENGTH = 7, 5
keys = jax.random.split(jax.random.key(3), 6)
HIDDEN = jax.random.normal(keys[0], (PAIRS, 2, LENGTH, FEATURES))
LABELS = jax.random.randint(keys[1], (PAIRS, 2, LENGTH), 0, VOCABULARY)
BEFORE = HIDDEN[..., :9] + 0.3 * jax.random.normal(keys[2], (PAIRS, 2, LENGTH, 9))
HEAD_BEFORE = KERNEL[:9] + 0.1 * jax.random.normal(keys[3], (9, VOCABULARY))
WEIGHTS = jax.random.uniform(keys[4], (PAIRS,), minval=0.2, maxval=2.0)
WHERE = jax.random.bernoulli(keys[5], 0.7, LABELS.shape).at[3].set(False)

PLANS = {
    "whole": Plan(),
    "tokens": Plan(tokens=20),  # 2 pairs, and 1 left over
    "a pair": Plan(tokens=1),
    "columns": Plan(columns=64),
    "tiles": Plan(tokens=16, columns=100),
}
CASES = {
    "dpo": (preference.dpo, False, 2, {"scale": 0.7}),
    "ipo": (preference.ipo, True, 2, {"scale": 0.3}),
    "nca": (preference_variants.nca, False, 2, {"scale": 0.2}),
    "simpo": (reference_free.simpo, True, 0, {"scale": 1.3, "margin": 0.4}),
    "orpo": (reference_free.orpo, True, 0, {"odds_weight": 0.6}),
    "cpo": (reference_free.cpo, False, 0, {"scale": 0.3}),
}


def log_probabilities(hidden, kernel, bias=None, *, average=False, where=None, **linking):
    """Of each answer, from all logits."""
    z = hidden @ kernel
    z = z if bias is None else z + bias
    z = z if "softcap" not in linking else linking["softcap"] * jnp.tanh(z / linking["softcap"])
    z = z[..., : linking.get("classes")]
    found = language.sequence_log_probabilities(z, LABELS % z.shape[-1], where=where)
    count = jnp.full(found.shape, LENGTH) if where is None else where.sum(-1)
    return jnp.moveaxis(found / jnp.maximum(count, 1) if average else found, -1, 0)


def promoting(function):
    """NumPy's rules, for what is written in a test."""

    @functools.wraps(function)
    def call(*arguments):
        with jax.numpy_rank_promotion("allow"), jax.numpy_dtype_promotion("standard"):
            return function(*arguments)

    return call


@pytest.mark.parametrize("case", CASES)
def test_a_fused_loss_is_that_of_all_logits(case):
    """Value and gradient, in everything that the policy has; the reference is a constant."""
    loss, average, references, options = CASES[case]
    linking = {"softcap": 5.0, "classes": 200} if case == "dpo" else {}
    plans = PLANS if case in ("dpo", "simpo") else {k: PLANS[k] for k in ("tokens", "columns")}
    before = {"reference_hidden": BEFORE, "reference_kernel": HEAD_BEFORE} if references else {}

    @promoting
    def expected(hidden, kernel, bias, weights, before, head_before):
        given = {"average": average, "where": WHERE, **linking}
        told = log_probabilities(before, head_before, **given)[:references]

        def mean(hidden, kernel, bias):
            policy = log_probabilities(hidden, kernel, bias, **given)
            each = loss(*policy, *told, reduction="none", **options)
            kept = jnp.where(WHERE.any((1, 2)), weights, 0)
            return (kept * each).sum() / kept.sum(), kept * each

        return jax.value_and_grad(mean, (0, 1, 2), has_aux=True)(hidden, kernel, bias)

    @quick
    def found(hidden, kernel, bias):
        def mean(hidden, kernel, bias, plan, reduction):
            return over_answers(loss, average=average)(
                hidden, kernel, LABELS % linking.get("classes", VOCABULARY), bias=bias, plan=plan,
                where=WHERE, weights=WEIGHTS, reduction=reduction, **before, **options, **linking,
            )  # fmt: skip

        return [
            (
                jax.value_and_grad(mean, (0, 1, 2))(hidden, kernel, bias, plan, "mean"),
                mean(hidden, kernel, bias, plan, "none"),
            )
            for plan in plans.values()
        ]

    arguments = (HIDDEN, KERNEL, BIAS)
    (mean, losses), slopes = in_double(expected, *arguments, WEIGHTS, BEFORE, HEAD_BEFORE)
    for (value, gradient), none in found(*arguments):
        agree((value, none), (mean, losses), 1e-6)
        agree(gradient, slopes)


def test_linear_dpo_is_that_with_a_reference():
    options = {"scale": 0.7, "softcap": 4.0, "where": WHERE, "plan": Plan(tokens=20)}
    found = quick(jax.value_and_grad(functools.partial(linear_dpo, **options), (0, 1, 3, 4)))(
        HIDDEN, KERNEL, LABELS, BEFORE, HEAD_BEFORE
    )

    @promoting
    def expected(hidden, kernel, before, head_before):
        def mean(hidden, kernel, before, head_before):
            given = {"where": WHERE, "softcap": 4.0}
            policy = log_probabilities(hidden, kernel, **given)
            told = log_probabilities(before, head_before, **given)
            return preference.dpo(*policy, *told, scale=0.7, where=WHERE.any((1, 2)))

        return jax.value_and_grad(mean, range(4))(hidden, kernel, before, head_before)

    value, slopes = in_double(expected, HIDDEN, KERNEL, BEFORE, HEAD_BEFORE)
    agree(found[0], value, 1e-6)
    agree(found[1], slopes)


def test_what_a_reference_says_may_be_known_beforehand():
    told = linear_sequence_log_probabilities(BEFORE, HEAD_BEFORE, LABELS, where=WHERE)
    dpo = over_answers(preference.dpo)
    given = {"where": WHERE, "scale": 0.7}
    known = dpo(HIDDEN, KERNEL, LABELS, *jnp.moveaxis(told, -1, 0), **given)
    agree(known, linear_dpo(HIDDEN, KERNEL, LABELS, BEFORE, HEAD_BEFORE, **given), 1e-7)


def test_answers_are_judged_one_by_one_too():
    """Of one answer to a prompt, with targets, which have a gradient as well."""
    hidden, labels = HIDDEN[:, :1], LABELS[:, :1]
    reference = jax.random.normal(keys[2], (PAIRS,)) - 20
    targets = jnp.linspace(0.0, 1.0, PAIRS)

    def fused(hidden, reference, targets, plan):
        kto = over_answers(unpaired_preference.kto)
        return kto(hidden, KERNEL, labels, reference, targets, scale=0.2, plan=plan)

    def dense(hidden, reference, targets):
        each = linear_log_probabilities(hidden[:, 0], KERNEL, labels[:, 0]).sum(-1)
        return unpaired_preference.kto(each, reference, targets, scale=0.2)

    arguments = (hidden, reference, targets)
    expected = quick(jax.value_and_grad(dense, (0, 1, 2)))(*arguments)
    for plan in (Plan(tokens=15), Plan(columns=64)):
        loss = functools.partial(fused, plan=plan)
        agree(quick(jax.value_and_grad(loss, (0, 1, 2)))(*arguments), expected)


@pytest.mark.parametrize("average", [False, True])
def test_sequence_log_probabilities_are_those_of_the_logits(average):
    def total(hidden, kernel, plan):
        found = linear_sequence_log_probabilities(
            hidden, kernel, LABELS, average=average, where=WHERE, plan=plan
        )
        return (found**2).sum(), found

    @promoting
    def dense(hidden, kernel):
        found = log_probabilities(hidden, kernel, average=average, where=WHERE)
        return (found**2).sum(), jnp.moveaxis(found, 0, -1)

    expected = in_double(jax.value_and_grad(dense, (0, 1), has_aux=True), HIDDEN, KERNEL)
    for plan in (Plan(), Plan(tokens=16, columns=64)):
        gradient = jax.value_and_grad(functools.partial(total, plan=plan), (0, 1), has_aux=True)
        agree(quick(gradient)(HIDDEN, KERNEL), expected)


@pytest.mark.parametrize("plan", PLANS.values(), ids=PLANS)
def test_what_is_masked_may_be_anything(plan):
    """Tokens of the prompt, and whole pairs with what a reference says of them."""
    reference = jnp.where(WHERE.any((1, 2)), -20.0, jnp.nan)
    dpo = functools.partial(over_answers(preference.dpo), plan=plan)

    def mean(hidden, kernel, labels):
        return dpo(hidden, kernel, labels, reference, reference, where=WHERE)

    gradient = quick(jax.value_and_grad(mean, (0, 1)))
    dirty = gradient(
        jnp.where(WHERE[..., None], HIDDEN, jnp.nan), KERNEL, jnp.where(WHERE, LABELS, -100)
    )
    agree(dirty, gradient(HIDDEN, KERNEL, LABELS))
    assert jnp.isfinite(dirty[0])
    assert (dirty[1][0][~WHERE] == 0).all()
    nothing = dpo(HIDDEN, KERNEL, LABELS, reference, reference, where=jnp.zeros_like(WHERE))
    assert nothing == 0


@pytest.mark.parametrize("plan", [Plan(tokens=20), Plan(columns=64)], ids=str)
def test_a_label_out_of_range_is_nan_in_its_pair(plan):
    labels = LABELS.at[2, 1, 3].set(VOCABULARY)
    simpo = functools.partial(over_answers(reference_free.simpo, average=True), plan=plan)

    @quick
    def compute(hidden):
        none = simpo(hidden, KERNEL, labels, reduction="none")
        return none, jax.grad(lambda h: simpo(h, KERNEL, labels, reduction="sum"))(hidden)

    none, slope = compute(HIDDEN)
    assert np.flatnonzero(np.isnan(none)).tolist() == [2]
    assert np.flatnonzero(np.isnan(slope).any((1, 2, 3))).tolist() == [2]


def test_no_product_is_taken_that_is_not_needed():
    def loss(plan, hidden, kernel):
        simpo = over_answers(reference_free.simpo, average=True)
        return simpo(hidden, kernel, LABELS, plan=plan)

    chunked, streamed = (functools.partial(loss, p) for p in (Plan(tokens=70), Plan(columns=16)))
    assert products(jax.grad(chunked, (0, 1)), HIDDEN, KERNEL) == 3
    assert products(jax.grad(streamed, (0, 1)), HIDDEN, KERNEL) == 4


def test_memory_is_kept_to():
    """Of 2^22 logits, 16 MiB, and as many of the reference."""
    memory = 2**22
    shapes = ((8, 2, 64, 32), (32, 4096), (8, 2, 64), (8, 2, 64, 16), (16, 4096))
    arrays = [
        jax.ShapeDtypeStruct(shape, jnp.int32 if len(shape) == 3 else jnp.float32)
        for shape in shapes
    ]

    def temporary(memory):
        loss = functools.partial(linear_dpo, memory=memory)
        program = quick(jax.value_and_grad(loss, (0, 1))).lower(*arrays).compile()
        analysis = program.memory_analysis()
        assert analysis is not None
        return analysis.temp_size_in_bytes

    # on a CPU newer XLA stores the terms of sums over classes, which no plan counts
    limit = 1.1 if jax.__version_info__ < (0, 10, 2) else 1.6
    assert temporary(memory) <= limit * memory
    assert temporary(2**28) > 2**24


@pytest.mark.parametrize("kernel", [P(), P(None, "model")], ids=["tokens", "vocabulary"])
def test_pairs_are_divided_over_a_mesh(kernel):
    mesh = jax.make_mesh((4, 2), ("data", "model"), axis_types=(AxisType.Auto,) * 2)
    pairs = (HIDDEN, LABELS, WHERE)
    hidden, labels, where = (jnp.concatenate([x, x[:1]]) for x in pairs)
    simpo = over_answers(reference_free.simpo, average=True)

    def total(loss):
        return quick(
            jax.value_and_grad(lambda h, w: loss(h, w, labels, where=where, margin=0.3), (0, 1))
        )

    divided = sharded(simpo, mesh=mesh, hidden=P("data"), kernel=kernel)
    agree(total(divided)(hidden, KERNEL), total(simpo)(hidden, KERNEL))


@pytest.mark.usefixtures("as_users_run_it")
def test_wrong_arguments_are_refused():
    dpo = over_answers(preference.dpo)
    reference = jnp.zeros(PAIRS)
    with pytest.raises(ValueError, match=r"over_answers: hidden must be of shape \(\*batch, answ"):
        dpo(HIDDEN[0, 0], KERNEL, LABELS[0, 0])
    with pytest.raises(ValueError, match=r"arrays\[1\] must have the leading axes of hidden, \(7,"):
        dpo(HIDDEN, KERNEL, LABELS, reference, reference[:3])
    with pytest.raises(ValueError, match="reference_hidden and reference_kernel must be given tog"):
        dpo(HIDDEN, KERNEL, LABELS, reference_hidden=BEFORE)
    with pytest.raises(ValueError, match=r"loss must return one number per row, \(7,\), got"):
        over_answers(lambda a, b, reduction: a.sum())(HIDDEN, KERNEL, LABELS)
    with pytest.raises(ValueError, match=r"memory must be at least \d+ bytes"):
        dpo(HIDDEN, KERNEL, LABELS, reference, reference, memory=100)
    with pytest.raises(ValueError, match="linear_sequence_log_probabilities: hidden must be of"):
        linear_sequence_log_probabilities(jnp.ones(FEATURES), KERNEL, jnp.array(0))
