"""Digits, extremes and relatives of the losses on preferences."""

import functools

import jax
import jax.numpy as jnp
import mpmath
import numpy as np
import pytest

from jaxloss import partial_mean
from jaxloss.losses.preference import (
    conservative_dpo,
    discopop,
    dpo,
    exo,
    hinge,
    ipo,
    robust_dpo,
)
from jaxloss.losses.preference_variants import (
    alpha_dpo,
    apo_down,
    apo_zero,
    bco_pair,
    chi_po,
    jensen_shannon_dpo,
    nca,
    sppo,
)
from jaxloss.losses.reference_free import alpha_po, bradley_terry, cpo, orpo, simpo
from jaxloss.losses.unpaired_preference import aot, aot_unpaired, bco, kl_baseline, kto

inf, nan = np.inf, np.nan
close = functools.partial(np.testing.assert_allclose, rtol=2e-6)
mpmath.mp.dps = 60
exp, log = mpmath.exp, mpmath.log


def nls(x):
    """Minus the logarithm of a sigmoid."""
    return mpmath.log1p(exp(-x))


def sigmoid(x):
    return 1 / (1 + exp(-x))


def exo_term(x):
    return sigmoid(x) * (-nls(x) - log(0.75)) + sigmoid(-x) * (-nls(-x) - log(0.25))


def discopop_term(x):
    return sigmoid(-4 * x) * nls(x) + sigmoid(4 * x) * exp(-x)


B = mpmath.mpf(1) / 2
FLIPPED = {"flip_rate": 0.25}
CASES = [
    (dpo, {}, lambda c, r: nls(B * (c - r))),
    (conservative_dpo, FLIPPED, lambda c, r: (3 * nls(B * (c - r)) + nls(B * (r - c))) / 4),
    (robust_dpo, FLIPPED, lambda c, r: (3 * nls(B * (c - r)) - nls(B * (r - c))) / 2),
    (hinge, {"margin": 1.5}, lambda c, r: max(0, 1.5 - B * (c - r))),
    (ipo, {}, lambda c, r: (c - r - 1) ** 2),
    (exo, FLIPPED, lambda c, r: exo_term(B * (c - r))),
    (discopop, {"temperature": 0.25}, lambda c, r: discopop_term(B * (c - r))),
    (nca, {}, lambda c, r: nls(B * c) + nls(-B * c) / 2 + nls(-B * r) / 2),
    (bco_pair, {"shift": 0.25}, lambda c, r: nls(B * c - B * B) + nls(B * B - B * r)),
    (sppo, {}, lambda c, r: (c - 1) ** 2 + (r + 1) ** 2),
    (apo_zero, {}, lambda c, r: sigmoid(-B * c) + sigmoid(B * r)),
    (apo_down, {}, lambda c, r: sigmoid(B * c) + sigmoid(B * (r - c))),
    (alpha_dpo, {"order": 1.0}, lambda c, r: nls(B * (c - r))),
    (alpha_dpo, {"order": 0.5}, lambda c, r: nls(exp(-r / 2) - exp(-c / 2))),
    (alpha_dpo, {"order": 1.25}, lambda c, r: nls(2 * (exp(c / 4) - exp(r / 4)))),
    (jensen_shannon_dpo, {}, lambda c, r: nls(B * (nls(-r) - r - nls(-c) + c))),
    (chi_po, {}, lambda c, r: nls(B * (exp(c) + c - exp(r) - r))),
    (chi_po, {"bound": 2.0}, lambda c, r: nls(max(-4, min(4, B * (exp(c) + c - exp(r) - r))))),
]
PAIRS = [
    (0, 0),
    (1.5, -2.25),
    (-3, 0.5),
    (1e-4, -1e-4),
    (-0.25, -0.2501),
    (12, 12.001),
    (40, -30),
    (-30, 40),
    (150, 149),
    (9e3, -1e4),
    (-1e4, 9e3),
]
EXPONENTIAL = {alpha_dpo, chi_po}


