"""Limits and extremes of the likelihoods of failure times."""

import functools

import jax
import jax.numpy as jnp
import mpmath
import numpy as np
import pytest
from jax.experimental import checkify

from jaxloss.losses.failure_time import exponential, hazard, log_logistic, log_normal, weibull

close = functools.partial(np.testing.assert_allclose, rtol=2e-6)
LOSSES = {
    weibull: (lambda z: -mpmath.expm1(-mpmath.exp(z)), lambda z: mpmath.exp(-mpmath.exp(z))),
    log_normal: (mpmath.ncdf, lambda z: mpmath.ncdf(-z)),
    log_logistic: (lambda z: 1 / (1 + mpmath.exp(-z)), lambda z: 1 / (1 + mpmath.exp(z))),
}
every = pytest.mark.parametrize("loss", LOSSES)
STARTS = np.array([0, 0, 0, 1e-3, 0.5, 1, 1, 1, 2, 30, 0.01, 1, 5, 1e-8, 7, 7], np.float32)
ENDS = np.array(
    [1e-8, 1, 60, np.inf, np.inf, np.inf, 1.00001, 1.5, 50, np.inf, 0.0100001, 1e6,
     5.5, 1e8, 7.01, 1e9],
    np.float32,
)  # fmt: skip


def exactly(loss, prediction, scale, start, end):
    below, above = LOSSES[loss]

    def z(t):
        return (mpmath.log(t) - mpmath.mpf(prediction)) / mpmath.mpf(scale)

    if start == 0:
        return -mpmath.log(below(z(end)))
    if end == np.inf:
        return -mpmath.log(above(z(start)))
    return -mpmath.log(above(z(start)) - above(z(end)))


@every
@pytest.mark.parametrize(("prediction", "scale"), [(0.0, 1.0), (1.5, 0.25), (-2.0, 3.0)])
def test_censored_from_sure_to_impossible(loss, prediction, scale):
    predictions, scales = (jnp.full(16, x, jnp.float32) for x in (prediction, scale))
    at = jax.jit(jax.vmap(jax.value_and_grad(loss, argnums=(0, 1))))
    value, slopes = at(predictions, scales, STARTS, ENDS)
    rows = list(zip(STARTS.tolist(), ENDS.tolist(), strict=True))
    with mpmath.workdps(200):
        exact = [exactly(loss, prediction, scale, *row) for row in rows]
        h = mpmath.mpf(10) ** -40
        steep = [
            (exactly(loss, mpmath.mpf(prediction) + h, scale, *row) - value) / h
            for row, value in zip(rows, exact, strict=True)
        ]
    expected, steep = np.array(exact, float), np.array(steep, float)
    assert (value >= 0).all()
    seen = expected < 1e30
    close(value[seen], expected[seen], rtol=2e-5, atol=1e-37)
    steep_rtol = 5e-4 if loss is log_normal else 5e-5  # log_ndtr's slope, 80 deviations out
    close(slopes[0][seen], steep[seen], rtol=steep_rtol, atol=1e-5)
    assert jnp.isfinite(jnp.stack(slopes)[:, seen]).all()


@every
def test_a_narrow_interval_is_a_density(loss):
    time = jnp.array([0.3, 1.0, 4.0])
    width = np.float32(1e-4) * time
    predictions, scales = jnp.array([0.5, -0.5, 0.2]), jnp.array([0.7, 1.3, 0.4])
    density = loss(predictions, scales, time, time, reduction="none")
    narrow = loss(predictions, scales, time, time + width, reduction="none")
    close(narrow + jnp.log(width), density, atol=5e-3)


@every
def test_the_parts_of_time_add_up(loss):
    cuts = jnp.array([0.0, 0.1, 0.7, 0.9, 3.0, 200.0, jnp.inf])
    losses = loss(jnp.full(6, 0.3), jnp.full(6, 1.4), cuts[:-1], cuts[1:], reduction="none")
    close(jnp.exp(-losses).sum(), 1)


@every
def test_nothing_known_costs_nothing(loss):
    at = jax.value_and_grad(loss, argnums=(0, 1))
    value, slopes = at(jnp.ones(1), jnp.ones(1), jnp.zeros(1), jnp.array([jnp.inf]))
    assert value == 0
    assert not jnp.stack(slopes).any()


def test_exponential_is_weibull_of_scale_one():
    predictions = jnp.linspace(-2, 2, 16)
    expected = weibull(predictions, jnp.ones(16), STARTS, ENDS, reduction="none")
    close(exponential(predictions, STARTS, ENDS, reduction="none"), expected)


@every
def test_second_derivatives_are_finite(loss):
    starts, ends = jnp.array([1.0, 0.0, 2.0, 2.0]), jnp.array([1.0, 3.0, jnp.inf, 2.5])

    def total(x):
        return loss(x[:4], x[4:], starts, ends, reduction="sum")

    assert jnp.isfinite(jax.jit(jax.hessian(total))(jnp.linspace(0.5, 1.5, 8))).all()


@pytest.mark.parametrize(
    ("scale", "start", "end", "expected"),
    [
        (-1.0, 1.0, 2.0, "weibull: scales must be positive, got -1.0"),
        (1.0, -1.0, 2.0, "weibull: lower_times must not be negative, got -1.0"),
        (1.0, 3.0, 2.0, "weibull: upper_times must be positive, not below lower_times, got 2.0"),
        (1.0, 0.0, 2.0, ""),
    ],
)
def test_preconditions(scale, start, end, expected):
    error, _ = jax.jit(checkify.checkify(weibull))(*map(jnp.float32, (0.0, scale, start, end)))
    assert (error.get() or "").partition(" (`check`")[0] == expected


def test_a_hazard_that_is_integrated_is_any_likelihood():
    """Weibull: H = (t / s)^k and h = k H / t."""
    times, ends = jnp.array([0.5, 1.0, 2.5]), jnp.array([0.5, jnp.inf, 2.5])
    predictions, scales = jnp.array([0.3, -0.2, 1.0]), jnp.array([0.5, 0.8, 1.5])
    total = (times / jnp.exp(predictions)) ** (1 / scales)
    log_hazards = jnp.log(total / scales / times)
    found = hazard(log_hazards, total, jnp.array([True, False, True]), reduction="none")
    close(found, weibull(predictions, scales, times, ends, reduction="none"), rtol=5e-6)
    unused = hazard(jnp.array([jnp.nan]), jnp.ones(1), jnp.zeros(1))
    assert unused == 1
