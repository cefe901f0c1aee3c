"""Laws that every loss obeys. Inputs come from argument names, so a new loss is covered at once."""

import copy
import functools
import inspect
import pickle

import jax
import jax.numpy as jnp
import jaxtyping
import numpy as np
import pytest
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from jaxloss import catalogue, partial_mean
from tests.inputs import Argument, example, positional, where_of

LOSSES = [pytest.param(e.loss, id=f"{e.family}.{e.name}") for e in catalogue.entries()]
every_loss = pytest.mark.parametrize("loss", LOSSES)

close = functools.partial(np.testing.assert_allclose, rtol=2e-6, atol=1e-6)


def floats(arrays):
    return [i for i, array in enumerate(arrays) if jnp.issubdtype(array.dtype, jnp.floating)]


def derivatives(loss):
    """Value, gradients, directional derivative and Hessian-vector product, compiled together."""

    def everything(arrays, directions, **masks):
        chosen = floats(arrays)

        def value(varying):
            full = [varying.get(i, array) for i, array in enumerate(arrays)]
            return loss(*full, **masks)

        point = {i: arrays[i] for i in chosen}
        direction = {i: directions[i] for i in chosen}
        slope, hvp = jax.jvp(jax.grad(value), (point,), (direction,))
        _, directional = jax.jvp(value, (point,), (direction,))
        return value(point), slope, directional, hvp

    return jax.jit(everything)


def directions_for(arrays):
    keys = jax.random.split(jax.random.key(7), len(arrays))
    return [jax.random.normal(k, a.shape) for k, a in zip(keys, arrays, strict=True)]


def follows_where(argument: Argument, loss) -> bool:
    """Whether the leading axes of an argument are those of the mask."""
    axes = where_of(loss).axes
    return argument.axes[: len(axes)] == axes


def keep(array, argument, loss):
    """``array`` without the last two entries along the last axis of the mask."""
    axis = len(where_of(loss).shape) - 1
    return array[(slice(None),) * axis + (slice(-2),)] if follows_where(argument, loss) else array


def mask_for(loss):
    """True but for the last two entries along the last axis."""
    shape = where_of(loss).shape
    return jnp.broadcast_to(jnp.arange(shape[-1]) < shape[-1] - 2, shape)


# Conventions of form


@every_loss
def test_signature(loss):
    parameters = inspect.signature(loss).parameters
    assert list(parameters)[-3:] == ["where", "weights", "reduction"]
    assert parameters["reduction"].default == "mean"
    assert parameters["where"].default is None
    assert parameters["weights"].default is None
    for parameter in parameters.values():
        assert parameter.annotation is not parameter.empty
        assert (parameter.kind is parameter.KEYWORD_ONLY) == (
            parameter.default is not parameter.empty
        )
    retired = {"alpha", "beta", "epsilon", "smooth", "y_true", "y_pred", "input", "mask", "dim"}
    assert not retired & set(parameters)


@every_loss
def test_docstring_is_complete(loss):
    text = inspect.getdoc(loss)
    assert len(text.partition("\n")[0]) <= 96
    for part in (".. math::", "Args:", "unreduced", "Example:", ">>> ", "Reference:"):
        assert part in text, part
    for option in catalogue.options(loss):
        assert f"{option}" in text.partition("Args:")[2], option


@every_loss
def test_is_a_plain_function(loss):
    assert inspect.isfunction(loss)
    assert pickle.loads(pickle.dumps(loss)) is loss
    assert copy.deepcopy(loss) is loss
    assert hash(jax.tree_util.Partial(loss).func) == hash(loss)


# Where, weights, reduction


@every_loss
def test_reductions_agree(loss):
    inputs = example(loss)
    none, total, mean = (loss(*inputs, reduction=r) for r in ("none", "sum", "mean"))
    close(none.sum(), total)
    ones = jnp.ones(none.shape, bool)
    weights = jax.random.uniform(jax.random.key(3), none.shape, minval=0.5, maxval=2.0)
    close(loss(*inputs, weights=weights, reduction="none"), weights * none)
    close(loss(*inputs, weights=weights), loss(*inputs, weights=5 * weights))
    close(mean, loss(*inputs, weights=2.5))
    counted = loss(*inputs, weights=weights, reduction="sum") / loss(*inputs, weights=weights)
    assert 0 < counted <= weights.sum() * (1 + 1e-6)
    assert ones.any()


@every_loss
def test_a_weight_of_zero_is_a_mask(loss):
    inputs = example(loss)
    none = loss(*inputs, reduction="none")
    weights = jax.random.bernoulli(jax.random.key(4), 0.6, none.shape).astype(jnp.float32)
    counts = loss(*inputs, weights=weights, reduction="sum")
    close(counts, (weights * none).sum())
    if where_of(loss).shape == none.shape:
        close(loss(*inputs, weights=weights), loss(*inputs, where=weights > 0))


