"""On eight devices what one gives; each computes its share, and what need not move stays."""

import contextlib
import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P

from jaxloss import classification, kernels
from jaxloss.distributed import sharded
from jaxloss.kernels import Plan, over_linear
from tests.kernels import agree, quick

TOKENS, FEATURES, VOCABULARY = 64, 16, 256
keys = jax.random.split(jax.random.key(0), 4)
HIDDEN = jax.random.normal(keys[0], (TOKENS, FEATURES))
KERNEL = 0.5 * jax.random.normal(keys[1], (FEATURES, VOCABULARY))
BIAS = jax.random.normal(keys[2], (VOCABULARY,))
LABELS = jax.random.randint(keys[3], (TOKENS,), 0, VOCABULARY).at[5].set(-100)
WHERE = LABELS != -100

cross_entropy = kernels.linear_softmax_cross_entropy


def mesh_of(kind, names):
    """Eight devices along one axis, or four by two."""
    shape = (8,) if len(names) == 1 else (4, 2)
    return jax.make_mesh(shape, names, axis_types=(kind,) * len(names))


LAYOUTS = {
    "tokens": (("data",), P("data"), P()),
    "vocabulary": (("data", "model"), P("data"), P(None, "model")),
    "sequence": (("data", "model"), P(("data", "model")), P(None, "model")),
    "features": (("data",), P("data"), P("data")),
    "features, vocabulary": (("data", "model"), P("data"), P("data", "model")),
    "ring": (("data",), P("data"), P(None, "data")),
    "ring of rings": (("data", "model"), P(("data", "model")), P(None, "data")),
}


class Setting:
    """An output layer on a mesh."""

    def __init__(self, layout, kind):
        names, self.hidden, self.kernel = LAYOUTS[layout]
        self.kind, self.mesh, self.ring = kind, mesh_of(kind, names), layout.startswith("ring")
        specs = (self.hidden, self.kernel, P(self.hidden[0]))
        self.arrays = [
            jax.device_put(x, NamedSharding(self.mesh, spec))
            for x, spec in zip((HIDDEN, KERNEL, LABELS), specs, strict=True)
        ]

    def over(self, loss):
        """The loss over the mesh."""
        if self.kind == AxisType.Explicit:
            return sharded(loss, ring=self.ring)
        specs = {"mesh": self.mesh, "hidden": self.hidden, "kernel": self.kernel}
        return sharded(loss, ring=self.ring, **specs)

    def compiled(self, function):
        """What the function gives of the arrays, and the program."""
        with (
            jax.set_mesh(self.mesh) if self.kind == AxisType.Explicit else contextlib.nullcontext()
        ):
            program = quick(function).lower(*self.arrays).compile()
            return program(*self.arrays), program.as_text()


def collectives(text):
    """Names and shapes of what is moved between devices."""
    pattern = (
        r"= (\(?[^=]*?\)?) (all-gather|all-reduce|reduce-scatter|all-to-all|collective-permute)"
    )
    return {(name, shape) for shape, name in re.findall(pattern + r"(?:-start)?\(", text)}


def gathered(text):
    """The sizes of what is brought together."""
    shapes = [shape for name, shape in collectives(text) if name in ("all-gather", "all-to-all")]
    return sorted(re.sub(r"\{.*", "", shape) for shape in shapes)


def products(text):
    """The shapes of what matrix products give on one device."""
    return set(re.findall(r"= \w+\[(\d+,[\d,]+)\]\S* dot\(", text))


@functools.cache
def alone(loss, plan):
    def value(hidden, kernel):
        return loss(hidden, kernel, LABELS, where=WHERE, plan=plan)

    return quick(jax.value_and_grad(value, (0, 1)))(HIDDEN, KERNEL)


