"""Encoding and network in one CUDA kernel, on the tensor cores, with activations in registers and shared memory."""
