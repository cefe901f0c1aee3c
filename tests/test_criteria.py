"""The criteria beside patience and plateau: by hand, and on gradient descent that is simulated."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import scipy.stats

from jaxloss.training import convergence, history
from jaxloss.training.convergence import Observation, Reason

NAN = float("nan")
NEVER = 1_000_000


@functools.cache
def scan_of(criterion):
    """Verdicts after each value, compiled once for each criterion and length."""

    def one(state, seen):
        state, judged = criterion.update(state, Observation(*seen))
        return state, judged

    return jax.jit(lambda *seen: jax.lax.scan(one, criterion.init(), seen)[1])


def verdicts(criterion, values, aux=None):
    steps = jnp.arange(1, len(values) + 1, dtype=jnp.int32)
    aux = {name: jnp.asarray(numbers, jnp.float32) for name, numbers in (aux or {}).items()}
    return scan_of(criterion)(jnp.asarray(values, jnp.float32), steps, aux)


def stops(criterion, values, aux=None):
    """After how many values the criterion fired each time."""
    return [int(i) + 1 for i in np.flatnonzero(verdicts(criterion, values, aux).code)]


def first_stop(criterion, values, aux=None):
    return (stops(criterion, values, aux) or [NEVER])[0]


# --- windows and running means


@pytest.mark.parametrize(
    ("values", "options", "stop"),
    [
        ([4, 4, 2, 2, 2, 2, 2, 2], {"hits": 1}, 6),
        ([4, 4, 2, 2, 2, 2, 2, 2], {"hits": 2}, 8),
        ([4, NAN, 4, 2, 2, NAN, 2, 2], {"hits": 1}, 8),  # three windows of two finite values
        ([4, 4, 3, 3, 2, 2, 1, 1], {"hits": 1, "atol": 0.5}, NEVER),
        ([4, 4, 3, 3, 2, 2, 1, 1], {"hits": 1, "atol": 1.5}, 4),
        ([-4, -4, -3, -3], {"hits": 1, "rtol": 0.1}, 4),
    ],
)
def test_window_gain_table(values, options, stop):
    assert first_stop(convergence.window_gain(2, **options), values) == stop


def test_ema_crossing_by_numpy():
    values = 2 + np.exp(-np.arange(400) / 40)
    criterion = convergence.ema_crossing(4.0, 20.0, rtol=1e-3, hits=5)
    means, hits, stop = [0.0, 0.0], 0, NEVER
    for seen, value in enumerate(values, 1):
        for i, half_life in enumerate((4, 20)):
            means[i] += max(1 - 0.5 ** (1 / half_life), 1 / seen) * (value - means[i])
        met = seen >= 60 and means[1] - means[0] < 1e-3 * means[1]
        hits = hits + 1 if met else 0
        if hits == 5:
            stop = seen
            break
    assert 100 < stop < 400
    assert first_stop(criterion, values) == stop
    with pytest.raises(ValueError, match="ema_crossing: fast must be positive and less than slow"):
        convergence.ema_crossing(5.0, 5.0)


# --- the robust slope


def test_robust_trend_is_the_one_of_scipy_but_for_correlation():
    generator = np.random.default_rng(0)
    values = 3 - 0.01 * np.arange(60) + 0.1 * generator.standard_t(2, 60)
    pushed, _ = jax.lax.scan(history.push, history.empty(64), jnp.asarray(values, jnp.float32))
    line = jax.jit(history.robust_trend)(pushed, 0.95)
    expected: Any = scipy.stats.theilslopes(values[-30:], np.arange(30), alpha=0.9)
    np.testing.assert_allclose(line.slope, expected.slope, rtol=1e-4)
    assert float(line.lowest_slope) <= expected.low_slope + 1e-6
    assert int(line.blocks) == 30


def test_robust_plateau_does_not_mind_outliers():
    values = 2 + 0.02 * np.random.default_rng(1).normal(size=600)
    values[[300, 330, 350, 370]] += 40
    plain, robust = (convergence.plateau(min_observations=390, robust=r) for r in (False, True))
    assert first_stop(robust, values) < first_stop(plain, values)
    assert first_stop(robust, 3 - np.arange(600) / 600) == NEVER


# --- combinations


def test_k_of_n_counts_what_has_been_met():
    criteria = {
        "low": convergence.target(1.0),
        "late": convergence.budget(3),
        "lower": convergence.target(0.0),
    }
    values = [2.0, 0.5, 2.0, 2.0, -1.0]
    assert stops(convergence.k_of_n(2, **criteria), values) == [3, 4, 5]
    assert stops(convergence.k_of_n(3, **criteria), values) == [5]
    judged = verdicts(convergence.k_of_n(2, **criteria), values)
    assert float(judged.statistic[2]) == float(judged.threshold[2]) == 2
    for k in (0, 4):
        with pytest.raises(ValueError, match=f"k_of_n: k must be between 1 and 3, got {k}"):
            convergence.k_of_n(k, **criteria)
    with pytest.raises(ValueError, match="k_of_n: criteria must be given"):
        convergence.k_of_n(1)


def test_on_another_metric_which_must_be_there():
    criterion = convergence.on("score", convergence.patience(2))
    falling = [4.0, 3.0, 2.0, 1.0]
    assert first_stop(criterion, falling, {"score": [1, 2, 2, 0]}) == 3
    assert first_stop(criterion, falling, {"score": [1, NAN, 2, 0]}) == NEVER
    with pytest.raises(ValueError, match=r"on: observation.aux must hold 'score', got \['rate'\]"):
        verdicts(criterion, falling, {"rate": falling})


def test_aux_passes_through_all_that_wrap():
    """The value of the last of two, its auxiliary numbers with it."""
    inner = convergence.on("score", convergence.target(0.0))
    criterion = convergence.after(
        0, convergence.averaged(2, convergence.any_of(a=convergence.all_of(b=inner)))
    )
    assert first_stop(criterion, [5.0] * 6, {"score": [0, 1, 0, 1, 1, 0]}) == 6


def test_unless_watches_but_holds_its_tongue():
    criterion = convergence.unless(lambda o: (o.aux or {})["hot"] > 0, convergence.patience(2))
    assert stops(criterion, [3.0] * 6, {"hot": [1, 1, 1, 1, 0, 1]}) == [5]


def test_reset_when_begins_anew_at_once():
    switched = convergence.reset_when(lambda o: o.step == 4, convergence.patience(2))
    values = [1.0, 1.0, 0.5, 9.0, 9.0, 8.0, 8.0, 8.0]
    assert first_stop(convergence.patience(2), values) == 5
    assert first_stop(switched, values) == 8


def test_reset_on_change_of_a_learning_rate():
    criterion = convergence.reset_on_change(
        lambda o: (o.aux or {})["rate"], convergence.patience(3)
    )
    values = [1.0] * 8
    assert first_stop(criterion, values, {"rate": [1.0] * 8}) == 4
    assert first_stop(criterion, values, {"rate": [1, 1, 1, 0.1, 0.1, 0.1, 0.1, 0.1]}) == 7
    # by half in the end, and no step of it by that much
    assert first_stop(criterion, values, {"rate": [1, 0.8, 0.6, 0.5, 0.4, 0.4, 0.4, 0.3]}) == 7
    assert first_stop(criterion, values, {"rate": [0.1, 0.1, 0.3, 1, 1, 1, 1, 1]}) == 7
    # a rate of zero is a change once
    assert first_stop(criterion, values, {"rate": [1, 1, 0, 0, 0, 0, 0, 0]}) == 6


# --- Prechelt

# E_opt is 4 from the third on, 2 from the sixth on
VALIDATION = [5.0, 4.5, 4.0, 4.4, 4.2, 2.0, 2.5, 3.0, 3.0]
TRAIN = [4.0, 3.0, 2.0, 2.0, 1.0, 1.5, 1.0, 1.0, 1.0]


@pytest.mark.parametrize(
    ("criterion", "stopped"),
    [
        # GL: 0 0 0 10 5 0 25 50 50
        (convergence.prechelt_gl(4.0), [4, 5, 7, 8, 9]),
        (convergence.prechelt_gl(7.0), [4, 7, 8, 9]),
        (convergence.prechelt_gl(30.0), [8, 9]),
        # P at strip ends: 1000 (3 / 2 - 1) = 500; 1000 (1.5 - 1) = 500; 0: GL/P 0, 0, infinite
        (convergence.prechelt_pq(0.01, strip=3), [9]),
        # P at the ends of two: 1000 (7/6 - 1) = 166.7, 0, 1000 (1.25 - 1) = 250, 0
        # GL / P: 0, infinite, 0, infinite
        (convergence.prechelt_pq(1.0, strip=2), [4, 8]),
        # strips of 4 end at 4.4 (GL 10, P 1000 (2.75 / 2 - 1) = 375) and 3 (50, 125): .027 and .4
        (convergence.prechelt_pq(0.02, strip=4), [4, 8]),
        (convergence.prechelt_pq(0.03, strip=4), [8]),
        (convergence.prechelt_pq(0.39, strip=4), [8]),
        (convergence.prechelt_pq(0.41, strip=4), []),
        # strips of two end at 4.5 4.4 2 3, of one at every value
        (convergence.prechelt_up(1, strip=2), [8]),
        (convergence.prechelt_up(1, strip=1), [4, 7, 8]),
        (convergence.prechelt_up(2, strip=1), [8]),
        (convergence.prechelt_up(3, strip=1), []),
    ],
)
def test_prechelt_by_hand(criterion, stopped):
    assert stops(criterion, VALIDATION, {"train": TRAIN}) == stopped


def test_prechelt_of_a_negative_value_and_of_nan():
    assert first_stop(convergence.prechelt_gl(5.0), [-1.0, -2.0, NAN, -1.95, -1.8]) == 5
    holed = [NAN, *TRAIN[1:4]]  # P of 3 2 2: 1000 (7/3 / 2 - 1) = 166.7
    assert (
        first_stop(convergence.prechelt_pq(0.059, strip=4), VALIDATION[:4], {"train": holed}) == 4
    )
    assert (
        first_stop(convergence.prechelt_pq(0.061, strip=4), VALIDATION[:4], {"train": holed})
        == NEVER
    )


# --- gradient descent at rest


def test_balances_of_heavy_ball_momentum():
    """Of optax's own update, against the terms of the two papers."""
    rate, momentum = 0.1, 0.9
    optimizer = optax.sgd(rate, momentum)
    params, gradient = jnp.array([1.0, -2.0]), jnp.array([0.5, 1.5])
    state = optimizer.update(gradient, optimizer.init(params))[1]
    updates, _ = optimizer.update(gradient, state)
    velocity = np.array(updates)
    found = convergence.balances(
        {"a": params}, {"a": gradient}, {"a": updates}, learning_rate=rate, momentum=momentum
    )
    np.testing.assert_allclose(found["dissipation"], params @ gradient, rtol=1e-6)
    expected = (1 + momentum) / (2 * rate) * (velocity**2).sum()
    np.testing.assert_allclose(found["fluctuation"], expected, rtol=1e-6)
    after = np.asarray(params) + velocity
    drift = (np.square(params).sum() - np.square(after).sum()) / 2
    np.testing.assert_allclose(found["drift"], drift, rtol=1e-5)
    np.testing.assert_allclose(found["diffusion"], (velocity**2).sum() / 2, rtol=1e-6)


