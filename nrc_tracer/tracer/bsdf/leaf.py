"""The choice of the lobe that scatters at a hit: masks, blends, bump and normal maps form a tree whose leaves are lobes.

Each side of a material is one integer code: a lobe, BLACK, NOTHING, or a node. A walk from the root with one random number takes
a branch at each mix with the probability of its weight. A leaf is thus chosen with the product of the weights above it, and the
same leaf is used for sampling, evaluation and light sampling: the weights cancel in expectation. Maps on the way change the
normal.
"""

import warp as wp

from nrc_tracer.tracer.interaction import Interaction, frame_along, texture_point
from nrc_tracer.tracer.textures import Param, TexturePoint, Textures, evaluate_scalar, lookup, luminance_gradient
from nrc_tracer.tracer.vocabulary import NodeKind

BLACK = wp.constant(-1)  # scatters nothing
NOTHING = wp.constant(-2)  # transparent: light passes straight through
FIRST_NODE = wp.constant(-3)  # node i has the code FIRST_NODE - i

MIX = wp.constant(int(NodeKind.MIX))
BUMP = wp.constant(int(NodeKind.BUMP))
NORMAL_MAP = wp.constant(int(NodeKind.NORMAL_MAP))
TURN = wp.constant(int(NodeKind.TURN))

BELOW_ONE = wp.constant(0.99999994)  # the largest float32 below 1


@wp.struct
class NodeRecord:
    """A node of the tree. `value` is the weight of `second` at a mix, else the height or the normals of a map."""

    kind: int
    value: Param
    scale: float
    is_upright: int  # 1 if a normal map's x and y axes are those of the image
    first: int
    second: int


@wp.struct
class Leaf:
    """The chosen lobe (or BLACK or NOTHING) and its normal `n`, which is not finite where a weight or a map is not."""

    code: int
    n: wp.vec3
    unmapped_n: wp.vec3
    is_mapped: int
    is_back: int  # 1 if the normal still is that of the side away from the ray


@wp.func
def bumped_normal(textures: Textures, node: NodeRecord, it: Interaction, n: wp.vec3) -> wp.vec3:
    """The normal of the surface displaced along `n` (Mikkelsen's approximation, as Mitsuba's `bumpmap`)."""
    slope = luminance_gradient(textures, node.value.texture, it.uv) * node.scale
    dpdu = it.dpdu + n * (slope[0] - wp.dot(n, it.dpdu))
    dpdv = it.dpdv + n * (slope[1] - wp.dot(n, it.dpdv))
    bumped = wp.cross(dpdu, dpdv)
    if wp.length_sq(bumped) == 0.0:
        return n
    bumped = wp.normalize(bumped)
    return wp.where(wp.dot(bumped, it.n) < 0.0, -bumped, bumped)


@wp.func
def image_axes(textures: Textures, index: int, it: Interaction) -> tuple[wp.vec3, wp.vec3]:
    """The directions on the surface in which image `index` runs right and down, of any length."""
    to_u = textures.records[index].to_u
    to_v = textures.records[index].to_v
    # The derivatives by the image's own coordinates, up to a positive factor
    right = it.dpdu * to_v[1] - it.dpdv * to_v[0]
    down = it.dpdv * to_u[0] - it.dpdu * to_u[1]
    if to_u[0] * to_v[1] - to_u[1] * to_v[0] < 0.0:
        return -right, -down
    return right, down


@wp.func
def mapped_normal(textures: Textures, node: NodeRecord, it: Interaction, n: wp.vec3, at: TexturePoint) -> wp.vec3:
    """The normal that a texture states in the frame of tangent, bitangent and normal."""
    local = lookup(textures, node.value.texture, at) * 2.0 - wp.vec3(1.0)
    local = wp.vec3(local[0] * node.scale, local[1] * node.scale, local[2])
    if wp.length_sq(local) == 0.0:
        return n
    if node.is_upright == 0:
        frame = frame_along(n, it.dpdu)
        return wp.normalize(frame.s * local[0] + frame.t * local[1] + n * local[2])
    right, down = image_axes(textures, node.value.texture, it)
    frame = frame_along(n, right)
    hand = wp.where(wp.dot(frame.t, down) > 0.0, -1.0, 1.0)
    return wp.normalize(frame.s * local[0] + frame.t * (hand * local[1]) + n * local[2])


@wp.func
def choose_leaf(
    nodes: wp.array[NodeRecord], textures: Textures, it: Interaction, d: wp.vec3, root: int, is_back: bool, u: float
) -> Leaf:
    """Walk from `root` to a leaf, for a ray along `d` that sees the back if `is_back`.

    A mapped normal never turns the visible side away from the ray: such a normal is mirrored at the unmapped one, as in Mitsuba
    (after Schuessler et al., *Microfacet-Based Normal Mapping*, 2017).
    """
    leaf = Leaf()
    leaf.unmapped_n = it.shading_n
    leaf.is_back = wp.where(is_back, 1, 0)
    n = it.shading_n
    at = texture_point(it)
    code = int(root)
    rest = float(u)
    hand = float(1.0)  # -1 if `n` is the normal of the back, where maps are mirrored
    while code <= FIRST_NODE:
        node = nodes[FIRST_NODE - code]
        code = node.first
        if node.kind == MIX:
            weight = evaluate_scalar(textures, node.value, at)
            if not wp.isfinite(weight):
                n = wp.vec3(wp.NAN)
            weight = wp.clamp(weight, 0.0, 1.0)
            if rest < weight:
                rest = wp.min(rest / weight, BELOW_ONE)
                code = node.second
            else:
                rest = wp.min((rest - weight) / wp.max(1.0 - weight, 1.0e-7), BELOW_ONE)
        elif node.kind == TURN:
            n = -n
            leaf.unmapped_n = -leaf.unmapped_n
            leaf.is_back = 0
            hand = -hand
        else:
            outer = n * hand
            bent = wp.vec3(0.0)
            if node.kind == BUMP:
                bent = bumped_normal(textures, node, it, outer)
            else:
                bent = mapped_normal(textures, node, it, outer, at)
            if hand < 0.0:
                bent -= outer * (2.0 * wp.dot(outer, bent))
            if wp.dot(n, d) * wp.dot(bent, d) <= 0.0:
                bent = n * (2.0 * wp.dot(n, bent)) - bent
            n = bent
            leaf.is_mapped = 1
    leaf.code = code
    leaf.n = n
    return leaf


@wp.func
def map_shadowing(unmapped_n: wp.vec3, n: wp.vec3, wi: wp.vec3) -> float:
    """Fraction of the light from `wi` that reaches a mapped surface: 0 where it is behind one of the normals, else up to 1.

    Conty Estevez et al., *A Microfacet-Based Shadowing Function to Solve the Bump Terminator Problem*, Ray Tracing Gems 2019.
    """
    cos_i = wp.dot(unmapped_n, wi)
    if cos_i * wp.dot(n, wi) <= 0.0:
        return 0.0
    cos_n = wp.dot(unmapped_n, n)
    alpha2 = wp.min(0.125 * (1.0 / wp.max(cos_n * cos_n, 1.0e-12) - 1.0), 1.0)
    tan2 = 1.0 / wp.max(cos_i * cos_i, 1.0e-12) - 1.0
    return 2.0 / (1.0 + wp.sqrt(1.0 + wp.max(alpha2 * tan2, 0.0)))
