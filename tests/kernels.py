"""What the tests of fused losses share: an output layer, plans, and losses on its dense logits."""

import functools
import re

import jax
import jax.numpy as jnp
import numpy as np

from jaxloss.kernels import Plan

TOKENS, FEATURES, VOCABULARY = 22, 12, 208  # in 16 parts of 13 columns
keys = jax.random.split(jax.random.key(0), 6)
HIDDEN = jax.random.normal(keys[0], (TOKENS, FEATURES))
KERNEL = 0.7 * jax.random.normal(keys[1], (FEATURES, VOCABULARY))
BIAS = jax.random.normal(keys[2], (VOCABULARY,))
LABELS = jax.random.randint(keys[3], (TOKENS,), 0, VOCABULARY)
WEIGHTS = jax.random.uniform(keys[4], (TOKENS,), minval=0.2, maxval=2.0)

PLANS = {
    "whole": Plan(),
    "tokens": Plan(tokens=8),  # and 6 left over
    "columns": Plan(columns=64),  # 3 of each part, and 1 left over
    "tiles": Plan(tokens=8, columns=100),
}

quick = functools.partial(
    jax.jit,
    compiler_options={
        "xla_backend_optimization_level": 0,
        "xla_llvm_disable_expensive_passes": True,
    },
)


def distance(found, expected) -> float:
    """Relative, in norm."""
    found, expected = (np.asarray(x, np.float64) for x in (found, expected))
    return float(np.linalg.norm(found - expected) / max(np.linalg.norm(expected), 1e-30))


def agree(found, expected, tolerance=2e-6):
    """Every array of two trees, to a relative tolerance in norm."""
    for one, other in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        assert one.shape == other.shape
        assert distance(one, other) <= tolerance


def dense_logits(hidden, kernel, bias=None, softcap=None, temperature=None, classes=None):
    """All of them, in the precision of the arguments."""
    z = hidden @ kernel
    z = (z if bias is None else z + bias[None])[:, :classes]
    z = z if softcap is None else softcap * jnp.tanh(z / softcap)
    return z if temperature is None else z / temperature


def in_double(function, *arrays):
    """What a function of arrays gives in double precision."""
    with jax.enable_x64(True):
        arrays = [
            x.astype(jnp.float64) if jnp.issubdtype(x.dtype, jnp.floating) else x for x in arrays
        ]
        return jax.device_get(quick(function)(*arrays))


def products(function, *arguments) -> int:
    """How many matrix products a compiled function takes; those in a loop count once.

    Products with a vector do not count, though the newest XLA gives it a second axis of length one.
    """
    text = jax.jit(function).lower(*arguments).compile().as_text() or ""
    shapes = re.findall(r"= \w+\[(\d+,[\d,]+)\]\S* dot\(", text)
    return sum("1" not in shape.split(",") for shape in shapes)
