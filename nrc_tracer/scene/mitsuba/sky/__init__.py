"""The sun and the clear sky: the direction to the sun, and an image of the radiance from all directions."""

from nrc_tracer.scene.mitsuba.sky.bake import bake_sky
from nrc_tracer.scene.mitsuba.sky.sun_position import Moment, sun_direction

__all__ = ["Moment", "bake_sky", "sun_direction"]
