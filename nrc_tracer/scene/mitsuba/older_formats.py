"""Converting what the formats 0.5 and 0.6 mean by other names or numbers than the later ones."""

from __future__ import annotations

from nrc_tracer.scene.mitsuba.node import Node, Place, Property
from nrc_tracer.scene.mitsuba.sky.bake import SUN_APERTURE
from nrc_tracer.scene.model import Matrix, Scale, Translate


def upgrade(node: Node) -> None:
    """Convert properties whose meaning, not only their spelling, has changed since formats 0.5 and 0.6."""
    items = node.properties
    if node.plugin == "diffuse" and "diffuse_reflectance" in items:
        items["reflectance"] = items.pop("diffuse_reflectance")
    for child in node.children:
        if node.plugin == "diffuse" and child.name == "diffuse_reflectance":
            child.name = "reflectance"
    if node.tag == "emitter" and node.plugin in ("sunsky", "sky", "sun"):
        _upgrade_sky(items, node.place)
    names = ("uoffset", "voffset", "uscale", "vscale")
    if node.tag == "texture" and any(name in items and items[name].tag == "float" for name in names):
        place = next(items[name].place for name in names if name in items)
        number = {name: items.pop(name).value if name in items else float(name.endswith("scale")) for name in names}
        steps = (
            Translate(value=(number["uoffset"], number["voffset"], 0.0)),
            Scale(value=(number["uscale"], number["vscale"], 1.0)),
        )
        items["to_uv"] = Property("transform", steps, place)


def _upgrade_sky(items: dict[str, Property], place: Place) -> None:
    """Convert a sky of formats 0.5 and 0.6, which have y up and south along +z, and state the size of the sun as a factor."""
    frame = Matrix(value=((0.0, -1.0, 0.0, 0.0), (0.0, 0.0, 1.0, 0.0), (1.0, 0.0, 0.0, 0.0), (0.0, 0.0, 0.0, 1.0)))
    given = items.get("to_world")
    if given is None or given.tag == "transform":
        items["to_world"] = Property(
            "transform", (frame, *(given.value if given else ())), given.place if given else place
        )
    if "sun_radius_scale" in items and items["sun_radius_scale"].tag == "float":
        factor = items.pop("sun_radius_scale")
        items["sun_aperture"] = Property("float", SUN_APERTURE * factor.value, factor.place)
