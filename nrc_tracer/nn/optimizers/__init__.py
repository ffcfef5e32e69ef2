"""The optimizers of tiny-cuda-nn: Adam and SGD, and wrappers around them."""
