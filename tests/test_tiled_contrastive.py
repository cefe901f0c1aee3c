"""Contrastive losses in tiles: the digits of the plain ones, in the memory of a tile."""

import functools
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxloss import pairs
from jaxloss.kernels import contrastive as tiled
from jaxloss.losses import contrastive

BATCH, FEATURES = 23, 6
X, Y = jax.random.normal(jax.random.key(0), (2, BATCH, FEATURES))
Y = X + Y
LABELS = jax.random.randint(jax.random.key(1), (BATCH,), 0, 6)
WEIGHTS = jax.random.uniform(jax.random.key(2), (BATCH,))
EXISTS = jax.random.bernoulli(jax.random.key(3), 0.8, (BATCH,))
NEGATIVES = jax.random.normal(jax.random.key(4), (11, FEATURES))


class Case(NamedTuple):
    """A loss, what is given by position, and the options with numbers that are differentiated."""

    name: str
    arrays: tuple[Any, ...]
    numbers: dict[str, Any]
    options: Mapping[str, Any] = MappingProxyType({})

    @property
    def tiled(self) -> Callable[..., Any]:
        """In tiles of 8 rows, of which the batch makes two, and one of 7."""
        return functools.partial(getattr(tiled, self.name), tile=8, **self.options)

    @property
    def dense(self) -> Callable[..., Any]:
        """The plain loss."""
        family = pairs if self.name == "nt_xent" else contrastive
        return functools.partial(getattr(family, self.name), **self.options)

    @property
    def over_pairs(self) -> bool:
        """Whether there are as many losses as pairs."""
        return self.name in ("nt_xent", "decoupled")


CASES = [
    Case("clip", (X, Y), {"temperature": 0.2}),
    Case("clip", (X, Y), {"temperature": 0.2, "label_smoothing": 0.3}),
    Case("siglip", (X, Y), {"temperature": 0.2, "bias": -2.0}),
    Case("info_nce", (X, Y), {"temperature": 0.2}),
    Case("info_nce", (X, Y), {"temperature": 0.2, "negatives": NEGATIVES}, {"labels": LABELS}),
    Case("info_nce", (X, Y), {"temperature": 0.2, "negatives": NEGATIVES}, {"in_batch": False}),
    Case("sampled_softmax", (X, Y, jnp.log(WEIGHTS)), {"temperature": 2.0}, {"labels": LABELS}),
    Case("supcon", (X, LABELS), {"temperature": 0.2}),
    Case("supcon", (X, LABELS), {"temperature": 0.2}, {"inside": True}),
    Case("decoupled", (X, LABELS), {"temperature": 0.2}),
    Case("nt_xent", (X, LABELS), {"temperature": 0.2}),
]
every_case = pytest.mark.parametrize(
    "case", CASES, ids=lambda c: "-".join([c.name, *c.numbers, *c.options])
)


def differentiated(loss: Callable[..., Any], case: Case, **options: Any) -> Any:
    """Value and gradient in all that is real."""

    def at(real: list[Any], numbers: dict[str, Any]) -> Any:
        found = loss(*real, *case.arrays[len(real) :], **numbers, **options)
        # as it is scalar, or else with different slopes in all of its elements
        return found if found.ndim == 0 else (found * jnp.linspace(1, 2, BATCH)).mean()

    real = [x for x in case.arrays if x.dtype != LABELS.dtype]
    return jax.jit(jax.value_and_grad(at, argnums=(0, 1)))(real, case.numbers)


def agree(case: Case, **options: Any) -> None:
    value, gradients = differentiated(case.tiled, case, **options)
    expected, exact = differentiated(case.dense, case, **options)
    np.testing.assert_allclose(value, expected, rtol=1e-6)
    for found, wanted in zip(jax.tree.leaves(gradients), jax.tree.leaves(exact), strict=True):
        size = max(1.0, float(jnp.abs(wanted).max()))
        np.testing.assert_allclose(found, wanted, atol=2e-6 * size)


@every_case
def test_value_and_gradient_are_those_of_the_plain_loss(case: Case):
    agree(case)


@every_case
def test_masks_and_weights_are_those_of_the_plain_loss(case: Case):
    weights = WEIGHTS[:, None] if case.over_pairs else WEIGHTS
    agree(case, where=EXISTS, weights=weights, reduction="sum")


