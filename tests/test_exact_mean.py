"""Means against exact sums of rational numbers, and standard errors against their formula."""

import math
from fractions import Fraction

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from jaxloss.core import doubled
from jaxloss.evaluation import ExactMean, exact_mean

RANDOM = np.random.default_rng(0)


def fraction(x):
    return Fraction(float(x.high)) + Fraction(float(x.low))


def wide(size):
    """Both signs, over twelve orders of magnitude."""
    return (RANDOM.normal(size=size) * 10 ** RANDOM.uniform(-6, 6, size)).astype(np.float32)


def test_products_are_exact():
    x, y = wide(500), wide(500)
    products = jax.jit(doubled.product)(x, y)
    for k in range(500):
        product = doubled.Doubled(products.high[k], products.low[k])
        assert fraction(product) == Fraction(float(x[k])) * Fraction(float(y[k]))


def test_sums_have_twice_the_digits():
    x, y = wide(3000), wide(3000)
    sum_ = jax.jit(lambda x, y: doubled.total(doubled.product(x, y), (0,)))(x, y)
    expected = sum(Fraction(float(a)) * Fraction(float(b)) for a, b in zip(x, y, strict=True))
    size = sum(abs(float(a) * float(b)) for a, b in zip(x, y, strict=True))
    assert abs(float(fraction(sum_) - expected)) < 1e-13 * size


def test_what_does_not_fit_is_infinite_and_not_nan():
    infinite = doubled.product(jnp.float32([jnp.inf, 3e38, -3e38]), jnp.float32([0.5, 4.0, 4.0]))
    np.testing.assert_array_equal(infinite.high, [np.inf, np.inf, -np.inf])
    np.testing.assert_array_equal(infinite.low, 0)
    large = doubled.product(jnp.float32(3.4e38), jnp.float32(0.5))
    assert float(large.value()) == np.float32(1.7e38)
    assert float(doubled.total(doubled.exact(jnp.float32([3e38, 3e38])), (0,)).high) == np.inf


def uneven():
    for k in range(40):
        share = 1 if k < 39 else 0.01
        yield RANDOM.exponential(2.3, 512), RANDOM.random(512) < share


def long_and_hard():
    for k in range(30):
        longest = np.where(np.sin(k) > 0, 1, 0.3)
        lengths = RANDOM.integers(8, 64, (16, 1)) * longest
        losses = RANDOM.exponential(2.3, (16, 64)) * (1 + 0.5 * np.sin(k))
        yield losses, np.arange(64) < lengths


def of_any_weight():
    for _ in range(30):
        yield RANDOM.exponential(2.3, 2048), 10 ** RANDOM.uniform(-3, 3, 2048)


def nearly_equal():
    for _ in range(30):
        yield 1e4 + RANDOM.normal(size=2048), np.ones(2048)


def many():
    for _ in range(1500):
        yield 2.3456789 + 0.01 * RANDOM.normal(size=1024), np.ones(1024)


merge = jax.jit(ExactMean.merge)


@jax.jit
def mean_of(losses, weights):
    return exact_mean(losses, weights=weights)


def merged(means):
    first, *others = means
    for other in others:
        first = merge(first, other)
    return first


@pytest.mark.parametrize("case", [uneven, long_and_hard, of_any_weight, nearly_equal, many])
def test_over_batches_and_shards_in_any_order(case):
    batches = [(x.astype(np.float32), w.astype(np.float32)) for x, w in case()]
    means = [mean_of(x, w) for x, w in batches]
    order = RANDOM.permutation(len(means))
    shards = [merged([means[k] for k in order[s::8]]) for s in range(8)]

    products = [(x.astype(float) * w).ravel() for x, w in batches]
    weight = math.fsum(w for _, batch in batches for w in batch.ravel())
    expected = math.fsum(p for product in products for p in product) / weight

    totals = np.concatenate([(x.astype(float) * w).reshape(len(x), -1).sum(1) for x, w in batches])
    weights = np.concatenate([w.astype(float).reshape(len(w), -1).sum(1) for _, w in batches])
    effective = weights.sum() ** 2 / (weights**2).sum()
    spread = ((totals - expected * weights) ** 2).sum() * effective / (effective - 1)
    for mean in (merged(means), merged(shards)):
        summary = mean.summary()
        assert summary.mean == pytest.approx(expected, rel=1e-12)
        assert summary.standard_error == pytest.approx(math.sqrt(spread) / weight, rel=1e-6)
        assert summary.weight == pytest.approx(weight, rel=1e-12)
        assert summary.effective == pytest.approx(effective, rel=1e-6)
        assert summary.examples == summary.clusters == (weights > 0).sum()
        assert float(mean.value()) == pytest.approx(expected, rel=1e-6)


