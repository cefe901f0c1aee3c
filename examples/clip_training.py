"""CLIP on halves of digits: of 400 right halves, which one continues this left half?

Two towers learn to give the left and the right half of an image the same direction, and halves of
different images different ones. They are asked about images that they have not seen. It takes more
than to know the digit, of which there are forty among the 400.

A batch of 512 pairs is divided over eight devices. Each half is compared with all of the batch, and
yet no device ever holds an array of batch by batch: 128 left halves at a time are compared with the
64 right halves that a device has, and the similarities forgotten. The temperature is learnt, and so
is the bias of SigLIP.

Prints how often the right half is the first, and is among the first five, of the 400: for towers
that are not trained, for canonical correlations, which are what linear towers can do, and for CLIP
and SigLIP. Writes clip_training.png: the digits that the halves found make.

    python examples/clip_training.py
"""

import argparse
import itertools
from collections.abc import Callable, Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from sklearn.cross_decomposition import CCA
from sklearn.datasets import load_digits

from jaxloss.kernels import contrastive
from jaxloss.training import Fit, TrainStep, fit, make_train_step
from jaxloss.training.convergence import any_of, averaged, budget, plateau

TEST, BATCH, TILE = 400, 512, 128
HIDDEN, FEATURES = 128, 64
STEPS, LEARNING_RATE, WEIGHT_DECAY = 300, 2e-3, 0.1
NOISE = 0.1  # in pixels between 0 and 1, so that no half is learnt by heart
SHOWN = 7  # digits, in the figure


# The data


class Halves(NamedTuple):
    """The left and the right halves of images, 32 pixels each."""

    left: np.ndarray
    right: np.ndarray


def load(seed: int = 0) -> tuple[Halves, Halves]:
    """Those to learn from, and those to be tested on."""
    pixels, _ = map(np.array, load_digits(return_X_y=True))
    images = (pixels / 16).astype(np.float32).reshape(-1, 8, 8)
    order = np.random.default_rng(seed).permutation(len(images))
    test, train = (
        Halves(*(half.reshape(len(rows), -1) for half in np.split(images[rows], 2, axis=2)))
        for rows in np.split(order, [TEST])
    )
    return train, test


def batch_of(halves: Halves, step: int) -> Halves:
    """Some pairs, with noise."""
    random = np.random.default_rng(step)
    rows = random.choice(len(halves.left), BATCH, replace=False)
    noise = NOISE * random.normal(size=(2, BATCH, 32))
    return Halves(
        *((half[rows] + x).astype(np.float32) for half, x in zip(halves, noise, strict=True))
    )


# The towers


class Params(NamedTuple):
    """The kernels of two towers, the last row of each for the biases, and two numbers."""

    left: list[jax.Array]
    right: list[jax.Array]
    log_temperature: jax.Array
    bias: jax.Array


def initial_params(seed: int) -> Params:
    """He's initialization."""
    random = np.random.default_rng(seed)

    def tower() -> list[jax.Array]:
        sizes = (32, HIDDEN, HIDDEN, FEATURES)
        shapes = [(one + 1, other) for one, other in itertools.pairwise(sizes)]
        return [
            jnp.float32(random.normal(scale=(2 / shape[0]) ** 0.5, size=shape)) for shape in shapes
        ]

    return Params(tower(), tower(), jnp.log(jnp.float32(0.1)), jnp.float32(-5.0))


def embedded(tower: list[jax.Array], halves: jax.Array | np.ndarray) -> jax.Array:
    """A vector for each half."""
    x = jnp.asarray(halves)
    *hidden, last = tower
    for kernel in hidden:
        x = jax.nn.gelu(x @ kernel[:-1] + kernel[-1:])
    return x @ last[:-1] + last[-1:]


# The losses


def clip(params: Params, left: jax.Array, right: jax.Array) -> jax.Array:
    """Each left half finds its right half, and each right half its left."""
    return contrastive.clip(left, right, temperature=jnp.exp(params.log_temperature), tile=TILE)


def siglip(params: Params, left: jax.Array, right: jax.Array) -> jax.Array:
    """For each left and each right half: do they belong together?"""
    temperature = jnp.exp(params.log_temperature)
    return contrastive.siglip(left, right, temperature=temperature, bias=params.bias, tile=TILE)


Loss = Callable[[Params, jax.Array, jax.Array], jax.Array]
LOSSES: Mapping[str, Loss] = {"CLIP": clip, "SigLIP": siglip}


# The experiment


def mesh_of(devices: int) -> Mesh:
    """Devices that share the pairs of a batch."""
    return jax.make_mesh((devices,), ("pairs",), axis_types=(AxisType.Auto,))