@pytest.mark.parametrize(
    ("loss", "options", "exact"), CASES, ids=lambda x: getattr(x, "__name__", None)
)
def test_keeps_its_digits_from_near_to_far(loss, options, exact):
    """Value and slopes in both ratios; the references are zero."""
    far = loss in EXPONENTIAL and options.get("order") != 1.0
    pairs = [pair for pair in PAIRS if not far or max(map(abs, pair)) < 100]
    chosen, rejected = jnp.array(pairs, jnp.float32).T
    zero = jnp.zeros_like(chosen)

    def total(chosen, rejected):
        losses = loss(chosen, rejected, zero, zero, scale=0.5, reduction="none", **options)
        return losses.sum(), losses

    slopes, values = jax.grad(total, argnums=(0, 1), has_aux=True)(chosen, rejected)
    at = [tuple(mpmath.mpf(float(x)) for x in pair) for pair in zip(chosen, rejected, strict=True)]
    close(values, [float(exact(*pair)) for pair in at], rtol=3e-6, atol=1e-37)
    for found, order in zip(slopes, ((1, 0), (0, 1)), strict=True):
        expected = [float(mpmath.diff(exact, pair, order)) for pair in at]
        close(found, expected, rtol=1e-5, atol=1e-37 if loss is not apo_down else 2e-8)


@pytest.mark.parametrize("loss", [*dict.fromkeys(case[0] for case in CASES), aot, aot_unpaired])
def test_impossible_answers_are_no_accident(loss):
    """The policy, the reference or both exclude one of the answers, or both."""
    rows = [
        (-inf, -1, -1, -1),
        (-1, -inf, -1, -1),
        (-1, -1, -inf, -1),
        (-1, -1, -1, -inf),
        (-inf, -1, -inf, -1),
        (-1, -inf, -1, -inf),
        (-inf, -inf, -inf, -inf),
        (-inf, -inf, -1, -1),
        (-1e30, -1, -1, -1),
        (-1, -1e4, -1, 1e-4),
    ]
    answers = jnp.array(rows).T
    losses = loss(*answers, reduction="none")
    assert not jnp.isnan(losses).any()
    slopes = jax.grad(lambda *x: loss(*x, reduction="sum"), argnums=(0, 1, 2, 3))(*answers)
    assert not jnp.isnan(jnp.stack(slopes)).any()
    if loss not in (aot, aot_unpaired):
        neither = loss(*jnp.full((4, 1), -1.0), reduction="none")
        for row in (4, 5, 6):
            close(losses[row], neither[0])


ANSWERS = -5 * jax.random.uniform(jax.random.key(0), (4, 7))


def test_relatives_of_dpo():
    each = functools.partial(dpo, *ANSWERS, reduction="none")
    close(conservative_dpo(*ANSWERS, flip_rate=0.0, reduction="none"), each())
    close(robust_dpo(*ANSWERS, flip_rate=0.0, reduction="none"), each())
    close(alpha_dpo(*ANSWERS, order=1.0, reduction="none"), each())
    close(alpha_dpo(*ANSWERS, order=1 + 1e-4, reduction="none"), each(), rtol=1e-3)
    close(discopop(*ANSWERS, temperature=1e6, reduction="none").sum(),
          (each() + jnp.exp(-0.1 * lead(ANSWERS))).sum() / 2, rtol=1e-4)  # fmt: skip
    close(chi_po(*ANSWERS, bound=1e6), chi_po(*ANSWERS))
    swapped = ANSWERS[jnp.array([1, 0, 3, 2])]
    mixed = 0.8 * each() + 0.2 * dpo(*swapped, reduction="none")
    close(conservative_dpo(*ANSWERS, flip_rate=0.2, reduction="none"), mixed)
    robust = functools.partial(robust_dpo, flip_rate=0.2, reduction="none")
    close(0.8 * robust(*ANSWERS) + 0.2 * robust(*swapped), each(), rtol=1e-5)


def lead(answers):
    return (answers[0] - answers[2]) - (answers[1] - answers[3])


