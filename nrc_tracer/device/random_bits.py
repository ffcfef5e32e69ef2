"""Random bits in kernels, as functions of a counter (Steele, Lea, Flood, *Fast Splittable Pseudorandom Number Generators*)."""

import warp as wp

GOLDEN = wp.constant(wp.uint64(0x9E3779B97F4A7C15))
"""Increment of SplitMix64's state per number: 2^64 divided by the golden ratio."""


MASK = 2**64 - 1
"""Bits of a seed."""


def mix(seed: int, number: int) -> int:
    """A seed that is statistically independent of `seed`, another for every number: on the host, as `mix_bits` on the device."""
    x = (int(seed) + (int(number) + 1) * 0x9E3779B97F4A7C15) & MASK
    x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) & MASK
    return x ^ (x >> 31)


@wp.func
def mix_bits(x: wp.uint64) -> wp.uint64:
    """SplitMix64's finaliser (Stafford's variant 13): a bijection whose every output bit depends on every input bit."""
    x = (x ^ (x >> wp.uint64(30))) * wp.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> wp.uint64(27))) * wp.uint64(0x94D049BB133111EB)
    return x ^ (x >> wp.uint64(31))


@wp.func
def shuffled(i: int, n: int, key: wp.uint64) -> int:
    """The i-th of the numbers 0 .. n - 1 in a random order, which depends on the key.

    A Feistel network permutes 0 .. 4^h - 1; a result above n - 1 is permuted again until it is below n (Black and Rogaway,
    *Ciphers with Arbitrary Finite Domains*, 2002). Eight rounds: with four, not all places are equally likely for small n.
    """
    half = int(1)
    while (1 << (2 * half)) < n:
        half += 1
    shift = wp.uint64(half)
    mask = (wp.uint64(1) << shift) - wp.uint64(1)
    x = wp.uint64(i)
    while True:
        for number in range(8):
            left = x >> shift
            right = x & mask
            turned = mix_bits(key + GOLDEN * ((right << wp.uint64(3)) + wp.uint64(number) + wp.uint64(1)))
            x = (right << shift) | (left ^ (turned & mask))
        if x < wp.uint64(n):
            break
    return int(x)
