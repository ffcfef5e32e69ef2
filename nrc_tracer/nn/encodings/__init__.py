"""The encodings of tiny-cuda-nn, each with a definition in torch and kernels for CPU and CUDA."""
