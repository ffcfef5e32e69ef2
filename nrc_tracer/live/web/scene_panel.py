"""The tab of a scene: its lights and materials, moving, undo. All pages share it."""

from __future__ import annotations

import contextlib
import functools
import math
from collections.abc import Callable
from typing import Any

import viser
from msgspec.structs import replace

from nrc_tracer.errors import NrcError
from nrc_tracer.live.edits import SceneEdit, SetEmission, SetLight, SetMaterial
from nrc_tracer.live.scene_world import SceneWorld
from nrc_tracer.live.session import Session
from nrc_tracer.live.web.controls import set_value
from nrc_tracer.live.web.editor import Editor
from nrc_tracer.live.web.move_panel import MovePanel
from nrc_tracer.live.world import World
from nrc_tracer.scene.model import (
    Conductor,
    ConstantLight,
    Diffuse,
    DirectionalLight,
    EnvironmentMap,
    Light,
    Material,
    Plastic,
    PointLight,
    Principled,
    Rotate,
    Scene,
    SceneDescription,
    SpotLight,
)

COLOR_FIELDS: dict[type, str] = {
    Diffuse: "reflectance",
    Plastic: "diffuse_reflectance",
    Principled: "base_color",
    Conductor: "specular_reflectance",
}
"""The field of a material that is its colour."""

NUMBER_FIELDS: dict[type, tuple[str, ...]] = {
    Plastic: ("alpha",),
    Principled: ("roughness", "metallic", "specular", "spec_trans"),
    Conductor: ("alpha",),
    Diffuse: ("alpha",),
}
"""Fields of a material that are numbers in [0, 1]."""

POWER_FIELDS: dict[type, str] = {
    PointLight: "intensity",
    SpotLight: "intensity",
    DirectionalLight: "irradiance",
    ConstantLight: "radiance",
}
"""The field of a light that is its colour and strength."""


