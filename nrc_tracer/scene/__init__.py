"""Scenes: the scene model and the readers of every format. Independent of devices.

The classes that make up a scene are in `nrc_tracer.scene.model`. This package exports no names, so that importing one of its
modules does not load the others.
"""
