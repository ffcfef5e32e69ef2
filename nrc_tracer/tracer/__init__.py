"""How light travels: the path tracer and the renderer around it."""

from nrc_tracer.tracer.renderer import Renderer
from nrc_tracer.tracer.run import render, run

__all__ = ["Renderer", "render", "run"]
