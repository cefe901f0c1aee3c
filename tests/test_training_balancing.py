"""Train steps under a balancer, against gradients by numpy and a loop written by hand."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from jaxloss import compose, partial_mean
from jaxloss.compose import Balancer, WeightedSum, gram
from jaxloss.core.reducing import PartialMean
from jaxloss.training import Checkpoints, fit, make_train_step

RATE = 0.05
NAMES = "near", "far"
START = {"a": np.array([0.1, -0.2, 0.3], np.float32), "b": np.array(0.3, np.float32)}
BALANCERS = {
    "uncertainty": lambda: compose.uncertainty(optax.sgd(0.1)),
    "dwa": lambda: compose.dwa(temperature=0.7),
    "famo": lambda: compose.famo(optax.sgd(0.3)),
    "gradnorm": lambda: compose.gradnorm(optax.sgd(0.1)),
    "pcgrad": lambda: compose.pcgrad(jax.random.key(7)),
    "mgda": compose.mgda,
    "cagrad": compose.cagrad,
    "nash": compose.nash,
}


def make_batch(seed, rows=16):
    """Two targets that contradict each other; of one, some are missing, and a fourth wholly."""
    rng = np.random.default_rng(seed)
    there = rng.random(rows) < 0.7
    there[3::4] = False
    batch = {"x": rng.normal(size=(rows, 3)), "y": rng.normal(size=rows) + 1}
    batch |= {"z": -2 * batch["y"] + rng.normal(size=rows), "weights": rng.exponential(size=rows)}
    return jax.tree.map(lambda x: jnp.asarray(x, jnp.float32), batch) | {"there": jnp.array(there)}


def objective(params, batch):
    """Two terms with denominators of their own, and a penalty."""
    guess = batch["x"] @ params["a"] + params["b"]
    near = partial_mean((guess - batch["y"]) ** 2, weights=batch["weights"])
    far = partial_mean(jnp.abs(guess - batch["z"]), where=batch["there"])
    size = PartialMean((params["a"] ** 2).sum(), jnp.float32(1))
    coefficients = {"near": jnp.float32(1), "far": jnp.float32(0.5), "size": jnp.float32(0.1)}
    return WeightedSum({"near": near, "far": far, "size": size}, coefficients)


def by_numpy(params, batch):
    """The terms times their coefficients, and their gradients with respect to a and b."""
    batch = {name: np.asarray(leaf, float) for name, leaf in batch.items()}
    inputs = np.concatenate([batch["x"], np.ones((len(batch["y"]), 1))], 1)
    guess = inputs @ params
    errors, distances = guess - batch["y"], guess - batch["z"]
    shares = batch["weights"] / batch["weights"].sum(), batch["there"] / batch["there"].sum()
    losses = (shares[0] * errors**2).sum(), 0.5 * (shares[1] * np.abs(distances)).sum()
    slopes = 2 * shares[0] * errors, 0.5 * shares[1] * np.sign(distances)
    losses = *losses, 0.1 * (params[:3] ** 2).sum()
    return np.array(losses), np.stack([*(s @ inputs for s in slopes), [*0.2 * params[:3], 0]])


def by_hand(balancer, batches):
    """Gradient descent with what the balancer makes of the numbers above."""
    params, state, update = np.array([*START["a"], START["b"]], float), None, balancer.update
    state, found = balancer.init(2), []
    for batch in batches:
        losses, gradients = by_numpy(params, batch)
        measured = gram(jnp.float32(gradients[:2]))
        state, weights = update(state, jnp.float32(losses[:2]), measured)
        params = params - RATE * (np.array([*np.asarray(weights, float), 1]) @ gradients)
        found.append((losses.sum(), np.asarray(weights)))
    return params, found


def flat(params):
    return np.array([*params["a"], params["b"]])


def training(balancer, **options):
    return make_train_step(objective, optax.sgd(RATE), balancer=balancer, balanced=NAMES, **options)


OPTIONS = {name: {"accumulate": 4} for name in BALANCERS} | {
    "uncertainty": {"loss_scale": 2.0**10},
    "nash": {"accumulate": 2, "loss_scale": 2.0**10},
    "pcgrad": {},
}


@pytest.mark.parametrize("name", BALANCERS)
def test_every_balancer_weighs_as_in_a_loop_by_hand(name):
    batches = [make_batch(seed) for seed in range(4)]
    params, expected = by_hand(BALANCERS[name](), batches)
    train = training(BALANCERS[name](), **OPTIONS[name])
    state = train.init(START)
    for batch, (loss, weights) in zip(batches, expected, strict=True):
        state, report = train.step(state, batch)
        # reported without the weights, as is what each of the terms is worth
        np.testing.assert_allclose(report.loss, loss, rtol=1e-4)
        found = [report.weights[name] for name in NAMES]
        np.testing.assert_allclose(found, weights, rtol=2e-3, atol=1e-5)
        assert set(report.terms) == {"near", "far", "size"}
    np.testing.assert_allclose(flat(state.params), params, rtol=1e-3)
    assert np.ptp([weights for _, weights in expected]) > 0.01  # it did weigh something
    step: Any = train.step
    assert step._cache_size() == 1


def test_terms_are_balanced_in_the_order_in_which_they_are_named():
    fixed = Balancer(lambda count: None, lambda s, l, g: (s, jnp.array([3.0, 0.25])), False)
    batch = make_batch(0)
    _, gradients = by_numpy(flat(START), batch)
    for names, weights in ((("near", "far"), [3, 0.25, 1]), (("size", "near"), [0.25, 1, 3])):
        train = make_train_step(objective, optax.sgd(1.0), balancer=fixed, balanced=names)
        state, _ = train.step(train.init(START), batch)
        expected = flat(START) - weights @ gradients
        np.testing.assert_allclose(flat(state.params), expected, rtol=1e-5)


@pytest.mark.parametrize("accumulate", [1, 2])
@pytest.mark.parametrize("needs", [True, False])
def test_the_optimizer_is_told_of_the_weighted_sum(needs, accumulate):
    """Its value, its value elsewhere and its gradient there, all with the weights of the step."""

    def update(updates, state, params=None, **told):
        there = jax.tree.map(lambda p: p + 1, params)
        return updates, jnp.stack([told["value"], told["value_fn"](there), told["grad"]["a"][0]])

    optimizer = optax.GradientTransformationExtraArgs(lambda params: jnp.zeros(3), update)
    weighing = Balancer(lambda count: jnp.float32(0), lambda s, l, g: (s + 1, 2 / l), needs)
    train = make_train_step(
        objective, optimizer, balancer=weighing, balanced=NAMES, accumulate=accumulate
    )
    batch = make_batch(1)
    state, _ = train.step(train.init(START), batch)
    losses, gradients = by_numpy(flat(START), batch)
    weights = np.array([*2 / losses[:2], 1])
    told = weights @ losses, weights @ by_numpy(flat(START) + 1, batch)[0], (weights @ gradients)[0]
    np.testing.assert_allclose(state.opt_state, told, rtol=1e-5)
    assert float(state.balance) == 1


@pytest.mark.parametrize("name", ["famo", "pcgrad"])
def test_a_step_that_is_not_finite_leaves_the_balancer_as_it_was(name):
    train = training(BALANCERS[name](), max_bad=2)
    state, _ = train.step(train.init(START), make_batch(0))
    before = numbers(state.balance)
    broken = make_batch(1) | {"y": jnp.full(16, jnp.nan)}
    for _ in range(2):
        state, report = train.step(state, broken)
        assert not bool(report.finite)
    stopped = numbers(state)
    assert numbers(state.balance) == before
    state, _ = train.step(state, make_batch(2))
    assert numbers(state) == stopped


def numbers(tree):
    """All that is in ``tree``, bit for bit."""

    def leaf(x):
        is_key = jnp.issubdtype(x.dtype, jax.dtypes.prng_key)
        return np.array(jax.random.key_data(x) if is_key else x).tobytes()

    return [leaf(x) for x in jax.tree.leaves(tree)]


@pytest.mark.parametrize("name", ["uncertainty", "nash"])
def test_devices_agree_on_the_weights(name):
    """Sharded by jit, and mapped: each device has other weights and masked rows."""
    batches = [make_batch(seed, rows=32) for seed in range(3)]
    params, _ = by_hand(BALANCERS[name](), batches)
    mesh = Mesh(np.array(jax.devices()[:8]), ("data",))
    rows, whole = PartitionSpec("data"), PartitionSpec()
    mapped = training(BALANCERS[name](), axis_name="data")
    step = jax.shard_map(mapped.step, mesh=mesh, in_specs=(whole, rows), out_specs=whole)
    for train, take in ((training(BALANCERS[name]()), None), (mapped, jax.jit(step))):
        state = train.init(jax.device_put(START, NamedSharding(mesh, whole)))
        for batch in batches:
            batch = jax.device_put(batch, NamedSharding(mesh, rows))
            state, _ = (take or train.step)(state, batch)
        np.testing.assert_allclose(flat(state.params), params, rtol=1e-3)


def test_a_run_is_continued_with_what_its_balancer_knew(tmp_path):
    pytest.importorskip("orbax.checkpoint")

    def run(steps, directory):
        train = training(compose.pcgrad(jax.random.key(3)))
        saved = Checkpoints(tmp_path / directory, every=3)
        return fit(
            train, train.init(START), make_batch, steps=steps, checkpoints=saved, progress=False
        )

    whole = run(8, "whole")
    run(5, "parts")
    continued = run(8, "parts")
    assert continued.restored is not None
    assert not continued.restored.added
    assert int(continued.state.balance.step) == 8
    assert numbers(continued.state) == numbers(whole.state)


def test_errors_name_function_and_argument():
    def build(**options):
        return make_train_step(objective, optax.sgd(0.1), **options)

    with pytest.raises(ValueError, match=r"make_train_step: balancer must be given with balanced"):
        build(balanced=NAMES)
    for names in ((), ("near",), ("near", "near")):
        with pytest.raises(ValueError, match=r"make_train_step: balanced must name two or more"):
            build(balancer=compose.nash(), balanced=names)
    train = build(balancer=compose.famo(), balanced=("near", "nearer"))
    with pytest.raises(ValueError, match=r"\['far', 'near', 'size'\] without \['nearer'\]"):
        train.step(train.init(START), make_batch(0))

    def scalar(params, batch):
        return objective(params, batch).value()

    train = make_train_step(scalar, optax.sgd(0.1), balancer=compose.famo(), balanced=NAMES)
    with pytest.raises(ValueError, match=r"must return a WeightedSum .* got one loss"):
        train.step(train.init(START), make_batch(0))

    def undivided(params, batch):
        found = objective(params, batch)
        return WeightedSum({**found.values()}, found.coefficients)

    train = make_train_step(
        undivided, optax.sgd(0.1), balancer=compose.nash(), balanced=NAMES, accumulate=2
    )
    with pytest.raises(ValueError, match=r"term '\w+' of the objective must be a PartialMean"):
        train.step(train.init(START), make_batch(0))
