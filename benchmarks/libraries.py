"""Each loss in each library: the mean over the batch, computed in float32.

Libraries other than jaxloss compute in the dtype they are given, so their inputs are promoted
first, inside what is compiled. Where a library lacks a loss, it is left out, or written by hand as
its users do.
"""

import importlib
import os
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from benchmarks import everyday, sequence
from benchmarks.contestants import Loss, MakeContestant, with_jax, with_torch, with_torch_compile
from benchmarks.timing import OURS

DELTA, GAMMA, SMOOTHING = 0.7, 2.0, 1e-7


class Library(NamedTuple):
    """Where losses come from and how they are run."""

    losses: Callable[[], Mapping[str, Loss]]
    """imports the library"""
    contestant: MakeContestant


def ours() -> dict[str, Loss]:
    """The losses of this package."""
    import jax

    from jaxloss.losses import classification, region, regression

    return everyday.ours() | {
        "huber": lambda p, t: regression.huber(p, t, delta=DELTA),
        "softmax_cross_entropy": classification.softmax_cross_entropy,
        "sigmoid_cross_entropy": classification.sigmoid_cross_entropy,
        "softmax_focal": lambda z, y: classification.softmax_focal(z, y, gamma=GAMMA),
        "sigmoid_focal": lambda z, t: classification.sigmoid_focal(z, t, gamma=GAMMA),
        "dice": lambda z, t: region.dice(jax.nn.softmax(z), t, smoothing=SMOOTHING),
        **sequence.ours(),
    }


def of_optax() -> dict[str, Loss]:
    """The losses of optax."""
    import jax.numpy as jnp
    from optax import losses

    def promoted(loss: Loss) -> Loss:
        return lambda x, y: loss(x.astype(jnp.float32), y).mean()

    cross_entropy = losses.softmax_cross_entropy_with_integer_labels
    return everyday.of_optax() | {
        "huber": promoted(lambda p, t: losses.huber_loss(p, t, delta=DELTA)),
        "softmax_cross_entropy": promoted(cross_entropy),
        "sigmoid_cross_entropy": promoted(losses.sigmoid_binary_cross_entropy),
        "sigmoid_focal": promoted(lambda z, t: losses.sigmoid_focal_loss(z, t, gamma=GAMMA)),
        "dice": promoted(lambda z, t: losses.dice_loss(z, t, smooth=SMOOTHING / 2)),
        **sequence.of_optax(),
    }


def of_keras() -> dict[str, Loss]:
    """The losses of keras, on its JAX backend."""
    os.environ.setdefault("KERAS_BACKEND", "jax")
    import jax
    import jax.numpy as jnp

    keras = importlib.import_module("keras")

    if keras.backend.backend() != "jax":
        raise ModuleNotFoundError("keras runs on another backend than jax")
    losses = keras.losses

    def promoted(loss: Loss) -> Loss:
        return lambda x, y: loss(y, x.astype(jnp.float32)).mean()

    return everyday.of_keras() | {
        "huber": promoted(lambda t, p: losses.huber(t, p, delta=DELTA)),
        "softmax_cross_entropy": promoted(
            lambda y, z: losses.sparse_categorical_crossentropy(y, z, from_logits=True)
        ),
        "sigmoid_cross_entropy": promoted(
            lambda t, z: losses.binary_crossentropy(t, z, from_logits=True)
        ),
        "sigmoid_focal": promoted(
            lambda t, z: losses.binary_focal_crossentropy(t, z, gamma=GAMMA, from_logits=True)
        ),
        "dice": promoted(lambda t, z: losses.dice(t, jax.nn.softmax(z), axis=(1, 2))),
        **sequence.of_keras(),
    }


def of_torch() -> dict[str, Loss]:
    """The losses of torch; focal and dice, which it has not, by hand."""
    torch = importlib.import_module("torch")
    functional = torch.nn.functional

    binary = functional.binary_cross_entropy_with_logits

    def focused(nll: Any) -> Any:
        return ((1 - torch.exp(-nll)) ** GAMMA * nll).mean()

    def dice(z: Any, t: Any) -> Any:
        p = z.float().softmax(-1)
        overlap, total = (p * t).sum((1, 2)), p.sum((1, 2)) + t.sum((1, 2))
        return (1 - (2 * overlap + SMOOTHING) / (total + SMOOTHING)).mean()

    return everyday.of_torch() | {
        "huber": lambda p, t: functional.huber_loss(p.float(), t.float(), delta=DELTA),
        "softmax_cross_entropy": lambda z, y: functional.cross_entropy(z.float(), y),
        "sigmoid_cross_entropy": lambda z, t: binary(z.float(), t.float()),
        "softmax_focal": lambda z, y: focused(
            functional.cross_entropy(z.float(), y, reduction="none")
        ),
        "sigmoid_focal": lambda z, t: focused(binary(z.float(), t.float(), reduction="none")),
        "dice": dice,
        **sequence.of_torch(),
    }


def of_compiled_torch() -> dict[str, Loss]:
    """The losses of torch, if it can compile here; that needs a C++ compiler."""
    torch = importlib.import_module("torch")

    try:
        torch.compile(torch.sin)(torch.ones(2))
    except RuntimeError as error:
        raise ModuleNotFoundError("torch.compile does not work here") from error
    return of_torch()


LIBRARIES = {
    OURS: Library(ours, with_jax),
    "optax": Library(of_optax, with_jax),
    "keras": Library(of_keras, with_jax),
    "naive": Library(sequence.naive, with_jax),
    "torch": Library(of_torch, with_torch),
    "torch.compile": Library(of_compiled_torch, with_torch_compile),
}
