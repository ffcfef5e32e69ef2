"""The interface of tiny-cuda-nn's Python package, for code that was written for it, on any CPU and any CUDA GPU.

    from nrc_tracer.nn import tinycudann as tcnn

    model = tcnn.NetworkWithInputEncoding(3, 16, encoding_config, network_config)

Modules have the same signatures, attributes and parameter layout, so checkpoints can be exchanged. Differences:

* Without a CUDA device, modules are on the CPU, in float32. On any device they follow `.to()`.
* Gradients of parameters can be differentiated again; tiny-cuda-nn leaves those terms out.
* A configuration that tiny-cuda-nn would misread is an error, and an unknown key is a warning.

On the CPU, most of a training step with a large table is the optimizer's pass over all parameters, and `torch.optim.Adam` with
`fused=True` takes a seventh of the time that it takes without. Call `optimizer.zero_grad()` with its default `set_to_none=True`:
then the memory of the gradient is used again, and nothing is added to zeros.

The interface is that of tiny-cuda-nn, bindings/torch/tinycudann/modules.py (BSD-3).
"""

from __future__ import annotations

import gc
from collections.abc import Mapping
from typing import Any

import torch

from nrc_tracer.errors import ConfigError
from nrc_tracer.nn import config as configuration
from nrc_tracer.nn.tinycudann_module import Module

__all__ = [
    "Encoding",
    "Module",
    "Network",
    "NetworkWithInputEncoding",
    "free_temporary_memory",
    "supports_jit_fusion",
]


def supports_jit_fusion() -> bool:
    """Whether setting `jit_fusion` has an effect: it has none, since kernels are compiled when first used in any case."""
    return False


def free_temporary_memory() -> None:
    """Free memory that modules no longer need: unreachable autograd graphs, and the cache of torch's allocator."""
    gc.collect()
    if torch.cuda.is_initialized():
        torch.cuda.empty_cache()


class Encoding(Module):
    """An encoding alone, without padding.

    Args:
        n_input_dims: Input columns.
        encoding_config: Its configuration in tiny-cuda-nn's JSON.
        seed: Seed of the initial parameters.
        dtype: `torch.float32`, `torch.float16`, or None: float16 on CUDA, float32 on the CPU.

    Raises:
        ConfigError: The configuration cannot be read or does not fit, or the dtype is another one.
    """

    def __init__(
        self, n_input_dims: int, encoding_config: Mapping[str, Any], seed: int = 1337, dtype: torch.dtype | None = None
    ) -> None:
        if dtype not in (None, torch.float32, torch.float16):
            raise ConfigError(f"dtype: expected torch.float32, torch.float16 or None, got {dtype}")
        encoding = configuration.read_encoding(encoding_config)
        super().__init__(n_input_dims, None, encoding, None, seed=seed, dtype=dtype)
        self.encoding_config = encoding_config


class Network(Module):
    """A network alone, whose inputs are padded with ones to a multiple of 16.

    Args:
        n_input_dims: Input columns.
        n_output_dims: Output columns.
        network_config: Its configuration in tiny-cuda-nn's JSON.
        seed: Seed of the initial parameters.

    Raises:
        ConfigError: The configuration cannot be read.
    """

    def __init__(
        self, n_input_dims: int, n_output_dims: int, network_config: Mapping[str, Any], seed: int = 1337
    ) -> None:
        network = configuration.read_network(network_config)
        super().__init__(n_input_dims, n_output_dims, configuration.Identity(), network, seed=seed)
        self.network_config = network_config


class NetworkWithInputEncoding(Module):
    """An encoding and a network after it.

    Args:
        n_input_dims: Input columns.
        n_output_dims: Output columns.
        encoding_config: Configuration of the encoding in tiny-cuda-nn's JSON.
        network_config: Configuration of the network in tiny-cuda-nn's JSON.
        seed: Seed of the initial parameters.

    Raises:
        ConfigError: The configurations cannot be read, or do not fit the dimensions.
    """

    def __init__(
        self,
        n_input_dims: int,
        n_output_dims: int,
        encoding_config: Mapping[str, Any],
        network_config: Mapping[str, Any],
        seed: int = 1337,
    ) -> None:
        encoding = configuration.read_encoding(encoding_config)
        network = configuration.read_network(network_config)
        super().__init__(n_input_dims, n_output_dims, encoding, network, seed=seed)
        self.encoding_config = encoding_config
        self.network_config = network_config
