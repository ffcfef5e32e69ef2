"""Intersection of rays: triangles through Embree (on the CPU) or Warp's BVH, analytic spheres through Warp's BVH."""

# mypy: disable-error-code="empty-body"
# Native functions have their bodies in C++

import warp as wp

FAR = wp.constant(1.0e30)
"""Largest ray parameter of a ray without an end."""


@wp.struct
class SphereRecord:
    """An analytic sphere. The rows of `orientation` are its local axes, for texture coordinates."""

    center: wp.vec3
    radius: float
    orientation: wp.mat33
    shape: int


@wp.struct
class AccelHandles:
    """Acceleration structures. Without an Embree scene (address 0) Warp's mesh is used; an id of 0 means that there is none."""

    embree_scene: wp.uint64
    embree_intersect: wp.uint64
    embree_occluded: wp.uint64
    mesh: wp.uint64
    sphere_bvh: wp.uint64  # 0 for up to FEW_SPHERES spheres, which are tested one by one
    sphere_count: int
    spheres: wp.array[SphereRecord]


@wp.struct
class Hit:
    """The first hit of a ray; `t` < 0: none. `u`, `v`: barycentric coordinates of a triangle's second and third vertex."""

    t: float
    u: float
    v: float
    index: int  # of the triangle or sphere
    is_sphere: int


# RTCRayHit of Embree 4 has 96 bytes, 16-byte aligned; instance ids are written past byte 80. A double holds a 32-bit id exactly.
@wp.func_native("""
#if !defined(__CUDA_ARCH__)
    struct alignas(16) RayHit {
        float ox, oy, oz, tnear, dx, dy, dz, time, tfar; unsigned mask, id, flags;
        float nx, ny, nz, u, v; unsigned prim, geom, inst[2], pad[8];
    } r;
    r.ox = o[0]; r.oy = o[1]; r.oz = o[2]; r.tnear = t_min; r.dx = d[0]; r.dy = d[1]; r.dz = d[2]; r.time = 0.f;
    r.tfar = t_max; r.mask = ~0u; r.id = r.flags = 0u; r.prim = r.geom = r.inst[0] = r.inst[1] = ~0u;
    ((void (*)(void*, void*, void*))intersect)((void*)scene, &r, nullptr);
    return r.geom == ~0u ? wp::vec4d(-1.0, 0.0, 0.0, 0.0) : wp::vec4d(r.tfar, r.u, r.v, (double)r.prim);
#else
    return wp::vec4d(-1.0, 0.0, 0.0, 0.0);
#endif
""")
def embree_intersect(
    intersect: wp.uint64, scene: wp.uint64, o: wp.vec3, d: wp.vec3, t_min: float, t_max: float
) -> wp.vec4d: ...


# rtcOccluded1 sets tfar to -inf if anything is hit
@wp.func_native("""
#if !defined(__CUDA_ARCH__)
    struct alignas(16) Ray {
        float ox, oy, oz, tnear, dx, dy, dz, time, tfar; unsigned mask, id, flags;
    } r;
    r.ox = o[0]; r.oy = o[1]; r.oz = o[2]; r.tnear = 0.f; r.dx = d[0]; r.dy = d[1]; r.dz = d[2]; r.time = 0.f;
    r.tfar = t_max; r.mask = ~0u; r.id = r.flags = 0u;
    ((void (*)(void*, void*, void*))occluded)((void*)scene, &r, nullptr);
    return r.tfar < 0.f;
#else
    return false;
#endif
""")
def embree_occluded(occluded: wp.uint64, scene: wp.uint64, o: wp.vec3, d: wp.vec3, t_max: float) -> bool: ...


@wp.func
def intersect_sphere(sphere: SphereRecord, o: wp.vec3, d: wp.vec3, t_min: float, t_max: float) -> float:
    """Distance to the first crossing of a sphere within (t_min, t_max), or -1; `d` of unit length.

    The discriminant is computed from the distance of the centre to the ray, which keeps its digits for far and small spheres
    (Haines et al., *Precision Improvements for Ray/Sphere Intersection*, Ray Tracing Gems, 2019).
    """
    f = o - sphere.center
    b = -wp.dot(f, d)
    nearest = f + d * b
    discriminant = sphere.radius * sphere.radius - wp.dot(nearest, nearest)
    if discriminant < 0.0:
        return -1.0
    q = b + wp.sign(b) * wp.sqrt(discriminant)
    c = wp.dot(f, f) - sphere.radius * sphere.radius
    t0 = float(q)
    t1 = float(q)
    if q != 0.0:
        t1 = c / q
    near = wp.min(t0, t1)
    far = wp.max(t0, t1)
    if near > t_min and near < t_max:
        return near
    if far > t_min and far < t_max:
        return far
    return -1.0


@wp.func
def intersect(accel: AccelHandles, o: wp.vec3, d: wp.vec3, t_min: float, t_max: float) -> Hit:
    """The first hit of the ray `o + t d`, `d` of unit length, with t in (t_min, t_max)."""
    hit = Hit()
    hit.t = -1.0
    limit = float(t_max)
    if accel.embree_scene != wp.uint64(0):
        found = embree_intersect(accel.embree_intersect, accel.embree_scene, o, d, t_min, t_max)
        if found[0] >= wp.float64(0.0):
            hit.t = float(found[0])
            hit.u = float(found[1])
            hit.v = float(found[2])
            hit.index = int(found[3])
            limit = hit.t
    elif accel.mesh != wp.uint64(0):
        # Warp's ray queries start at t = 0, and their u, v belong to the first and second vertex
        start = o + d * t_min
        query = wp.mesh_query_ray(accel.mesh, start, d, t_max - t_min)
        if query.result:
            hit.t = query.t + t_min
            hit.u = query.v
            hit.v = 1.0 - query.u - query.v
            hit.index = query.face
            limit = hit.t
    if accel.sphere_bvh != wp.uint64(0):
        candidates = wp.bvh_query_ray(accel.sphere_bvh, o, d)
        candidate = int(0)
        while wp.bvh_query_next(candidates, candidate, limit):
            t = intersect_sphere(accel.spheres[candidate], o, d, t_min, limit)
            if t > 0.0:
                hit.t = t
                hit.index = candidate
                hit.is_sphere = 1
                limit = t
    else:
        for i in range(accel.sphere_count):
            t = intersect_sphere(accel.spheres[i], o, d, t_min, limit)
            if t > 0.0:
                hit.t = t
                hit.index = i
                hit.is_sphere = 1
                limit = t
    return hit


@wp.func
def occluded(accel: AccelHandles, o: wp.vec3, d: wp.vec3, t_max: float) -> bool:
    """Whether anything lies on the ray `o + t d`, `d` of any length, with t in (0, t_max)."""
    if accel.sphere_count > 0:
        length = wp.length(d)
        unit = d / length
        limit = t_max * length
        if accel.sphere_bvh != wp.uint64(0):
            candidates = wp.bvh_query_ray(accel.sphere_bvh, o, unit)
            candidate = int(0)
            while wp.bvh_query_next(candidates, candidate, limit):
                if intersect_sphere(accel.spheres[candidate], o, unit, 0.0, limit) > 0.0:
                    return True
        else:
            for i in range(accel.sphere_count):
                if intersect_sphere(accel.spheres[i], o, unit, 0.0, limit) > 0.0:
                    return True
    if accel.embree_scene != wp.uint64(0):
        return embree_occluded(accel.embree_occluded, accel.embree_scene, o, d, t_max)
    if accel.mesh != wp.uint64(0):
        return wp.mesh_query_ray_anyhit(accel.mesh, o, d, t_max)
    return False