def test_slope_of_alpha_in_its_order_at_one():
    """d/da of (e^((a-1) c) - e^((a-1) r)) / (a-1) at 1 is (c^2 - r^2) / 2."""
    chosen, rejected, zero = jnp.array([1.5]), jnp.array([-0.5]), jnp.zeros(1)
    slope = jax.grad(lambda order: alpha_dpo(chosen, rejected, zero, zero, scale=1.0, order=order))(
        1.0
    )
    close(slope, -float(sigmoid(-2)) * (1.5**2 - 0.5**2) / 2)


def test_exo_is_zero_at_the_preference_as_given():
    at = np.float32(np.log(3) / 0.1)
    value, slope = jax.value_and_grad(exo)(jnp.array([at]), *jnp.zeros((3, 1)), flip_rate=0.25)
    close(value, 0, atol=1e-13)
    close(slope, 0, atol=1e-8)


def test_free_of_the_reference_is_a_uniform_reference():
    chosen, rejected, *_ = ANSWERS
    uniform = jnp.full((2, 7), -3.0)
    close(cpo(chosen, rejected, nll_weight=0.0), dpo(chosen, rejected, *uniform))
    close(simpo(chosen, rejected, scale=0.1, margin=0.0), dpo(chosen, rejected, *uniform))
    close(alpha_po(chosen, rejected, bend=0.0), simpo(chosen, rejected))
    close(alpha_po(chosen, rejected, bend=1e-5), simpo(chosen, rejected), rtol=1e-3)
    rewards = jnp.log(jnp.array([[0.3], [0.1]]))
    close(bradley_terry(*rewards), -np.log(0.75))


ODDS = [(-1, -2), (-1e-6, -2), (-2, -1e-6), (-1e-6, -1e-7), (-300, -1), (-1, -300), (-1e4, -9e3)]


def test_orpo_keeps_the_digits_of_its_odds():
    chosen, rejected = jnp.array(ODDS, jnp.float32).T

    def exact(c, r):
        odds = exp(r) / (1 - exp(r)) * (1 - exp(c)) / exp(c)
        return -c + mpmath.log1p(odds) / 2

    def total(chosen, rejected):
        losses = orpo(chosen, rejected, odds_weight=0.5, reduction="none")
        return losses.sum(), losses

    slopes, values = jax.grad(total, argnums=(0, 1), has_aux=True)(chosen, rejected)
    at = [tuple(mpmath.mpf(float(x)) for x in pair) for pair in zip(chosen, rejected, strict=True)]
    close(values, [float(exact(*pair)) for pair in at], rtol=5e-6)
    for found, order in zip(slopes, ((1, 0), (0, 1)), strict=True):
        expected = [float(mpmath.diff(exact, pair, order, h=1e-20)) for pair in at]
        close(found, expected, rtol=2e-5, atol=1e-37)


def test_orpo_of_the_certain_and_the_impossible():
    chosen = jnp.array([0.0, 0.0, -1.0, -inf, -1.0, -inf])
    rejected = jnp.array([-1.0, 0.0, 0.0, -1.0, -inf, -inf])
    values = orpo(chosen, rejected, odds_weight=1.0, reduction="none")
    close(values[:3], [0, np.log(2), inf])
    assert values[4] == 1
    slopes = jax.grad(lambda *x: orpo(*x, reduction="sum"), argnums=(0, 1))(chosen, rejected)
    assert jnp.isfinite(jnp.stack(slopes)).all()
    close(slopes[0][0], -1 - 0.1 / (np.e - 1))  # of the odds of the rejected


def test_margins_of_rewards_are_per_pair(as_users_run_it):
    chosen, rejected = jnp.array([1.0, nan, 3.0]), jnp.array([0.0, 1.0, 2.5])
    margins, where = jnp.array([0.5, nan, 1.0]), jnp.array([True, False, True])
    value = bradley_terry(chosen, rejected, margin=margins, where=where, center_weight=0.1)
    expected = [np.log1p(np.exp(-0.5)) + 0.1, np.log1p(np.exp(0.5)) + 0.1 * 5.5**2]
    close(value, np.mean(expected))
    with pytest.raises(ValueError, match="bradley_terry: margin must broadcast"):
        bradley_terry(chosen, rejected, margin=jnp.ones((2, 3)))


