"""``jax.jit`` for tests that ask whether something holds, and not how fast or how exact it is."""

import contextlib
import functools
from typing import Any

import jax


def in_a_hurry() -> dict[str, Any]:
    """What makes XLA compile four times as fast, of the options that this release knows."""
    wanted = {
        "xla_backend_optimization_level": 0,
        "xla_llvm_disable_expensive_passes": True,
        "xla_cpu_parallel_codegen_split_count": 1,
        "xla_cpu_use_fusion_emitters": False,
    }
    nothing = jax.jit(lambda: 0).lower()
    known = {}
    for option, value in wanted.items():
        with contextlib.suppress(jax.errors.JaxRuntimeError):
            nothing.compile(compiler_options={option: value})
            known[option] = value
    return known


jit = functools.partial(jax.jit, compiler_options=in_a_hurry())
