"""How light travels: the path tracer and the renderer around it."""

from nrc_tracer.tracer.renderer import Renderer, render, run

__all__ = ["Renderer", "render", "run"]