@every_loss
@pytest.mark.parametrize("garbage", [jnp.nan, jnp.inf, -jnp.inf, 3e38])
def test_a_masked_element_may_hold_anything(loss, garbage):
    compiled = masked_derivatives(loss)
    arguments = positional(loss)
    inputs, where = example(loss), mask_for(loss)
    dirty = [
        spoil(array, where, garbage) if follows_where(argument, loss) else array
        for array, argument in zip(inputs, arguments, strict=True)
    ]
    directions = directions_for(inputs)
    value, slopes, directional, curvatures = compiled(dirty, directions, where=where)
    kept = [keep(x, a, loss) for x, a in zip(inputs, arguments, strict=True)]
    ways = [keep(x, a, loss) for x, a in zip(directions, arguments, strict=True)]
    expected = compiled(kept, ways)
    close(value, expected[0])
    close(directional, expected[2], rtol=1e-5)
    for i in slopes:
        for actual, wanted in ((slopes[i], expected[1][i]), (curvatures[i], expected[3][i])):
            close(keep(actual, arguments[i], loss), wanted, rtol=1e-5)
            if follows_where(arguments[i], loss):
                removed = ~where.reshape(where.shape + (1,) * (actual.ndim - where.ndim))
                assert (jnp.where(removed, actual, 0) == 0).all()


masked_derivatives = functools.cache(derivatives)


def spoil(array, where, garbage):
    bad = garbage if jnp.issubdtype(array.dtype, jnp.floating) else -100
    return jnp.where(where.reshape(where.shape + (1,) * (array.ndim - where.ndim)), array, bad)


@every_loss
def test_nothing_selected_is_zero(loss):
    inputs = [spoil(x, jnp.zeros(x.shape, bool), jnp.nan) for x in example(loss)]
    arguments = positional(loss)
    inputs = [
        dirty if follows_where(argument, loss) else clean
        for dirty, clean, argument in zip(inputs, example(loss), arguments, strict=True)
    ]
    where = jnp.zeros(where_of(loss).shape, bool)
    value, slope = jax.value_and_grad(loss)(*inputs, where=where)
    assert value == 0
    assert (slope == 0).all()


@every_loss
def test_weights_carry_gradient(loss):
    inputs = example(loss)
    none = loss(*inputs, reduction="none")
    weights = jnp.ones(none.shape)
    slope = jax.grad(lambda w: loss(*inputs, weights=w, reduction="sum"))(weights)
    close(slope, none)


@every_loss
def test_where_and_weights_broadcast_to_the_loss_and_never_enlarge_it(loss):
    inputs = example(loss)
    none = loss(*inputs, reduction="none")
    close(loss(*inputs, weights=jnp.full((1,) * none.ndim, 3.0), reduction="none"), 3 * none)
    close(loss(*inputs, where=jnp.ones((1,) * len(where_of(loss).shape), bool)), loss(*inputs))
    with as_users_run_it():
        for argument, value in (
            ("weights", jnp.ones((2, *none.shape))),
            ("weights", jnp.ones((*none.shape[:-1], none.shape[-1] + 1))),
            ("where", jnp.ones((2, *where_of(loss).shape), bool)),
        ):
            with pytest.raises(ValueError, match=rf"^{loss.__name__}: {argument} must broadcast"):
                loss(*inputs, **{argument: value})


# Numbers


@every_loss
def test_derivatives_agree_with_finite_differences(loss):
    with jax.enable_x64(True):
        arrays = [jnp.asarray(x, jnp.float64) if i in floats(example(loss)) else x
                  for i, x in enumerate(example(loss))]  # fmt: skip
        tilt = [jnp.asarray(d, jnp.float64) for d in directions_for(arrays)]
        compiled = derivatives(loss)
        step = 1e-5

        def shifted(sign):
            moved = [x + sign * step * d if i in floats(arrays) else x
                     for i, (x, d) in enumerate(zip(arrays, tilt, strict=True))]  # fmt: skip
            return compiled(moved, tilt)

        _, slopes, directional, curvatures = compiled(arrays, tilt)
        ahead, behind = shifted(+1), shifted(-1)
        close(directional, (ahead[0] - behind[0]) / (2 * step), rtol=1e-6, atol=1e-8)
        close(directional, sum((slopes[i] * tilt[i]).sum() for i in slopes), rtol=1e-9, atol=1e-12)
        for i in slopes:
            numeric = (ahead[1][i] - behind[1][i]) / (2 * step)
            close(curvatures[i], numeric, rtol=1e-5, atol=1e-7)
            assert slopes[i].dtype == jnp.float64


@every_loss
def test_jit_and_vmap_change_nothing(loss):
    inputs, others = example(loss), example(loss, seed=1)
    with jax.disable_jit():
        eager = loss(*inputs)
    close(loss(*inputs), eager)
    stacked = [jnp.stack(pair) for pair in zip(inputs, others, strict=True)]
    close(jax.vmap(loss)(*stacked), jnp.stack([loss(*inputs), loss(*others)]))


