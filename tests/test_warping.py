"""What no law can know about signals at different speeds."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.experimental import checkify

from jaxloss.losses import warping
from tests.oracles.warping import alignments, between, of_short_signals


def shares(x, y, temperature):
    """How often each two frames are aligned, path by path."""
    paths = alignments(len(x), len(y))
    costs = np.array([sum(np.square(x[i] - y[j]).sum() for i, j in path) for path in paths])
    chances = np.exp((costs.min() - costs) / temperature)
    found = np.zeros((len(x), len(y)))
    for path, chance in zip(paths, chances / chances.sum(), strict=True):
        found[tuple(np.transpose(path))] += chance
    return found


def gradient(x, y, temperature):
    return 2 * (shares(x, y, temperature)[..., None] * (x[:, None] - y)).sum(1)


@functools.cache
def compiled(loss):
    def each(x, y, temperature, where, target_where):
        value = functools.partial(loss, temperature=temperature, where=where[None])
        return value(x[None], y[None], target_where=target_where[None])

    return jax.jit(jax.vmap(jax.value_and_grad(each), (0, 0, None, 0, 0)))


def test_soft_dtw_is_exact_from_cold_to_hot():
    x, y = of_short_signals()
    everywhere = np.ones((3, 5), bool), np.ones((3, 4), bool)
    for temperature in (1e-4, 0.1, 1.0, 100.0):
        value, slope = compiled(warping.soft_dtw)(x, y, temperature, *everywhere)
        for i in range(3):
            one, other = x[i].astype(float), y[i].astype(float)
            expected = between(one, other, temperature)
            np.testing.assert_allclose(value[i], expected, rtol=1e-6, atol=1e-6)
            wanted = gradient(one, other, temperature)
            np.testing.assert_allclose(slope[i], wanted, rtol=1e-5, atol=1e-5)


def test_what_is_masked_is_removed_wherever_it_is():
    x, y = of_short_signals()
    where, there = np.ones((3, 5), bool), np.ones((3, 4), bool)
    where[0, [0, 3]] = where[1, 4] = there[0, 1] = there[1, [0, 2, 3]] = where[2, :4] = False
    dirty = np.where(where[..., None], x, np.nan), np.where(there[..., None], y, np.inf)
    value, slope = compiled(warping.soft_dtw)(*dirty, 0.5, where, there)
    for i in range(3):
        one, other = x[i][where[i]].astype(float), y[i][there[i]].astype(float)
        np.testing.assert_allclose(value[i], between(one, other, 0.5), rtol=1e-6, atol=1e-6)
        wanted = gradient(one, other, 0.5)
        np.testing.assert_allclose(slope[i][where[i]], wanted, rtol=1e-5, atol=1e-6)
        assert (slope[i][~where[i]] == 0).all()


def test_signals_far_apart_have_the_gradient_of_one_alignment():
    """Costs of 1e9: the exponents of sums leave the integers that float32 can count."""
    x, y = (np.float32(1e4) * z for z in of_short_signals())
    everywhere = np.ones((3, 5), bool), np.ones((3, 4), bool)
    value, slope = compiled(warping.soft_dtw)(x, y, 1.0, *everywhere)
    for i in range(3):
        one, other = x[i].astype(float), y[i].astype(float)
        np.testing.assert_allclose(value[i], between(one, other, 1.0), rtol=1e-6)
        np.testing.assert_allclose(slope[i], gradient(one, other, 1.0), rtol=1e-6)


def test_the_divergence_of_near_signals_is_small_and_of_equal_ones_zero():
    x, _ = of_short_signals()
    everywhere = np.ones((3, 5), bool), np.ones((3, 5), bool)
    value, slope = compiled(warping.soft_dtw_divergence)(x, x, 0.3, *everywhere)
    assert (value == 0).all()
    np.testing.assert_allclose(slope, 0, atol=1e-6)
    near = x + np.float32(0.05) * np.sign(x)
    value, slope = compiled(warping.soft_dtw_divergence)(x, near, 0.3, *everywhere)
    for i in range(3):
        one, other = x[i].astype(float), near[i].astype(float)
        expected = between(one, other, 0.3) - between(one, one, 0.3) / 2
        expected -= between(other, other, 0.3) / 2
        np.testing.assert_allclose(value[i], expected, atol=1e-6)
        wanted = gradient(one, other, 0.3) - gradient(one, one, 0.3)
        np.testing.assert_allclose(slope[i], wanted, rtol=1e-4, atol=2e-6)


def test_a_slower_signal_is_as_near_as_the_same():
    fast = jnp.array([[[0.0], [5.0], [1.0]]])
    slow = jnp.repeat(fast, 3, 1)
    close = warping.soft_dtw(fast, slow, temperature=1e-3)
    assert abs(close) < 0.01
    assert warping.soft_dtw(fast, slow[:, ::-1], temperature=1e-3) > 1


def test_thousands_of_frames():
    generator = np.random.default_rng(0)
    x, y = (generator.standard_normal((1, n, 1)).astype(np.float32) for n in (900, 1100))
    loss = functools.partial(warping.soft_dtw, temperature=0.5)
    value, slope = jax.value_and_grad(loss)(x, y)
    with jax.enable_x64(True):
        expected, steep = jax.value_and_grad(loss)(x.astype(float), y.astype(float))
    np.testing.assert_allclose(value, expected, rtol=1e-6)
    np.testing.assert_allclose(slope, steep, rtol=1e-3, atol=1e-4)


def test_memory_grows_with_the_product_of_lengths():
    x = jax.ShapeDtypeStruct((2, 150, 64), jnp.float32)
    memory = jax.jit(jax.grad(warping.soft_dtw)).lower(x, x).compile().memory_analysis()
    assert memory is not None
    assert memory.temp_size_in_bytes < 4 * 16 * 2 * 150 * 150


def test_a_temperature_must_be_positive():
    x, y = of_short_signals()
    with pytest.raises(checkify.JaxRuntimeError, match="soft_dtw: temperature must be positive"):
        checkify.checkify(warping.soft_dtw)(x, y, temperature=-1.0)[0].throw()