@pytest.mark.parametrize("case", [CASES[0], CASES[2], CASES[7]], ids=lambda c: c.name)
def test_losses_are_those_of_the_plain_loss_one_by_one(case: Case):
    agree(case, where=EXISTS, reduction="none")


@every_case
def test_what_is_masked_may_hold_anything(case: Case):
    dirty = [
        x.at[~EXISTS].set(jnp.nan) if x.dtype != LABELS.dtype else jnp.where(EXISTS, x, -100)
        for x in case.arrays
    ]
    value, slope = jax.value_and_grad(case.tiled)(*dirty, **case.numbers, where=EXISTS)
    expected = case.dense(*case.arrays, **case.numbers, where=EXISTS)
    np.testing.assert_allclose(value, expected, rtol=1e-6)
    np.testing.assert_array_equal(slope[~EXISTS], 0)
    assert jnp.isfinite(slope).all()
    assert case.tiled(*dirty, **case.numbers, where=jnp.zeros(BATCH, bool)) == 0


def products(function: Callable[..., Any], *arguments: Any) -> list[Any]:
    """The dtypes of the matrix products that a function takes, loops counted once."""

    def within(jaxpr: Any) -> list[Any]:
        found = []
        for equation in jaxpr.eqns:
            if equation.primitive.name == "dot_general" and equation.outvars[0].aval.ndim == 2:
                found.append(equation.invars[0].aval.dtype)
            for parameter in jax.tree.leaves(
                list(equation.params.values()), is_leaf=lambda x: hasattr(x, "eqns")
            ):
                inner = getattr(parameter, "jaxpr", parameter)
                found += within(inner) if hasattr(inner, "eqns") else []
        return found

    return within(jax.make_jaxpr(function)(*arguments).jaxpr)


@pytest.mark.parametrize(
    ("loss", "count"),
    [(tiled.clip, 4), (tiled.siglip, 3), (tiled.info_nce, 4), (tiled.nt_xent, 5)],
)
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_how_many_products_a_gradient_takes_and_in_which_dtype(loss, count, dtype):
    second = LABELS if loss is tiled.nt_xent else Y.astype(dtype)
    argnums = 0 if loss is tiled.nt_xent else (0, 1)
    gradient = jax.value_and_grad(loss, argnums)
    assert products(gradient, X.astype(dtype), second) == [dtype] * count


def test_a_tower_that_is_held_constant_costs_a_product_less():
    assert len(products(jax.grad(lambda x: tiled.clip(x, Y)), X)) == 3


@pytest.mark.parametrize("case", [CASES[0], CASES[2], CASES[7]], ids=lambda c: c.name)
def test_bfloat16_is_multiplied_as_it_is_and_added_up_in_float32(case: Case):
    coarse = [x.astype(jnp.bfloat16) if x.dtype != LABELS.dtype else x for x in case.arrays]
    value, slope = jax.value_and_grad(case.tiled)(*coarse, **case.numbers)
    expected, exact = jax.value_and_grad(case.dense)(*coarse, **case.numbers)
    assert value.dtype == jnp.float32
    assert slope.dtype == jnp.bfloat16
    np.testing.assert_allclose(value, expected, rtol=2e-6)
    found, wanted = (np.asarray(x, np.float32) for x in (slope, exact))
    np.testing.assert_allclose(found, wanted, atol=2e-2 * np.abs(wanted).max())


@pytest.mark.parametrize("loss", [tiled.clip, tiled.siglip, tiled.nt_xent])
def test_memory_is_that_of_a_tile(loss):
    batch, features, tile = 4096, 16, 64
    x = jax.ShapeDtypeStruct((batch, features), jnp.float32)
    second = jax.ShapeDtypeStruct((batch,), jnp.int32) if loss is tiled.nt_xent else x
    gradient = jax.jit(jax.value_and_grad(functools.partial(loss, tile=tile)))
    memory = gradient.lower(x, second).compile().memory_analysis()
    assert memory is not None
    assert memory.temp_size_in_bytes < 4 * (4 * tile * batch + 16 * batch * features)
    assert memory.temp_size_in_bytes < 4 * batch**2 / 6