@every_loss
@pytest.mark.parametrize("half", [jnp.bfloat16, jnp.float16])
def test_half_precision_is_computed_in_float32(loss, half):
    inputs = example(loss)
    halves = [x.astype(half) if i in floats(inputs) else x for i, x in enumerate(inputs)]
    value, slope = jax.value_and_grad(loss)(*halves)
    assert value.dtype == jnp.float32
    assert slope.dtype == half
    exact = [x.astype(jnp.float32) if i in floats(inputs) else x for i, x in enumerate(halves)]
    expected, steep = jax.value_and_grad(loss)(*exact)
    close(value, expected)
    close(slope.astype(jnp.float32), steep.astype(half).astype(jnp.float32), rtol=1e-2, atol=1e-4)


@every_loss
def test_is_not_negative(loss):
    for seed in range(3):
        assert (loss(*example(loss, seed), reduction="none") >= 0).all()


@every_loss
def test_options_are_traced(loss):
    """A new value of a number neither recompiles nor breaks vmap and grad."""
    inputs = example(loss)
    for option in catalogue.options(loss):
        default = inspect.signature(loss).parameters[option].default
        if isinstance(default, bool | str | int):
            continue  # structure, not a number
        values = jnp.array([0.3, 0.6])
        swept = jax.vmap(lambda v: loss(*inputs, **{option: v}))(values)  # noqa: B023
        single = [loss(*inputs, **{option: v}) for v in (0.3, 0.6)]
        close(swept, jnp.stack(single))
        slope = jax.grad(lambda v: loss(*inputs, **{option: v}))(0.3)  # noqa: B023
        assert jnp.isfinite(slope)
        assert traces(lambda: loss(*inputs, **{option: 0.4})) == 0  # noqa: B023


def traces(call):
    """How often something is traced while ``call`` runs."""
    seen = []

    def listen(event, duration, **_):
        seen.append(event)

    jax.monitoring.register_event_duration_secs_listener(listen)
    try:
        jax.block_until_ready(call())
    finally:
        jax.monitoring.unregister_event_duration_listener(listen)
    return len([event for event in seen if "trace" in event or "compile" in event])


# Errors


class as_users_run_it:  # noqa: N801
    """Outside the test suite no import hook checks the shapes first."""

    def __enter__(self):
        jaxtyping.config.update("jaxtyping_disable", True)

    def __exit__(self, *_):
        jaxtyping.config.update("jaxtyping_disable", False)


@every_loss
def test_errors_name_the_function_and_the_arguments(loss):
    inputs = example(loss)
    first, second = (argument.name for argument in positional(loss)[:2])
    with as_users_run_it():
        with pytest.raises(ValueError, match=rf"^{loss.__name__}: .*{second}"):
            loss(inputs[0], inputs[1][:-1], *inputs[2:])
        with pytest.raises(ValueError, match=rf"^{loss.__name__}: reduction must be 'mean'"):
            loss(*inputs, reduction="avg")
        with pytest.raises(TypeError, match=rf"^{loss.__name__}: {first} must be"):
            loss(inputs[0].astype(jnp.complex64), *inputs[1:])
        with pytest.raises(TypeError, match=rf"^{loss.__name__}: where must be boolean"):
            loss(*inputs, where=jnp.ones(where_of(loss).shape))


# Transformations and devices


@every_loss
def test_nothing_is_transferred(loss):
    inputs = example(loss)
    compiled = jax.jit(jax.value_and_grad(loss))
    jax.block_until_ready(compiled(*inputs))
    with jax.transfer_guard("disallow"):
        jax.block_until_ready(compiled(*inputs))


def sharded(loss, inputs):
    """The inputs over eight devices along their first axis, and the mesh."""
    mesh = Mesh(np.array(jax.devices()[:8]), ("data",))
    specs = [
        PartitionSpec("data") if follows_where(argument, loss) else PartitionSpec()
        for argument in positional(loss)
    ]
    placed = [jax.device_put(x, NamedSharding(mesh, s)) for x, s in zip(inputs, specs, strict=True)]
    return placed, specs, mesh


@every_loss
def test_eight_devices_give_what_one_gives(loss):
    inputs = example(loss)
    expected, steep = jax.value_and_grad(loss)(*inputs)
    placed, specs, mesh = sharded(loss, inputs)
    value, slope = jax.jit(jax.value_and_grad(loss))(*placed)
    close(value, expected)
    close(slope, steep)
    if "*batch" not in str(inspect.signature(loss)) and where_of(loss).axes == ("batch",):
        return  # its examples interact: a device cannot judge its own alone
    none = loss(*inputs, reduction="none")
    if none.shape[0] != 8:
        return

    @functools.partial(jax.shard_map, mesh=mesh, in_specs=tuple(specs), out_specs=PartitionSpec())
    def across(*local):
        return jax.lax.psum(partial_mean(loss(*local, reduction="none")), "data").value()

    close(jax.jit(across)(*placed), none.mean())