def test_counts_beyond_integers():
    mean = exact_mean(jnp.array([1.0, 2.0, 4.0]))
    for _ in range(33):
        mean = merge(mean, mean)
    summary = mean.summary()
    assert summary.examples == summary.weight == 3 * 2**33 > 2**31
    assert summary.mean == 7 / 3


@pytest.mark.parametrize("garbage", [jnp.nan, jnp.inf, 3e38])
def test_what_is_masked_is_ignored(garbage):
    losses = jnp.array([[1.0, garbage], [3.0, 5.0], [garbage, garbage]])
    where = jnp.array([[True, False], [True, True], [False, False]])
    for mean in (exact_mean(losses, where=where), mean_of(losses, where.astype(jnp.float32))):
        summary = mean.summary()
        assert (summary.mean, summary.weight, summary.examples) == (3.0, 3.0, 2)
    nothing = exact_mean(losses, where=where & False)
    assert math.isnan(nothing.summary().mean)
    assert float(nothing.value()) == 0
    assert merge(nothing, mean_of(jnp.ones(2), jnp.ones(2))).summary().mean == 1
    assert merge(mean_of(jnp.ones(2), jnp.ones(2)), nothing).summary().mean == 1


def test_what_is_not_masked_is_not():
    assert math.isnan(exact_mean(jnp.array([1.0, jnp.nan])).summary().mean)
    infinite = exact_mean(jnp.array([1.0, jnp.inf])).summary()
    assert infinite.mean == math.inf
    assert math.isnan(infinite.standard_error)


def test_a_single_row_has_no_standard_error():
    summary = exact_mean(jnp.array([[1.0, 2.0]])).summary()
    assert summary.mean == 1.5
    assert math.isnan(summary.standard_error)
    assert all(math.isnan(end) for end in summary.interval())


def test_the_interval_is_students():
    low, high = exact_mean(jnp.array([1.0, 2.0, 3.0])).summary().interval()
    # t of 2 degrees of freedom at 97.5 % is 4.3027, the standard error 1 / sqrt 3
    np.testing.assert_allclose([low, high], [2 - 4.30265 / 3**0.5, 2 + 4.30265 / 3**0.5], rtol=1e-5)


@pytest.mark.parametrize("kind", [AxisType.Auto, AxisType.Explicit])
def test_sharded(kind):
    mesh = jax.make_mesh((8,), ("data",), axis_types=(kind,))
    losses = RANDOM.exponential(2.3, (64, 5)).astype(np.float32)
    weights = RANDOM.random((64, 5)).astype(np.float32)
    sharding = NamedSharding(mesh, PartitionSpec("data"))
    with jax.set_mesh(mesh):
        summary = mean_of(*jax.device_put((losses, weights), sharding)).summary()
    expected = math.fsum((losses.astype(float) * weights).ravel()) / math.fsum(weights.ravel())
    assert summary.mean == pytest.approx(expected, rel=1e-13)


def test_a_constant_sum_is_not_folded_for_minutes():
    text = jax.jit(lambda x: doubled.total(doubled.exact(jnp.ones_like(x)), (0,)))
    assert "opt-barrier" in text.lower(jnp.ones(4)).as_text("hlo")


def test_twice_the_digits_of_float64_too():
    with jax.enable_x64(True):
        mean = exact_mean(jnp.array([0.1, 0.2], jnp.float64))
        assert mean.total.high.dtype == jnp.float64
        assert mean.summary().mean == pytest.approx(0.15, rel=1e-16)