@functools.cache
def descent(condition, step, noise, momentum=0.0, steps=12_000, runs=8, dimensions=20):
    """What `balances` gives of least squares from batches of four, and when they are at rest."""
    scales = jnp.logspace(0, -np.log10(condition), dimensions)
    rate = float(step / scales.sum()) * (1 - momentum)
    optimizer = optax.sgd(rate, momentum or None)

    def one(key):
        def advance(carry, key):
            params, state = carry
            inner, outer = jax.random.split(key)
            inputs = jax.random.normal(inner, (4, dimensions)) * jnp.sqrt(scales)[None]
            residual = inputs @ params - noise * jax.random.normal(outer, (4,))
            gradient = residual @ inputs / 4
            updates, state = optimizer.update(gradient, state)
            seen = convergence.balances(
                params, gradient, updates, learning_rate=rate, momentum=momentum
            )
            return (optax.apply_updates(params, updates), state), seen

        start = jnp.full(dimensions, 3 / dimensions**0.5)
        return jax.lax.scan(advance, (start, optimizer.init(start)), jax.random.split(key, steps))[
            1
        ]

    seen = jax.jit(jax.vmap(one))(jax.random.split(jax.random.key(0), runs))
    return seen, at_rest(np.asarray(scales, float), rate / (1 - momentum), noise, steps)


