"""The policy by which kernels cut paths."""

import warp as wp

from nrc_tracer.cache.features import SceneBox

# Which vertices are cuts
RENDER = wp.constant(
    0
)  # the vertex at which the path's footprint has spread; the path ends there unless it is continued
VIEW = wp.constant(1)  # the first vertex; the path ends there unless it is continued
TRAIN = wp.constant(2)  # all vertices, to the end of the training suffix, which starts where the footprint has spread


@wp.struct
class CutPolicy:
    """Where paths are cut, and where they start. Values that change between frames are in device memory, for CUDA graphs."""

    mode: int
    spread: float  # c of the path
    suffix_spread: float  # c of a training suffix
    # Probability, [1], of continuing beyond the cut, or of a training suffix that ends by Russian roulette alone
    continue_probability: wp.array[float]
    # Number of the continuation beyond the first cut: 0 keeps the path's random numbers, others have random numbers of their own
    continuation: int
    box: SceneBox
    size: wp.vec2  # of the film [pixels]
    # Tiles in each direction of the film, [2], each with `group` paths through one random pixel of it; 0: path i is of pixel i
    tiles: wp.array[int]
    group: int
    sample: wp.array[int]  # index of the sample of each pixel or tile, [1]
