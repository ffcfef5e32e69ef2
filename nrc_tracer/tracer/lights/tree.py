"""Choosing one of many local lights at a point: a walk down a binary tree of their bounds.

At each node the walk goes to one of two children, with probabilities in proportion to their importance: the most light that could
arrive from their bounds, as if it all came from their middle (Conty Estevez and Kulla, *Importance Sampling of Many Lights with
Adaptive Tree Splitting*, 2018; PBRT, 4th ed., 12.6.3). A leaf holds one light, or the two triangles of a rectangle.

Choosing a leaf and finding the probability of a given leaf share the function that compares the children, so that both have the
same bits.
"""

import warp as wp

# Importance beyond the angles from which light can arrive, which covers their rounding
MARGIN = wp.constant(1.0e-4)
# Least probability of a child that can contribute
LEAST = wp.constant(2.0**-22)
SMALLEST = wp.constant(1.0e-20)
BELOW_ONE = wp.constant(wp.float64(1.0 - 2.0**-52))


@wp.struct
class LightNode:
    """Bounds of a light or of a group of lights; see `nrc_tracer.tracer.light_bounds`."""

    center: wp.vec3  # of a sphere around the lights
    radius: float
    axis: wp.vec3  # middle of the lights' normals
    cos_spread: float  # of the largest angle between axis and normals
    sin_spread: float
    cos_falloff: float  # of the largest angle between a normal and the light's directions
    intensity: float  # sum over the lights, luminance
    nearness: float  # largest inverse square of a distance to the lights
    first: int  # number of the first child, which the second follows; of a leaf -1 minus the number of its first light


@wp.struct
class LeafChoice:
    """A leaf of the tree, the probability of choosing it, and the random number that is left over."""

    light: int  # number of its first light
    probability: float
    rest: wp.float64


@wp.func
def importance(node: LightNode, p: wp.vec3, n: wp.vec3, has_normal: bool) -> float:
    """The most light that could arrive at `p` from a node, on the side of `n` only if there is a normal; 0 if none could.

    The cosine of an angle that the bounding sphere lessens by b is bounded by the cosine plus sin(b). There are no branches: they
    would be mispredicted.
    """
    from_light = p - node.center
    inverse = 1.0 / wp.sqrt(wp.max(wp.length_sq(from_light), SMALLEST))
    sin_b = node.radius * inverse

    # Cosine at the light, to the nearest of the normals
    cos_axis = wp.dot(node.axis, from_light) * inverse
    sin_axis = wp.sqrt(wp.max(0.0, 1.0 - cos_axis * cos_axis))
    cos_l = wp.where(cos_axis < node.cos_spread, cos_axis * node.cos_spread + sin_axis * node.sin_spread, 1.0)
    shines = wp.where(cos_l + 2.0 * sin_b + MARGIN < node.cos_falloff, 0.0, wp.clamp(cos_l + sin_b, MARGIN, 1.0))

    # Cosine at the surface
    cos_p = sin_b + MARGIN - wp.dot(n, from_light) * inverse
    arrives = wp.where(has_normal, wp.clamp(cos_p, 0.0, 1.0), 1.0)
    return node.intensity * shines * arrives * wp.min(inverse * inverse, node.nearness)


@wp.func
def first_probability(nodes: wp.array[LightNode], first: int, p: wp.vec3, n: wp.vec3, has_normal: bool) -> float:
    """Probability of going to the first of two children."""
    a = importance(nodes[first], p, n, has_normal)
    b = importance(nodes[first + 1], p, n, has_normal)
    both = a + b
    least = wp.where(wp.min(a, b) > 0.0, LEAST, 0.0)
    return wp.where(both > 0.0, wp.clamp(a / both, least, 1.0 - least), 0.5)


@wp.func
def choose_leaf(nodes: wp.array[LightNode], p: wp.vec3, n: wp.vec3, u: wp.float64) -> LeafChoice:
    """Choose a leaf by one random number, which each step rescales: stratified numbers give stratified leaves.

    The number has float64, whose digits suffice for the deepest trees. `n` is the normal of the lit side of a surface, or zero if
    light may arrive from all sides.
    """
    choice = LeafChoice()
    choice.probability = 1.0
    choice.rest = u
    has_normal = wp.length_sq(n) > 0.0
    first = nodes[0].first
    while first >= 0:
        q = first_probability(nodes, first, p, n, has_normal)
        second = choice.rest >= wp.float64(q)
        share = wp.where(second, 1.0 - q, q)
        begin = wp.where(second, q, 0.0)
        choice.probability *= share
        choice.rest = wp.min((choice.rest - wp.float64(begin)) * wp.float64(1.0 / share), BELOW_ONE)
        first = nodes[first + wp.where(second, 1, 0)].first
    choice.light = -1 - first
    return choice


@wp.func
def leaf_probability(nodes: wp.array[LightNode], trail: wp.uint64, p: wp.vec3, n: wp.vec3) -> float:
    """Probability with which `choose_leaf` chooses the leaf to which a trail leads.

    From its lowest bit on, a trail has a bit for each node on the way: 1 for the second child.
    """
    probability = float(1.0)
    has_normal = wp.length_sq(n) > 0.0
    rest = trail
    first = nodes[0].first
    while first >= 0:
        q = first_probability(nodes, first, p, n, has_normal)
        second = (rest & wp.uint64(1)) != wp.uint64(0)
        probability *= wp.where(second, 1.0 - q, q)
        first = nodes[first + wp.where(second, 1, 0)].first
        rest = rest >> wp.uint64(1)
    return probability
