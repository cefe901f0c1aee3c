"""Wrong values: NaN where nothing checks, a message that names the argument under checkify."""

import jax
import jax.numpy as jnp
import pytest
from jax.experimental import checkify

from jaxloss import classification, imbalance, partial_mean, regression


def message(loss, *arrays, **options):
    """What checkify says of a call, in a compiled gradient."""
    step = checkify.checkify(lambda *a: jax.grad(lambda x: loss(x, *a[1:], **options))(a[0]))
    error, _ = jax.jit(step)(*arrays)
    return (error.get() or "").partition(" (`check`")[0]


LOGITS, LABELS = jnp.zeros((3, 4)), jnp.array([0, 1, 2])


@pytest.mark.parametrize("bad", [-1, 4, 2**31 - 1])
@pytest.mark.parametrize(
    "loss", [classification.softmax_cross_entropy, classification.softmax_focal]
)
def test_a_label_out_of_range_is_nan_in_value_and_gradient(loss, bad):
    labels = LABELS.at[1].set(bad)
    losses = loss(LOGITS, labels, reduction="none")
    assert jnp.isnan(losses).tolist() == [False, True, False]
    slope = jax.grad(lambda z: loss(z, labels, reduction="none")[jnp.array([0, 1])].sum())(LOGITS)
    assert jnp.isnan(slope).all(-1).tolist() == [False, True, False]


def test_small_integer_labels_do_not_wrap_around():
    """256 + 3 is not 3, though an int8 says so."""
    logits = jnp.zeros((1, 300)).at[0, 3].set(5.0)
    losses = classification.softmax_cross_entropy(logits, jnp.array([3], jnp.int8))
    assert losses == classification.softmax_cross_entropy(logits, jnp.array([3]))


@pytest.mark.parametrize(
    ("loss", "arrays", "options", "expected"),
    [
        (
            classification.softmax_cross_entropy,
            (LOGITS, LABELS.at[1].set(7)),
            {},
            "softmax_cross_entropy: labels must lie in [0, 4), got 7",
        ),
        (
            classification.sigmoid_cross_entropy,
            (LOGITS, jnp.full((3, 4), 1.5)),
            {},
            "sigmoid_cross_entropy: targets must lie in [0, 1], got 1.5",
        ),
        (
            regression.huber,
            (LOGITS, LOGITS),
            {"delta": -2.0},
            "huber: delta must be positive, got -2.0",
        ),
        (
            regression.huber,
            (LOGITS, LOGITS),
            {"weights": jnp.array(-1.0)},
            "huber: weights must not be negative, got -1.0",
        ),
        (
            imbalance.ldam,
            (LOGITS, LABELS, jnp.array([3, 1, -2, 4])),
            {},
            "ldam: counts must not be negative, got -2.0",
        ),
    ],
)
def test_checkify_names_the_function_and_the_argument(loss, arrays, options, expected):
    assert message(loss, *arrays, **options) == expected


@pytest.mark.parametrize(
    ("loss", "arrays"),
    [
        (classification.softmax_cross_entropy, (LOGITS, LABELS)),
        (classification.sigmoid_cross_entropy, (LOGITS, jnp.ones((3, 4)))),
        (regression.huber, (LOGITS, LOGITS)),
    ],
)
def test_checkify_is_silent_when_nothing_is_wrong(loss, arrays):
    assert message(loss, *arrays) == ""


def test_a_masked_label_may_be_anything():
    where = jnp.array([True, False, True])
    labels = LABELS.at[1].set(-100)
    assert message(classification.softmax_cross_entropy, LOGITS, labels, where=where) == ""


def test_partial_means_merge_into_the_mean_of_everything():
    losses, weights = jnp.array([1.0, 2.0, 6.0]), jnp.array([1.0, 2.0, 0.5])
    left = partial_mean(losses[:1], weights=weights[:1])
    right = partial_mean(losses[1:], weights=weights[1:])
    assert left.merge(right).value() == (1 + 4 + 3) / 3.5
    assert partial_mean(losses, where=jnp.zeros(3, bool)).value() == 0
