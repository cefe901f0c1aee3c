"""Eight simulated devices, and nothing promoted or broadcast silently."""

from collections.abc import Iterator

import jax
import jaxtyping
import pytest

jax.config.update("jax_num_cpu_devices", 8)
jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update("jax_numpy_dtype_promotion", "strict")


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
