"""Runs that are killed, told to end, or changed while they were down, and go on from the disk."""

import itertools
import logging
import os
import pathlib
import random
import signal
import subprocess
import sys
import time

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxloss.training import Checkpoints, convergence, fit, make_train_step
from jaxloss.training.convergence import Reason
from jaxloss.training.convergence.waiting import PatienceState
from jaxloss.training.state import unpacked
from tests import interrupted

pytest.importorskip("orbax.checkpoint")
STEPS = 70


class CrashError(Exception):
    """Instead of a signal that ends the process at once."""


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    directory = tmp_path_factory.mktemp("undisturbed")
    return interrupted.digest(interrupted.run(str(directory), STEPS, interrupted.make_batch))


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch):
    monkeypatch.setattr(interrupted, "PAUSE", 0)


class Unreliable(interrupted.Reader):
    """Batches that once break off."""

    def __init__(self, at):
        super().__init__()
        self.at = at

    def __next__(self):
        if self.next == self.at:
            raise CrashError
        return super().__next__()


def test_a_run_that_breaks_off_goes_on_as_if_nothing_had_been(undisturbed, tmp_path):
    """Also where its evaluations and its saves fall, and with batches that it must find again."""
    directory = str(tmp_path)
    for at in (7, 31, 45):  # before there is a checkpoint, after one, after an evaluation
        with pytest.raises(CrashError):
            interrupted.run(directory, STEPS, Unreliable(at))
    result = interrupted.run(directory, STEPS, interrupted.Reader())
    assert result.restored is not None
    assert result.restored.step == 40
    np.testing.assert_array_equal(result.history.step, np.arange(40, STEPS))
    assert interrupted.digest(result) == undisturbed
    # and once more: there is nothing left to do
    again = interrupted.run(directory, STEPS, interrupted.Reader())
    assert len(again.history.loss) == 0
    assert interrupted.digest(again) == undisturbed


def test_sigterm_saves_and_stops(undisturbed, tmp_path):
    usual = signal.getsignal(signal.SIGTERM)

    def batches(step):
        if step == 33:
            os.kill(os.getpid(), signal.SIGTERM)
        return interrupted.make_batch(step)

    first = interrupted.run(str(tmp_path), STEPS, batches)
    assert first.reason == Reason.INTERRUPTED
    assert first.explanation == "interrupted: by SIGTERM after 34 steps"
    assert signal.getsignal(signal.SIGTERM) is usual
    second = interrupted.run(str(tmp_path), STEPS, interrupted.make_batch)
    assert second.restored is not None
    assert second.restored.step == 34
    assert interrupted.digest(second) == undisturbed


@pytest.mark.slow
@pytest.mark.parametrize("batches", ["function", "iterator"])
def test_killed_six_times_and_in_the_middle_of_saving(tmp_path, batches):
    """With no chance to tidy up: SIGKILL at random, every other time just after a save began."""
    program = [sys.executable, "-m", "tests.interrupted"]
    environment = os.environ | {"JAX_PLATFORMS": "cpu"}
    root = pathlib.Path(interrupted.__file__).parent.parent

    def started(directory):
        return subprocess.Popen(
            [*program, str(tmp_path / directory), "400", batches],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            cwd=root,
            env=environment,
        )

    reference = started("undisturbed").communicate(timeout=200)[0].splitlines()[-1]
    assert reference.startswith("hash")
    generator, killed = random.Random(0), []
    for i in range(6):
        child = started("killed")
        assert child.stdout is not None
        saves = generator.randint(1, 3)
        for line in child.stdout:
            saves -= line.startswith("saving")
            if saves == 0:
                killed.append(line.strip())
                break
        time.sleep(generator.random() * (0.02 if i % 2 else 0.2))
        child.kill()
        assert child.wait(60) == -signal.SIGKILL
        child.stdout.close()
    assert len(killed) == 6
    lines = started("killed").communicate(timeout=200)[0].splitlines()
    assert any(line.startswith("continuing from step") for line in lines)
    assert lines[-1] == reference


# --- what is found, and what is not


def quadratic(x, batch):
    return ((x["at"] - batch) ** 2).sum()


def zero(step):
    return np.float32(0)


def descended(directory, steps, tracker, batches=zero, reopen=False, **options):
    train = make_train_step(
        quadratic, optax.sgd(0.05, momentum=0.5), tracker=tracker, keep_best=True
    )
    state = train.init({"at": jnp.array([1.0, -2.0])}, key=jax.random.key(5))
    checkpoints = Checkpoints(directory, every=5, reopen=reopen)
    return train, fit(
        train, state, batches, steps=steps, checkpoints=checkpoints, progress=False, **options
    )