@pytest.mark.parametrize("plan", [Plan(tokens=4), Plan(columns=64)], ids=["tokens", "columns"])
@pytest.mark.parametrize("kind", [AxisType.Explicit, AxisType.Auto], ids=["explicit", "auto"])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_eight_devices_give_what_one_gives(layout, kind, plan):
    setting = Setting(layout, kind)
    loss = setting.over(cross_entropy)

    def step(hidden, kernel, labels):
        where = labels != -100
        return jax.value_and_grad(lambda h, w: loss(h, w, labels, where=where, plan=plan), (0, 1))(
            hidden, kernel
        )

    found, text = setting.compiled(step)
    agree(found, alone(cross_entropy, Plan()))
    if kind == AxisType.Explicit:
        for gradient, array in zip(found[1], setting.arrays[:2], strict=True):
            assert gradient.sharding.is_equivalent_to(array.sharding, 2)
    moved = gathered(text)
    match layout:
        case "tokens" | "vocabulary" | "ring" | "ring of rings":
            assert not moved
        case "sequence":  # the tokens of the two that share the vocabulary, and nothing of logits
            assert {shape for shape in moved if "," in shape} == {"f32[16,16]"}
        case "features":  # the kernel, once
            assert moved == ["f32[16,256]"]
        case "features, vocabulary":  # the columns of this device, once
            assert moved == ["f32[16,128]"]


@pytest.mark.parametrize(
    ("layout", "logits"),
    [("tokens", "4,256"), ("vocabulary", "4,128"), ("sequence", "4,128"), ("features", "4,256")],
)
def test_each_device_makes_its_share_of_the_logits(layout, logits):
    """Of 64 tokens 8, or 16 of half the vocabulary, four at a time."""
    setting = Setting(layout, AxisType.Explicit)
    loss = setting.over(cross_entropy)
    _, text = setting.compiled(
        lambda h, w, y: jax.value_and_grad(lambda h: loss(h, w, y, plan=Plan(tokens=4)))(h)
    )
    assert logits in products(text)
    sizes = [int(np.prod([int(n) for n in shape.split(",")])) for shape in products(text)]
    assert max(sizes) <= int(np.prod([int(n) for n in logits.split(",")]))


