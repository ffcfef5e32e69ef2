"""Random numbers as pure functions of (seed, pixel, sample index, dimension).

Two kinds: `independent`, a PCG64 permutation of a hashed counter, and `sobol`, the two-dimensional Sobol sequence
Owen-scrambled anew for every pixel and every pair of dimensions (Burley, *Practical Hash-based Owen Scrambling*, JCGT 2020).
Padding two-dimensional pairs leaves no limit to the number of dimensions.
"""

import warp as wp

from nrc_tracer.device.random_bits import GOLDEN, mix_bits
from nrc_tracer.tracer.vocabulary import SamplerKind

SOBOL = wp.constant(int(SamplerKind.SOBOL))


@wp.struct
class SampleKey:
    """Identifies one sample of one pixel: its random numbers are functions of this key and a dimension."""

    kind: int
    pixel: wp.uint64  # hash of (seed, pixel); for independent samples of (seed, pixel, index)
    index_reversed: wp.uint32  # the sample index with its bits reversed


@wp.func_native("""
#if defined(__CUDA_ARCH__)
    return __brev(x);
#else
    return __builtin_bitreverse32(x);
#endif
""")
def reverse_bits(x: wp.uint32) -> wp.uint32: ...


@wp.func
def pcg_output(state: wp.uint64) -> wp.uint64:
    """One step of PCG64 with its RXS-M-XS output permutation (O'Neill, 2014)."""
    s = state * wp.uint64(6364136223846793005) + wp.uint64(1442695040888963407)
    word = ((s >> ((s >> wp.uint64(59)) + wp.uint64(5))) ^ s) * wp.uint64(12605985483714917081)
    return (word >> wp.uint64(43)) ^ word


@wp.func
def owen_scramble_reversed(x: wp.uint32, seed: wp.uint32) -> wp.uint32:
    """Owen-scramble a number whose bits are reversed: a Laine-Karras hash with Vegdahl's constants."""
    x = x ^ (x * wp.uint32(0x3D20ADEA))
    x = x + seed
    x = x * ((seed >> wp.uint32(16)) | wp.uint32(1))
    x = x ^ (x * wp.uint32(0x05526C56))
    return x ^ (x * wp.uint32(0x53A22864))


@wp.func
def sobol_second_reversed(i: wp.uint32) -> wp.uint32:
    """The second Sobol dimension of index `i`, bits reversed.

    Its generator matrix is Pascal's triangle modulo 2, so bit r is the parity of the index bits whose positions contain
    those of r: a superset sum in five steps.
    """
    i = i ^ ((i >> wp.uint32(16)) & wp.uint32(0x0000FFFF))
    i = i ^ ((i >> wp.uint32(8)) & wp.uint32(0x00FF00FF))
    i = i ^ ((i >> wp.uint32(4)) & wp.uint32(0x0F0F0F0F))
    i = i ^ ((i >> wp.uint32(2)) & wp.uint32(0x33333333))
    return i ^ ((i >> wp.uint32(1)) & wp.uint32(0x55555555))


@wp.func
def unit_float(bits: wp.uint32) -> float:
    """The top 24 bits as a float in [0, 1)."""
    return float(bits >> wp.uint32(8)) * 5.9604644775390625e-8


@wp.func
def sample_key(kind: int, seed: wp.uint64, pixel: int, index: int) -> SampleKey:
    """The key of sample `index` of pixel `pixel`."""
    key = SampleKey()
    key.kind = kind
    hashed = mix_bits(mix_bits(seed + GOLDEN) ^ wp.uint64(pixel))
    key.index_reversed = reverse_bits(wp.uint32(index))
    if kind != SOBOL:
        hashed = mix_bits(hashed + wp.uint64(index))
    key.pixel = hashed
    return key


@wp.func
def fork_key(key: SampleKey, number: int) -> SampleKey:
    """A key of the same sample with other random numbers, different for each `number`."""
    forked = SampleKey()
    forked.kind = key.kind
    forked.index_reversed = key.index_reversed
    forked.pixel = mix_bits(key.pixel + wp.uint64(number) * wp.uint64(0xD1B54A32D192ED03))
    return forked


@wp.func
def sample_2d(key: SampleKey, dimension: int) -> wp.vec2:
    """Two random numbers in [0, 1), of the pair of dimensions `dimension`."""
    bits = pcg_output(key.pixel + wp.uint64(dimension) * GOLDEN)
    low = wp.uint32(bits)
    high = wp.uint32(bits >> wp.uint64(32))
    if key.kind == SOBOL:
        # Shuffle the order of the points, then scramble each coordinate
        shuffled = owen_scramble_reversed(key.index_reversed, low)
        i = reverse_bits(shuffled)
        x = owen_scramble_reversed(i, high)
        y = owen_scramble_reversed(sobol_second_reversed(i), low ^ (high * wp.uint32(0x1E3779B1)))
        low = reverse_bits(x)
        high = reverse_bits(y)
    return wp.vec2(unit_float(low), unit_float(high))
