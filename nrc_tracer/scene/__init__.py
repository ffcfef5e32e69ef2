"""What is rendered: the scene model and the readers of every format. Knows nothing of devices.

The classes a scene is made of are in `nrc_tracer.scene.model`. This package has no names of its own, so that importing
one of its modules loads no other.
"""