class ScenePanel:
    """The tab of a scene.

    Args:
        scene: The scene.
    """

    def __init__(self, scene: Scene) -> None:
        self._scene, self._start = scene, scene.description
        self._fills: list[Callable[[], None]] = []

    def add(self, server: viser.ViserServer, group: viser.GuiTabGroupHandle, session: Session) -> None:
        """Add the tab to the panel of all pages."""
        self._gui, self._session, self._loop = server.gui, session, server.get_event_loop()
        self._editor = Editor(self._start, lambda edit: session.edit(edit, self._refused))
        self._move = MovePanel(self._scene, lambda: self._editor.description, self._change)
        with group.add_tab("Scene", viser.Icon.BULB):
            undo = self._gui.add_button("Undo", icon=viser.Icon.ARROW_BACK_UP, hint="Undo the last change of the scene")
            lights = _light_names(self._start)
            if lights:
                with self._gui.add_folder("Lights"):
                    self._add_lights(lights)
            materials = [name for name, material in self._start.materials.items() if type(material) in COLOR_FIELDS]
            if materials:
                with self._gui.add_folder("Materials"):
                    self._add_materials(materials)
            self._move.add(server)

        @undo.on_click
        async def _(_: Any) -> None:
            with contextlib.suppress(NrcError):
                if self._editor.undo():
                    self._fill()
                    self._move.follow()

    def _fill(self) -> None:
        """Show the present values of what is chosen."""
        for fill in self._fills:
            fill()

    def _change(self, edit: SceneEdit) -> None:
        try:
            self._editor.change(edit)
        except NrcError:
            self._fill()  # a value that the page cannot have offered, or too many at once

    def _refused(self) -> None:
        """Show the world's scene again, in which a change was impossible. Called on the session's thread."""
        self._session.ask(self._tell, redraws=False)

    def _tell(self, world: World) -> None:
        """Let the event loop, where changes of pages arrive, show the world's scene. Called on the session's thread."""
        assert isinstance(world, SceneWorld)
        self._loop.call_soon_threadsafe(self._follow, world.scene.description)

    def _follow(self, description: SceneDescription) -> None:
        self._editor.follow(description)
        self._fill()
        self._move.follow()

    def _on_update(self, handle: Any, change: Callable[[], None]) -> None:
        @handle.on_update
        async def _(event: Any) -> None:
            if event.client_id is not None:  # not a value that `_fill` has shown
                change()

    # Lights

    def _add_lights(self, lights: dict[str, tuple[str, int]]) -> None:
        gui = self._gui
        chosen = gui.add_dropdown("Light", tuple(lights), initial_value=next(iter(lights)))
        color = gui.add_rgb("Colour", (255, 255, 255))
        strength = gui.add_slider("Strength (stops)", -8.0, 8.0, 0.1, 0.0, hint="Against that of the scene's file")
        turn = gui.add_slider("Rotation (°)", -180.0, 180.0, 1.0, 0.0, hint="About the vertical of the environment")

        def target() -> tuple[str, int]:
            return lights.get(str(chosen.value)) or next(iter(lights.values()))

        def fill() -> None:
            kind, index = target()
            light = self._editor.description.lights[index] if kind == "light" else None
            is_map = isinstance(light, EnvironmentMap)
            color.visible, turn.visible = not is_map, is_map
            value, first = (_power(description, kind, index) for description in (self._editor.description, self._start))
            set_value(strength, round(min(max(math.log2(max(max(value), 1e-9) / _strength(first)), -8.0), 8.0), 1))
            set_value(color, _display(value))
            set_value(turn, _rotation(self._start, light, index))

        def change() -> None:
            kind, index = target()
            first = _power(self._start, kind, index)
            power = _strength(first) * 2.0 ** min(max(float(strength.value), -8.0), 8.0)
            self._change(_powered(self._editor.description, self._start, kind, index, power, color.value, turn.value))

        self._fills.append(fill)
        self._fill()
        self._on_update(chosen, self._fill)
        for handle in (color, strength, turn):
            self._on_update(handle, change)

    # Materials

    def _add_materials(self, names: list[str]) -> None:
        gui = self._gui
        chosen = gui.add_dropdown("Material", tuple(names), initial_value=names[0])
        color = gui.add_rgb("Base colour", (128, 128, 128))
        sliders = {
            field: gui.add_slider(label, 0.0, 1.0, 0.01, 0.5)
            for field, label in (
                ("roughness", "Roughness"),
                ("alpha", "Roughness (alpha)"),
                ("metallic", "Metallic"),
                ("specular", "Specular"),
                ("spec_trans", "Transmission"),
            )
        }

        def material() -> tuple[str, Material]:
            name = str(chosen.value) if str(chosen.value) in names else names[0]
            return name, self._editor.description.materials[name]

        def fill() -> None:
            _, present = material()
            value = getattr(present, COLOR_FIELDS[type(present)])
            color.visible = not isinstance(value, str)  # the name of a texture
            if not isinstance(value, str):
                set_value(color, _encoded(value))
            for field, slider in sliders.items():
                number = getattr(present, field, None) if field in NUMBER_FIELDS[type(present)] else None
                slider.visible = isinstance(number, int | float)
                if isinstance(number, int | float):
                    set_value(slider, min(max(float(number), 0.0), 1.0))

        def change_color() -> None:
            name, present = material()
            if not isinstance(getattr(present, COLOR_FIELDS[type(present)]), str):
                self._change(SetMaterial(name, replace(present, **{COLOR_FIELDS[type(present)]: _linear(color.value)})))

        def change_number(field: str) -> None:
            name, present = material()
            if isinstance(getattr(present, field, None), int | float):
                least = 1e-3 if field == "alpha" else 0.0
                value = min(max(float(sliders[field].value), least), 1.0)
                self._change(SetMaterial(name, replace(present, **{field: value})))

        self._fills.append(fill)
        self._fill()
        self._on_update(chosen, self._fill)
        self._on_update(color, change_color)
        for field, slider in sliders.items():
            self._on_update(slider, functools.partial(change_number, field))


