"""What fused losses take on a GPU and on a TPU, compiled for them where there is none.

XLA allocates all memory of a program as it compiles it. With the plugins of the extra ``aot`` it
does so for devices that are not here, so that what would be too much there fails here.
"""

import importlib.util
import json
import pathlib
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).parents[1]
GIB = 2**30


def compiled_for(device: str, *plans: str) -> dict[str, float]:
    """Temporary memory in GiB, plan by plan; in a process of its own, for the plugins' sake."""
    command = [sys.executable, "-m", "tests.ahead", device, *plans]
    process = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert process.returncode == 0, process.stderr[-2000:]
    return {plan: size / GIB for plan, size in json.loads(process.stdout).items()}


def plugin(module: str, package: str) -> pytest.MarkDecorator:
    """Skips where a plugin is missing."""
    found = importlib.util.find_spec(module.partition(".")[0]) is not None
    found = found and importlib.util.find_spec(module) is not None
    return pytest.mark.skipif(not found, reason=f"needs {package}, of the extra `aot`")


@pytest.mark.slow
@plugin("jax_plugins.xla_cuda13", "jax-cuda13-plugin")
def test_an_h200_needs_no_more_than_the_logits_in_bfloat16_or_much_less():
    """All logits in float32 and their gradient would be 5.9 GiB, in bfloat16 alone 1.96."""
    needed = compiled_for("h200", "default", "coarse", "frugal", "most frugal")
    assert needed["default"] <= 2.1
    assert needed["coarse"] <= 2.1
    assert needed["frugal"] <= 0.7
    assert needed["most frugal"] <= 0.25


@pytest.mark.slow
@plugin("libtpu", "libtpu")
def test_a_tpu_needs_less_than_all_logits():
    """There, a copy of the kernel comes on top, in a layout that suits a product."""
    needed = compiled_for("v6e:2x2", "default", "frugal")
    assert needed["default"] <= 3.1
    assert needed["frugal"] <= 2.3
