"""A run on disk, by orbax: saved while it goes on, and found again whole after any interruption."""

import importlib
import importlib.util
import json
import logging
import os
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import multihost_utils
from jaxtyping import Array, PyTree

from jaxloss.training.feeding import Batches, go_to, position
from jaxloss.training.state import TrainState, TrainStep, closed, opened
from jaxloss.training.validating import Validator, reopened

LOGGER = logging.getLogger("jaxloss.training")


class Checkpoints(NamedTuple):
    """Where a run is saved, and how often. Needs the extra ``checkpoint``."""

    directory: str | os.PathLike[str]
    every: int = 1000
    """steps between two checkpoints, counted from the beginning of the whole run"""
    keep: int = 2
    """how many of them, the latest"""
    reopen: bool = False
    """whether to go on with a run that a criterion had stopped, which has been changed since"""


class Restored(NamedTuple):
    """What was found on disk."""

    step: int
    """under which it was saved"""
    run: PyTree
    position: Any
    """that of the batches"""
    added: tuple[str, ...]
    """leaves that were not there and are as in a new run: those of a criterion added since, say"""
    unused: tuple[str, ...]
    """leaves that were there and are wanted no longer"""


class Store:
    """The checkpoints of one run, held open while it goes on."""

    def __init__(self, checkpoints: Checkpoints) -> None:
        orbax = import_orbax()
        self._arguments = orbax.args
        self._restore_args = orbax.checkpoint_utils.construct_restore_args
        self._manager = orbax.CheckpointManager(
            os.path.abspath(checkpoints.directory),
            options=orbax.CheckpointManagerOptions(max_to_keep=checkpoints.keep),
            item_handlers={
                "run": orbax.PyTreeCheckpointHandler(),
                "batches": orbax.JsonCheckpointHandler(),
            },
        )

    def save(self, step: int, run: PyTree, position: Any) -> None:
        """Begin to save; the arrays of ``run`` may be used up as soon as this returns.

        Under a step that has been reached before, nothing is: the run is what it was then.
        """
        if step <= (self._manager.latest_step() or -1):
            return
        LOGGER.info("saving step %d", step)
        arguments = self._arguments.Composite(
            run=self._arguments.PyTreeSave(named(run)),
            batches=self._arguments.JsonSave(of_all_processes(position)),
        )
        self._manager.save(step, args=arguments, force=True)

    def restore(self, target: PyTree) -> Restored | None:
        """The latest run, in the structure and on the devices of ``target``; None if none is there.

        A leaf that is not found, or has another shape or dtype, is that of ``target``.
        """
        step = self._manager.latest_step()
        if step is None:
            return None
        wanted = named(target)
        there = {
            name: (tuple(leaf.shape), leaf.dtype)
            for name, leaf in self._manager.item_metadata(step)["run"].tree.items()
        }
        common = {
            name: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=leaf.sharding)
            for name, leaf in wanted.items()
            if there.get(name) == (leaf.shape, leaf.dtype)
        }
        restore = self._arguments.PyTreeRestore(
            common, restore_args=self._restore_args(common), partial_restore=True
        )
        found = self._manager.restore(
            step,
            args=self._arguments.Composite(run=restore, batches=self._arguments.JsonRestore()),
        )
        positions = found["batches"]
        own = jax.process_index() if len(positions) > 1 else 0
        return Restored(
            step=step,
            run=unnamed(target, found["run"]),
            position=positions[own],
            added=tuple(name for name in wanted if name not in common),
            unused=tuple(name for name in there if name not in common),
        )

    def close(self) -> None:
        """Wait until all that was begun is saved."""
        self._manager.wait_until_finished()
        self._manager.close()


class Saver:
    """The checkpoints of a run, as a context that waits in the end until all is saved."""

    def __init__(self, checkpoints: Checkpoints, train_step: TrainStep, batches: Batches) -> None:
        self.every = checkpoints.every
        self._store = Store(checkpoints)
        self._batches = batches
        self._open = jax.jit(partial(opened, train_step.tracker))
        self._close = jax.jit(partial(closed, reopen=checkpoints.reopen))
        self._judge = jax.jit(reopened if checkpoints.reopen else lambda validation: validation)

    def __enter__(self) -> "Saver":
        return self

    def __exit__(self, *_: object) -> None:
        self._store.close()

    def save(self, step: int, state: TrainState, validator: Validator | None) -> None:
        """Begin to save the run as it is after ``step`` steps."""
        self._store.save(step, self._run(state, validator), position(self._batches))

    def restore(
        self, state: TrainState, validator: Validator | None
    ) -> tuple[TrainState, Restored | None]:
        """The state that was saved last, if there is one; validator and batches go there, too."""
        restored = self._store.restore(self._run(state, validator))
        if restored is None:
            return state, None
        LOGGER.info("continuing from step %d", restored.step)
        if restored.added:
            LOGGER.warning("not in the checkpoint, and begun anew: %s", ", ".join(restored.added))
        if restored.unused:
            LOGGER.warning("in the checkpoint, and left there: %s", ", ".join(restored.unused))
        go_to(self._batches, restored.position)
        if validator is not None:
            validator.validation = self._judge(restored.run["validation"])
        return self._close(restored.run["state"]), restored._replace(run=None)

    def _run(self, state: TrainState, validator: Validator | None) -> dict[str, PyTree]:
        validation = None if validator is None else validator.validation
        return {"state": self._open(state), "validation": validation}


def import_orbax() -> Any:
    """Orbax, or ``ImportError`` with what to install."""
    if importlib.util.find_spec("orbax") is None:
        raise ImportError("fit: checkpoints need orbax: pip install 'jaxloss[checkpoint]'")
    return importlib.import_module("orbax.checkpoint")


def named(tree: PyTree) -> dict[str, Array]:
    """The leaves by their path, keys as the numbers they are; without those of no element."""
    leaves = jax.tree_util.tree_flatten_with_path(tree)[0]
    return {name_of(path): numbers_of(leaf) for path, leaf in leaves if leaf.size}


def unnamed(target: PyTree, leaves: dict[str, Array]) -> PyTree:
    """``target`` with those of its leaves replaced that are in ``leaves``."""

    def leaf(path: Any, old: Array) -> Array:
        new = leaves.get(name_of(path), old)
        if new is not old and is_key(old):
            return jax.random.wrap_key_data(new, impl=jax.random.key_impl(old))
        return new

    return jax.tree_util.tree_map_with_path(leaf, target)


def name_of(path: Any) -> str:
    """A path through a pytree in words."""
    return jax.tree_util.keystr(path, simple=True, separator="/")


def numbers_of(leaf: Array) -> Array:
    """A leaf, or the numbers that a key is made of."""
    return jax.random.key_data(leaf) if is_key(leaf) else leaf


def is_key(leaf: Array) -> bool:
    """Whether ``leaf`` is made of typed keys."""
    return jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def of_all_processes(position: Any) -> list[Any]:
    """The position of the batches in each process. All must call this."""
    if jax.process_count() == 1:
        return [position]
    text = np.frombuffer(json.dumps(position).encode(), np.uint8)
    sizes = np.asarray(multihost_utils.process_allgather(np.int32(text.size))).reshape(-1)
    padded = np.zeros(sizes.max(), np.uint8)
    padded[: text.size] = text
    texts = np.asarray(multihost_utils.process_allgather(padded)).reshape(len(sizes), -1)
    return [
        json.loads(bytes(text[:size]).decode()) for text, size in zip(texts, sizes, strict=True)
    ]
