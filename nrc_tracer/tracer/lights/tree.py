"""Choosing one of many local lights at a point: a walk down a binary tree of their bounds.

At each node the walk goes to one of two children, with probabilities in proportion to their importance: the most light that could
arrive from their bounds, as if it all came from their middle (Conty Estevez and Kulla, *Importance Sampling of Many Lights with
Adaptive Tree Splitting*, 2018; PBRT, 4th ed., 12.6.3). A leaf holds one light, or the two triangles of a rectangle.

Choosing a leaf and finding the probability of a given leaf share the function that compares the children, so that both have the
same bits.
"""

import warp as wp

# Cosine by which lights may lie below a horizon, which covers rounding
MARGIN = wp.constant(1.0e-4)
# Share of the squared radius of the lights' sphere that is added to the squared distance, so that the importance from inside the
# sphere is about that of lights that fill it evenly
NEARNESS = wp.constant(0.55)
# Least probability of a child that can contribute
LEAST = wp.constant(2.0**-22)
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
    first: int  # number of the first child, which the second follows; of a leaf -1 minus the number of its first light


@wp.struct
class LeafChoice:
    """A leaf of the tree, the probability of choosing it, 0 if there is none, and the random number that is left over."""

    light: int  # number of its first light
    probability: float
    rest: wp.float64


@wp.func
def importance(node: LightNode, p: wp.vec3, n: wp.vec3, has_normal: bool) -> float:
    """The most light that could arrive at `p` from a node, on the side of `n` only if there is a normal; 0 if none could.

    A cosine times the distance is a height over a plane: of the middle of the lights' sphere, plus its radius for the sphere's
    top. That needs no division by the distance.
    """
    from_light = p - node.center
    d2 = wp.length_sq(from_light)
    distance = wp.sqrt(d2)
    margin = MARGIN * distance + node.radius

    # Height of the point over the nearest plane in which a light may lie
    along = wp.dot(node.axis, from_light)
    over_light = distance
    if along < node.cos_spread * distance:
        over_light = along * node.cos_spread + wp.sqrt(wp.max(0.0, d2 - along * along)) * node.sin_spread
    if over_light + 2.0 * margin <= node.cos_falloff * distance:
        return 0.0

    # Height of the lights over the surface
    over_surface = distance
    if has_normal:
        over_surface = -wp.dot(n, from_light)
    inverse = 1.0 / wp.max(d2 + NEARNESS * node.radius * node.radius, SMALLEST)
    return (
        node.intensity * (wp.max(0.0, over_light + margin) * inverse) * (wp.max(0.0, over_surface + margin) * inverse)
    )


@wp.func
def first_probability(nodes: wp.array[LightNode], first: int, p: wp.vec3, n: wp.vec3, has_normal: bool) -> float:
    """Probability of going to the first of two children; negative if no light can arrive from either."""
    a = importance(nodes[first], p, n, has_normal)
    b = importance(nodes[first + 1], p, n, has_normal)
    both = a + b
    if both <= 0.0:
        return -1.0
    least = wp.where(wp.min(a, b) > 0.0, LEAST, 0.0)
    return wp.clamp(a / both, least, 1.0 - least)


@wp.func
def choose_leaf(nodes: wp.array[LightNode], p: wp.vec3, n: wp.vec3, u: wp.float64) -> LeafChoice:
    """Choose a leaf by one random number, which each step rescales: stratified numbers give stratified leaves.

    The number has float64, whose digits suffice for the deepest trees. `n` is the normal of the lit side of a surface, or zero if
    light may arrive from all sides. The walk ends with probability 0 where no light can arrive.
    """
    choice = LeafChoice()
    choice.probability = 1.0
    choice.rest = u
    has_normal = wp.length_sq(n) > 0.0
    first = nodes[0].first
    while first >= 0:
        q = first_probability(nodes, first, p, n, has_normal)
        if q < 0.0:
            choice.probability = 0.0
            return choice
        if choice.rest < wp.float64(q):
            choice.rest = choice.rest / wp.float64(q)
            choice.probability *= q
            first = nodes[first].first
        else:
            choice.rest = (choice.rest - wp.float64(q)) / (wp.float64(1.0) - wp.float64(q))
            choice.probability *= 1.0 - q
            first = nodes[first + 1].first
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
        if q < 0.0:
            return 0.0
        if (rest & wp.uint64(1)) == wp.uint64(0):
            probability *= q
            first = nodes[first].first
        else:
            probability *= 1.0 - q
            first = nodes[first + 1].first
        rest = rest >> wp.uint64(1)
    return probability
