"""One pass over a data set: means, groups, clusters, ids, padding, devices, and what is refused."""

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from jaxloss.evaluation import Examples, evaluate, evaluate_each

RANDOM = np.random.default_rng(1)
COUNT = 23
LOSSES = RANDOM.exponential(2.0, (COUNT, 4)).astype(np.float32)
WEIGHTS = RANDOM.uniform(0.2, 2.0, (COUNT, 4)).astype(np.float32)
WEIGHTS[RANDOM.random((COUNT, 4)) < 0.3] = 0
WEIGHTS[5] = 0  # an example of which nothing is left
GROUPS = RANDOM.integers(0, 3, COUNT)
CLUSTERS = RANDOM.integers(0, 6, COUNT)
TOTALS = (LOSSES.astype(float) * WEIGHTS).sum(1)
ROW_WEIGHTS = WEIGHTS.astype(float).sum(1)
THERE = ROW_WEIGHTS > 0


def measure(scale, batch):
    return Examples(
        scale * jnp.where(batch["weights"] > 0, batch["losses"], jnp.nan),
        where=batch["weights"] > 0,
        weights=jnp.where(batch["weights"] > 0, batch["weights"], 1),
        ids=batch.get("ids"),
        groups=batch.get("groups"),
        clusters=batch.get("clusters"),
    )


def batched(size, order=None, keys=("losses", "weights", "ids", "groups", "clusters")):
    """The data set in batches, the last one padded to the size of the others."""
    order = np.arange(COUNT) if order is None else order
    data = {
        "losses": LOSSES,
        "weights": WEIGHTS,
        "ids": 100 + np.arange(COUNT),
        "groups": GROUPS,
        "clusters": CLUSTERS,
    }
    for start in range(0, len(order), size):
        rows = order[start : start + size]
        batch = {key: np.take(data[key], rows, 0) for key in keys}
        padding = size - len(rows)
        for key, value in batch.items():
            fill = -1 if key == "ids" else 0
            shape = (padding, *value.shape[1:])
            batch[key] = np.concatenate([value, np.full(shape, fill, value.dtype)])
        yield batch


def jackknifed(totals, weights):
    """The standard error of a ratio, by leaving each cluster out in turn."""
    ratio = totals.sum() / weights.sum()
    without = (totals.sum() - totals) / (weights.sum() - weights)
    count = len(totals)
    return math.sqrt((count - 1) / count * ((without - ratio) ** 2).sum())


def test_the_mean_is_a_ratio_of_sums_however_it_is_batched():
    expected = math.fsum(TOTALS) / math.fsum(ROW_WEIGHTS)
    for size in (5, 23):
        plain = ("losses", "weights")
        for keep in (True, False):
            result = evaluate(measure, 2.0, batched(size, keys=plain), keep_examples=keep)
            assert result.mean == pytest.approx(2 * expected, rel=1e-12)
            assert result.overall.examples == THERE.sum()
            assert result.overall.weight == pytest.approx(ROW_WEIGHTS.sum(), rel=1e-12)
            assert result.groups == {}
    kept = evaluate(measure, 2.0, batched(5, keys=plain))
    streamed = evaluate(measure, 2.0, batched(5, keys=plain), keep_examples=False)
    expected = 2 * jackknifed(TOTALS[THERE], ROW_WEIGHTS[THERE])
    assert kept.standard_error == pytest.approx(expected, rel=1e-9)
    assert streamed.standard_error == pytest.approx(kept.standard_error, rel=0.05)
    assert streamed.examples is None


def test_each_example_by_its_id():
    order = RANDOM.permutation(COUNT)
    result = evaluate(measure, 1.0, batched(4, order)).examples
    assert result is not None
    np.testing.assert_array_equal(result.ids, 100 + np.flatnonzero(THERE))
    np.testing.assert_allclose(result.losses, TOTALS[THERE] / ROW_WEIGHTS[THERE], rtol=1e-13)
    np.testing.assert_array_equal(result.groups, GROUPS[THERE])
    np.testing.assert_array_equal(result.clusters, CLUSTERS[THERE])


def test_examples_of_a_cluster_are_taken_for_dependent():
    result = evaluate(measure, 1.0, batched(7))
    totals, weights = np.bincount(CLUSTERS, TOTALS), np.bincount(CLUSTERS, ROW_WEIGHTS)
    assert result.standard_error == pytest.approx(jackknifed(totals, weights), rel=1e-9)
    assert result.overall.clusters == 6
    assert result.overall.effective == pytest.approx(weights.sum() ** 2 / (weights**2).sum())


@pytest.mark.parametrize("keep", [True, False])
def test_groups_and_the_worst_of_them(keep):
    names = ["cat", "dog", "fox", "yak"]
    keys = ("losses", "weights", "groups")
    result = evaluate(measure, 1.0, batched(6, keys=keys), keep_examples=keep, group_names=names)
    assert list(result.groups) == names
    means = {}
    for k, name in enumerate(names[:3]):
        chosen = k == GROUPS
        means[name] = TOTALS[chosen].sum() / ROW_WEIGHTS[chosen].sum()
        assert result.groups[name].mean == pytest.approx(means[name], rel=1e-12)
        assert result.groups[name].examples == (chosen & THERE).sum()
    assert math.isnan(result.groups["yak"].mean)
    assert result.groups["yak"].examples == 0
    worst = max(means, key=lambda name: means[name])
    assert result.worst_group() == (worst, result.groups[worst])


def test_groups_go_by_their_number_without_names():
    result = evaluate(measure, 1.0, batched(6))
    assert list(result.groups) == [0, 1, 2]


