"""The cross-entropy of an output layer: fused with it, and of all logits as users write it."""

import importlib
import os
from collections.abc import Callable, Container
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from benchmarks.contestants import compiled, multiplying
from benchmarks.timing import OURS, Contest, Contestant
from jaxloss.kernels import linear_softmax_cross_entropy


class Head(NamedTuple):
    """The sizes of an output layer, in float32."""

    tokens: int
    features: int
    vocabulary: int

    @property
    def name(self) -> str:
        """As it is printed and asked for."""
        return f"fused cross-entropy {self.tokens}x{self.features}x{self.vocabulary}"

    def small(self) -> "Head":
        """The same with no size above 64, to try the harness."""
        return Head(*(min(size, 64) for size in self))


HEADS = [Head(512, 256, 8192), Head(2048, 1024, 32768)]


def contest(head: Head, libraries: Container[str]) -> Contest:
    """Value and the gradients in hidden states and kernel, by the ``libraries`` that are there."""
    draw = np.random.default_rng(0)
    hidden = draw.standard_normal((head.tokens, head.features), np.float32)
    kernel = draw.standard_normal((head.features, head.vocabulary), np.float32)
    labels = draw.integers(head.vocabulary, size=head.tokens, dtype=np.int32)
    inputs = (hidden, kernel / head.features**0.5, labels)
    contestants = {
        OURS: in_jax(linear_softmax_cross_entropy, inputs),
        "jax.nn": in_jax(by_hand, inputs),
    }
    if "optax" in libraries:
        contestants["optax"] = in_jax(with_optax, inputs)
    if "torch" in libraries:
        contestants["torch"] = in_torch(inputs)
    operations = 3 * 2 * head.tokens * head.features * head.vocabulary
    return Contest(
        name=head.name,
        measure="value and gradient",
        tolerance=1e-4,
        contestants=contestants,
        floor=multiplying(operations),
        floor_work=f"multiply {operations / 1e9:.3g} GFLOP",
    )


def by_hand(hidden: jax.Array, kernel: jax.Array, labels: jax.Array) -> jax.Array:
    """Of all logits, as in many a tutorial."""
    log_p = jax.nn.log_softmax(hidden @ kernel)
    return -jnp.take_along_axis(log_p, labels[:, None], axis=-1).mean()


def with_optax(hidden: jax.Array, kernel: jax.Array, labels: jax.Array) -> jax.Array:
    """Of all logits, by optax."""
    losses = optax.losses.softmax_cross_entropy_with_integer_labels(hidden @ kernel, labels)
    return losses.mean()


def in_jax(loss: Callable[..., jax.Array], inputs: tuple[np.ndarray, ...]) -> Contestant:
    """Value and both gradients, compiled by XLA."""
    arrays = [jnp.asarray(x) for x in inputs]
    step = jax.jit(jax.value_and_grad(loss, (0, 1)))
    seconds, temporary = compiled(step, *arrays)
    return Contestant(
        run=lambda: jax.block_until_ready(step(*arrays)),
        answer=lambda: [np.asarray(x) for x in jax.tree.leaves(step(*arrays))],
        compile_seconds=seconds,
        temporary_bytes=temporary,
    )


def in_torch(inputs: tuple[np.ndarray, ...]) -> Contestant:
    """The same by torch, with as many threads as XLA has."""
    torch: Any = importlib.import_module("torch")
    torch.set_num_threads(len(os.sched_getaffinity(0)))
    hidden, kernel, labels = (torch.from_numpy(x) for x in inputs)
    moving, labels = [hidden.requires_grad_(), kernel.requires_grad_()], labels.long()

    def run() -> list[Any]:
        value = torch.nn.functional.cross_entropy(hidden @ kernel, labels)
        return [value.detach(), *torch.autograd.grad(value, moving)]

    return Contestant(run, answer=lambda: [x.numpy() for x in run()])
