"""A contrastive loss of a batch that is divided: that of the whole batch, with nothing gathered."""

import contextlib
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P

from jaxloss import pairs
from jaxloss.distributed import in_ring
from jaxloss.kernels import contrastive as tiled
from jaxloss.losses import contrastive
from tests.kernels import quick
from tests.test_distributed import collectives, products

BATCH, FEATURES, TILE = (
    56,
    6,
    4,
)  # seven rows for each device: two tiles of three, and one left over
X, Y = jax.random.normal(jax.random.key(0), (2, BATCH, FEATURES))
Y = X + Y
LABELS = jax.random.randint(jax.random.key(1), (BATCH,), 0, 9)
WEIGHTS = jax.random.uniform(jax.random.key(2), (BATCH,))
EXISTS = jax.random.bernoulli(jax.random.key(3), 0.8, (BATCH,))
NEGATIVES = jax.random.normal(jax.random.key(4), (16, FEATURES))

CASES = {
    "clip": ((X, Y), {"label_smoothing": 0.3}),
    "siglip": ((X, Y), {"bias": -2.0}),
    "info_nce": ((X, Y, NEGATIVES), {"labels": LABELS}),
    "sampled_softmax": ((X, Y, jnp.log(WEIGHTS)), {}),
    "supcon": ((X, LABELS), {}),
    "decoupled": ((X, LABELS), {}),
    "nt_xent": ((X, LABELS), {}),
}
LAYOUTS = {
    "explicit": (AxisType.Explicit, (8,), ("data",), "data"),
    "auto": (AxisType.Auto, (4, 2), ("data", "model"), ("data", "model")),
    "one of two": (AxisType.Auto, (4, 2), ("data", "model"), "data"),
}


def called(loss, name, options, arrays, real, temperature):
    """The loss of arrays of which the first ones are replaced; negatives are given by name."""
    given = [*real, *arrays[len(real) :]]
    more = {"negatives": given.pop()} if name == "info_nce" else {}
    return loss(*given, temperature=temperature, **more, **options)


def gradient(loss, name, **more):
    """Of everything real: vectors, logarithms, temperature and bias."""
    arrays, options = CASES[name]

    def value(real, temperature, options):
        labels = {"labels": LABELS} if name == "info_nce" else {}
        return called(loss, name, {**options, **labels, **more}, arrays, real, temperature)

    real = [x for x in arrays if x.dtype != LABELS.dtype]
    numbers = {k: v for k, v in options.items() if k != "labels"}
    return jax.value_and_grad(value, (0, 1, 2)), (real, 0.3, numbers)


def over(layout):
    """What divides a loss, and arrays, over a mesh; and the context that explicit axes need."""
    kind, shape, names, axis = LAYOUTS[layout]
    mesh = jax.make_mesh(shape, names, axis_types=(kind,) * len(names))
    explicit = kind == AxisType.Explicit
    ring = in_ring if explicit else functools.partial(in_ring, mesh=mesh, axis=axis)

    def place(x):
        return jax.device_put(x, NamedSharding(mesh, P(axis)))

    return ring, place, jax.set_mesh(mesh) if explicit else contextlib.nullcontext()


def compiled(layout, name, **more):
    """What the loss gives over the mesh, and the program."""
    ring, place, context = over(layout)
    loss = functools.partial(ring(getattr(tiled, name)), tile=TILE)
    function, (real, *numbers) = gradient(loss, name, **more)
    with context:
        program = quick(function).lower([place(x) for x in real], *numbers).compile()
        return program([place(x) for x in real], *numbers), program


