"""The train step and its loss against what users of optax write by hand."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from benchmarks.contestants import compiled, multiplying
from benchmarks.timing import OURS, Contest, Contestant
from jaxloss.losses import regression
from jaxloss.training import convergence, make_train_step

STEPS_COMPARED = 3


class Network(NamedTuple):
    """A batch size and the widths of a multilayer perceptron."""

    name: str
    batch: int
    widths: tuple[int, ...]

    def small(self) -> "Network":
        """The same with no width above 8, to try the harness."""
        return self._replace(batch=4, widths=tuple(min(width, 8) for width in self.widths))


NETWORKS = [
    Network("train step, some 1 ms", 64, (128, 384, 384, 10)),
    Network("train step, tiny", 16, (8, 1)),
]
FOUR_CRITERIA = convergence.any_of(
    bad=convergence.nonfinite(3),
    flat=convergence.averaged(10, convergence.plateau(rtol=-1.0)),  # which nothing meets
    slow=convergence.patience(10**6),
    end=convergence.budget(10**8),
)


def contest(network: Network) -> Contest:
    """Adam on a small network under a Huber loss, the state donated."""
    optimizer = optax.adam(1e-3)
    generator = np.random.default_rng(0)
    params = [
        jnp.asarray(generator.standard_normal(shape, np.float32) / shape[0] ** 0.5)
        for shape in zip(network.widths[:-1], network.widths[1:], strict=True)
    ]
    batch = tuple(
        jnp.asarray(generator.standard_normal((network.batch, width), np.float32))
        for width in (network.widths[0], network.widths[-1])
    )

    def ours(params: list[jax.Array], batch: Any) -> jax.Array:
        return regression.huber(outputs(params, batch[0]), batch[1])

    def theirs(params: list[jax.Array], batch: Any) -> jax.Array:
        return optax.losses.huber_loss(outputs(params, batch[0]), batch[1]).mean()

    train = make_train_step(ours, optimizer)
    watched = make_train_step(ours, optimizer, tracker=FOUR_CRITERIA)

    def by_hand(state: Any, batch: Any) -> tuple[Any, jax.Array]:
        loss, gradient = jax.value_and_grad(theirs)(state[0], batch)
        updates, opt_state = optimizer.update(gradient, state[1], state[0])
        return (optax.apply_updates(state[0], updates), opt_state), loss

    def start_by_hand() -> Any:
        own = jax.tree.map(jnp.copy, params)
        return own, optimizer.init(own)

    multiplications = sum(parameter.size for parameter in params) * network.batch
    operations = 2 * (3 * multiplications - params[0].size * network.batch)
    return Contest(
        name=network.name,
        measure="step",
        tolerance=1e-4,
        contestants={
            OURS: stepping(train.step, lambda: train.init(params), batch),
            "and four criteria": stepping(watched.step, lambda: watched.init(params), batch),
            "optax by hand": stepping(jax.jit(by_hand, donate_argnums=0), start_by_hand, batch),
        },
        floor=multiplying(operations),
        floor_work=f"multiply {operations / 1e6:.3g} MFLOP",
    )


def outputs(params: list[jax.Array], inputs: jax.Array) -> jax.Array:
    """Of a multilayer perceptron."""
    *inner, last = params
    for matrix in inner:
        inputs = jax.nn.relu(inputs @ matrix)
    return inputs @ last


def stepping(step: Any, start: Callable[[], Any], batch: Any) -> Contestant:
    """Step after step from the same start; the params after some steps are the answer."""
    seconds, temporary = compiled(step, start(), batch)
    held = [start()]

    def run() -> object:
        held[0], report = step(held[0], batch)
        return jax.block_until_ready(report)

    def answer() -> list[np.ndarray]:
        state = start()
        for _ in range(STEPS_COMPARED):
            state, _ = step(state, batch)
        return [np.asarray(x) for x in jax.tree.leaves(state[0])]

    return Contestant(run, answer, seconds, temporary)
