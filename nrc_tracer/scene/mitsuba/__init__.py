"""Reader of Mitsuba 3 scene files (XML), of formats 0.5 to 3.x."""

from nrc_tracer.scene.mitsuba.reader import read_mitsuba, read_mitsuba_scene

__all__ = ["read_mitsuba", "read_mitsuba_scene"]
