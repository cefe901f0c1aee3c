"""Two processes on this machine, each with a device and rows of its own, that train as one."""

import os
import pathlib
import signal
import socket
import subprocess
import sys

import numpy as np
import pytest

from tests import together

WATCHDOG = 120
"""Seconds; processes that disagree would wait for each other forever."""


@pytest.fixture
def pair():
    """Start two processes; whatever happens, they are gone afterwards."""
    started = []

    def start(directory, mode):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = str(probe.getsockname()[1])
        for process in range(2):
            arguments = [str(process), "2", port, directory, mode]
            started.append(
                subprocess.Popen(
                    [sys.executable, "-m", "tests.together", *arguments],
                    stdout=subprocess.PIPE,
                    stderr=subprocess.STDOUT,
                    text=True,
                    cwd=pathlib.Path(together.__file__).parent.parent,
                    env=os.environ | {"JAX_PLATFORMS": "cpu", "JAX_NUM_CPU_DEVICES": "1"},
                )
            )
        return started

    yield start
    for process in started:
        process.kill()
        process.communicate()


def results(processes):
    """Losses, reason, step and hash, the same for both."""
    outputs = [process.communicate(timeout=WATCHDOG)[0].splitlines() for process in processes]
    assert [process.returncode for process in processes] == [0, 0], outputs
    (losses, result), other = (lines[-2:] for lines in outputs)
    assert [losses, result] == other
    reason, step, _ = result.split()
    return np.array(losses.split()[1:], float), reason, int(step)


def alone(steps, patient, directory=None):
    def batches(step):
        return together.rows_of(step, 0, 1)

    return together.trained(1, batches, steps, patient, directory)


@pytest.mark.slow
def test_stop_at_the_same_step_with_the_same_params_as_one_process_would(pair):
    losses, reason, step = results(pair("-", "patient"))
    assert reason == "PATIENCE"
    one = alone(200, patient=True)
    assert (one.reason.name, int(one.state.step)) == (reason, step)
    np.testing.assert_allclose(losses, one.history.loss, atol=1e-6)


@pytest.mark.slow
def test_a_signal_to_one_stops_both_and_what_they_saved_is_continued_by_one(pair, tmp_path):
    processes = pair(str(tmp_path), "endless")
    for line in processes[1].stdout:
        if line.startswith("ready"):
            break
    processes[1].send_signal(signal.SIGTERM)
    losses, reason, step = results(processes)
    assert reason == "INTERRUPTED"
    assert 12 < step < 200
    assert step % 10 == 0  # where they look, and agree
    assert len(losses) == step

    # on another number of devices
    one = alone(step + 7, patient=False)
    continued = alone(step + 7, patient=False, directory=str(tmp_path))
    assert continued.restored is not None
    assert continued.restored.step == step
    np.testing.assert_array_equal(continued.history.step, np.arange(step, step + 7))
    np.testing.assert_allclose(losses, one.history.loss[:step], atol=1e-6)
    np.testing.assert_allclose(continued.history.loss, one.history.loss[step:], atol=1e-6)
    np.testing.assert_allclose(continued.state.params["w"], one.state.params["w"], atol=1e-6)