def test_kto_around_its_baseline():
    policy, reference = ANSWERS[0], ANSWERS[1]
    good, bad = jnp.ones(7), jnp.zeros(7)
    moved = functools.partial(kto, policy, reference, baseline=0.7, reduction="none")
    close(moved(good) + moved(bad), 1)
    close(moved(good), kto(policy - 0.7, reference, good, reduction="none"))
    both = kto(policy, reference, good, reduction="none")
    both += kto(ANSWERS[2], ANSWERS[3], bad, reduction="none")
    close(both, apo_zero(policy, ANSWERS[2], reference, ANSWERS[3], reduction="none"))
    for ratio, expected in ((1e4, 0), (-1e4, 1), (inf, 0), (-inf, 1)):
        value, slope = jax.value_and_grad(kto)(jnp.array([ratio]), jnp.zeros(1), jnp.ones(1))
        assert (value, slope[0]) == (expected, 0)
    slope = jax.grad(kto)(jnp.array([30.0]), jnp.zeros(1), jnp.ones(1), scale=1.0)
    close(slope, -np.exp(-30), rtol=1e-5)


def test_the_baseline_is_a_constant_that_is_not_negative():
    policy, reference = jnp.array([-1.0, -2.0, nan]), jnp.array([-2.0, -2.5, nan])
    where = jnp.array([True, True, False])
    close(kl_baseline(policy, reference, where=where), 0.75)
    assert kl_baseline(reference, policy, where=where) == 0
    assert (jax.grad(kl_baseline)(policy[:2], reference[:2]) == 0).all()


def test_bco_is_a_classifier_of_rewards():
    both = functools.partial(bco, shift=0.3, reduction="none")
    pairs = both(ANSWERS[0], ANSWERS[2], jnp.ones(7)) + both(ANSWERS[1], ANSWERS[3], jnp.zeros(7))
    close(pairs, bco_pair(*ANSWERS, shift=0.3, reduction="none"))
    sure = bco(jnp.array([inf, -inf]), jnp.zeros(2), jnp.array([1.0, 0.0]))
    assert sure == 0
    seen = partial_mean(0.1 * (ANSWERS[0] - ANSWERS[2]))
    seen = seen.merge(partial_mean(0.1 * (ANSWERS[1] - ANSWERS[3])))
    close(seen.value(), 0.1 * (ANSWERS[:2] - ANSWERS[2:]).mean(), rtol=1e-5)


@pytest.mark.parametrize("loss", [aot, aot_unpaired])
def test_transport_compares_quantiles(loss):
    """A shuffled reference is no other; and what is masked has no rank."""
    zero = jnp.zeros(4)
    x, y = jnp.array([3.0, -1.0, nan, 0.5]), jnp.array([-2.0, 5.0, nan, 1.0])
    where = jnp.array([True, True, False, True])
    arguments = {aot: (x, zero, y, zero), aot_unpaired: (x, y, zero, zero)}[loss]
    value, slope = jax.value_and_grad(loss)(*arguments, where=where, scale=1.0)
    expected = np.log1p(np.exp([5 - 3, -2 + 1.0, 1 - 0.5]))
    close(value, expected.mean())
    close(slope, np.array([1, 1, 0, 1]) * np.expm1(-np.insert(expected, 2, 0)) / 3, rtol=1e-5)
    unreduced = loss(*arguments, where=where, scale=1.0, reduction="none")
    close(unreduced, np.insert(expected, 2, 0))


def test_equal_ranks_of_equal_leads():
    x = jnp.array([1.0, 1.0, 1.0])
    slope = jax.grad(aot)(x, *jnp.zeros((3, 3)), scale=1.0)
    close(slope, slope[0])


def test_wrong_arguments_are_refused(as_users_run_it):
    with pytest.raises(ValueError, match="dpo: shapes must be equal, got chosen_log_probabilities"):
        dpo(ANSWERS[0], ANSWERS[1], ANSWERS[2], ANSWERS[3, :2])
    with pytest.raises(ValueError, match="aot: chosen_log_probabilities must be of one axis"):
        aot(ANSWERS, ANSWERS, ANSWERS, ANSWERS)