@pytest.mark.parametrize(
    ("name", "layout"),
    [*((name, "auto") for name in CASES), *((name, "explicit") for name in ("clip", "siglip")),
     ("info_nce", "explicit"), ("nt_xent", "one of two")],
)  # fmt: skip
def test_is_the_loss_of_the_whole_batch(name, layout):
    weights = WEIGHTS[:, None] if name in ("decoupled", "nt_xent") else WEIGHTS
    more = {"where": EXISTS, "weights": weights}
    family = pairs if name == "nt_xent" else contrastive
    dense, arguments = gradient(getattr(family, name), name, **more)
    value, slopes = quick(dense)(*arguments)
    (found, gradients), program = compiled(layout, name, **more)
    np.testing.assert_allclose(found, value, rtol=1e-6)
    for one, other in zip(jax.tree.leaves(gradients), jax.tree.leaves(slopes), strict=True):
        size = max(1.0, float(jnp.abs(other).max()))
        np.testing.assert_allclose(one, other, atol=2e-6 * size)
    moved = collectives(program.as_text())
    shapes = {shape for kind, shape in moved if kind in ("all-gather", "all-to-all")}
    assert not [shape for shape in shapes if f",{FEATURES}]" in shape], shapes
    here = BATCH // (4 if layout == "one of two" else 8)
    assert ("collective-permute", f"f32[{here},{FEATURES}]{{1,0}}") in moved
    assert max(int(s.split(",")[1]) for s in products(program.as_text())) <= max(here, FEATURES)


@pytest.mark.parametrize("name", ["clip", "supcon"])
def test_losses_are_given_one_by_one(name):
    family, (arrays, _) = contrastive, CASES[name]
    ring, place, _ = over("auto")
    found = ring(getattr(tiled, name))(*map(place, arrays), where=EXISTS, reduction="none")
    expected = getattr(family, name)(*arrays, where=EXISTS, reduction="none")
    np.testing.assert_allclose(found, expected, rtol=2e-6)
    assert found.sharding.shard_shape(found.shape) == (BATCH // 8,)


def test_bfloat16_travels_as_it_is():
    ring, place, _ = over("auto")
    x, y = (place(v.astype(jnp.bfloat16)) for v in (X, Y))
    lowered = quick(jax.value_and_grad(ring(tiled.clip), (0, 1))).lower(x, y)
    passed = [line for line in lowered.as_text().splitlines() if "collective_permute" in line]
    assert any("tensor<7x6xbf16>" in line for line in passed)
    program = lowered.compile()
    expected, slopes = quick(jax.value_and_grad(tiled.clip, (0, 1)))(x, y)
    value, gradients = program(x, y)
    np.testing.assert_allclose(value, expected, rtol=1e-6)
    for one, other in zip(gradients, slopes, strict=True):
        assert one.dtype == jnp.bfloat16
        one, other = (np.asarray(g, np.float32) for g in (one, other))
        np.testing.assert_allclose(one, other, atol=1e-2 * np.abs(other).max())


def test_a_device_holds_its_share_and_a_tile():
    """Of 4096 examples 512 each, where all similarities would take 64 MiB."""
    batch, features, tile = 4096, 16, 64
    ring, _, _ = over("auto")
    x = jax.ShapeDtypeStruct((batch, features), jnp.float32)
    gradient = jax.value_and_grad(functools.partial(ring(tiled.clip), tile=tile), (0, 1))
    memory = quick(gradient).lower(x, x).compile().memory_analysis()
    assert memory is not None
    here = batch // 8
    assert memory.temp_size_in_bytes < 4 * (6 * tile * here + 24 * here * features)


@pytest.mark.usefixtures("as_users_run_it")
def test_what_cannot_go_round_is_refused():
    ring, _, _ = over("auto")
    with pytest.raises(ValueError, match="clip: a batch in a ring must be divisible among its 8"):
        ring(tiled.clip)(X[:-1], Y[:-1])
    with pytest.raises(ValueError, match="in_ring: mesh and axis must be given together"):
        in_ring(tiled.clip, axis="data")
    with pytest.raises(ValueError, match="as the type does not say how the batch is divided"):
        in_ring(tiled.clip)(X, Y)
