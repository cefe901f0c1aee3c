"""Compile for a device that is not here: ``python -m tests.ahead DEVICE`` prints bytes as JSON.

The step is the value and the gradients of the output layer of Llama 3 over 8192 tokens.
"""

import functools
import json
import os
import sys
from typing import Any

os.environ.update(JAX_PLATFORMS="cpu", TPU_SKIP_MDS_QUERY="1")

import jax
import jax.numpy as jnp
from jax.experimental import topologies
from jax.sharding import SingleDeviceSharding

from jaxloss.kernels import Plan, linear_softmax_cross_entropy

TOKENS, FEATURES, VOCABULARY = 8192, 4096, 128256
PLANS = {
    "default": None,
    "coarse": Plan(dtype="bfloat16"),
    "frugal": Plan(columns=10688),
    "most frugal": Plan(columns=4096),
}
H200 = """
gpu_device_info {
  threads_per_block_limit: 1024
  threads_per_warp: 32
  shared_memory_per_block: 49152
  shared_memory_per_core: 233472
  threads_per_core_limit: 2048
  core_count: 132
  fpus_per_core: 128
  block_dim_limit_x: 2147483647
  block_dim_limit_y: 65535
  block_dim_limit_z: 65535
  memory_bandwidth: 4800000000000
  l2_cache_size: 52428800
  clock_rate_ghz: 1.98
  device_memory_size: 151397597184
  shared_memory_per_block_optin: 232448
  cuda_compute_capability { major: 9 feature_extension: ACCELERATED_FEATURES }
  registers_per_core_limit: 65536
  registers_per_block_limit: 65536
  thread_dim_limit_x: 1024
  thread_dim_limit_y: 1024
  thread_dim_limit_z: 64
  device_vendor: "NVIDIA Corporation"
  platform_version: "Compute Capability 9.0a"
  device_address_bits: 64
  name: "NVIDIA H200"
  driver_version: "13.0.0"
  runtime_version: "13.0.0"
  compile_time_toolkit_version: "13.0.0"
  dnn_version: "9.10.0"
}
platform_name: "CUDA"
dnn_version_info { major: 9 minor: 10 patch: 0 }
device_description_str: "NVIDIA H200"
"""
"""What XLA asks a device for"""


def topology(name: str) -> Any:
    """Of an H200, or of a TPU by its name in the cloud."""
    if name == "h200":
        return topologies.get_topology_desc(
            name, platform="cuda", target_config=H200, topology="1x1x1"
        )
    return topologies.get_topology_desc(name, platform="tpu")


def temporary_bytes(name: str, plan: Plan | None) -> int:
    """What the step takes beside its arguments and results."""
    device = topology(name).devices[0]
    gpu = name == "h200"
    placed = SingleDeviceSharding(device)
    hidden, kernel, labels = (
        jax.ShapeDtypeStruct(shape, dtype, sharding=placed)
        for shape, dtype in (
            ((TOKENS, FEATURES), jnp.bfloat16),
            ((FEATURES, VOCABULARY), jnp.bfloat16),
            ((TOKENS,), jnp.int32),
        )
    )
    loss = functools.partial(linear_softmax_cross_entropy, plan=plan)
    step = jax.jit(jax.value_and_grad(loss, (0, 1))).trace(hidden, kernel, labels)
    lowered = step.lower(lowering_platforms=("cuda" if gpu else "tpu",))
    # Without the device, no algorithm can be timed.
    options = {"xla_gpu_autotune_level": 0, "xla_gpu_enable_triton_gemm": False} if gpu else {}
    analysis = lowered.compile(compiler_options=options).memory_analysis()
    assert analysis is not None
    return analysis.temp_size_in_bytes


if __name__ == "__main__":
    device, *plans = sys.argv[1:]
    print(json.dumps({plan: temporary_bytes(device, PLANS[plan]) for plan in plans}))
