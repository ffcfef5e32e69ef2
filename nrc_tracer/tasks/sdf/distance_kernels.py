"""The kernels of the distance to a mesh: the nearest point, and whether a point is inside, by three methods."""

import warp as wp

NORMAL = wp.constant(0)
PARITY = wp.constant(1)
WINDING = wp.constant(2)
NEGATIVE_WINDING = wp.constant(3)

CORNER = wp.constant(1e-5)
"""Barycentric coordinates below this count as zero: the nearest point is then on an edge, or at a vertex."""
FAR = wp.constant(1e6)
"""Largest distance searched for the nearest point, in unit cubes."""


@wp.struct
class DistanceMesh:
    """A mesh for kernels, with the normals that `pseudonormals` computes; edge normals come three per triangle."""

    mesh: wp.uint64
    normals: wp.array[wp.vec3]
    edge_normals: wp.array[wp.vec3]
    vertex_normals: wp.array[wp.vec3]


@wp.func
def pseudonormal(m: DistanceMesh, face: int, u: float, v: float) -> wp.vec3:
    """The normal of the triangle, edge or vertex that holds a point of a triangle; (u, v) are the weights of corners 0 and 1."""
    w = 1.0 - u - v
    at_u = u > CORNER
    at_v = v > CORNER
    at_w = w > CORNER
    if at_u and at_v and at_w:
        return m.normals[face]
    if at_u and at_v:
        return m.edge_normals[3 * face]
    if at_v and at_w:
        return m.edge_normals[3 * face + 1]
    if at_w and at_u:
        return m.edge_normals[3 * face + 2]
    corner = int(0)
    if at_v:
        corner = 1
    if at_w:
        corner = 2
    return m.vertex_normals[wp.mesh_get_index(m.mesh, 3 * face + corner)]


@wp.func
def is_odd(m: DistanceMesh, x: wp.vec3, direction: wp.vec3) -> int:
    """1 if a ray crosses the mesh an odd number of times, otherwise 0."""
    return wp.mesh_query_ray_count_intersections(m.mesh, x, direction) % 2


@wp.func
def parity_inside(m: DistanceMesh, x: wp.vec3) -> bool:
    """Whether at least two of three rays, in directions that no mesh is aligned with, cross the mesh an odd number of times."""
    first = is_odd(m, x, wp.vec3(0.5131, 0.7423, 0.4309))
    second = is_odd(m, x, wp.vec3(-0.6407, 0.2851, 0.7129))
    if first == second:
        return first == 1
    return is_odd(m, x, wp.vec3(0.2243, -0.8101, -0.5417)) == 1


@wp.kernel(enable_backward=False)
def signed_distance(base: int, m: DistanceMesh, method: int, points: wp.array[wp.vec3], distances: wp.array[float]):
    """Compute signed distances to the mesh, negative inside."""
    i = base + wp.tid()
    x = points[i]
    distance = float(0.0)
    inside = bool(False)
    if method == WINDING or method == NEGATIVE_WINDING:
        threshold = float(0.5)
        if method == NEGATIVE_WINDING:
            threshold = float(-0.5)
        query = wp.mesh_query_point_sign_winding_number(m.mesh, x, FAR, 2.0, threshold)
        distance = wp.length(x - wp.mesh_eval_position(m.mesh, query.face, query.u, query.v))
        inside = (query.sign < 0.0) != (method == NEGATIVE_WINDING)
    else:
        nearest = wp.mesh_query_point_no_sign(m.mesh, x, FAR)
        away = x - wp.mesh_eval_position(m.mesh, nearest.face, nearest.u, nearest.v)
        distance = wp.length(away)
        if method == NORMAL:
            inside = wp.dot(away, pseudonormal(m, nearest.face, nearest.u, nearest.v)) < 0.0
        else:
            inside = parity_inside(m, x)
    distances[i] = wp.where(inside, -distance, distance)


@wp.kernel(enable_backward=False)
def nearest_triangle(
    base: int, mesh: wp.uint64, points: wp.array[wp.vec3], distances: wp.array[float], faces: wp.array[int]
):
    """Compute unsigned distances to the mesh, and the nearest triangles."""
    i = base + wp.tid()
    x = points[i]
    nearest = wp.mesh_query_point_no_sign(mesh, x, FAR)
    distances[i] = wp.length(x - wp.mesh_eval_position(mesh, nearest.face, nearest.u, nearest.v))
    faces[i] = nearest.face