@pytest.mark.parametrize("plan", [Plan(tokens=16), Plan(columns=64)], ids=["tokens", "columns"])
@pytest.mark.parametrize("layout", ["tokens", "vocabulary"])
def test_without_being_told_each_device_computes_its_own(layout, plan):
    """No chunk is made of the tokens of one device, and no slice of its columns."""
    setting = Setting(layout, AxisType.Auto)

    def step(hidden, kernel, labels):
        where = labels != -100
        return jax.value_and_grad(
            lambda h, w: cross_entropy(h, w, labels, where=where, plan=plan), (0, 1)
        )(hidden, kernel)

    found, text = setting.compiled(step)
    agree(found, alone(cross_entropy, Plan()))
    assert not [shape for shape in gathered(text) if "," in shape]
    rows, columns = (8, VOCABULARY) if layout == "tokens" else (16, VOCABULARY // 2)
    rows = rows if plan.tokens is None else rows * plan.tokens // TOKENS
    columns = columns if plan.columns is None else columns * plan.columns // VOCABULARY
    assert f"{rows},{columns}" in products(text)


@pytest.mark.parametrize("layout", ["vocabulary", "sequence", "ring"])
def test_options_bias_and_scores_are_divided_too(layout):
    setting = Setting(layout, AxisType.Auto)
    options = {"softcap": 4.0, "label_smoothing": 0.1, "classes": 250}
    labels = jnp.where(WHERE, LABELS % 250, LABELS)

    def total(loss, log_p, entropy):
        def value(hidden, kernel, bias, softcap):
            given = {**options, "softcap": softcap}
            mean = loss(hidden, kernel, labels, bias=bias, where=WHERE, **given)
            scores = log_p(hidden, kernel, labels, bias=bias, where=WHERE, classes=250)
            return mean + (scores * entropy(hidden, kernel, bias=bias, classes=250)).mean()

        return quick(jax.value_and_grad(value, range(4)))

    losses = (cross_entropy, kernels.linear_log_probabilities, kernels.linear_entropy)
    arguments = (BIAS, jnp.array(4.0))
    expected = total(*losses)(HIDDEN, KERNEL, *arguments)
    agree(total(*map(setting.over, losses))(*setting.arrays[:2], *arguments), expected)
    predictions = setting.over(kernels.linear_predictions)(*setting.arrays[:2])
    assert (predictions == (HIDDEN @ KERNEL).argmax(-1)).all()


@pytest.mark.parametrize("layout", ["tokens", "features"])
def test_any_loss_on_rows_is_divided(layout):
    setting = Setting(layout, AxisType.Explicit)
    focal = setting.over(over_linear(classification.softmax_focal))

    def step(hidden, kernel, labels):
        return jax.value_and_grad(
            lambda h, w: focal(h, w, labels, where=labels != -100, gamma=1.5), (0, 1)
        )(hidden, kernel)

    def one(hidden, kernel):
        loss = over_linear(classification.softmax_focal)
        return loss(hidden, kernel, LABELS, where=WHERE, gamma=1.5)

    agree(setting.compiled(step)[0], jax.value_and_grad(one, (0, 1))(HIDDEN, KERNEL))


def test_batches_of_sequences_are_divided_along_both():
    mesh = mesh_of(AxisType.Explicit, ("data", "model"))
    hidden, labels = HIDDEN.reshape(8, 8, -1), LABELS.reshape(8, 8)
    put = functools.partial(jax.device_put)
    loss = sharded(cross_entropy)
    with jax.set_mesh(mesh):
        arrays = (
            put(hidden, P("data", "model")),
            put(KERNEL, P()),
            put(labels, P("data", "model")),
        )
        step = quick(jax.value_and_grad(lambda h, w, y: loss(h, w, y, where=y != -100), (0, 1)))
        program = step.lower(*arrays).compile()
        value, (dhidden, dkernel) = program(*arrays)
    expected, (slope, steep) = alone(cross_entropy, Plan())
    agree((value, dhidden.reshape(TOKENS, -1), dkernel), (expected, slope, steep))
    assert not gathered(program.as_text())


@pytest.mark.parametrize("plan", [None, Plan(tokens=4), Plan(columns=64)], ids=str)
def test_inside_shard_map_a_loss_is_that_of_the_tokens_there(plan):
    mesh = mesh_of(AxisType.Auto, ("data",))

    @functools.partial(
        jax.shard_map, mesh=mesh, in_specs=(P("data"), P(), P("data")), out_specs=P()
    )
    def mean(hidden, kernel, labels):
        where = labels != -100
        losses = cross_entropy(hidden, kernel, labels, where=where, plan=plan, reduction="none")
        partial = jnp.stack([losses.sum(), where.sum().astype(jnp.float32)])
        total, count = jax.lax.psum(partial, "data")
        return total / count

    found = quick(jax.value_and_grad(mean, (0, 1)))(HIDDEN, KERNEL, LABELS)
    agree(found, alone(cross_entropy, Plan()))


@pytest.mark.usefixtures("as_users_run_it")
def test_what_cannot_be_divided_is_refused():
    mesh = mesh_of(AxisType.Auto, ("data",))
    with pytest.raises(ValueError, match="sharded: mesh, hidden and kernel must be given together"):
        sharded(cross_entropy, mesh=mesh)
    with pytest.raises(ValueError, match="as the types do not say how the arrays are divided"):
        sharded(cross_entropy)(HIDDEN, KERNEL, LABELS)
    divided = functools.partial(sharded, cross_entropy, mesh=mesh)
    with pytest.raises(ValueError, match="features of hidden must not be divided"):
        divided(hidden=P(None, "data"), kernel=P())(HIDDEN, KERNEL, LABELS)
    with pytest.raises(ValueError, match="in a ring, kernel must be divided by its columns"):
        divided(hidden=P("data"), kernel=P("data"), ring=True)(HIDDEN, KERNEL, LABELS)
    rows = sharded(
        over_linear(classification.softmax_focal), mesh=mesh, hidden=P(), kernel=P(None, "data")
    )
    with pytest.raises(ValueError, match="plan must leave rows whole"):
        rows(HIDDEN, KERNEL, LABELS)
