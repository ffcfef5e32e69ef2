"""Reading cameras, films, samplers and integrators."""

from __future__ import annotations

import math

from nrc_tracer.errors import nearest
from nrc_tracer.scene.mitsuba.document import Document
from nrc_tracer.scene.mitsuba.node import Node
from nrc_tracer.scene.model import Camera, Film, Filter, FovAxis, Integrator, Orthographic, Perspective, Sampler

FULL_FRAME_DIAGONAL = math.hypot(36.0, 24.0)
"""Diagonal of a picture on 35 mm film, to which `focal_length` refers [mm]."""
AXES: tuple[FovAxis, ...] = ("x", "y", "diagonal", "smaller", "larger")
MAX_SIZE = 65536
"""Largest width and height of a film [pixels]."""


def read_sensor(node: Node, document: Document) -> tuple[Camera, Film, Sampler]:
    """Read a sensor with its film and sampler.

    Raises:
        SceneError: A parameter is malformed or missing.
    """
    node.ignore("shutter_open", "shutter_close", "srf")
    supported = ("perspective", "thinlens", "orthographic")
    if node.plugin not in supported:
        document.warn(
            node.place, f"{node} is not supported{nearest(node.plugin, supported)}; a perspective one is used"
        )
    near, far = node.number("near_clip", 1e-2), node.number("far_clip", 1e4)
    if not 0.0 < near < far:
        node.place.fail(f"{node}: near_clip ({near:g}) must be > 0 and less than far_clip ({far:g})")
    if node.plugin == "orthographic":
        node.ignore("focus_distance")
        camera: Camera = Orthographic(to_world=node.transform(), near=near, far=far)
    else:
        camera = _perspective(node, near, far)
    film = _film(node, document)
    sampler = _sampler(node, document)
    node.ignore(
        *(child.name for child in node.children if document.resolve(child).tag in ("film", "sampler", "medium"))
    )
    if node.plugin in supported:
        document.warn_unknown(node)
    return camera, film, sampler


def read_integrator(node: Node, document: Document) -> Integrator:
    """Read an integrator. One that is not a path tracer is replaced by one, with a warning.

    Raises:
        SceneError: A parameter is malformed.
    """
    nested = document.children(node, "integrator")
    if node.plugin in ("aov", "moment", "stokes") and nested:
        document.warn(node.place, f"{node} is not supported; the {nested[0]} in it is used")
        return read_integrator(nested[0], document)
    supported = ("path", "direct", "volpath", "volpathmis")
    node.ignore("timeout", "block_size", "samples_per_pass")
    if node.boolean("hide_emitters", False):
        document.warn(
            node.properties["hide_emitters"].place, f"{node}: hide_emitters is not supported; emitters are visible"
        )
    if node.plugin == "direct":
        node.ignore("shading_samples", "emitter_samples", "bsdf_samples")
        document.warn_unknown(node)
        return Integrator(max_depth=2)
    max_depth, rr_depth = node.integer("max_depth", -1), node.integer("rr_depth", 5)
    if max_depth < -1:
        node.properties["max_depth"].place.fail(f"{node}: max_depth must be -1 (no limit) or more, it is {max_depth}")
    if rr_depth < 1:
        node.properties["rr_depth"].place.fail(f"{node}: rr_depth must be at least 1, it is {rr_depth}")
    if node.plugin in supported:
        document.warn_unknown(node)
    else:
        document.warn(node.place, f"{node} is not supported{nearest(node.plugin, supported)}; path is used")
    return Integrator(max_depth=None if max_depth == -1 else max_depth, rr_depth=rr_depth)


def _perspective(node: Node, near: float, far: float) -> Perspective:
    if node.has("fov"):
        if node.has("focal_length"):
            node.place.fail(f"{node} has both fov and focal_length; give one")
        axis: FovAxis = node.choice("fov_axis", "x", AXES)
        fov = node.number("fov")
        if not 0.0 < fov < 180.0:
            node.properties["fov"].place.fail(f"{node}: fov must lie in (0, 180) degrees, it is {fov:g}")
    else:
        node.ignore("fov_axis")
        fov, axis = 2.0 * math.degrees(math.atan(FULL_FRAME_DIAGONAL / (2.0 * _focal_length(node)))), "diagonal"
    aperture, focus = 0.0, node.number("focus_distance", far)
    if node.plugin == "thinlens":
        aperture = node.number("aperture_radius")
        if aperture < 0.0:
            node.properties["aperture_radius"].place.fail(f"{node}: aperture_radius must not be negative")
    if focus <= 0.0:
        node.properties["focus_distance"].place.fail(f"{node}: focus_distance must be > 0, it is {focus:g}")
    offset = node.number("principal_point_offset_x", 0.0), node.number("principal_point_offset_y", 0.0)
    return Perspective(
        to_world=node.transform(),
        fov=fov,
        fov_axis=axis,
        aperture_radius=aperture,
        focus_distance=focus,
        principal_point_offset=offset,
        near=near,
        far=far,
    )


