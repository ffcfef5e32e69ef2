"""Choosing one of many local lights at a point: a walk down a tree of their bounds.

At each node the walk goes to one of up to eight children, with probabilities in proportion to their importance: an estimate of
the light that arrives from their bounds, as if it all came from their middle (Conty Estevez and Kulla, *Importance Sampling of
Many Lights with Adaptive Tree Splitting*, 2018; PBRT, 4th ed., 12.6.3). A leaf holds one light, or the two triangles of a
rectangle.

Eight children are compared at once because bounds three levels below a node of a binary tree tell much more than those of its
two children, and because one instruction of the processor computes all eight. Heights over surfaces are those of boxes: the lit
windows of a wall have no height over that wall.

Choosing a leaf and finding the probability of a given leaf share the function that compares the children.
"""

# mypy: disable-error-code="empty-body"
# Native functions have their bodies in C++

from typing import TYPE_CHECKING

import warp as wp

CHILDREN = 8
"""Largest number of children of a node."""
CHILD_BITS = wp.constant(3)
"""Bits of a trail for each node: the number of one of the children."""
FIELDS = (
    *("center_x", "center_y", "center_z", "half_x", "half_y", "half_z", "axis_x", "axis_y", "axis_z"),
    *("radius", "cos_spread", "sin_spread", "cos_falloff", "intensity"),
)
"""The numbers of each child in the order in which they are stored.

They are the middle of a box and of a sphere around its lights, half the sides of the box, the middle of the lights' normals, the
radius of the sphere, the largest angle between that axis and a normal, the largest angle between a normal and a direction of
light, and the intensity of all lights, which is 0 for a child that does not exist.
"""
LEAST = wp.constant(2.0**-22)
"""Least importance of a child that can contribute, as a fraction of the largest."""
BELOW_ONE = wp.constant(wp.float64(1.0 - 2.0**-53))

if TYPE_CHECKING:
    from warp import vec4 as vec8  # a vector of eight is made when the program runs, which type checkers cannot follow
else:
    vec8 = wp.types.vector(length=CHILDREN, dtype=wp.float32)


@wp.struct
class LightNodes:
    """The nodes of the tree; node 0 is the root. See `nrc_tracer.tracer.light_bounds` for the bounds of lights."""

    bounds: wp.array[
        float
    ]  # `FIELDS` of the children: eight values of the first, eight of the second, ..., [nodes x fields x 8]
    children: wp.array[int]  # numbers of the children; of a leaf -1 minus the number of its first light, [nodes x 8]


@wp.struct
class LeafChoice:
    """A leaf of the tree, the probability of choosing it, 0 if there is none, and the random number that is left over."""

    light: int  # number of its first light
    probability: float
    rest: wp.float64


# The cosine between two directions times their distance is a height over a plane, which needs no division by the distance. `mean`
# is the mean height of things within `reach` of a middle, where only those above the plane count, mixed with the largest one so
# that groups which reach a little over the horizon are not too faint. Branches would keep the compiler from using vectors.
@wp.func_native("""
    const float margin_of_rounding = 1.0e-4f;  // as a cosine
    const float nearness = 0.6f;  // of the squared radius, added to the squared distance as if lights filled the sphere evenly
    const float top_of_lights = 0.1f, top_over_lights = 0.3f;  // weights of the largest heights
    const float* f = bounds.data + (size_t)node * (14 * 8);
    const float ax = n[0] < 0.f ? -n[0] : n[0], ay = n[1] < 0.f ? -n[1] : n[1], az = n[2] < 0.f ? -n[2] : n[2];
    const float nx = n[0], ny = n[1], nz = n[2], px = p[0], py = p[1], pz = p[2];
    const bool sided = ax + ay + az > 0.f;
    wp::vec_t<8, float> found;
    float* w = &found[0];
    for (int k = 0; k < 8; k++) {
        const float x = px - f[k], y = py - f[8 + k], z = pz - f[16 + k];
        const float hx = f[24 + k], hy = f[32 + k], hz = f[40 + k];
        const float ux = f[48 + k], uy = f[56 + k], uz = f[64 + k];
        const float radius = f[72 + k], cos_spread = f[80 + k], sin_spread = f[88 + k];
        const float d2 = x * x + y * y + z * z;
        const float distance = wp::sqrt(d2), margin = margin_of_rounding * distance;

        // Height of the point over the planes in which the lights may lie
        const float along = ux * x + uy * y + uz * z;
        const float across2 = d2 - along * along;
        const float turned = along * cos_spread + wp::sqrt(across2 > 0.f ? across2 : 0.f) * sin_spread;
        const float over = along < cos_spread * distance ? turned : distance;
        const float vx = ux < 0.f ? -ux : ux, vy = uy < 0.f ? -uy : uy, vz = uz < 0.f ? -uz : uz;
        const float thick = cos_spread * (vx * hx + vy * hy + vz * hz) + sin_spread * radius;
        const float reach = (cos_spread > 0.f && thick < radius ? thick : radius) + margin;
        const float top = over + reach > 0.f ? over + reach : 0.f;
        const float mean = over < reach ? 0.25f * top * top / (reach > 1e-30f ? reach : 1e-30f) : over;
        float height = mean + top_over_lights * (top - mean);
        // A light may be nearer than the middle by the radius: from there its cone is seen at the smallest angle
        height = over + reach <= f[96 + k] * (distance - radius) ? 0.f : height;

        // Height of the lights over the surface
        const float box = ax * hx + ay * hy + az * hz;
        const float depth = (box < radius ? box : radius) + margin;
        const float middle = -(nx * x + ny * y + nz * z);
        const float highest = middle + depth > 0.f ? middle + depth : 0.f;
        const float usual = middle < depth ? 0.25f * highest * highest / (depth > 1e-30f ? depth : 1e-30f) : middle;
        const float above = usual + top_of_lights * (highest - usual);
        const float squared = d2 + nearness * radius * radius;
        const float inverse = 1.f / (squared > 1e-20f ? squared : 1e-20f);
        w[k] = f[104 + k] * inverse * (inverse * height * (sided ? above : distance + margin));
    }
    return found;
""")
def importances(bounds: wp.array[float], node: int, p: wp.vec3, n: wp.vec3) -> vec8: ...


