"""One of many processes that train together: ``python -m tests.together ID COUNT PORT DIR MODE``.

Each has one device and reads its own rows. In the mode ``patient`` the tracker stops them, in the
mode ``endless`` only a signal does.
"""

import hashlib
import sys
import time
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
import optax
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from jaxloss import partial_mean
from jaxloss.training import Checkpoints, convergence, fit, make_train_step


def rows_of(step: int, process: int, count: int) -> dict[str, np.ndarray]:
    """The rows that one process reads; the first has nearly all that are not masked."""
    rng = np.random.default_rng(step % 8)
    batch = {"x": rng.normal(size=(16, 4)), "y": rng.normal(size=(16, 2))}
    batch = {name: rows.astype(np.float32) for name, rows in batch.items()}
    batch["mask"] = rng.random(16) < np.repeat([0.9, 0.2], 8)
    return {name: np.split(rows, count)[process] for name, rows in batch.items()}


def objective(params: Any, batch: Any) -> Any:
    """Of a linear model."""
    errors = ((batch["x"] @ params["w"] - batch["y"]) ** 2).sum(-1)
    return partial_mean(errors, where=batch["mask"])


def trained(
    count: int, batches: Callable[[int], Any], steps: int, patient: bool, directory: str | None
) -> Any:
    """The same call of ``fit`` on any number of processes."""
    mesh = jax.make_mesh((count,), ("data",), axis_types=(AxisType.Auto,))
    train = make_train_step(
        objective,
        optax.sgd(0.02, momentum=0.5),
        accumulate=2,
        tracker=convergence.averaged(8, convergence.patience(3 if patient else 10**6, rtol=1e-3)),
        keep_best=True,
    )
    start = {"w": np.zeros((4, 2), np.float32)}
    return fit(
        train,
        train.init(jax.device_put(start, NamedSharding(mesh, PartitionSpec()))),
        batches,
        steps=steps,
        sharding=NamedSharding(mesh, PartitionSpec("data")),
        evaluate=lambda params: (params["w"] ** 2).sum(),
        evaluate_every=25,
        checkpoints=None if directory is None else Checkpoints(directory, every=50),
        progress=False,
    )


def main(process: int, count: int, port: str, directory: str, mode: str) -> None:
    """Train, and say what came out."""
    jax.config.update("jax_cpu_collectives_implementation", "gloo")
    jax.distributed.initialize(f"127.0.0.1:{port}", count, process)
    patient = mode == "patient"

    def batches(step: int) -> dict[str, np.ndarray]:
        if not patient:
            time.sleep(0.005)
        if step == 12:
            print("ready", flush=True)
        return rows_of(step, process, count)

    result = trained(count, batches, 10**5, patient, None if directory == "-" else directory)
    sha = hashlib.sha1()
    for leaf in jax.tree.leaves((result.state, result.best_params)):
        sha.update(np.asarray(leaf).tobytes())
    print("loss", *result.history.loss, flush=True)
    print(result.reason.name, int(result.state.step), sha.hexdigest(), flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), *sys.argv[3:])