def test_types_of_everything_come_back(tmp_path):
    tracker = convergence.any_of(wait=convergence.patience(99))
    train, first = descended(tmp_path, 8, tracker)
    _, second = descended(tmp_path, 8, tracker)
    assert jax.tree.structure(first.state) == jax.tree.structure(second.state)
    assert type(second.state.opt_state[0]) is optax.TraceState
    assert first.state.key is not None
    assert second.state.key is not None
    assert jnp.issubdtype(second.state.key.dtype, jax.dtypes.prng_key)
    np.testing.assert_array_equal(
        jax.random.key_data(second.state.key), jax.random.key_data(first.state.key)
    )
    assert type(unpacked(tracker, second.state)[1]["wait"]) is PatienceState
    state, _ = train.step(second.state, jnp.float32(0))
    assert int(state.step) == 9


def test_a_criterion_added_begins_anew_and_is_reported(tmp_path, caplog):
    descended(tmp_path, 8, convergence.any_of(wait=convergence.patience(99)))
    both = convergence.any_of(
        wait=convergence.patience(98), few=convergence.averaged(2, convergence.patience(9))
    )
    with caplog.at_level(logging.INFO, "jaxloss.training"):
        _, result = descended(tmp_path, 12, both)
    assert result.restored is not None
    added = result.restored.added
    assert len(added) == 4
    assert all(name.startswith("state/tracker/few") for name in added)
    assert result.restored.unused == ()
    assert "continuing from step 8" in caplog.text
    assert f"not in the checkpoint, and begun anew: {', '.join(added)}" in caplog.text
    counters, watching = unpacked(both, result.state)
    assert int(counters.step) == 12
    assert result.state.best is not None
    expected = quadratic({"at": result.state.best.params["at"]}, 0)
    np.testing.assert_allclose(watching["wait"].reference, expected)
    # and one that has been dropped is told as well
    with caplog.at_level(logging.INFO, "jaxloss.training"):
        _, result = descended(tmp_path, 14, convergence.any_of(wait=convergence.patience(99)))
    assert result.restored is not None
    assert set(result.restored.unused) == set(added)
    assert "in the checkpoint, and left there: " in caplog.text


def test_a_changed_patience_takes_effect(tmp_path):
    """It lives in the criterion, not in the state; the checks already waited for are kept."""

    def rising(step):
        return np.float32(step if step > 3 else 0)

    _, first = descended(tmp_path, 10, convergence.patience(1000), rising)
    assert first.reason == Reason.STEPS
    waited = int(unpacked(convergence.patience(1), first.state)[1].waited)
    assert waited == 6
    _, second = descended(tmp_path, 40, convergence.patience(waited + 3), rising)
    assert second.reason == Reason.PATIENCE
    assert int(second.state.step) == 13
    # once stopped it stays so, unless it is wanted otherwise
    _, third = descended(tmp_path, 40, convergence.patience(1000), rising)
    assert int(third.state.step) == 13
    _, fourth = descended(tmp_path, 40, convergence.patience(1000), rising, reopen=True)
    assert (fourth.reason, int(fourth.state.step)) == (Reason.STEPS, 40)
    assert int(unpacked(convergence.patience(1), fourth.state)[1].waited) == waited + 30


def test_sequences_are_continued_at_the_batch_that_is_next(tmp_path):
    batches = [np.float32(i) for i in range(20)]
    _, whole = descended(tmp_path / "whole", 20, None, batches)
    descended(tmp_path / "parts", 9, None, batches)
    _, parts = descended(tmp_path / "parts", 20, None, batches)
    np.testing.assert_array_equal(parts.history.step, np.arange(9, 20))
    np.testing.assert_array_equal(parts.state.params["at"], whole.state.params["at"])


def test_only_the_latest_are_kept(tmp_path):
    descended(tmp_path, 22, None)
    kept = sorted(int(path.name) for path in tmp_path.iterdir() if path.name.isdigit())
    assert kept == [20, 22]


def test_errors_name_function_and_argument(tmp_path, monkeypatch):
    with pytest.raises(ValueError, match=r"batches must be a function of the step.*got a rep"):
        descended(tmp_path, 3, None, itertools.repeat(np.float32(0)))
    train = make_train_step(quadratic, optax.sgd(0.1))
    state = train.init({"at": jnp.zeros(1)})
    with pytest.raises(ValueError, match=r"fit: checkpoints\.every must be at least 1, got 0"):
        fit(train, state, zero, checkpoints=Checkpoints(tmp_path, every=0))
    monkeypatch.setitem(sys.modules, "orbax", None)
    monkeypatch.setitem(sys.modules, "orbax.checkpoint", None)
    with pytest.raises(ImportError, match=r"pip install 'jaxloss\[checkpoint\]'"):
        descended(tmp_path, 3, None)