def test_a_group_that_is_nan_is_the_worst():
    result = evaluate(broken_group, None, [jnp.array([0, 0, 1, 1, 2])])
    assert result.worst_group()[0] == 1


def broken_group(_, groups):
    return Examples(jnp.where(groups == 1, jnp.nan, groups.astype(jnp.float32)), groups=groups)


def test_what_has_come_before_is_dropped():
    twice = [*batched(8), *batched(8, np.array([3, 20]))]
    result = evaluate(measure, 1.0, twice)
    once = evaluate(measure, 1.0, batched(8))
    assert result.duplicates == 2
    assert once.duplicates == 0
    assert result.mean == once.mean


def test_one_id_for_two_examples_is_refused():
    batch = {key: value[:2] for key, value in next(batched(COUNT)).items()}
    batch["ids"] = np.array([7, 7])
    with pytest.raises(ValueError, match="ids must tell examples apart, got 7 for one with loss"):
        evaluate(measure, 1.0, [batch])


def test_nothing_to_measure_is_nan_and_no_error():
    masked = [{**batch, "weights": 0 * batch["weights"]} for batch in batched(8)]
    for keep in (True, False):
        batches = [{key: batch[key] for key in ("losses", "weights")} for batch in masked]
        result = evaluate(measure, 1.0, batches, keep_examples=keep)
        assert math.isnan(result.mean)
        assert math.isnan(result.standard_error)
        assert result.overall.examples == 0


def test_several_things_in_one_pass():
    both = evaluate_each(two_things, 3.0, batched(8))
    assert both["scaled"].mean == pytest.approx(3 * evaluate(measure, 1.0, batched(8)).mean)
    assert both["plain"].mean == pytest.approx(LOSSES.mean(dtype=float))


def two_things(scale, batch):
    real = batch["ids"][:, None] >= 0
    return {"scaled": measure(scale, batch), "plain": Examples(batch["losses"], where=real)}


@pytest.mark.parametrize("kind", [AxisType.Auto, AxisType.Explicit])
@pytest.mark.parametrize("keep", [True, False])
def test_sharded_batches(kind, keep):
    mesh = jax.make_mesh((8,), ("data",), axis_types=(kind,))
    sharding = NamedSharding(mesh, PartitionSpec("data"))
    keys = ("losses", "weights", "ids", "groups")
    names = ["cat", "dog", "fox"]
    with jax.set_mesh(mesh):
        batches = [jax.device_put(batch, sharding) for batch in batched(8, keys=keys)]
        found = evaluate(measure, jnp.float32(1), batches, keep_examples=keep, group_names=names)
    expected = evaluate(measure, 1.0, batched(COUNT, keys=keys), group_names=names)
    assert found.mean == pytest.approx(expected.mean, rel=1e-12)
    for name in names:
        assert found.groups[name].mean == pytest.approx(expected.groups[name].mean, rel=1e-12)


def test_is_compiled_once_and_copies_nothing_on_the_quiet():
    traces = []

    def counted(scale, batch):
        traces.append(1)
        return measure(scale, batch)

    scale = jnp.float32(1)
    for keep in (True, False):
        traces.clear()
        with jax.transfer_guard("disallow"):
            for _ in range(2):
                batches = batched(8, keys=("losses", "weights"))
                evaluate(counted, scale, batches, keep_examples=keep)
        assert len(traces) == 1


def test_table():
    result = evaluate(measure, 1.0, batched(8), group_names=["cat", "dog", "fox"])
    head, *lines = result.table().splitlines()
    assert head.split() == ["examples", "mean", "95%", "CI"]
    assert [line.split()[0] for line in lines] == ["all", "cat", "dog", "fox"]
    low, high = result.overall.interval()
    assert f"[{low:.2f}, {high:.2f}]" in lines[0]


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda b: b["losses"].mean(), "must return unreduced losses.*got a scalar"),
        (lambda b: (b["losses"], b["weights"]), "must return unreduced losses.*got a tuple"),
        (lambda b: Examples(b["losses"], where=b["ids"] >= 0), r"where must have as many axes"),
        (lambda b: Examples(b["losses"], ids=b["ids"][:3]), "ids must be one number per example"),
        (lambda b: Examples(b["losses"], groups=b["ids"] + 5), r"groups must lie in \[0, 2\), got"),
    ],
)
def test_what_is_refused(wrong, message):
    with pytest.raises(ValueError, match=message):
        evaluate(lambda _, batch: wrong(batch), None, batched(8), group_names=["a", "b"])


def test_what_a_stream_of_sums_cannot_do():
    with pytest.raises(ValueError, match="keep_examples must be true for clusters"):
        evaluate(measure, 1.0, batched(8), keep_examples=False)
    keys = ("losses", "weights", "groups")
    with pytest.raises(ValueError, match="group_names must be given"):
        evaluate(measure, 1.0, batched(8, keys=keys), keep_examples=False)
    with pytest.raises(ValueError, match=r"groups must lie in \[0, 2\), got \d+ examples"):
        evaluate(
            measure, 1.0, batched(8, keys=keys), keep_examples=False, group_names=["cat", "dog"]
        )


def test_no_batches_and_no_groups():
    with pytest.raises(ValueError, match="batches must not be empty"):
        evaluate(measure, 1.0, [])
    with pytest.raises(ValueError, match="batches must not be empty"):
        evaluate(measure, 1.0, [], keep_examples=False)
    with pytest.raises(ValueError, match="groups must be given"):
        evaluate(measure, 1.0, batched(8, keys=("losses", "weights"))).worst_group()
    no_dict: Any = measure
    with pytest.raises(ValueError, match="must return a dict"):
        evaluate_each(no_dict, 1.0, batched(8))
