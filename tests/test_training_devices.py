"""Eight simulated devices train as one, whichever way they are told of each other."""

import re
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from jaxloss import partial_mean
from jaxloss.training import convergence, fit, make_train_step

pytestmark = pytest.mark.skipif(
    jax.device_count() < 8, reason="needs the 8 simulated devices of conftest"
)

RNG = np.random.default_rng(0)
PARAMS = {
    "w": RNG.normal(size=(6, 16)).astype(np.float32) / 4,
    "v": RNG.normal(size=(16, 3)).astype(np.float32) / 4,
}
PARAMS = jax.tree.map(jnp.asarray, PARAMS)
ROWS, WHOLE = PartitionSpec("data"), PartitionSpec()


def mesh_of(kind):
    return jax.make_mesh((8,), ("data",), axis_types=(kind,))


def make_batch(step):
    """Rows of which the first devices have nearly all, so that no mean of their means is right."""
    rng = np.random.default_rng(step)
    batch = {"x": rng.normal(size=(32, 6)), "y": rng.normal(size=(32, 3))}
    batch = {name: np.float32(rows) for name, rows in batch.items()}
    return batch | {"mask": rng.random(32) < np.repeat([0.95, 0.2], 16)}


def objective(params, batch):
    outputs = jnp.tanh(batch["x"] @ params["w"]) @ params["v"]
    return partial_mean(((outputs - batch["y"]) ** 2).sum(-1), where=batch["mask"])


def training(accumulate, axis_name=None):
    return make_train_step(
        objective,
        optax.sgd(0.05, momentum=0.9),
        accumulate=accumulate,
        tracker=convergence.any_of(flat=convergence.averaged(2, convergence.plateau())),
        ema_decay=0.9,
        keep_best=True,
        axis_name=axis_name,
    )


def trained(step, state, put=lambda batch: batch):
    losses = []
    for i in range(20):
        state, report = step(state, put(make_batch(i)))
        losses.append(float(report.loss))
    return state, losses


@pytest.fixture(scope="module")
def by_one():
    train = training(1)
    return trained(train.step, train.init(PARAMS))


def assert_same(one, other):
    for part in ("params", "ema", "opt_state"):
        leaves = zip(
            jax.tree.leaves(getattr(one[0], part)),
            jax.tree.leaves(getattr(other[0], part)),
            strict=True,
        )
        for a, b in leaves:
            np.testing.assert_allclose(a, b, atol=1e-6)
    np.testing.assert_allclose(one[1], other[1], atol=1e-6)


@pytest.mark.parametrize("accumulate", [1, 4])
@pytest.mark.parametrize("kind", [AxisType.Auto, AxisType.Explicit])
def test_plain_jit_of_sharded_arrays(by_one, kind, accumulate):
    train, mesh = training(accumulate), mesh_of(kind)
    rows, whole = NamedSharding(mesh, ROWS), NamedSharding(mesh, WHOLE)
    state = train.init(jax.device_put(PARAMS, whole))
    result = trained(train.step, state, lambda batch: jax.device_put(batch, rows))
    assert_same(result, by_one)
    step: Any = train.step
    if kind == AxisType.Auto:  # the first state is on the mesh already
        assert step._cache_size() == 1


def test_sharded_params(by_one):
    train, mesh = training(2), mesh_of(AxisType.Auto)
    columns = NamedSharding(mesh, PartitionSpec(None, "data"))
    state = train.init(
        {
            "w": jax.device_put(PARAMS["w"], columns),
            "v": jax.device_put(PARAMS["v"], NamedSharding(mesh, ROWS)),
        }
    )
    assert state.opt_state[0].trace["w"].sharding == columns
    rows = NamedSharding(mesh, ROWS)
    result = trained(train.step, state, lambda batch: jax.device_put(batch, rows))
    assert_same(result, by_one)
    assert result[0].params["w"].sharding.is_equivalent_to(columns, 2)


