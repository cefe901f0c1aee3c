"""Models of other libraries as an objective, its params, and the state that it carries along.

What each of these returns goes, in this order, into::

    train = make_train_step(objective, optimizer, has_model_state=True, extras=("key",))
    state = train.init(params, model_state=model_state, key=jax.random.key(0))

``loss(model, batch)`` calls ``model`` on inputs as often as it likes, and returns a scalar, a
``PartialMean`` or a ``WeightedSum``. The state of the model, such as the means of BatchNorm, goes
from call to call and from step to step; its random numbers, such as those of dropout, depend on
the key and the number of the step alone. No library is imported before it is asked for.
"""

import importlib
import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
from jaxtyping import Array, PyTree

Loss = Callable[[Any, Any], Any]
"""``(model, batch)`` to a scalar, a ``PartialMean`` or a ``WeightedSum``."""


class Adapted(NamedTuple):
    """A model as a train step wants it."""

    objective: Callable[..., Any]
    """``(params, model_state, batch, *, key) -> (loss, model_state)``"""
    params: PyTree
    model_state: PyTree


def from_linen(
    module: Any, loss: Loss, variables: Mapping[str, Any], *, rngs: Sequence[str] = ("dropout",)
) -> Adapted:
    """A ``flax.linen.Module``.

    ``model`` takes what ``module`` does, ``model(x, train=True)``. The collections beside
    ``params`` are the state: evaluate ``module.apply({"params": params, **model_state}, x)``.

    Args:
        variables: from ``module.init``.
        rngs: names of the streams of random numbers that it draws from.
    """
    state = {name: collection for name, collection in variables.items() if name != "params"}

    def objective(params: PyTree, model_state: Any, batch: Any, *, key: Array) -> tuple[Any, Any]:
        def call(state: Any, key: Array, *inputs: Any, **options: Any) -> tuple[Any, Any]:
            streams = {name: jax.random.fold_in(key, i) for i, name in enumerate(rngs)}
            variables = {"params": params, **state}
            outputs, new = module.apply(
                variables, *inputs, rngs=streams, mutable=list(state), **options
            )
            return outputs, {**state, **new}

        model = Model(call, model_state, key)
        return loss(model, batch), model.state

    return Adapted(objective, variables["params"], state)


def from_nnx(model: Any, loss: Loss) -> Adapted:
    """A ``flax.nnx.Module``, in the mode that it is in: call ``model.train()`` before.

    ``model`` is a module like the one given. Its variables that are no ``nnx.Param`` are the state:
    ``nnx.update(model, params, model_state)`` brings it up to date.
    """
    nnx = importlib.import_module("flax.nnx")
    graph, params, state = nnx.split(model, nnx.Param, ...)

    def objective(params: PyTree, model_state: Any, batch: Any, *, key: Array) -> tuple[Any, Any]:
        module = nnx.merge(graph, params, model_state, copy=True)
        streams = [node for _, node in nnx.iter_graph(module) if isinstance(node, nnx.RngStream)]
        for i, stream in enumerate(streams):
            stream.key[...] = jax.random.fold_in(key, i)
        result = loss(module, batch)
        return result, nnx.split(module, nnx.Param, ...)[2]

    return Adapted(objective, params, state)


def from_equinox(model: Any, loss: Loss, state: Any = None, *, axis_name: str = "batch") -> Adapted:
    """An ``equinox.Module`` that takes one example.

    ``model(x)`` calls it on each row of ``x``, as ``module(row, key=key)``, or, if there is a
    state, as ``module(row, state, key=key)``, which returns the next state second. Evaluate
    ``equinox.combine(params, model)``.

    Args:
        state: from ``equinox.nn.make_with_state``.
        axis_name: of the axis of examples, as BatchNorm is told.
    """
    equinox = importlib.import_module("equinox")
    params, static = equinox.partition(model, equinox.is_inexact_array)
    arrays, fixed = equinox.partition(state, equinox.is_array)

    def objective(params: PyTree, model_state: Any, batch: Any, *, key: Array) -> tuple[Any, Any]:
        module = equinox.combine(params, static)

        def call(arrays: Any, key: Array, x: Any) -> tuple[Any, Any]:
            keys = jax.random.split(key, x.shape[0])
            if state is None:
                row = jax.vmap(lambda x, key: module(x, key=key), axis_name=axis_name)
                return row(x, keys), arrays
            outputs, new = jax.vmap(
                lambda x, state, key: module(x, state, key=key),
                axis_name=axis_name,
                in_axes=(0, None, 0),
                out_axes=(0, None),
            )(x, equinox.combine(arrays, fixed), keys)
            return outputs, equinox.partition(new, equinox.is_array)[0]

        model = Model(call, model_state, key)
        return loss(model, batch), model.state

    return Adapted(objective, params, () if state is None else arrays)


def from_haiku(transformed: Any, loss: Loss, params: PyTree, state: PyTree = None) -> Adapted:
    """A function transformed by ``haiku.transform_with_state``, or ``haiku.transform``.

    ``model`` takes what the function does. Evaluate ``transformed.apply``.

    Args:
        state: from ``transformed.init``; there is none with ``haiku.transform``.
    """

    def objective(params: PyTree, model_state: Any, batch: Any, *, key: Array) -> tuple[Any, Any]:
        def call(state_: Any, key: Array, *inputs: Any, **options: Any) -> tuple[Any, Any]:
            if state is None:
                return transformed.apply(params, key, *inputs, **options), state_
            return transformed.apply(params, state_, key, *inputs, **options)

        model = Model(call, model_state, key)
        return loss(model, batch), model.state

    return Adapted(objective, params, () if state is None else state)


def from_keras(model: Any, loss: Loss) -> Adapted:
    """A ``keras.Model`` on the JAX backend, in training.

    ``model`` takes the inputs. Variables that are not trained are the state: evaluate
    ``model.stateless_call(params, model_state, x)[0]``. Losses that its layers add are left out.
    """
    params = [variable.value for variable in model.trainable_variables]
    state = [variable.value for variable in model.non_trainable_variables]
    seeds = [
        i
        for i, variable in enumerate(model.non_trainable_variables)
        if variable.path.endswith("seed_generator_state")
    ]

    def objective(params: PyTree, model_state: Any, batch: Any, *, key: Array) -> tuple[Any, Any]:
        def call(state: Any, key: Array, *inputs: Any) -> tuple[Any, Any]:
            seeded = list(state)
            for i in seeds:
                bits = jax.random.bits(jax.random.fold_in(key, i), state[i].shape, "uint32")
                seeded[i] = bits.astype(state[i].dtype)
            return model.stateless_call(params, seeded, *inputs, training=True)

        called = Model(call, model_state, key)
        return loss(called, batch), called.state

    return Adapted(objective, params, state)


class Model:
    """A model as a function of its inputs, whose state goes from call to call within one loss."""

    def __init__(self, call: Callable[..., tuple[Any, Any]], state: Any, key: Array) -> None:
        self.state = state
        self._call = call
        self._key = key
        self._calls = itertools.count()

    def __call__(self, *inputs: Any, **options: Any) -> Any:
        """What the model makes of ``inputs``."""
        key = jax.random.fold_in(self._key, next(self._calls))
        outputs, self.state = self._call(self.state, key, *inputs, **options)
        return outputs
