"""Criteria against tables worked out by hand, and against least squares by scipy."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

from jaxloss.training import convergence, history
from jaxloss.training.convergence import Observation, Reason, Verdict, explain

NAN = float("nan")
NEVER = 1_000_000


@functools.cache
def scan_of(criterion):
    """The verdict after each value, compiled once for each criterion and length."""
    return jax.jit(functools.partial(scan, criterion))


def scan(criterion, values):

    def one(state, seen):
        state, judged = criterion.update(state, Observation(*seen))
        return state, judged.code

    steps = jnp.arange(1, len(values) + 1, dtype=jnp.int32)
    return jax.lax.scan(one, criterion.init(), (values, steps))[1]


def codes(criterion, values):
    return np.asarray(scan_of(criterion)(jnp.asarray(values, jnp.float32)))


def first_stop(criterion, values):
    """How many values had been seen when the criterion first fired."""
    fired = np.flatnonzero(codes(criterion, values))
    return int(fired[0]) + 1 if fired.size else NEVER


def noisy_decay(count, constant, noise, seed):
    rng = np.random.default_rng(seed)
    return 2 + 3 * np.exp(-np.arange(count) / constant) + noise * rng.normal(size=count)


RUN = noisy_decay(1000, constant=40.0, noise=0.05, seed=3)
PLATEAU = convergence.plateau()


def default():
    return convergence.any_of(
        bad=convergence.nonfinite(3),
        flat=convergence.averaged(5, convergence.plateau()),
        waited=convergence.averaged(5, convergence.patience(60, rtol=1e-3)),
        end=convergence.budget(10_000),
    )


# --- patience


@jax.jit
def patience_codes(values, checks, atol, rtol):
    return scan(convergence.patience(checks, atol=atol, rtol=rtol), values)


def patience_stop(values, checks, atol=0.0, rtol=0.0):
    """As ``first_stop``, compiled once for all settings, which are traced."""
    padded = np.full(100, NAN, np.float32)
    padded[: len(values)] = values
    fired = np.flatnonzero(patience_codes(padded, checks, atol, rtol))
    return int(fired[0]) + 1 if fired.size else NEVER


@pytest.mark.parametrize(
    ("values", "options", "stop"),
    [
        ([3, 2, 2, 2, 2], {"checks": 2}, 4),
        ([3, 2, 2, 1, 1, 1], {"checks": 2}, 6),
        ([3, 2.8, 2.6, 2.4], {"checks": 2, "atol": 0.5}, 3),  # .4 in two is no gain of .5
        (
            [3, 2.7, 2.4, 2.1, 1.8],
            {"checks": 2, "atol": 0.5},
            NEVER,
        ),  # but .6 is, though each is .3
        ([-1, -0.9, -0.8], {"checks": 2, "rtol": 0.1}, 3),  # a negative loss that rises
        ([-1, -1.2, -1.4, -1.6], {"checks": 1, "rtol": 0.1}, NEVER),
        ([10, 9.5, 8.6], {"checks": 2, "rtol": 0.1}, NEVER),  # 9 is wanted, in two checks
        ([5, 4, 3, 2, 2.5], {"checks": 0}, 5),
        ([5, 4, 3, 2, 2.5], {"checks": 1}, 5),
        ([5, 4, 3, 2, 1], {"checks": 0}, NEVER),
        ([NAN, 3, NAN, 2, NAN, NAN, 2, NAN, 2], {"checks": 2}, 9),
        ([float("-inf"), 3, 3, 3], {"checks": 2}, 4),
    ],
)
def test_patience_table(values, options, stop):
    assert patience_stop(values, **options) == stop


def test_patience_adds_small_steady_gains_up():
    gains = 5 - 0.9 * 0.1 * np.arange(100)
    assert patience_stop(gains, 2, atol=0.1) == NEVER
    assert patience_stop(gains, 1, atol=0.1) == 2


# --- the others, one by one


def test_target_budget_nonfinite():
    assert first_stop(convergence.target(2.0), [3, NAN, 2.5, 2.0, 1.0]) == 4
    assert first_stop(convergence.target(-1), [0, -0.5, -1.5]) == 3
    assert first_stop(convergence.budget(3), [1, NAN, 1, 1]) == 3
    broken = [1, NAN, NAN, 1, float("inf"), NAN, float("-inf")]
    assert first_stop(convergence.nonfinite(3), broken) == 7
    assert first_stop(convergence.nonfinite(), broken) == 2


def test_averaged_feeds_means_of_finite_values():
    values = [4, 2, NAN, 1, 3, 2, 2.5]  # means 3, 2, 2.25
    criterion = convergence.averaged(2, convergence.target(2.0))
    assert first_stop(criterion, values) == 5
    assert first_stop(convergence.averaged(2, convergence.patience(1)), values) == 7


def test_after_watches_from_the_beginning_but_waits():
    values = [3, 3, 3, 3, 3, 2, 3]
    assert first_stop(convergence.patience(2), values) == 3
    assert list(codes(convergence.after(5, convergence.patience(2)), values)) == [
        *[Reason.RUNNING] * 4,
        Reason.PATIENCE,
        *[Reason.RUNNING] * 2,
    ]


def test_any_of_takes_the_first_named_and_all_of_waits_for_each():
    low, late = convergence.target(1.0), convergence.budget(3)
    values = [2.0, 0.5, 2.0]
    assert list(codes(convergence.any_of(low=low, late=late), values)) == [
        Reason.RUNNING,
        Reason.TARGET,
        Reason.BUDGET,
    ]
    assert codes(convergence.any_of(b=late, a=convergence.target(9)), values)[-1] == Reason.BUDGET
    assert codes(convergence.any_of(b=convergence.target(9), a=late), values)[-1] == Reason.TARGET
    assert list(codes(convergence.all_of(low=low, late=late), values)) == [
        Reason.RUNNING,
        Reason.RUNNING,
        Reason.CONVERGED,
    ]
    for combine in (convergence.any_of, convergence.all_of):
        with pytest.raises(ValueError, match=f"{combine.__name__}: criteria must be given"):
            combine()


# --- the block history and its slope


def test_history_is_the_block_means_of_the_whole_run():
    values = np.random.default_rng(0).normal(size=203).astype(np.float32)
    pushed = history.empty(8)
    push = jax.jit(history.push)
    closings = []
    for i, value in enumerate(values):
        pushed, closed = push(pushed, value)
        if closed:
            closings.append(i + 1)
    assert int(pushed.length) == 32
    assert int(pushed.blocks) == 6
    assert int(pushed.seen) == 203
    means = values[:192].astype(np.float64).reshape(6, 32).mean(1)
    np.testing.assert_allclose(pushed.means[:6], means, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(pushed.open_mean, values[192:].mean(), rtol=1e-5)
    assert closings[:9] == [1, 2, 3, 4, 5, 6, 7, 8, 10]


@pytest.mark.parametrize("count", [33, 64, 500])
def test_trend_is_least_squares_over_the_last_half(count):
    values = noisy_decay(count, constant=100.0, noise=0.2, seed=count)
    pushed, _ = jax.lax.scan(history.push, history.empty(64), jnp.asarray(values, jnp.float32))
    line = jax.jit(history.trend)(pushed, 0.9)

    length, blocks = int(pushed.length), int(pushed.blocks)
    means = values[: length * blocks].reshape(blocks, length).mean(1)
    used = -(-blocks // 2)
    x, y = np.arange(blocks)[-used:], means[-used:]
    fitted: Any = scipy.stats.linregress(x, y)
    residual = y - fitted.intercept - fitted.slope * x
    rho = (residual[1:] * residual[:-1]).sum() / (residual**2).sum() + 2 / used
    rho = np.clip(rho, 0, 0.9)
    error = fitted.stderr * np.sqrt((1 + rho) / (1 - rho))
    assert int(line.blocks) == used
    np.testing.assert_allclose(line.slope, fitted.slope / length, rtol=2e-4)
    lowest = fitted.slope - scipy.stats.t.ppf(0.9, used - 2) * error
    np.testing.assert_allclose(line.lowest_slope, lowest / length, rtol=2e-3)
    np.testing.assert_allclose(line.level, fitted.intercept + fitted.slope * x[-1], rtol=1e-5)


def test_student_quantile():
    degrees = np.array([5, 14, 15, 30, 1000], np.float32)
    quantile = jax.vmap(history.student_quantile, in_axes=(None, 0))
    for probability, tolerance in ((0.9, 0.01), (0.95, 0.01), (0.99, 0.03)):
        found = quantile(probability, jnp.asarray(degrees))
        truth = scipy.stats.t.ppf(probability, degrees)
        np.testing.assert_allclose(found, truth, rtol=tolerance)
    near = quantile(0.95, jnp.asarray(degrees[1:]))
    np.testing.assert_allclose(near, scipy.stats.t.ppf(0.95, degrees[1:]), rtol=5e-4)


# --- plateau


def test_plateau_by_numpy():
    """The whole run of verdicts, from the definition, in float64 and by scipy."""
    stop, hits = NEVER, 0
    blocks, length = [], 1
    open_block = []
    for t, value in enumerate(RUN, 1):
        open_block.append(value)
        if len(open_block) < length:
            continue
        blocks.append(np.mean(open_block))
        open_block = []
        if len(blocks) == 64:
            blocks, length = list(np.reshape(blocks, (32, 2)).mean(1)), 2 * length
        if len(blocks) < 32:
            continue
        used = -(-len(blocks) // 2)
        x, y = np.arange(len(blocks))[-used:], np.array(blocks[-used:])
        fitted: Any = scipy.stats.linregress(x, y)
        residual = y - fitted.intercept - fitted.slope * x
        rho = (residual[1:] * residual[:-1]).sum() / (residual**2).sum() + 2 / used
        rho = np.clip(rho, 0, 0.9)
        error = fitted.stderr * np.sqrt((1 + rho) / (1 - rho))
        bound = scipy.stats.t.ppf(0.95, used - 2) * error - fitted.slope
        gain = bound / length * 0.5 * t
        hits = hits + 1 if gain < 0.01 * abs(fitted.intercept + fitted.slope * x[-1]) else 0
        if hits == 2:
            stop = t
            break
    assert 100 < stop < 1000
    assert first_stop(PLATEAU, RUN) == stop


def test_plateau_waits_for_descent_and_not_for_noise():
    flat = 2 + 0.1 * np.random.default_rng(1).normal(size=1000)
    slow = 2 + 3 * (1 + np.arange(1000) / 5) ** -0.5
    stop = first_stop(PLATEAU, flat)
    assert stop < 700
    assert first_stop(PLATEAU, slow) == NEVER
    assert stop < first_stop(convergence.plateau(hits=3), flat) < 700
    assert 500 <= first_stop(convergence.plateau(min_observations=500), flat) < 1000


def test_plateau_with_a_budget_looks_at_what_is_left():
    values = 2 + 3 * np.exp(-np.arange(2000) / 200)
    criterion = convergence.plateau(budget=2000)
    stop = first_stop(criterion, values)
    left = values[stop - 1] - values[-1]
    assert left < 0.01 * values[stop - 1]
    # a fifth of the budget at least, even if nothing ever happens
    assert 400 <= first_stop(criterion, np.full(2000, 2.0)) < 420
    # a slow line is worth 1 % at the beginning of the budget, but not at the end
    line = 2 - 5e-5 * np.arange(2000)
    assert 1400 < first_stop(criterion, line) < 1900


def test_a_loss_of_exactly_zero_is_a_plateau():
    assert first_stop(PLATEAU, np.zeros(1000)) == 33


# --- laws


def test_same_verdicts_in_jit_scan_while_and_vmap():
    criterion = default()
    scanned = codes(criterion, RUN)
    stop = int(np.argmax(scanned != 0))
    assert 0 < stop < 999

    update = jax.jit(criterion.update)
    state = criterion.init()
    for i in range(stop + 1):
        state, judged = update(state, Observation(jnp.float32(RUN[i]), jnp.int32(i + 1)))
        assert int(judged.code) == scanned[i]

    values = jnp.asarray(RUN, jnp.float32)

    def go_on(carry):
        return carry[2] == Reason.RUNNING

    def advance(carry):
        state, i, _ = carry
        state, judged = criterion.update(state, Observation(values[i], i + 1))
        return state, i + 1, judged.code

    start = (criterion.init(), jnp.int32(0), jnp.int32(0))
    _, seen, code = jax.jit(functools.partial(jax.lax.while_loop, go_on, advance))(start)
    assert (int(seen), int(code)) == (stop + 1, scanned[stop])

    mapped = jax.vmap(scan_of(criterion))(jnp.stack([values, values + 1, values * 2]))
    np.testing.assert_array_equal(mapped[0], scanned)


def test_same_verdicts_without_jit():
    criterion = convergence.any_of(
        bad=convergence.nonfinite(2),
        low=convergence.target(0.5),
        waited=convergence.after(2, convergence.patience(2)),
        flat=PLATEAU,
    )
    state, found = criterion.init(), []
    values = [3.0, NAN, 2.0, 2.0, 2.0, NAN, NAN, 0.1]
    for step, value in enumerate(values, 1):
        seen = Observation(jnp.float32(value), jnp.int32(step))
        state, judged = criterion.update(state, seen)
        found.append(int(judged.code))
    assert found == list(codes(criterion, values))
    assert found[-4:] == [Reason.PATIENCE, 0, Reason.NONFINITE, Reason.TARGET]


@pytest.mark.parametrize("x64", [False, True])
def test_state_is_small_and_single_precision(x64):
    with jax.enable_x64(x64):
        criterion = convergence.all_of(a=default(), b=convergence.target(0.1))
        state = criterion.init()
        leaves = jax.tree.leaves(state)
        assert {leaf.dtype.name for leaf in leaves} <= {"float32", "int32", "bool"}
        assert sum(leaf.nbytes for leaf in leaves) < 1000
        value = jnp.asarray(1.0, float)
        updated, judged = jax.jit(criterion.update)(state, Observation(value, jnp.int32(1)))
        assert [leaf.dtype for leaf in jax.tree.leaves(updated)] == [leaf.dtype for leaf in leaves]
        assert judged.code.dtype == jnp.int32


def test_values_that_are_not_finite_leave_no_trace():
    holed = RUN.copy()
    holed[::7] = np.resize([NAN, np.inf, -np.inf], len(holed[::7]))
    criterion = convergence.all_of(
        flat=convergence.averaged(5, convergence.plateau()),
        waited=convergence.averaged(5, convergence.patience(10)),
    )
    finite = np.isfinite(holed)
    stop = first_stop(criterion, RUN[finite])
    assert stop < NEVER
    assert first_stop(criterion, holed) == np.flatnonzero(finite)[stop - 1] + 1


def test_absolute_margins_do_not_see_a_shift():
    criteria = [
        convergence.averaged(5, convergence.plateau(rtol=0.0, atol=0.05)),
        convergence.patience(8, atol=0.05),
    ]
    for criterion in criteria:
        stop = first_stop(criterion, RUN)
        assert stop < NEVER
        assert first_stop(criterion, RUN - 10) == stop


def test_relative_margin_stops_a_negative_loss_that_rises():
    assert first_stop(convergence.patience(5, rtol=0.1), -1 + 0.05 * np.arange(20)) == 6


# --- words


def test_every_reason_has_words():
    for reason in Reason:
        said = explain(Verdict(jnp.int32(reason), jnp.float32(3.0), jnp.float32(4.0)))
        assert said.startswith(reason.name.lower() + ": ")
        assert "{" not in said


@pytest.mark.parametrize(
    ("reason", "statistic", "threshold", "said"),
    [
        (Reason.PLATEAU, 0.0031, 0.0042, "training on would gain 0.0031 at most, and 0.0042 is"),
        (Reason.PLATEAU, -0.5, 0.01, "the loss is rising, by 0.5 at least"),
        (Reason.PATIENCE, 20, 20, "no gain in 20 checks in a row, 20 allowed"),
        (Reason.TARGET, 0.0099, 0.01, "the value 0.0099 is no more than the wanted 0.01"),
        (Reason.BUDGET, 1000, 1000, "step 1000 has been reached, of 1000 allowed"),
        (Reason.NONFINITE, 10, 10, "NaN or infinite 10 times in a row, 10 allowed"),
    ],
)
def test_words_carry_the_numbers(reason, statistic, threshold, said):
    verdict = Verdict(jnp.int32(reason), jnp.float32(statistic), jnp.float32(threshold))
    assert said in explain(verdict)