@wp.func
def child_importances(nodes: LightNodes, node: int, p: wp.vec3, n: wp.vec3) -> vec8:
    """An estimate of the light that arrives at `p` from each child of a node, on the side of `n` only unless `n` is zero.

    It is 0 where no light can arrive, and else not much less than the largest.
    """
    found = importances(nodes.bounds, node, p, n)
    least = LEAST * wp.max(found)
    for k in range(8):
        if found[k] > 0.0:
            found[k] = wp.max(found[k], least)
    return found


@wp.func
def total(weights: vec8) -> float:
    """Sum of eight weights, from the first to the last."""
    found = float(0.0)
    for k in range(8):
        found += weights[k]
    return found


@wp.func
def choose_leaf(nodes: LightNodes, p: wp.vec3, n: wp.vec3, u: wp.float64) -> LeafChoice:
    """Choose a leaf by one random number, which each step rescales: stratified numbers give stratified leaves.

    The number has float64, whose digits suffice for the deepest trees. `n` is the normal of the lit side of a surface, or zero if
    light may arrive from all sides. The walk ends with probability 0 where no light can arrive.
    """
    choice = LeafChoice()
    choice.probability = 1.0
    choice.rest = u
    node = int(0)
    while node >= 0:
        weights = child_importances(nodes, node, p, n)
        whole = total(weights)
        if whole <= 0.0:
            choice.probability = 0.0
            return choice

        # Find the child in whose part of the sum the random number lies, and where it lies in that part
        target = choice.rest * wp.float64(whole)
        before = float(0.0)
        begin = float(0.0)
        share = float(0.0)
        chosen = int(0)
        for k in range(8):
            if weights[k] > 0.0 and target >= wp.float64(before):
                chosen = k
                begin = before
                share = weights[k]
            before += weights[k]
        choice.rest = wp.clamp((target - wp.float64(begin)) / wp.float64(share), wp.float64(0.0), BELOW_ONE)
        choice.probability *= share / whole
        node = nodes.children[8 * node + chosen]
    choice.light = -1 - node
    return choice


@wp.func
def leaf_probability(nodes: LightNodes, trail: wp.uint64, p: wp.vec3, n: wp.vec3) -> float:
    """Probability with which `choose_leaf` chooses the leaf to which a trail leads.

    From its lowest bits on, a trail has the number of a child for each node on the way, in `CHILD_BITS` bits.
    """
    probability = float(1.0)
    rest = trail
    node = int(0)
    while node >= 0:
        weights = child_importances(nodes, node, p, n)
        whole = total(weights)
        chosen = int(rest & wp.uint64(7))
        share = float(0.0)
        for k in range(8):
            if k == chosen:
                share = weights[k]
        if share <= 0.0:
            return 0.0
        probability *= share / whole
        rest = rest >> wp.uint64(CHILD_BITS)
        node = nodes.children[8 * node + chosen]
    return probability
