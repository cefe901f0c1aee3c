"""Fitting boxes by gradient descent: why detectors do not train on the plain IoU.

Boxes start where they do not touch their targets. There the IoU is 0 however far they are apart,
so its gradient is 0 too, and the boxes never move. GIoU, DIoU and CIoU add a term that grows with
the distance. The same optimizer takes each loss until no box can improve much, or it stops falling.

Prints, for each loss, the norm of its gradient at the start, the mean IoU at the end, the
share of boxes above an IoU of 0.9, the steps taken, and why the run stopped.

    python examples/box_regression.py
"""

import itertools
from collections.abc import Callable, Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxloss import box
from jaxloss.training import fit, make_train_step
from jaxloss.training.convergence import any_of, averaged, budget, plateau, target

LOSSES = {"iou": box.iou, "giou": box.giou, "diou": box.diou, "ciou": box.ciou}
BOXES = 64


class Row(NamedTuple):
    """What a loss achieved."""

    pull: float
    """norm of the gradient at the start"""
    iou: float
    """mean at the end"""
    good: float
    """share of boxes that ended above an IoU of 0.9"""
    steps: int
    explanation: str


def random_boxes(seed: int, left: float) -> jax.Array:
    """Boxes with sides between 1 and 3, and all of their lower corners right of ``left``."""
    random = np.random.default_rng(seed)
    low = random.uniform((left, 0), (left + 1, 1), (BOXES, 2))
    return jnp.float32(np.concatenate([low, low + random.uniform(1, 3, (BOXES, 2))], axis=1))


def descend(loss: Callable[..., jax.Array], starts: jax.Array, targets: jax.Array) -> Row:
    """Move the boxes from their starts towards their targets."""
    train_step = make_train_step(
        loss,  # its arguments are params and batch: what is fitted are the boxes themselves
        optax.adam(optax.exponential_decay(0.1, 200, 0.5)),
        tracker=any_of(
            close=target(0.02),  # as each loss is at least 1 - IoU, the mean IoU is 0.98
            flat=averaged(5, plateau(rtol=0.01)),
            end=budget(2000),
        ),
    )
    norms = []
    result = fit(
        train_step,
        train_step.init(starts),
        itertools.repeat(targets),
        progress=False,
        callbacks=[lambda step, state, report: norms.append(report.gradient_norm)],
    )
    overlap = 1 - box.iou(result.state.params, targets, reduction="none")
    return Row(
        pull=float(norms[0]),
        iou=float(overlap.mean()),
        good=float((overlap > 0.9).mean()),
        steps=len(result.history.loss),
        explanation=result.explanation,
    )


def main(losses: Mapping[str, Callable[..., jax.Array]] = LOSSES) -> dict[str, Row]:
    """Fit the same boxes with each loss and print the table."""
    starts = random_boxes(seed=0, left=0)  # they end before x = 4
    targets = random_boxes(seed=1, left=5)

    rows = {}
    print(f"{'loss':5} {'gradient':>8} {'mean IoU':>9} {'IoU > 0.9':>10} {'steps':>6}  stopped by")
    for name, loss in losses.items():
        rows[name] = row = descend(loss, starts, targets)
        print(f"{name:5} {row.pull:8.4f} {row.iou:9.3f} {row.good:10.0%} {row.steps:6}", end="  ")
        print(row.explanation, flush=True)
    return rows


if __name__ == "__main__":
    main()
