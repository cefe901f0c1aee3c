"""The same script on one device, on a mesh of them, and on several processes.

A small classifier of points on two spirals, some of them masked, in micro-batches. Every process
reads only its own rows. Losses are ratios of sums over all devices and micro-batches, so the curve
is the same however many share the work, to the rounding of sums taken in another order; and all of
them stop at the same step.

Prints the number of devices, the first and the last loss, and why training stopped.

    python examples/many_devices.py
    python examples/many_devices.py --devices 8
    python examples/many_devices.py --processes 2

On a real cluster every process calls ``jax.distributed.initialize()``; here ``--processes`` starts
them on this machine.
"""

import argparse
import socket
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from jaxloss import classification, partial_mean
from jaxloss.core.reducing import PartialMean
from jaxloss.training import Fit, fit, make_train_step
from jaxloss.training.convergence import any_of, averaged, patience, target

ROWS = 128
HIDDEN = 32
Params = dict[str, jax.Array]
Batch = dict[str, np.ndarray]


def rows_of(step: int, process: int, processes: int) -> Batch:
    """What one process reads for a step: its part of the rows, whatever came before."""
    random = np.random.default_rng(step)
    labels = random.integers(0, 2, ROWS)
    radius = random.uniform(0.2, 1.0, ROWS)
    angle = 5 * radius + np.pi * labels
    points = radius[:, None] * np.stack([np.cos(angle), np.sin(angle)], -1)
    batch = {
        "points": points.astype(np.float32),
        "labels": labels.astype(np.int32),
        "known": random.random(ROWS) < np.linspace(1.0, 0.2, ROWS),  # fewer and fewer
    }
    return {name: np.split(rows, processes)[process] for name, rows in batch.items()}


def first_params(seed: int) -> dict[str, np.ndarray]:
    """The same on every process."""
    random = np.random.default_rng(seed)
    shapes = {"in": (2, HIDDEN), "bias": (1, HIDDEN), "out": (HIDDEN, 2)}
    return {name: random.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}


def objective(params: Params, batch: Batch) -> PartialMean:
    """The cross-entropy of the known labels, as a sum and how many there are."""
    hidden = jnp.sin(batch["points"] @ params["in"] + params["bias"])
    logits = hidden @ params["out"]
    losses = classification.softmax_cross_entropy(logits, batch["labels"], reduction="none")
    return partial_mean(losses, where=batch["known"])


def train(devices: int) -> Fit:
    """On a mesh of so many devices, those of all processes together."""
    mesh = jax.make_mesh((devices,), ("rows",), axis_types=(AxisType.Auto,))
    whole, by_rows = (
        NamedSharding(mesh, spec) for spec in (PartitionSpec(), PartitionSpec("rows"))
    )
    step = make_train_step(
        objective,
        optax.adam(0.01),
        accumulate=2,
        tracker=averaged(20, any_of(good=target(0.05), slow=patience(10))),
    )
    process, processes = jax.process_index(), jax.process_count()
    return fit(
        step,
        step.init(jax.device_put(first_params(seed=2), whole)),
        lambda number: rows_of(number, process, processes),
        steps=1000,
        sharding=by_rows,
        progress=False,
    )


def main(devices: int) -> Fit:
    """Train, and let the first process tell."""
    result = train(devices)
    if jax.process_index() == 0:
        losses = result.history.loss
        print(f"{devices} devices of {jax.process_count()} processes")
        print(f"loss {losses[0]:.6f} -> {losses[-1]:.6f} in {len(losses)} steps")
        print(result.explanation)
    return result


def start(processes: int) -> None:
    """Start them on this machine, and wait for all of them; if one fails, end the others."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{probe.getsockname()[1]}"
    arguments = [sys.executable, __file__, "--processes", str(processes), "--address", address]
    started = [
        subprocess.Popen([*arguments, "--process", str(process)]) for process in range(processes)
    ]
    try:
        if any(process.wait(timeout=300) for process in started):
            raise SystemExit("a process has failed")
    finally:
        for process in started:
            process.kill()


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--devices", type=int, default=1, help="simulated, of one process")
    parser.add_argument("--processes", type=int, default=1, help="of one device each")
    parser.add_argument("--process", type=int, help="which of them this is")
    parser.add_argument("--address", help="where they find each other")
    options = parser.parse_args()
    if options.processes > 1 and options.process is None:
        start(options.processes)
    elif options.processes > 1:
        jax.config.update("jax_cpu_collectives_implementation", "gloo")
        jax.distributed.initialize(options.address, options.processes, options.process)
        main(jax.device_count())
    else:
        jax.config.update("jax_num_cpu_devices", options.devices)
        main(options.devices)
