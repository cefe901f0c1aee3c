"""Models of five libraries, each with BatchNorm and dropout: they learn, replay, compile once."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxloss import classification, partial_mean
from jaxloss.training import adapters, make_train_step

RNG = np.random.default_rng(0)
X = RNG.normal(size=(24, 6)).astype(np.float32)
Y = np.argmax(X @ RNG.normal(size=(6, 3)), -1).astype(np.int32)
BATCH = {"x": jnp.asarray(X), "y": jnp.asarray(Y), "mask": jnp.asarray(np.arange(24) % 5 != 0)}


@pytest.fixture(autouse=True)
def as_others_broadcast(as_others_promote):
    with jax.numpy_rank_promotion("allow"):
        yield


def loss_of(**options):
    def loss(model, batch):
        logits = model(batch["x"], **options)
        losses = classification.softmax_cross_entropy(logits, batch["y"], reduction="none")
        return partial_mean(losses, where=batch["mask"])

    return loss


def linen():
    nn = pytest.importorskip("flax.linen")

    class Network(nn.Module):
        @nn.compact
        def __call__(self, x, *, train):
            x = nn.BatchNorm(use_running_average=not train)(nn.Dense(16)(x))
            x = nn.Dropout(0.2, deterministic=not train)(nn.relu(x))
            return nn.Dense(3)(x)

    network = Network()
    variables = network.init(jax.random.key(0), BATCH["x"], train=False)
    return adapters.from_linen(network, loss_of(train=True), variables)


def nnx():
    nnx = pytest.importorskip("flax.nnx")

    class Network(nnx.Module):
        def __init__(self, rngs):
            self.first = nnx.Linear(6, 16, rngs=rngs)
            self.norm = nnx.BatchNorm(16, rngs=rngs)
            self.dropout = nnx.Dropout(0.2, rngs=rngs)
            self.last = nnx.Linear(16, 3, rngs=rngs)

        def __call__(self, x):
            return self.last(self.dropout(nnx.relu(self.norm(self.first(x)))))

    return adapters.from_nnx(Network(nnx.Rngs(0)), loss_of())


def equinox():
    eqx = pytest.importorskip("equinox")

    class Network(eqx.Module):
        first: Any
        norm: Any
        dropout: Any
        last: Any

        def __init__(self, key):
            first, last = jax.random.split(key)
            self.first = eqx.nn.Linear(6, 16, key=first)
            self.norm = eqx.nn.BatchNorm(16, "batch", mode="ema")
            self.dropout = eqx.nn.Dropout(0.2)
            self.last = eqx.nn.Linear(16, 3, key=last)

        def __call__(self, x, state, *, key):
            x, state = self.norm(self.first(x), state)
            return self.last(self.dropout(jax.nn.relu(x), key=key)), state

    network, state = eqx.nn.make_with_state(Network)(jax.random.key(0))
    return adapters.from_equinox(network, loss_of(), state)


def haiku():
    hk = pytest.importorskip("haiku")

    def network(x, training):
        x = hk.BatchNorm(True, True, 0.9)(hk.Linear(16)(x), training)
        if training:
            x = hk.dropout(hk.next_rng_key(), 0.2, x)
        return hk.Linear(3)(jax.nn.relu(x))

    transformed = hk.transform_with_state(network)
    params, state = transformed.init(jax.random.key(0), BATCH["x"], True)
    return adapters.from_haiku(transformed, loss_of(training=True), params, state)


def keras():
    keras = pytest.importorskip("keras")
    if keras.backend.backend() != "jax":
        pytest.skip("keras is not on the JAX backend: KERAS_BACKEND=jax")
    layers = keras.layers
    network = keras.Sequential(
        [
            keras.Input((6,)),
            layers.Dense(16),
            layers.BatchNormalization(),
            layers.ReLU(),
            layers.Dropout(0.2),
            layers.Dense(3),
        ]
    )
    return adapters.from_keras(network, loss_of())


FRAMEWORKS = {f.__name__: f for f in (linen, nnx, equinox, haiku, keras)}


def numbers(tree):
    return [
        np.array(jax.random.key_data(x) if jnp.issubdtype(x.dtype, jax.dtypes.prng_key) else x)
        for x in jax.tree.leaves(tree)
    ]


@pytest.mark.parametrize("accumulate", [1, pytest.param(2, marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", FRAMEWORKS)
def test_learns_replays_and_compiles_once(name, accumulate, monkeypatch):
    monkeypatch.setenv("KERAS_BACKEND", "jax")
    objective, params, model_state = FRAMEWORKS[name]()
    traces = []

    @functools.wraps(objective)
    def counted(*args, **kwargs):
        traces.append(1)
        return objective(*args, **kwargs)

    train = make_train_step(
        counted,
        optax.adam(0.03),
        has_model_state=True,
        extras=("key",),
        accumulate=accumulate,
        max_bad=3,
    )

    def run(steps):
        state = train.init(params, model_state=model_state, key=jax.random.key(1))
        losses = []
        for _ in range(steps):
            state, report = train.step(state, BATCH)
            losses.append(float(report.loss))
        return state, losses

    state, losses = run(25)
    traced = len(traces)
    assert np.mean(losses[-5:]) < 0.6 * losses[0]
    assert traced == accumulate  # the two passes of an accumulation are traced each

    again, same = run(25)
    assert len(traces) == traced
    assert losses == same
    for one, other in zip(numbers(state), numbers(again), strict=True):
        np.testing.assert_array_equal(one, other)
    assert not np.isclose(*losses_of_two_keys(train, params, model_state))

    before = numbers((state.params, state.opt_state, state.model_state))
    moved = zip(numbers(model_state), numbers(state.model_state), strict=True)
    assert any(not np.array_equal(old, new) for old, new in moved)
    state, report = train.step(state, BATCH | {"x": BATCH["x"].at[0, 0].set(jnp.inf)})
    assert not bool(report.finite)
    after = numbers((state.params, state.opt_state, state.model_state))
    for one, other in zip(before, after, strict=True):
        np.testing.assert_array_equal(one, other)


def losses_of_two_keys(train, params, model_state):
    """The losses of the first step: they differ by what dropout leaves out."""
    losses = []
    for seed in (1, 2):
        state = train.init(params, model_state=model_state, key=jax.random.key(seed))
        losses.append(float(train.step(state, BATCH)[1].loss))
    return losses