@pytest.mark.parametrize("accumulate", [1, 4])
@pytest.mark.parametrize("check", [True, False])
def test_step_mapped_by_shard_map(by_one, check, accumulate):
    train, mesh = training(accumulate, axis_name="data"), mesh_of(AxisType.Auto)
    step = jax.shard_map(
        train.step, mesh=mesh, in_specs=(WHOLE, ROWS), out_specs=WHOLE, check_vma=check
    )
    rows, whole = NamedSharding(mesh, ROWS), NamedSharding(mesh, WHOLE)
    state = train.init(jax.device_put(PARAMS, whole))
    result = trained(jax.jit(step), state, lambda batch: jax.device_put(batch, rows))
    assert_same(result, by_one)


def test_devices_have_keys_of_their_own_and_share_model_state():
    def carried(params, model_state, batch, *, key):
        drawn = jax.random.uniform(key)
        loss = partial_mean(((params - batch) ** 2).reshape(-1))
        return loss, {"drawn": 0 * model_state["drawn"] + drawn, "seen": model_state["seen"] + 1}

    train = make_train_step(
        carried, optax.sgd(0.1), has_model_state=True, extras=("key",), axis_name="data"
    )
    mesh = mesh_of(AxisType.Auto)
    step = jax.jit(jax.shard_map(train.step, mesh=mesh, in_specs=(WHOLE, ROWS), out_specs=WHOLE))
    state = train.init(
        jax.device_put(jnp.float32(0), NamedSharding(mesh, WHOLE)),
        key=jax.random.key(3),
        model_state={"drawn": jnp.float32(0), "seen": jnp.int32(0)},
    )
    state, report = step(state, jnp.arange(16.0))
    np.testing.assert_allclose(report.loss, (np.arange(16.0) ** 2).mean())
    keys = [
        jax.random.fold_in(jax.random.fold_in(jax.random.key(3), 0), device) for device in range(8)
    ]
    mean = np.mean([jax.random.uniform(key) for key in keys])
    np.testing.assert_allclose(state.model_state["drawn"], mean, rtol=1e-6)
    assert int(state.model_state["seen"]) == 1


@pytest.mark.parametrize("accumulate", [1, 4])
def test_no_row_of_the_batch_moves(accumulate):
    train, mesh = training(accumulate), mesh_of(AxisType.Auto)
    rows, whole = NamedSharding(mesh, ROWS), NamedSharding(mesh, WHOLE)
    state = jax.device_put(train.init(PARAMS), whole)
    batch = jax.device_put(make_batch(0), rows)
    text = str(jax.jit(train.step).lower(state, batch).compile().as_text())
    assert "all-reduce" in text
    for collective in ("all-gather", "all-to-all", "collective-permute"):
        assert not re.search(rf"= .*{collective}\(", text)


def test_a_scalar_objective_is_refused_where_the_step_is_mapped():
    train = make_train_step(
        lambda params, batch: objective(params, batch).value(), optax.sgd(0.1), axis_name="data"
    )
    step = jax.shard_map(
        train.step, mesh=mesh_of(AxisType.Auto), in_specs=(WHOLE, ROWS), out_specs=WHOLE
    )
    with pytest.raises(ValueError, match=r"PartialMean.*or axis_name is given"):
        jax.eval_shape(step, train.init(PARAMS), make_batch(0))


def test_fit_puts_the_batches_where_they_are_wanted(by_one):
    mesh = mesh_of(AxisType.Auto)
    rows, whole = NamedSharding(mesh, ROWS), NamedSharding(mesh, WHOLE)
    for steps_per_call in (1, 4):
        train = training(2)
        result = fit(
            train,
            train.init(jax.device_put(PARAMS, whole)),
            make_batch,
            steps=20,
            sharding=rows,
            steps_per_call=steps_per_call,
            evaluate=lambda params: objective(params, make_batch(99)),
            progress=False,
        )
        assert_same((result.state, result.history.loss), by_one)
        assert result.state.params["w"].sharding.is_equivalent_to(whole, 2)