def minimizing(loss: Loss, steps: int) -> TrainStep:
    """The step, the same for any number of devices."""

    def objective(params: Params, batch: Halves) -> jax.Array:
        return loss(params, embedded(params.left, batch.left), embedded(params.right, batch.right))

    rate = optax.warmup_cosine_decay_schedule(0.0, LEARNING_RATE, steps // 10, steps)
    return make_train_step(
        objective,
        optax.adamw(rate, weight_decay=WEIGHT_DECAY),
        tracker=any_of(flat=averaged(10, plateau(rtol=1e-3)), end=budget(steps)),
    )


def train(loss: Loss, halves: Halves, mesh: Mesh, steps: int) -> Fit:
    """Train both towers from where all losses start."""
    step = minimizing(loss, steps)
    params = jax.device_put(initial_params(seed=0), NamedSharding(mesh, PartitionSpec()))
    return fit(
        step,
        step.init(params),
        lambda number: batch_of(halves, number),
        sharding=NamedSharding(mesh, PartitionSpec("pairs")),
        progress=False,
    )


class Found(NamedTuple):
    """What was found for each left half."""

    first: np.ndarray
    """the right half that was thought the likeliest"""
    rank: np.ndarray
    """how many were thought likelier than the right one"""

    def within(self, count: int) -> float:
        """How often it was among so many."""
        return float((self.rank < count).mean())


def search(left: np.ndarray, right: np.ndarray) -> Found:
    """By the cosines of vectors."""
    left, right = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in (left, right))
    cosines = left @ right.T
    return Found(cosines.argmax(1), (cosines > np.diag(cosines)[:, None]).sum(1))


def searched(params: Params, halves: Halves) -> Found:
    """By two towers."""
    towers = params.left, params.right
    return search(*(np.asarray(embedded(*both)) for both in zip(towers, halves, strict=True)))


def main(
    devices: int = 8,
    losses: Mapping[str, Loss] = LOSSES,
    steps: int = STEPS,
    out: str = "clip_training.png",
) -> dict[str, Found]:
    """Train with each loss, print the table and draw the figure."""
    halves, test = load()
    linear = CCA(16, max_iter=1000).fit(*halves).transform(*test)
    found = {
        "not trained": searched(initial_params(seed=0), test),
        "linear": search(*linear),
    }
    print(f"{len(halves.left)} pairs to learn from, {TEST} to find, on {devices} devices")
    print(f"{'':12} {'first':>6} {'in 5':>6} {'temperature':>11} {'bias':>6}  stopped by")
    for name, row in found.items():
        print(f"{name:12} {row.within(1):6.1%} {row.within(5):6.1%}")
    for name, loss in losses.items():
        result = train(loss, halves, mesh_of(devices), steps)
        params = jax.tree.map(jnp.asarray, jax.device_get(result.state.params))
        found[name] = row = searched(params, test)
        bias = f"{params.bias:6.2f}" if loss is siglip else f"{'':6}"
        print(f"{name:12} {row.within(1):6.1%} {row.within(5):6.1%}", end=" ")
        print(f"{jnp.exp(params.log_temperature):11.3f} {bias}  {result.explanation}", flush=True)
    draw(found, test, out)
    print(f"wrote {out}")
    return found


def draw(found: dict[str, Found], test: Halves, out: str) -> None:
    """Left halves with the right halves that were found, and how often one is among the first."""
    figure = Figure(figsize=(11, 4.5), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=(4, 3))
    rows = {"true": np.arange(TEST)}
    rows |= {name: row.first for name, row in found.items() if name != "not trained"}
    for y, (name, chosen) in enumerate(rows.items()):
        left.text(-2, 10 * y + 3.5, name, ha="right", va="center")
        for x in range(SHOWN):
            image = np.concatenate(
                [test.left[x].reshape(8, 4), test.right[chosen[x]].reshape(8, 4)], axis=1
            )
            corner = 10 * x, 10 * y
            extent = (corner[0] - 0.5, corner[0] + 7.5, corner[1] + 7.5, corner[1] - 0.5)
            left.imshow(image, cmap="gray_r", extent=extent, vmin=0, vmax=1)
            color = "#2ca02c" if chosen[x] == x else "#d62728"
            frame = Rectangle((extent[0] - 0.6, extent[3] - 0.6), 9.2, 9.2, color=color, fill=False)
            if name != "true":
                left.add_patch(frame)
    left.set(xlim=(-12, 10 * SHOWN), ylim=(10 * len(rows), -2))
    left.set_title("left halves, and the right halves found for them")
    left.axis("off")
    many = range(1, 101)
    for name, row in found.items():
        right.plot(many, [row.within(count) for count in many], label=name)
    right.plot(
        many, [count / TEST for count in many], color="C7", linestyle="--", label="by chance"
    )
    right.set(xlabel=f"halves looked at, of {TEST}", ylabel="how often it is among them")
    right.set(xscale="log", ylim=(0, 1.02))
    right.set_xticks([1, 10, 100], ["1", "10", "100"])
    right.legend(loc="upper left")
    right.grid(alpha=0.3)
    figure.savefig(out, dpi=120)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Contrastive training on several devices.")
    parser.add_argument("--devices", type=int, default=8, help="simulated (default: 8)")
    parser.add_argument("--steps", type=int, default=STEPS, help=f"at most (default: {STEPS})")
    parser.add_argument("--out", default="clip_training.png", help="where to draw the figure")
    given = parser.parse_args()
    jax.config.update("jax_num_cpu_devices", given.devices)
    main(given.devices, steps=given.steps, out=given.out)