def _light_names(description: SceneDescription) -> dict[str, tuple[str, int]]:
    """The lights and the emitting shapes of a scene, by what a page calls them: a kind and an index."""
    found = {}
    for index, light in enumerate(description.lights):
        kind = {EnvironmentMap: "environment", ConstantLight: "environment"}.get(type(light), "light")
        found[f"{kind} {index}"] = ("light", index)
    for index, shape in enumerate(description.shapes):
        emission = getattr(shape, "emission", None)
        if emission is not None and not isinstance(emission, str):
            found[f"{shape.name} ({index})" if shape.name else f"shape {index}"] = ("emission", index)
    return found


def _power(description: SceneDescription, kind: str, index: int) -> tuple[float, float, float]:
    """Colour and strength of a light, as linear RGB."""
    if kind == "emission":
        return _rgb(getattr(description.shapes[index], "emission", None) or 0.0)
    light = description.lights[index]
    return _rgb(light.scale if isinstance(light, EnvironmentMap) else getattr(light, POWER_FIELDS[type(light)]))


def _powered(
    description: SceneDescription,
    start: SceneDescription,
    kind: str,
    index: int,
    power: float,
    color: Any,
    angle: float,
) -> SceneEdit:
    """The edit that gives a light this power, colour and rotation; environment maps have no colour, others no rotation."""
    red, green, blue = _linear(color)
    brightest = max(red, green, blue) or 1.0
    value = (power * red / brightest, power * green / brightest, power * blue / brightest)
    if kind == "emission":
        return SetEmission(index, value)
    light: Light = description.lights[index]
    if isinstance(light, EnvironmentMap):
        first = start.lights[index]
        assert isinstance(first, EnvironmentMap)
        turned = (Rotate((0.0, 1.0, 0.0), min(max(float(angle), -180.0), 180.0)), *first.to_world)
        return SetLight(index, replace(light, scale=power, to_world=turned))
    return SetLight(index, replace(light, **{POWER_FIELDS[type(light)]: value}))


def _rotation(start: SceneDescription, light: Light | None, index: int) -> float:
    """The rotation that `_powered` has given to an environment map, in degrees; 0 for other lights."""
    if not isinstance(light, EnvironmentMap) or light.to_world == getattr(start.lights[index], "to_world", ()):
        return 0.0
    first = light.to_world[0]
    return float(first.angle) if isinstance(first, Rotate) else 0.0


def _rgb(value: Any) -> tuple[float, float, float]:
    if isinstance(value, int | float):
        return float(value), float(value), float(value)
    red, green, blue = value
    return float(red), float(green), float(blue)


def _strength(power: tuple[float, float, float]) -> float:
    """The strength of a light that 0 stops stand for: its first one, or 1 for a light that was off."""
    return max(power) or 1.0


def _display(value: tuple[float, float, float]) -> tuple[int, int, int]:
    """The colour of a light, without its strength, in sRGB; white for a light that is off."""
    brightest = max(value)
    if brightest <= 0.0:
        return 255, 255, 255
    return _encoded(tuple(part / brightest for part in value))


def _encoded(value: Any) -> tuple[int, int, int]:
    """Linear RGB as 8-bit sRGB."""
    red, green, blue = (
        round(255 * (12.92 * x if x <= 0.0031308 else 1.055 * x ** (1 / 2.4) - 0.055))
        for x in (min(max(part, 0.0), 1.0) for part in _rgb(value))
    )
    return red, green, blue


def _linear(color: Any) -> tuple[float, float, float]:
    """8-bit sRGB as linear RGB; values out of range are clipped."""
    red, green, blue = (
        x / 12.92 if x <= 0.04045 else ((x + 0.055) / 1.055) ** 2.4
        for x in (min(max(float(part) / 255.0, 0.0), 1.0) for part in color)
    )
    return red, green, blue