@every_case
def test_no_other_derivative_is_given_and_the_message_says_who_has_it(case: Case):
    def loss(x: Any) -> Any:
        return case.tiled(x, *case.arrays[1:], **case.numbers)

    family = "pairs" if case.name == "nt_xent" else "contrastive"
    message = f"no forward mode or second derivative of the tiled {case.name}: " + (
        f"jaxloss.losses.{family}.{case.name} has both"
    )
    with pytest.raises(TypeError, match=message):
        jax.jvp(loss, (X,), (X,))
    with pytest.raises(TypeError, match=message):
        jax.hessian(loss)(X)
    with pytest.raises(TypeError, match=message):
        jax.grad(lambda x: jax.grad(loss)(x).sum())(X)


@pytest.mark.parametrize("case", [CASES[0], CASES[2]], ids=lambda c: c.name)
def test_vmap_is_a_loop_and_checkpoint_changes_nothing(case: Case):
    first, second = jnp.stack([X, 2 * X - 1]), jnp.stack([Y, Y + 1])
    temperatures = jnp.array([0.2, 0.3])

    def loss(x, y, temperature):
        return case.tiled(x, y, temperature=temperature)

    gradient = jax.value_and_grad(jax.checkpoint(loss), argnums=(0, 1, 2))
    values, slopes = jax.jit(jax.vmap(gradient))(first, second, temperatures)
    for i in range(2):
        expected, exact = jax.value_and_grad(loss, (0, 1, 2))(first[i], second[i], temperatures[i])
        np.testing.assert_allclose(values[i], expected, rtol=1e-6)
        for found, wanted in zip(slopes, exact, strict=True):
            np.testing.assert_allclose(found[i], wanted, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("scale", [1e-30, 1.0, 1e30])
def test_lengths_do_not_matter_and_zero_vectors_are_left_alone(scale):
    x, y = (X * scale).at[3].set(0), Y / scale
    for case in (CASES[0], CASES[2]):
        value, slope = jax.value_and_grad(case.tiled)(x, y, **case.numbers)
        expected, exact = jax.value_and_grad(case.dense)(X.at[3].set(0), Y, **case.numbers)
        np.testing.assert_allclose(value, expected, rtol=1e-6)
        np.testing.assert_allclose(slope * scale, exact, atol=1e-6)
        np.testing.assert_array_equal(slope[3], 0)


def test_what_is_sure_keeps_its_digits():
    eye = jnp.eye(20)
    value, slope = jax.value_and_grad(lambda t: tiled.clip(eye, eye, temperature=t, tile=8))(0.02)
    np.testing.assert_allclose(value, 19 * np.exp(-50), rtol=1e-5)
    np.testing.assert_allclose(slope, 19 * np.exp(-50) / 0.02**2, rtol=1e-5)
    views = jnp.concatenate([eye, eye])
    labels = jnp.arange(40) % 20
    for loss in (tiled.nt_xent, tiled.supcon):
        value = loss(views, labels, temperature=0.02, tile=8)
        np.testing.assert_allclose(value, 38 * np.exp(-50), rtol=1e-5)


@pytest.mark.parametrize("labels", [jnp.arange(BATCH), jnp.zeros(BATCH, int)])
@pytest.mark.parametrize("loss", [tiled.supcon, tiled.decoupled, tiled.nt_xent])
def test_without_partners_or_rivals_all_is_finite(loss, labels):
    value, slope = jax.value_and_grad(functools.partial(loss, tile=8))(X, labels)
    if len(set(labels.tolist())) > 1 or loss is not tiled.supcon:
        assert value == 0
        np.testing.assert_array_equal(slope, 0)
    assert jnp.isfinite(value)
    assert jnp.isfinite(slope).all()


def test_double_precision_stays():
    with jax.enable_x64(True):
        x, y = (jnp.asarray(np.asarray(a, np.float64)) for a in (X, Y))
        for case in (CASES[0], CASES[2]):
            value, slope = jax.value_and_grad(case.tiled)(x, y)
            expected, exact = jax.value_and_grad(case.dense)(x, y)
            assert value.dtype == slope.dtype == jnp.float64
            np.testing.assert_allclose(value, expected, rtol=1e-13)
            np.testing.assert_allclose(slope, exact, atol=1e-13)


def test_wrong_options_are_named():
    with pytest.raises(ValueError, match=r"^clip: tile must be at least 1, got 0"):
        tiled.clip(X, Y, tile=0)
    with pytest.raises(ValueError, match=r"^nt_xent: reduction must be 'mean' or 'sum' in tiles"):
        tiled.nt_xent(X, LABELS, reduction="none")
