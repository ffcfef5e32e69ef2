"""The sun and the clear sky as an image: where the sun stands, and how bright every direction is."""

from nrc_tracer.scene.mitsuba.sky.bake import bake_sky
from nrc_tracer.scene.mitsuba.sky.sun_position import Moment, sun_direction

__all__ = ["Moment", "bake_sky", "sun_direction"]
