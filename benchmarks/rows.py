"""What is measured: which losses, at which shapes and dtypes."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import NamedTuple

import numpy as np

from benchmarks import everyday, sequence
from benchmarks.contestants import Loss, jax_arrays, moving
from benchmarks.libraries import LIBRARIES
from benchmarks.timing import Contest

TOLERANCES = {"float32": 1e-4, "bfloat16": 1e-2}
"""in norm; the gradient of a bfloat16 input is itself bfloat16"""

Shape = tuple[int, ...]


def numbers(generator: np.random.Generator, shape: Shape) -> tuple[np.ndarray, ...]:
    """Predictions and targets, so that a Huber loss meets both of its branches."""
    draw = generator.standard_normal
    return draw(shape, np.float32), draw(shape, np.float32)


def labels(generator: np.random.Generator, shape: Shape) -> tuple[np.ndarray, ...]:
    """Logits over the last axis and one class for each row."""
    *batch, classes = shape
    logits = 3 * generator.standard_normal(shape, np.float32)
    return logits, generator.integers(classes, size=batch, dtype=np.int32)


def answers(generator: np.random.Generator, shape: Shape) -> tuple[np.ndarray, ...]:
    """Logits and independent yes-or-no targets."""
    logits = 2 * generator.standard_normal(shape, np.float32)
    return logits, generator.integers(2, size=shape).astype(np.float32)


def regions(generator: np.random.Generator, shape: Shape) -> tuple[np.ndarray, ...]:
    """Logits of each pixel over the last axis and its class as a one-hot."""
    logits, classes = labels(generator, shape)
    return logits, np.eye(shape[-1], dtype=np.float32)[classes]


class Row(NamedTuple):
    """One loss on inputs of one shape and dtype."""

    loss: str
    shape: Shape
    dtype: str
    inputs: Callable[[np.random.Generator, Shape], tuple[np.ndarray, ...]]
    tolerance: float | None = None
    """if not that of its dtype"""

    @property
    def name(self) -> str:
        """As it is printed and asked for."""
        return f"{self.loss} {'x'.join(map(str, self.shape))} {self.dtype}"

    def small(self) -> "Row":
        """The same with no axis longer than 64, to try the harness."""
        shape = tuple(min(size, 64) for size in self.shape)
        return self._replace(shape=shape)


MANY, VECTORS, CLASSES, VOCABULARY = (1_000_000,), (8192, 128), (8192, 1000), (4096, 32768)

ROWS = [
    Row("huber", MANY, "float32", numbers),
    Row("huber", (8_000_000,), "float32", numbers),
    *(
        Row(loss, shape, dtype, inputs)
        for loss, inputs in (("softmax_cross_entropy", labels), ("sigmoid_cross_entropy", answers))
        for shape in (CLASSES, VOCABULARY)
        for dtype in ("float32", "bfloat16")
    ),
    Row("softmax_focal", CLASSES, "float32", labels),
    Row("sigmoid_focal", CLASSES, "float32", answers),
    Row("dice", (16, 256, 256, 4), "float32", regions),
    Row("tversky", (16, 256, 256, 4), "float32", regions),
    *(
        Row(loss, MANY, "float32", inputs)
        for loss, inputs in {
            "squared": numbers,
            "absolute": numbers,
            "smooth_l1": numbers,
            "log_cosh": numbers,
            "squared_log": everyday.amounts,
            "gaussian": everyday.scaled,
            "poisson": everyday.counts,
            "hinge": answers,
            "squared_hinge": answers,
            "soft_margin": answers,
            "binary_cross_entropy": everyday.shares,
            "margin_ranking": everyday.orders,
        }.items()
    ),
    *(
        Row(loss, CLASSES, "float32", inputs)
        for loss, inputs in {
            "smoothed_cross_entropy": labels,
            "soft_cross_entropy": everyday.mixed,
            "nll": everyday.log_likelihoods,
            "kl": everyday.mixed,
            "multi_margin": labels,
            "multilabel_soft_margin": answers,
        }.items()
    ),
    *(
        Row(loss, VECTORS, "float32", inputs)
        for loss, inputs in {
            "multilabel_margin": everyday.several,
            "triplet": everyday.triplets,
            "cosine_distance": numbers,
            "cosine_embedding": everyday.pairs,
        }.items()
    ),
    *(
        Row(loss, shape, "float32", inputs, sequence.TOLERANCE)
        for loss, shape, inputs in sequence.ROWS
    ),
]


def available(names: Iterable[str]) -> tuple[dict[str, Mapping[str, Loss]], dict[str, str]]:
    """The losses of each library that is installed, and why the others are missing.

    A failure of jaxloss itself is never caught.
    """
    found, missing = {}, {}
    for name in names:
        try:
            found[name] = LIBRARIES[name].losses()
        except ModuleNotFoundError as error:
            if (error.name or "").startswith(("jaxloss", "benchmarks")):
                raise
            missing[name] = str(error)
    return found, missing


def contests(row: Row, losses: Mapping[str, Mapping[str, Loss]]) -> Iterator[Contest]:
    """The row's value, then its value and gradient, by every library that has the loss."""
    inputs = row.inputs(np.random.default_rng(0), row.shape)
    sizes = [array.nbytes for array in jax_arrays(inputs, row.dtype)]
    for gradient in (False, True):
        traffic = sum(sizes) + (sizes[0] if gradient else 0)
        yield Contest(
            name=row.name,
            measure="value and gradient" if gradient else "value",
            tolerance=row.tolerance or TOLERANCES[row.dtype],
            contestants={
                name: LIBRARIES[name].contestant(found[row.loss], inputs, row.dtype, gradient)
                for name, found in losses.items()
                if row.loss in found
            },
            floor=moving(traffic),
            floor_work=f"move {traffic / 1e6:.3g} MB",
        )
