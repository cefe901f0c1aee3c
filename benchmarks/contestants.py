"""Contestants made of a loss in JAX or in torch, and the floors they are held against."""

import importlib
import os
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.timing import Contestant

Loss = Callable[..., Any]
MakeContestant = Callable[[Loss, Sequence[np.ndarray], str, bool], Contestant]
"""of a loss, its inputs, the dtype of the floating-point ones, and whether to differentiate"""


def with_jax(loss: Loss, inputs: Sequence[np.ndarray], dtype: str, gradient: bool) -> Contestant:
    """The loss, or its value and gradient, compiled by XLA."""
    arrays = jax_arrays(inputs, dtype)
    jitted = jax.jit(jax.value_and_grad(loss) if gradient else loss)
    seconds, temporary = compiled(jitted, *arrays)
    return Contestant(
        run=lambda: jax.block_until_ready(jitted(*arrays)),
        answer=lambda: [np.asarray(x, np.float32) for x in jax.tree.leaves(jitted(*arrays))],
        compile_seconds=seconds,
        temporary_bytes=temporary,
    )


def jax_arrays(inputs: Sequence[np.ndarray], dtype: str) -> list[jax.Array]:
    """The inputs on the device, the floating-point ones in ``dtype``."""
    return [jnp.asarray(x, dtype if np.issubdtype(x.dtype, np.floating) else None) for x in inputs]


def compiled(jitted: Any, *arguments: Any) -> tuple[float, int | None]:
    """Seconds to trace and compile, and the bytes of temporary memory at the peak."""
    start = time.perf_counter()
    executable = jitted.lower(*arguments).compile()
    seconds = time.perf_counter() - start
    memory = executable.memory_analysis()
    return seconds, None if memory is None else memory.temp_size_in_bytes


def with_torch(
    loss: Loss, inputs: Sequence[np.ndarray], dtype: str, gradient: bool, *, compile: bool = False
) -> Contestant:
    """The loss, or its value and gradient, in torch on the CPU, with as many threads as XLA has."""
    torch = importlib.import_module("torch")

    torch.set_num_threads(len(os.sched_getaffinity(0)))
    kind = {"float32": torch.float32, "bfloat16": torch.bfloat16}[dtype]
    tensors = [torch.from_numpy(np.array(x)) for x in inputs]
    tensors = [x.to(kind) if x.is_floating_point() else x.long() for x in tensors]
    tensors[0].requires_grad_(gradient)
    function = loss
    if compile:
        torch.compiler.reset()
        function = torch.compile(loss, dynamic=False)

    def run() -> Any:
        tensors[0].grad = None
        with torch.set_grad_enabled(gradient):
            value = function(*tensors)
        if gradient:
            value.backward()
        return value.detach()

    def answer() -> list[np.ndarray]:
        results = [run(), tensors[0].grad]
        return [x.float().numpy() for x in results if x is not None]

    start = time.perf_counter()
    run()
    return Contestant(run, answer, time.perf_counter() - start if compile else None)


with_torch_compile = partial(with_torch, compile=True)


def moving(traffic: int) -> Callable[[], object]:
    """Moves ``traffic`` bytes, half in and half out, in place: no new pages, no arithmetic."""
    negate = jax.jit(jnp.negative, donate_argnums=0)
    held = [jnp.ones(max(1, traffic // 8), jnp.float32)]

    def run() -> None:
        held[0] = jax.block_until_ready(negate(held[0]))

    return run


def multiplying(operations: int) -> Callable[[], object]:
    """One square matrix product of as many floating-point operations."""
    size = max(1, round((operations / 2) ** (1 / 3)))
    matrix = jnp.ones((size, size), jnp.float32)
    product = jax.jit(jnp.matmul)
    return lambda: jax.block_until_ready(product(matrix, matrix))
