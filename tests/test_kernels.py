"""Fused losses are the dense ones, under every plan, and the logits are never there."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import logsumexp

from jaxloss import classification, kernels
from jaxloss.kernels import Plan

TOKENS, FEATURES, VOCABULARY = 22, 12, 208  # in 16 parts of 13 columns
keys = jax.random.split(jax.random.key(0), 6)
HIDDEN = jax.random.normal(keys[0], (TOKENS, FEATURES))
KERNEL = 0.7 * jax.random.normal(keys[1], (FEATURES, VOCABULARY))
BIAS = jax.random.normal(keys[2], (VOCABULARY,))
LABELS = jax.random.randint(keys[3], (TOKENS,), 0, VOCABULARY)
WEIGHTS = jax.random.uniform(keys[4], (TOKENS,), minval=0.2, maxval=2.0)
WHERE = np.arange(TOKENS) % 5 != 3

PLANS = {
    "whole": Plan(),
    "tokens": Plan(tokens=8),  # and 6 left over
    "columns": Plan(columns=64),  # 4 of each part, and 1 left over
    "tiles": Plan(tokens=8, columns=100),
}
every_plan = pytest.mark.parametrize("plan", PLANS.values(), ids=PLANS)

cross_entropy = kernels.linear_softmax_cross_entropy


def distance(found, expected) -> float:
    """Relative, in norm."""
    found, expected = (np.asarray(x, np.float64) for x in (found, expected))
    return float(np.linalg.norm(found - expected) / max(np.linalg.norm(expected), 1e-30))


def agree(found, expected, tolerance):
    for one, other in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        assert one.shape == other.shape
        assert distance(one, other) <= tolerance


def dense(hidden, kernel, bias, loss, softcap=None, temperature=None, classes=None):
    """A loss on logits that all exist, in the precision of its arguments."""
    z = (hidden @ kernel + (0 if bias is None else bias[None]))[:, :classes]
    z = z if softcap is None else softcap * jnp.tanh(z / softcap)
    return loss(z if temperature is None else z / temperature)


def in_double(loss, *arrays):
    """Value and gradient of a loss on arrays that are made double."""
    with jax.enable_x64(True):
        arrays = [x.astype(jnp.float64) for x in arrays]
        return jax.device_get(jax.value_and_grad(loss, tuple(range(len(arrays))))(*arrays))


# The cross-entropy

OPTIONS = {
    "plain": {},
    "smoothing": {"label_smoothing": 0.1},
    "z loss": {"z_loss": 0.03},
    "softcap": {"softcap": 3.0},
    "temperature": {"temperature": 0.7},
    "padding": {"classes": 150},
    "all": {"label_smoothing": 0.2, "z_loss": 0.01, "softcap": 4.0, "temperature": 1.3},
}


def cross_entropy_in_numpy(
    hidden, kernel, bias, labels, label_smoothing=0, z_loss=0, softcap=None, temperature=1,
    classes=None,
):  # fmt: skip
    hidden, kernel, bias = (np.asarray(x, np.float64) for x in (hidden, kernel, bias))
    z = (hidden @ kernel + bias)[:, :classes]
    z = z if softcap is None else softcap * np.tanh(z / softcap)
    z = z / temperature
    total, rows = logsumexp(z, -1), np.arange(len(z))
    loss = total - (1 - label_smoothing) * z[rows, labels] - label_smoothing * z.mean(-1)
    return loss + z_loss * total**2


def cross_entropy_of_logits(z, label_smoothing=None, z_loss=None, **reducing):
    """With the loss of the library, which is exact."""
    loss = classification.softmax_cross_entropy(
        z, LABELS % z.shape[1], label_smoothing=label_smoothing, reduction="none"
    )
    loss = loss if z_loss is None else loss + z_loss * jax.nn.logsumexp(z, -1) ** 2
    weights = WEIGHTS.astype(loss.dtype)
    return (weights * loss).sum() / weights.sum()


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_the_cross_entropy_is_that_of_the_logits(options):
    labels = LABELS % options.get("classes", VOCABULARY)
    exact = cross_entropy_in_numpy(HIDDEN, KERNEL, BIAS, np.asarray(labels), **options)
    linking = {k: v for k, v in options.items() if k in ("softcap", "temperature", "classes")}
    loss = {k: v for k, v in options.items() if k not in linking}
    expected, slopes = in_double(
        lambda *a: dense(*a, functools.partial(cross_entropy_of_logits, **loss), **linking),
        HIDDEN, KERNEL, BIAS,
    )  # fmt: skip
    assert distance(expected, np.average(exact, weights=WEIGHTS)) < 1e-7

    @jax.jit
    def compute(hidden, kernel, bias):
        found = []
        for plan in PLANS.values():
            fused = functools.partial(cross_entropy, plan=plan, **options)
            none = fused(hidden, kernel, labels, bias=bias, reduction="none")
            mean = jax.value_and_grad(
                lambda h, w, b, fused=fused: fused(h, w, labels, bias=b, weights=WEIGHTS), (0, 1, 2)
            )(hidden, kernel, bias)
            found.append((none, mean))
        return found

    for none, (mean, found) in compute(HIDDEN, KERNEL, BIAS):
        assert distance(none, exact) <= 1e-6
        assert distance(mean, expected) <= 1e-6
        agree(found, slopes, 2e-6)
