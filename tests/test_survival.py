"""Limits and extremes of the partial likelihoods."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.experimental import checkify

from jaxloss.losses.survival import cox_breslow, cox_efron
from tests.oracles import survival as oracle

close = functools.partial(np.testing.assert_allclose, rtol=2e-6)
both = pytest.mark.parametrize("loss", [cox_breslow, cox_efron])
TIMES = jnp.array([1.0, 2.0, 3.0])


def slope_of(log_hazards, times, events):
    """The gradient of the summed Breslow loss, in float64."""
    h = np.asarray(log_hazards, np.float64)
    slope = np.zeros(len(h))
    for i in np.flatnonzero(events):
        risk = np.flatnonzero(np.asarray(times) >= times[i])
        share = np.exp(h[risk] - h[risk].max())
        slope[risk] += share / share.sum()
        slope[i] -= 1
    return slope


@both
def test_without_ties_the_two_agree_with_the_double_loop(loss):
    random = np.random.default_rng(0)
    h, t = random.normal(size=300).astype(np.float32) * 3, random.permutation(300)
    e = random.integers(0, 2, 300)
    value, slope = jax.value_and_grad(loss)(h, t, e, reduction="sum")
    close(value, oracle.cox_breslow(h.astype(float), t, e).sum())
    close(slope, slope_of(h, t, e), rtol=2e-5, atol=2e-6)


@both
@pytest.mark.parametrize("shift", [-1e4, 0.0, 1e4])
def test_far_apart_risk_sets_keep_their_digits(loss, shift):
    """The first two are at risk with someone far ahead, and among themselves they are not."""
    h = jnp.array([1e4, 0.5, -1e4, -1e4 - 1]) + shift
    times, events = jnp.array([1.0, 3.0, 5.0, 5.5]), jnp.ones(4, int)
    losses = loss(h, times, events, reduction="none")
    exact = np.asarray(h, np.float64)
    close(losses, [0, 0, np.log1p(np.exp(exact[3] - exact[2])), 0], atol=1e-30)
    reverse = loss(h, -times, events, reduction="none")
    expected = [0, exact[0] - exact[1], exact[0] - exact[2], exact[0] - exact[3]]
    close(reverse, expected, atol=1e-30)
    close(jax.grad(loss)(h, -times, events, reduction="sum"), [3, -1, -1, -1])


@both
def test_a_sure_model_keeps_its_digits(loss):
    h = jnp.array([40.0, 0.0, 1.0])
    value, slope = jax.value_and_grad(loss)(h, TIMES, jnp.array([1, 0, 0]), reduction="sum")
    others = np.exp([-40.0, -39.0])
    close(value, others.sum())
    close(slope, [-others.sum(), *others])


@both
def test_a_constant_changes_nothing(loss):
    h, t, e = oracle.with_ties()
    h = jnp.round(h * 8) / 8
    value, slope = jax.value_and_grad(loss)(h, t, e)
    shifted, other = jax.value_and_grad(loss)(h + 1024, t, e)
    close(shifted, value)
    close(other, slope, rtol=1e-5, atol=1e-8)
    assert abs(slope.sum()) < 1e-6


@both
def test_the_order_of_tied_examples_does_not_matter(loss):
    h, t, e = oracle.with_ties()
    order = np.random.default_rng(9).permutation(len(h))
    losses = loss(h, t, e, reduction="none")
    close(loss(h[order], t[order], e[order], reduction="none"), losses[order], atol=1e-7)
    assert (losses >= 0).all()
    assert (losses[e == 0] == 0).all()


def test_tied_events_alone():
    h, same, events = jnp.array([0.3, 0.3]), jnp.ones(2), jnp.ones(2, int)
    close(cox_breslow(h, same, events, reduction="sum"), 2 * np.log(2))
    close(cox_efron(h, same, events, reduction="sum"), np.log(2))
    far = jnp.array([1e4, 0.0])
    close(cox_efron(far, same, events, reduction="sum"), 1e4 - np.log(2))
    close(jax.grad(cox_efron)(far, same, events, reduction="sum"), [1, -1])


@both
def test_nothing_happened(loss):
    value, slope = jax.value_and_grad(loss)(jnp.arange(3.0), TIMES, jnp.zeros(3, int))
    assert value == 0
    assert (slope == 0).all()
    assert loss(jnp.zeros(0), jnp.zeros(0), jnp.zeros(0, int)) == 0
    assert loss(jnp.ones(1), jnp.ones(1), jnp.ones(1, bool)) == 0


@both
def test_strata_are_separate_batches(loss):
    h, t, e = oracle.with_ties()
    strata = jnp.asarray(oracle.STRATA)
    losses = loss(h, t, e, strata=strata, reduction="none")
    for stratum in (-1, 0, 1):
        alone = loss(h, t, e, where=strata == stratum, reduction="none")
        close(jnp.where(strata == stratum, losses, 0), alone, atol=1e-7)


@both
def test_an_interval_cut_in_two_changes_nothing(loss):
    h, t, e = oracle.with_ties()
    whole, slope = jax.value_and_grad(loss)(h, t, e, reduction="sum")
    late = t > 6.5
    h2, t2 = np.append(h, h[late]), np.append(np.where(late, 6.5, t), t[late])
    e2 = np.append(np.where(late, 0, e), e[late])
    entry = np.append(np.zeros(len(t)), np.full(late.sum(), 6.5)).astype(np.float32)
    cut, halves = jax.value_and_grad(loss)(
        h2, t2.astype(np.float32), e2, entry_times=entry, reduction="sum"
    )
    close(cut, whole)
    merged = np.array(halves[: len(h)])
    merged[late] += halves[len(h) :]
    close(merged, slope, rtol=1e-5, atol=1e-6)


@both
def test_late_entries_beside_a_huge_hazard_that_left(loss):
    """A difference of cumulative sums would find nobody at risk."""
    h, times = jnp.array([1e4, 0.0, 1.0]), jnp.array([1.0, 3.0, 4.0])
    losses = loss(
        h, times, jnp.ones(3, int), entry_times=jnp.array([0.0, 1.0, 2.0]), reduction="none"
    )
    close(losses, [0, np.log1p(np.exp(1.0)), 0])


@both
def test_masked_options_may_hold_anything(loss):
    h, t, e = oracle.with_ties()
    where = jnp.arange(40) < 30
    strata = jnp.where(where, oracle.STRATA, -100)
    entry = jnp.where(where, oracle.ENTRIES, jnp.nan)
    value, slope = jax.value_and_grad(loss)(
        jnp.where(where, h, jnp.nan), jnp.where(where, t, jnp.inf), jnp.where(where, e, -100),
        strata=strata, entry_times=entry, where=where,
    )  # fmt: skip
    close(value, loss(h[:30], t[:30], e[:30], strata=strata[:30], entry_times=entry[:30]))
    assert (slope[30:] == 0).all()
    assert jnp.isfinite(slope).all()


@both
def test_second_derivatives(loss):
    h, t, e = (x[:12] for x in oracle.with_ties())
    with jax.enable_x64(True):
        x, d = jnp.asarray(h, float), jnp.cos(jnp.arange(12.0))
        slope = jax.grad(functools.partial(loss, times=t, events=e, reduction="sum"))
        (_, bend), ahead, behind = jax.jit(
            lambda x, d: (jax.jvp(slope, (x,), (d,)), slope(x + 1e-5 * d), slope(x - 1e-5 * d))
        )(x, d)
        close(bend, (ahead - behind) / 2e-5, rtol=1e-6, atol=1e-7)
        assert d @ bend > 0


@both
def test_no_array_of_pairs(loss):
    size = 4096
    shapes = [jax.ShapeDtypeStruct((size,), x) for x in (jnp.float32, jnp.float32, jnp.int32)]
    memory = jax.jit(jax.grad(loss)).lower(*shapes).compile().memory_analysis()
    assert memory is not None
    assert memory.temp_size_in_bytes < 400 * 4 * size


@pytest.mark.parametrize(
    ("events", "entry", "expected"),
    [
        ([1, 2, 0], [0.0, 0.0, 0.0], "cox_efron: events must be 0 or 1, got 2"),
        ([1, 1, 0], [0.0, 2.5, 0.0], "cox_efron: entry_times must be less than times, got 2.5"),
        ([1, 1, 0], [0.0, 0.0, 0.0], ""),
    ],
)
def test_preconditions(events, entry, expected):
    check = checkify.checkify(
        lambda h, e, s: jax.grad(lambda h: cox_efron(h, TIMES, e, entry_times=s))(h)
    )
    error, _ = jax.jit(check)(jnp.zeros(3), jnp.array(events), jnp.array(entry))
    assert (error.get() or "").partition(" (`check`")[0] == expected


@pytest.mark.oracles
@pytest.mark.filterwarnings("default")  # theirs
def test_what_lifelines_fits_to_its_data_is_a_minimum_of_the_same_value():
    lifelines = pytest.importorskip("lifelines")
    data = lifelines.datasets.load_rossi()
    fitter = lifelines.CoxPHFitter()
    fitter.fit(data, "week", "arrest", strata=["wexp"], fit_options={"precision": 1e-10})
    with jax.enable_x64(True):
        features = jnp.asarray(data[list(fitter.params_.index)].to_numpy(float))
        times, events = jnp.asarray(data["week"].to_numpy()), jnp.asarray(data["arrest"].to_numpy())
        groups = jnp.asarray(data["wexp"].to_numpy())

        def total(coefficients):
            hazards = features @ coefficients
            return cox_efron(hazards, times, events, strata=groups, reduction="sum")

        value, slope = jax.value_and_grad(total)(jnp.asarray(fitter.params_.to_numpy()))
        np.testing.assert_allclose(value, -fitter.log_likelihood_, rtol=1e-8)
        np.testing.assert_allclose(slope, 0, atol=1e-4)
