"""The forms in which a model may run on the CPU."""

FORMS = ("auto", "fused", "blocked")
"""`fused` kernels from inputs to outputs, `blocked` matrix products through torch, `auto` for the faster of the two."""
