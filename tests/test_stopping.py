"""Short versions of the gates of ``benchmarks convergence``, and laws of every criterion."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from benchmarks.convergence import page, record
from benchmarks.curves import TUNING, simulate, truth
from benchmarks.limits import least_early
from benchmarks.stopping import Task, ours, plain
from jaxloss.training import convergence, extrapolation, history
from jaxloss.training.convergence import Observation, Reason
from tests.compiling import jit

RUNS = 20
FAMILIES = {family.name: family for family in TUNING}
NAN = float("nan")

# --- every criterion

GENERATOR = np.random.default_rng(5)
COUNT = 160
VALUES = 2 + 3 * np.exp(-np.arange(COUNT) / 8) + 0.05 * GENERATOR.normal(size=COUNT)
VALUES[110:] += 2
CRITERIA = {
    "patience": convergence.patience(15),
    "target": convergence.target(2.05),
    "budget": convergence.budget(100),
    "averaged": convergence.averaged(3, convergence.patience(5)),
    "window_gain": convergence.window_gain(10, rtol=1e-2),
    "ema_crossing": convergence.ema_crossing(2.0, 10.0, hits=5),
    "plateau": convergence.plateau(),
    "plateau, robust": convergence.plateau(robust=True, rtol=0.2),
    "forecast": convergence.forecast(min_observations=0),
    "divergence": convergence.divergence(window=4),
    "prechelt_gl": convergence.prechelt_gl(5.0),
    "prechelt_pq": convergence.prechelt_pq(0.5),
    "prechelt_up": convergence.prechelt_up(3, strip=2),
    "fdr": convergence.fdr(0.2, min_observations=50),
    "sasa": convergence.sasa(0.5, min_observations=50),
    "any_of": convergence.any_of(a=convergence.patience(30), b=convergence.target(2.1)),
    "all_of": convergence.all_of(a=convergence.patience(10), b=convergence.target(2.1)),
    "k_of_n": convergence.k_of_n(1, a=convergence.patience(20), b=convergence.target(0.0)),
    "after": convergence.after(60, convergence.patience(10)),
    "on": convergence.on("train", convergence.patience(15)),
    "reset_when": convergence.reset_when(lambda o: o.step == 40, convergence.patience(15)),
}


def seen(value, step):
    """An observation with all that any criterion wants to know beside."""
    noise = jnp.sin(100 * value)
    names = {"dissipation": 1 + 0.1 * noise, "fluctuation": value / 2, "diffusion": value}
    return Observation(value, step, {"train": 0.9 * value, "drift": 0.1 * noise, **names})


@pytest.mark.parametrize("name", CRITERIA)
def test_same_verdict_in_scan_and_vmap_and_with_holes(name):
    """One value after the other, beside others, and with every seventh value missing."""
    criterion = CRITERIA[name]

    def codes(values, steps):
        def one(state, now):
            state, judged = criterion.update(state, seen(*now))
            return state, judged.code

        return jax.lax.scan(one, criterion.init(), (values, steps))[1]

    steps = jnp.arange(1, COUNT + 1, dtype=jnp.int32)
    alone = np.asarray(jit(codes)(jnp.float32(VALUES), steps))
    assert alone.any()

    at = np.delete(np.arange(COUNT * 7 // 6 + 1), np.s_[::7])[:COUNT]
    length = at[-1] + 1
    holed, counted = np.resize([NAN, np.inf, -np.inf], length), np.zeros(length, np.int32)
    holed[at], counted[at] = VALUES, steps
    padded = [np.pad(each, (0, length - COUNT), "edge") for each in (VALUES, np.asarray(steps))]
    values = jnp.float32(np.stack([padded[0], holed]))
    both = jit(jax.vmap(codes))(values, jnp.int32(np.stack([padded[1], counted])))
    np.testing.assert_array_equal(both[0, :COUNT], alone)
    np.testing.assert_array_equal(both[1, at], alone)


# --- gates


@functools.cache
def runs_of(name):
    return simulate(FAMILIES[name], RUNS, 21)


def judged(rule, name):
    """What the benchmark would say."""
    runs = runs_of(name)
    found = rule(Task(runs.values, runs.rates, runs.stride))
    return record("test", runs, name, found)


DEFAULT = ours(lambda schedule, steps: convergence.default(every=1, schedule=schedule))
PLATEAU = plain(convergence.plateau(min_observations=100))
BUDGETED = plain(convergence.plateau(budget=1000))


@pytest.mark.parametrize("name", ["power 0.5", "logarithm", "exponential", "skewed", "cycle 1500"])
def test_default_waits_and_then_stops(name, as_others_promote):
    found = judged(DEFAULT, name)
    assert found["early"] <= 0.05
    assert found["diverged"] == 0
    if name in ("exponential", "skewed"):
        assert found["fired_of_converged"] >= 0.95
        assert found["median_ratio"] <= 2
    if name == "cycle 1500":  # of which it sees some through, but not soon
        assert found["fired"] > 0.2


def test_default_stops_where_nothing_happens_and_waits_for_what_it_is_told(as_others_promote):
    flat = judged(DEFAULT, "flat")
    assert flat["fired"] == 1
    assert flat["latest_step"] < 25_000
    cut = judged(DEFAULT, "rate cut at 20k")  # at which more than 95 % stop without a schedule
    assert cut["early"] <= 0.05
    assert cut["fired"] >= 0.95


@pytest.mark.parametrize("name", ["power 0.5", "exponential", "correlated 0.98", "spikes"])
@pytest.mark.parametrize("rule", [PLATEAU, BUDGETED])
def test_plateau_is_not_early(rule, name):
    assert judged(rule, name)["early"] <= 0.05


def test_plateau_with_a_budget_stops_in_it():
    for name in ("exponential", "flat"):
        assert judged(BUDGETED, name)["fired"] >= 0.95


# --- what the benchmark counts


def test_truth_counts_from_the_best_so_far():
    mean = np.repeat([4.0, 3.0, 3.5, 2.0, 2.5, 1.99], 50)
    over, double, converged = truth(mean)
    np.testing.assert_allclose(over[::50], [2.01 / 0.04, 1.01 / 0.03, 1.01 / 0.03, 0.5, 0.5, 0])
    assert converged == 150
    # what is reached by twice the step: 3, then 2 from the middle on, which is all but the last
    np.testing.assert_allclose(double[49::50], [25, 100 / 3, 1.01 / 0.03, 0.5, 0.5, 0])


def test_no_rule_sees_a_hidden_line_at_once():
    shares = [least_early(by, runs=60) for by in (1.5, 2, 4, 8)]
    assert all(a > b for a, b in itertools.pairwise(shares))
    assert 0.15 < shares[1] < 0.35
    assert shares[-1] < 0.05


def test_a_page_has_all_tables_and_what_was_reached():
    found = [judged(PLATEAU, "exponential"), judged(PLATEAU, "flat")]
    text = page([each | {"rule": "plateau"} for each in found])
    assert "| exponential | 10.0 | 0 / 100 /" in text
    assert "plateau: early in at most 5 % of 1 kinds of 1; stopped in 95 %" in text


# --- looking ahead


def outlook_of(values, ahead=1.5):
    blocks = history.empty(64)

    def push(blocks, value):
        return history.push(blocks, value)[0], None

    blocks = jax.lax.scan(push, blocks, jnp.float32(values))[0]
    return extrapolation.outlook(blocks, ahead, 0.0, 1e-2, 4.0)


OUTLOOK = jit(outlook_of)


def test_outlook_of_curves_that_are_known():
    time = np.arange(600.0)
    noise = 1e-3 * np.random.default_rng(0).normal(size=600)
    line = OUTLOOK(3 - 1e-3 * time + noise)
    np.testing.assert_allclose(line.gain, 0.9, rtol=0.1)
    assert line.risk > 0.99
    settling = OUTLOOK(2 + 3 * np.exp(-time / 200) + noise)
    np.testing.assert_allclose(settling.gain, 3 * np.exp(-3) * (1 - np.exp(-4.5)), rtol=0.1)
    settled = OUTLOOK(2 + 3 * np.exp(-time / 37.5) + 10 * noise)
    assert settled.risk < 0.05
    assert bool(settled.trusted)


@pytest.mark.parametrize("period", [37.0, 90.0])
def test_a_cycle_is_seen_through(period):
    """With a harmonic, and whether or not what it swings about has settled."""
    time = np.arange(600.0)
    angle = 2 * np.pi * time / period
    cycle = 0.1 * np.sin(angle) + 0.03 * np.cos(2 * angle)
    noise = 0.01 * np.random.default_rng(0).normal(size=600)
    settled = OUTLOOK(2 + 3 * np.exp(-time / 40) + cycle + noise)
    assert bool(settled.trusted)
    assert settled.risk < 0.05
    falling = OUTLOOK(3 - 1e-3 * time + cycle + noise)
    assert falling.risk > 0.5


def test_waves_are_taken_out_and_nothing_else():
    at = np.arange(64.0)
    wave = np.cos(2 * np.pi * 0.123 * at + 1)
    waves = extrapolation.periodic(jnp.float32(wave), jnp.float32(64))
    rest = extrapolation.without(waves, jnp.float32(wave)[None])
    assert float(jnp.abs(rest).max()) < 0.05
    other = jnp.float32(np.random.default_rng(0).normal(size=(1, 64)))
    np.testing.assert_array_equal(extrapolation.without(jnp.zeros_like(waves), other), other)
    assert Reason.SETTLED in list(Reason)