def at_rest(scales, rate, noise, steps):
    """When the expected excess loss comes within a tenth of where it goes, for Gaussian inputs.

    The mean of a few runs would come there earlier, by luck.
    """
    squares, excess = np.full(len(scales), 9 / len(scales)), []
    for _ in range(steps):
        excess.append((scales * squares).sum())
        spread = scales**2 * squares + scales * (excess[-1] + noise**2)
        squares = (1 - rate * scales) ** 2 * squares + rate**2 * spread / 4
    return int(np.argmax(excess < 1.1 * np.mean(excess[-steps // 4 :])))


def firsts(criterion, seen):
    """The step at which each run was stopped."""

    def one(aux):
        def see(state, now):
            aux, step = now
            state, judged = criterion.update(state, Observation(jnp.float32(0), step, aux))
            return state, judged.code

        steps = jnp.arange(1, len(aux["drift"]) + 1, dtype=jnp.int32)
        codes = jax.lax.scan(see, criterion.init(), (aux, steps))[1]
        return jnp.where((codes > 0).any(), jnp.argmax(codes > 0) + 1, NEVER)

    return np.asarray(jax.jit(lambda seen: jax.lax.map(one, seen))(seen))


@pytest.mark.parametrize(
    ("problem", "least"),
    [
        ((10, 0.2, 1.0), 1000),
        ((100, 0.2, 1.0), 0),
        ((1000, 0.2, 1.0), 0),
        ((100, 0.2, 1.0, 0.9), 0),
    ],
)
def test_fdr_fires_at_rest_and_not_before(problem, least):
    seen, rest = descent(*problem)
    assert rest > 300
    found = firsts(convergence.fdr(), seen)
    assert (found >= 0.8 * rest).all()
    assert np.median(found) <= max(3 * rest, 2 * least)
    assert (found < NEVER).all()


def test_sasa_fires_at_rest_and_not_before():
    seen, rest = descent(100, 0.2, 1.0)
    found = firsts(convergence.sasa(), seen)
    assert (found >= 0.8 * rest).all()
    assert (found < NEVER).mean() >= 0.75


def test_stationarity_needs_its_numbers():
    for name, criterion in (("fdr", convergence.fdr()), ("sasa", convergence.sasa())):
        with pytest.raises(ValueError, match=rf"{name}: observation.aux must hold '\w+', got \[\]"):
            criterion.update(criterion.init(), Observation(jnp.float32(1), jnp.int32(1)))
    assert Reason.STATIONARY in list(Reason)
