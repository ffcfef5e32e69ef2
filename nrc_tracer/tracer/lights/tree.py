"""Choosing one of many local lights at a point: a walk down a binary tree of their bounds.

At each node the walk goes to one of two children, with probabilities in proportion to their importance: the most light that could
arrive from their bounds, as if all of it came from their middle (Conty Estevez and Kulla, *Importance Sampling of Many Lights with
Adaptive Tree Splitting*, 2018; PBRT, 4th ed., 12.6.3). Choosing a light and the probability of a given light share the function
that compares the children, so that both have the same bits.
"""

import warp as wp

# Importance beyond the angles from which light can arrive, which covers their rounding
MARGIN = wp.constant(1.0e-4)
# Least probability of a child that can contribute
LEAST = wp.constant(2.0**-22)
# Square of the distance to lights around the point, over the square of their bounding sphere's radius. Seen from its middle, lights
# that fill the sphere evenly are as bright on average as at a third
WITHIN = wp.constant(0.3)
SMALLEST = wp.constant(1.0e-20)


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
    first: int  # number of the first child, which the second follows; of a single light -1 minus its number


@wp.struct
class LightChoice:
    """A light, and the probability of choosing it."""

    index: int
    probability: float


@wp.func
def importance(node: LightNode, p: wp.vec3, n: wp.vec3, has_normal: bool) -> float:
    """The most light that could arrive at `p` from a node, on the side of `n` only if there is a normal; 0 if none could.

    The cosine of an angle that the bounding sphere lessens by b is bounded by the cosine plus sin(b).
    """
    from_light = p - node.center
    d2 = wp.max(wp.length_sq(from_light), SMALLEST)
    inverse = 1.0 / wp.sqrt(d2)
    sin_b = node.radius * inverse

    # Cosine at the light, to the nearest of the normals
    cos_axis = wp.dot(node.axis, from_light) * inverse
    cos_l = float(1.0)
    if cos_axis < node.cos_spread:
        cos_l = cos_axis * node.cos_spread + wp.sqrt(wp.max(0.0, 1.0 - cos_axis * cos_axis)) * node.sin_spread
    if cos_l + 2.0 * sin_b + MARGIN < node.cos_falloff:
        return 0.0
    arriving = wp.clamp(cos_l + sin_b + MARGIN, MARGIN, 1.0)

    # Cosine at the surface
    if has_normal:
        arriving *= wp.clamp(sin_b + MARGIN - wp.dot(n, from_light) * inverse, 0.0, 1.0)
    return node.intensity * arriving / wp.max(d2, WITHIN * node.radius * node.radius)


@wp.func
def first_probability(nodes: wp.array[LightNode], first: int, p: wp.vec3, n: wp.vec3, has_normal: bool) -> float:
    """Probability of going to the first of two children."""
    a = importance(nodes[first], p, n, has_normal)
    b = importance(nodes[first + 1], p, n, has_normal)
    if a <= 0.0 and b <= 0.0:
        return 0.5
    q = a / (a + b)
    if a > 0.0 and b > 0.0:
        q = wp.clamp(q, LEAST, 1.0 - LEAST)
    return q


@wp.func
def choose_local_light(nodes: wp.array[LightNode], p: wp.vec3, n: wp.vec3, u: wp.float64) -> LightChoice:
    """Choose a light by one random number, which each step rescales: stratified numbers give stratified lights.

    The number has float64, whose digits suffice for the deepest trees. `n` is the normal of the lit side of a surface, or zero if
    light may arrive from all sides.
    """
    choice = LightChoice()
    choice.probability = 1.0
    has_normal = wp.length_sq(n) > 0.0
    rest = u
    first = nodes[0].first
    while first >= 0:
        q = first_probability(nodes, first, p, n, has_normal)
        if rest < wp.float64(q):
            rest = rest / wp.float64(q)
            choice.probability *= q
            first = nodes[first].first
        else:
            q = 1.0 - q
            rest = wp.float64(1.0) - (wp.float64(1.0) - rest) / wp.float64(q)
            choice.probability *= q
            first = nodes[first + 1].first
    choice.index = -1 - first
    return choice


@wp.func
def local_light_probability(nodes: wp.array[LightNode], trail: wp.uint64, p: wp.vec3, n: wp.vec3) -> float:
    """Probability with which `choose_local_light` chooses the light to which a trail leads.

    From its lowest bit on, a trail has a bit for each node on the way: 1 for the second child.
    """
    probability = float(1.0)
    has_normal = wp.length_sq(n) > 0.0
    rest = trail
    first = nodes[0].first
    while first >= 0:
        q = first_probability(nodes, first, p, n, has_normal)
        if (rest & wp.uint64(1)) == wp.uint64(0):
            probability *= q
            first = nodes[first].first
        else:
            q = 1.0 - q
            probability *= q
            first = nodes[first + 1].first
        rest = rest >> wp.uint64(1)
    return probability
