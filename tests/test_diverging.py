"""Divergence and spikes, on noise of every kind."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.signal import lfilter

from benchmarks.curves import TUNING, simulate
from benchmarks.stopping import Task, plain
from jaxloss.training import convergence
from jaxloss.training.convergence import Reason

NAN = float("nan")
RUNS = 40
RULE = plain(convergence.divergence())
FAMILIES = {family.name: family for family in TUNING}


def stopped(name, seed=11):
    """The step at which each of some runs of a family was stopped, 0 if it was not."""
    runs = simulate(FAMILIES[name], RUNS, seed)
    found = RULE(Task(runs.values, runs.rates, runs.stride))
    assert set(found.codes) <= {Reason.RUNNING, Reason.DIVERGED}
    return found.after * runs.stride


@pytest.mark.parametrize(
    "name",
    ["exponential", "power 0.3", "line", "spikes", "cycle 4000", "tails 1.5", "correlated 0.995"],
)
def test_no_alarm_while_a_loss_descends(name):
    assert (stopped(name) > 0).mean() <= 0.02


@pytest.mark.parametrize("name", ["flat", "flat, loud", "flat, correlated", "random walk"])
def test_hardly_an_alarm_on_a_flat_loss(name):
    assert (stopped(name) > 0).mean() <= 0.05


@pytest.mark.parametrize(
    ("name", "by"), [("rising from 12k", 20_000), ("exploding from 12k", 15_000)]
)
def test_divergence_is_seen_in_time(name, by):
    steps = stopped(name)
    assert (steps > 12_000).all()
    assert (steps <= by).all()


def test_a_switch_of_data_looks_like_divergence_unless_told():
    values = 2 + 3 * np.exp(-np.arange(400) / 40) + (np.arange(400) >= 200)

    def codes(criterion):
        return np.asarray(jax.jit(functools.partial(scan, criterion))(jnp.asarray(values)))

    def scan(criterion, values):
        def one(state, seen):
            state, judged = criterion.update(state, convergence.Observation(*seen))
            return state, judged.code

        steps = jnp.arange(len(values), dtype=jnp.int32)
        return jax.lax.scan(one, criterion.init(), (jnp.float32(values), steps))[1]

    criterion = convergence.divergence()
    assert codes(criterion).max() == Reason.DIVERGED
    assert codes(convergence.reset_when(lambda o: o.step == 200, criterion)).max() == 0


# --- spikes

COUNT = 8000
LABELLED = np.sort(np.random.default_rng(0).choice(np.arange(500, COUNT - 200), 20, False))


def noises():
    generator = np.random.default_rng(1)
    normal = generator.normal(size=COUNT)
    return {
        "gaussian": 0.1 * normal,
        "correlated": 0.1 * np.asarray(lfilter([np.sqrt(1 - 0.81)], [1, -0.9], normal)),
        "student": 0.06 * generator.standard_t(3, size=COUNT),
        "lognormal": 0.1 * (np.exp(normal) - 1.6),
    }


@functools.cache
def watcher():
    detector = convergence.spikes()

    def see(state, value):
        state, spike = detector.update(state, value)
        return state, spike.found

    return jax.jit(lambda values: jax.lax.scan(see, detector.init(), values)[1])


def watch(values):
    return np.asarray(watcher()(jnp.asarray(values, jnp.float32)))


def with_spikes(noise):
    """A loss with some stretches 2 above the rest, and where they are."""
    values = 2 + 3 * np.exp(-np.arange(COUNT) / 2000) + noise
    generator, labels = np.random.default_rng(2), np.zeros(COUNT, bool)
    for start in LABELLED:
        labels[start : start + generator.integers(1, 15)] = True
    return values + 2 * labels, labels


@pytest.mark.parametrize("name", list(noises()))
def test_spikes_are_found_and_little_else(name):
    values, labels = with_spikes(noises()[name])
    found = watch(values)
    assert found[LABELLED].mean() >= 0.95
    if name != "lognormal":
        assert (found & ~labels)[200:].mean() <= 0.002


def test_a_nan_is_a_spike_and_costs_nothing_after():
    values, _ = with_spikes(noises()["gaussian"])
    before = watch(values)
    values[3000] = NAN
    after = watch(values)
    assert after[3000]
    assert after[3001:].sum() <= before[3001:].sum()


@pytest.mark.parametrize("name", list(noises()))
def test_a_new_level_is_soon_the_usual_one(name):
    values, _ = with_spikes(noises()[name])
    values[4000:] += 2
    assert watch(values)[4000:5000].sum() - watch(values - 0)[5000:6000].sum() <= 80
