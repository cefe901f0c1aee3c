"""Eight simulated devices, and nothing promoted or broadcast silently."""

import itertools
from collections.abc import Iterator

import jax
import jaxtyping
import pytest

jax.config.update("jax_num_cpu_devices", 8)
jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update("jax_numpy_dtype_promotion", "strict")

tests_run = itertools.count(1)


@pytest.fixture(autouse=True)
def caches_are_bounded() -> Iterator[None]:
    """Linux grants a process 65,530 memory maps, and every executable in a cache holds some."""
    yield
    if next(tests_run) % 500 == 0:
        jax.clear_caches()


@pytest.fixture
def as_users_run_it() -> Iterator[None]:
    """Outside the test suite no import hook checks the shapes first."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


@pytest.fixture
def as_others_promote() -> Iterator[None]:
    """Other libraries rely on the standard promotion of dtypes."""
    with jax.numpy_dtype_promotion("standard"):
        yield