def _focal_length(node: Node) -> float:
    text = node.string("focal_length", "50mm")
    try:
        value = float(text.removesuffix("mm"))
    except ValueError:
        value = 0.0
    if not 0.0 < value < math.inf:
        node.properties["focal_length"].place.fail(
            f'{node}: focal_length must be a length such as "50mm", not "{text}"'
        )
    return value


def _film(sensor: Node, document: Document) -> Film:
    films = document.children(sensor, "film")
    if not films:
        return Film(width=768, height=576, filter="gaussian")
    node = films[0]
    if node.plugin != "hdrfilm":
        document.warn(node.place, f"{node} is not supported{nearest(node.plugin, ('hdrfilm',))}; hdrfilm is used")
    node.ignore("file_format", "pixel_format", "component_format", "compensate", "banner", "sample_border")
    node.ignore("high_quality_edges", "attach_log", *(child.name for child in node.children))
    width, height = _size(node, "width", 768), _size(node, "height", 576)
    crop = None
    if node.has("crop_offset_x", "crop_offset_y", "crop_width", "crop_height"):
        x, y = node.integer("crop_offset_x", 0), node.integer("crop_offset_y", 0)
        crop = (x, y, node.integer("crop_width", width), node.integer("crop_height", height))
        if min(x, y) < 0 or min(crop[2:]) < 1 or x + crop[2] > width or y + crop[3] > height:
            node.place.fail(
                f"{node}: the crop window {' '.join(map(str, crop))} is not inside {width} x {height} pixels"
            )
    filter_name, radius = _filter(node, document)
    if node.plugin == "hdrfilm":
        document.warn_unknown(node)
    return Film(width=width, height=height, crop=crop, filter=filter_name, filter_radius=radius)


def _size(node: Node, name: str, default: int) -> int:
    value = node.integer(name, default)
    if not 1 <= value <= MAX_SIZE:
        node.properties[name].place.fail(f"{node}: {name} must lie in 1 to {MAX_SIZE}, it is {value}")
    return value


def _filter(film: Node, document: Document) -> tuple[Filter, float | None]:
    """Return the reconstruction filter and its radius [pixels], None for the default."""
    filters = document.children(film, "rfilter")
    if not filters:
        return "gaussian", None
    node = filters[0]
    name: Filter
    radius = None
    match node.plugin:
        case "box":
            name = "box"
        case "tent":
            name = "tent"
            radius = _positive(node, "radius") if node.has("radius") else None
        case "gaussian":
            name = "gaussian"
            radius = 4.0 * _positive(node, "stddev") if node.has("stddev") else None
        case plugin:
            hint = nearest(plugin, ("box", "tent", "gaussian"))
            document.warn(node.place, f"{node} is not supported{hint}; a gaussian one is used")
            return "gaussian", None
    document.warn_unknown(node)
    return name, radius


def _positive(node: Node, name: str) -> float:
    value = node.number(name)
    if value <= 0.0:
        node.properties[name].place.fail(f"{node}: {name} must be > 0, it is {value:g}")
    return value


def _sampler(sensor: Node, document: Document) -> Sampler:
    samplers = document.children(sensor, "sampler")
    if not samplers:
        return Sampler(type="independent", spp=4)
    node = samplers[0]
    spp = node.integer("sample_count", 4)
    if spp < 1:
        node.properties["sample_count"].place.fail(f"{node}: sample_count must be at least 1, it is {spp}")
    node.ignore("seed", "jitter", "strength", "dimension", "scramble")
    document.warn_unknown(node)
    known = ("independent", "stratified", "multijitter", "orthogonal", "ldsampler", "sobol", "halton", "hammersley")
    if node.plugin not in known:
        document.warn(node.place, f"{node} is not known{nearest(node.plugin, known)}; sobol is used")
    return Sampler(type="independent" if node.plugin == "independent" else "sobol", spp=spp)
