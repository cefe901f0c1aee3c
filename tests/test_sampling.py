"""Batches that are a function of the step, and class counts that are exact."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats
from jax.sharding import PartitionSpec

from jaxloss.training import balanced_rows, count_classes, over_processes, shuffled_rows
from jaxloss.training.counting import ClassCounts
from jaxloss.training.permuting import permuted

LABELS = np.repeat(np.arange(5), [450, 30, 12, 5, 3])[np.random.default_rng(0).permutation(500)]


def test_permutations_are_one_to_one():
    for size in [*range(1, 131), 1000, 4096, 4097]:
        found = permuted(np.arange(size), size, key=size)
        np.testing.assert_array_equal(np.sort(found), np.arange(size))
    large = permuted(np.arange(1000), 10**12, key=1)
    assert len(set(large)) == 1000
    assert (large < 10**12).all()
    assert large.max() > 9 * 10**11


@pytest.mark.parametrize("size", [2, 5, 7, 64, 70])
def test_permutations_are_as_if_drawn_at_random(size):
    draws = 10_000
    positions = np.broadcast_to(np.arange(size), (draws, size))
    found = permuted(positions, size, np.arange(draws)[:, None])
    counts = np.stack([np.bincount(column, minlength=size) for column in found.T])
    first_two = np.bincount(found[:, 0] * size + found[:, 1], minlength=size**2)
    pairs = first_two.reshape(size, size)[~np.eye(size, dtype=bool)]
    assert scipy.stats.chisquare(counts.ravel()).pvalue > 1e-4
    assert scipy.stats.chisquare(pairs).pvalue > 1e-4


def test_every_row_once_in_each_epoch():
    rows = shuffled_rows(23, 8, seed=3)
    drawn = np.concatenate([rows(step) for step in range(23)])
    epochs = drawn.reshape(8, 23)
    for epoch in epochs:
        np.testing.assert_array_equal(np.sort(epoch), np.arange(23))
    assert len({tuple(epoch) for epoch in epochs}) == 8
    assert (shuffled_rows(23, 8, seed=4)(0) != rows(0)).any()


@pytest.mark.parametrize(
    ("batch_size", "shares"),
    [
        (64, None),
        (7, None),
        (2, None),
        (10, None),
        (64, [5.0, 1, 2, 0.5, 1]),
        (3, [9.0, 1, 0, 2, 3]),
    ],
)
def test_every_batch_has_the_share_of_each_class_within_one(batch_size, shares):
    given = None if shares is None else np.array(shares, float)
    rows = balanced_rows(LABELS, batch_size, shares=given, seed=1)
    wanted = np.full(5, 0.2) if given is None else given / given.sum()
    total = np.zeros(5)
    for step in range(200):
        counts = np.bincount(LABELS[rows(step)], minlength=5)
        assert (np.abs(counts - batch_size * wanted) <= 1.02).all()
        total += counts
        # and at any time over all batches, but for a few rows
        assert (np.abs(total - total.sum() * wanted) <= 3).all()


def test_the_rows_of_a_class_take_turns():
    """Joined over the steps, each class has been shuffled once per round of its rows."""
    rows = balanced_rows(LABELS, 7, seed=2)
    drawn = [np.sort(rows(step)) for step in range(150)]
    for label in range(1, 5):
        members = np.flatnonzero(label == LABELS)
        times = np.bincount(np.concatenate(drawn), minlength=500)[members]
        assert times.max() - times.min() <= 1
        assert times.min() >= 6


def test_a_restart_draws_what_an_unbroken_run_would_have_drawn():
    run = balanced_rows(LABELS, 7, shares=np.sqrt(np.bincount(LABELS)), seed=5)
    unbroken = [run(step) for step in range(60)]
    for step in (59, 31, 0):
        again = balanced_rows(LABELS, 7, shares=np.sqrt(np.bincount(LABELS)), seed=5)
        np.testing.assert_array_equal(again(step), unbroken[step])
    assert len(run(10**12)) == 7
    assert (balanced_rows(LABELS, 7, seed=6)(0) != balanced_rows(LABELS, 7, seed=7)(0)).any()


def test_classes_meet_each_other():
    """With fewer rows than classes, no two classes are always, or never, in one batch."""
    labels = np.repeat(np.arange(12), 4)
    rows = balanced_rows(labels, 4, seed=0)
    together = np.zeros((12, 12))
    for step in range(900):
        there = np.bincount(labels[rows(step)], minlength=12)
        together += np.outer(there, there)
    apart = together[~np.eye(12, dtype=bool)]
    assert apart.min() > 0.6 * apart.mean()
    assert apart.max() < 1.5 * apart.mean()


def test_the_order_within_a_batch_does_not_tell_the_class():
    rows = balanced_rows(LABELS, 10, seed=0)
    first = np.bincount([LABELS[rows(step)[0]] for step in range(500)], minlength=5)
    assert scipy.stats.chisquare(first).pvalue > 1e-4


@pytest.mark.parametrize(
    ("labels", "options", "message"),
    [
        (LABELS, {"batch_size": 0}, "batch_size must be at least 1, got 0"),
        (LABELS * 1.0, {}, "labels must be integers, one per row, got float64"),
        (LABELS - 1, {}, "labels must not be negative, got -1"),
        (LABELS, {"shares": np.ones(4)}, "shares must be 5 numbers"),
        (LABELS, {"shares": np.array([1, 1, -1, 1, 1.0])}, "shares must be 5 numbers"),
        (LABELS, {"shares": np.ones(6)}, r"classes \[5\] without a row"),
        (LABELS, {"shares": np.zeros(5)}, "must be of classes that occur, got none"),
    ],
)
def test_what_is_refused(labels, options, message):
    with pytest.raises(ValueError, match=message):
        balanced_rows(labels, **{"batch_size": 8, **options})


def test_counts_merge_and_are_masked():
    labels = jnp.array([[0, 2, 2], [1, -100, 7]])
    counts = count_classes(labels, classes=3, where=(labels >= 0) & (labels < 3))
    np.testing.assert_array_equal(counts.totals(), [1, 1, 2])
    np.testing.assert_array_equal(over_processes(counts).merge(counts).totals(), [2, 2, 4])
    with pytest.raises(ValueError, match=r"labels must lie in \[0, 3\), got 2 that do not"):
        count_classes(labels, classes=3).totals()


def test_counts_are_exact_beyond_32_bits():
    counts = count_classes(jnp.array([0, 0, 0, 1]), classes=2)
    merge = jax.jit(ClassCounts.merge)
    for _ in range(40):
        counts = merge(counts, counts)
    np.testing.assert_array_equal(counts.totals(), [3 * 2**40, 2**40])


def test_counts_over_devices():
    mesh = jax.make_mesh((8,), ("data",), axis_types=(jax.sharding.AxisType.Auto,))
    labels = jnp.asarray(LABELS[:496])

    def of_shard(labels):
        return jax.lax.psum(count_classes(labels, classes=5), "data")

    counts = jax.jit(
        jax.shard_map(
            of_shard, mesh=mesh, in_specs=PartitionSpec("data"), out_specs=PartitionSpec()
        )
    )(labels)
    np.testing.assert_array_equal(counts.totals(), np.bincount(LABELS[:496]))
