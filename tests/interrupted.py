"""A run to be killed: ``python -m tests.interrupted DIRECTORY STEPS function|iterator``.

It prints when it begins to save, and in the end a hash of everything. The tests start it, kill it,
start it again, and compare the hash with that of a run that nobody disturbed.
"""

import functools
import hashlib
import logging
import sys
import time
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxloss import partial_mean
from jaxloss.training import Checkpoints, convergence, fit, make_train_step

START = {
    "w": np.linspace(-1, 1, 15, dtype=np.float32).reshape(5, 3),
    "v": np.linspace(1, -1, 6, dtype=np.float32).reshape(3, 2),
}
PAUSE = 0.002


def make_batch(step: int) -> dict[str, np.ndarray]:
    """Of a step, whatever came before."""
    time.sleep(PAUSE)
    rng = np.random.default_rng(step)
    x, y = rng.normal(size=(8, 5)), rng.normal(size=(8, 2))
    if step % 37 == 11:
        x[0] = np.nan
    return {"x": x.astype(np.float32), "y": y.astype(np.float32), "mask": rng.random(8) < 0.7}


class Reader:
    """An iterator over the same batches that knows where it is."""

    def __init__(self) -> None:
        self.next = 0

    def __iter__(self) -> "Reader":
        return self

    def __next__(self) -> dict[str, np.ndarray]:
        self.next += 1
        return make_batch(self.next - 1)

    def get_state(self) -> dict[str, int]:
        """Where it is."""
        return {"next": self.next}

    def set_state(self, state: dict[str, int]) -> None:
        """Go where it was."""
        self.next = state["next"]


def objective(params: Any, mean: Any, batch: Any, *, key: Any) -> Any:
    """Dropout, and a running mean."""
    kept = jax.random.bernoulli(key, 0.9, batch["x"].shape)
    inputs = jnp.where(kept, batch["x"], 0) - mean[None]
    outputs = jnp.tanh(inputs @ params["w"]) @ params["v"]
    loss = partial_mean(((outputs - batch["y"]) ** 2).sum(-1), where=batch["mask"])
    return loss, 0.9 * mean + 0.1 * batch["x"].mean(0)


def evaluate(params: Any, mean: Any) -> Any:
    """On a batch that is never trained on, without dropout."""
    batch = make_batch(10**6)
    outputs = jnp.tanh((batch["x"] - mean[None]) @ params["w"]) @ params["v"]
    return ((outputs - batch["y"]) ** 2).mean()


@functools.cache
def training() -> Any:
    """A step with all that a state may hold."""
    return make_train_step(
        objective,
        optax.sgd(lambda step: 0.1 / (1 + jnp.float32(step) / 100), momentum=0.9),
        accumulate=2,
        has_model_state=True,
        extras=("key",),
        tracker=convergence.any_of(
            slow=convergence.patience(4000),
            flat=convergence.averaged(3, convergence.plateau(rtol=1e-9)),
        ),
        ema_decay=0.99,
        loss_scale=1024.0,
        scale_window=50,
        keep_best=True,
    )


def run(directory: str, steps: int, batches: Any) -> Any:
    """Begin, or go on."""
    train = training()
    return fit(
        train,
        train.init(START, model_state=jnp.zeros(5), key=jax.random.key(3)),
        batches,
        steps=steps,
        evaluate=evaluate,
        evaluate_every=15,
        tracker=convergence.patience(1000),
        checkpoints=Checkpoints(directory, every=20),
        progress=False,
    )


def digest(result: Any) -> str:
    """Of every bit of the state and of the best params."""
    found = result.state, result.best_params, result.best_model_state, result.best_value
    sha = hashlib.sha1()
    for leaf in jax.tree.leaves(found):
        is_key = isinstance(leaf, jax.Array) and jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)
        sha.update(np.asarray(jax.random.key_data(leaf) if is_key else leaf).tobytes())
    return sha.hexdigest()


def main(directory: str, steps: str, batches: str) -> None:
    """Run, and say what came out."""
    logging.basicConfig(stream=sys.stdout, format="%(message)s")
    logging.getLogger("jaxloss.training").setLevel(logging.INFO)
    result = run(directory, int(steps), make_batch if batches == "function" else Reader())
    print("hash", digest(result), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
