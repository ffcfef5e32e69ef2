"""Random bits in kernels, as functions of a counter (Steele, Lea, Flood, *Fast Splittable Pseudorandom Number Generators*)."""

import warp as wp

GOLDEN = wp.constant(wp.uint64(0x9E3779B97F4A7C15))
"""What SplitMix64's state grows by from number to number: 2^64 over the golden ratio."""


@wp.func
def mix_bits(x: wp.uint64) -> wp.uint64:
    """SplitMix64's finaliser (Stafford's variant 13): a bijection whose every output bit depends on every input bit."""
    x = (x ^ (x >> wp.uint64(30))) * wp.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> wp.uint64(27))) * wp.uint64(0x94D049BB133111EB)
    return x ^ (x >> wp.uint64(31))
